"""
QEMU's rate limit for events.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_qmon.core.events import EventMessage

__all__ = ["MAX_KEYS", "RateLimit"]

#: Of one rate-limited event, how many keys may have a running period at a time. QEMU has no such limit: there a key
#: that a guest can choose lets memory grow. What comes with yet another key goes out at once: nothing is lost, and
#: nothing is remembered.
MAX_KEYS = 1000

_sequence = count()


class RateLimit:
    """
    QEMU's rate limit of one event. The first of a key is sent at once and starts a period. Of those that come during the period
    the latest is kept. At the end of the period it is sent, and another period starts; if none was kept, the key is forgotten.

    :param name: the event's name
    :param period: in seconds
    :param key: the members whose values have periods of their own
    :param get_clock: gives the clock of the periods
    :param send: called with each event whose time has come
    """

    def __init__(
        self,
        name: str,
        period: float,
        key: tuple[str, ...],
        get_clock: Callable[[], IReactorTime],
        send: Callable[[EventMessage], object],
    ) -> None:
        self._name = name
        self._period = period
        self._key = key
        self._get_clock = get_clock
        self._send = send
        self._timers: dict[Hashable, IDelayedCall] = {}
        self._kept: dict[Hashable, tuple[int, EventMessage]] = {}

    def take(self, message: EventMessage) -> None:
        """Send it now or keep it."""
        data = message.data
        key = message.limit_key = (self._name, *(_hashable(data.get(part)) for part in self._key))
        if key in self._timers:
            self._kept[key] = (next(_sequence), message)
            return
        if len(self._timers) < MAX_KEYS:
            self._start(key)
        self._send(message)

    def _start(self, key: Hashable) -> None:
        self._timers[key] = self._get_clock().callLater(self._period, self._expired, key)

    def _expired(self, key: Hashable) -> None:
        entry = self._kept.pop(key, None)
        if entry is None:
            del self._timers[key]
        else:
            self._start(key)
            self._send(entry[1])

    def stop(self) -> list[tuple[int, EventMessage]]:
        """End all periods. :return: the events that were kept, each with a number that gives their order"""
        for timer in self._timers.values():
            timer.cancel()
        kept = list(self._kept.values())
        self._timers.clear()
        self._kept.clear()
        return kept


def _hashable(value: object) -> Hashable:
    """:return: for a key member's value, something that can be a part of a dictionary's key"""
    return repr(value) if isinstance(value, (dict, list)) else (type(value), value)

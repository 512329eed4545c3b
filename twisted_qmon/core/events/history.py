"""
The numbers of a monitor's events, and the latest of them, for those who want to catch up with what they missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

if TYPE_CHECKING:
    from twisted_qmon.core.events import EventMessage

__all__ = ["EVENT_HISTORY", "EVENT_HISTORY_BYTES", "EventHistory", "Resumed"]

#: How many events are kept, at most.
EVENT_HISTORY = 1000

#: Bytes of the events that are kept, as lines on the wire, at most.
EVENT_HISTORY_BYTES = 4 << 20

#: Bytes of an event's line that are not its data: name, timestamp, punctuation.
_FRAME = 80

#: Bytes of a member's name, with its punctuation.
_KEY = 10


class Resumed(NamedTuple):
    """
    Where a reader of the history begins: see L{EventHistory.resume}.

    :ivar position: the number after which it reads on
    :ivar first: the number of the oldest event that is kept; one more than C{last} if none is
    :ivar last: the number of the latest event; 0 before the first one
    :ivar lost: how many of those after the number that was asked for are not kept any more
    :ivar restarted: what was asked for belongs to another monitor, one before a restart: the whole history is to be read
    """

    position: int
    first: int
    last: int
    lost: int
    restarted: bool


class EventHistory:
    """
    Numbers events, from 1 on, and keeps the latest. A reader keeps a position, and reads on from it with L{after}.

    The bytes of an event are those of its line. One that was not encoded, since no client got it, is not encoded for this: its
    bytes are estimated from its data.

    :param count: how many events are kept, at most; 0: none, they are only numbered
    :param size: bytes that they may have together; 0: none is kept
    :raise ValueError: when a limit is negative
    :ivar id: a UUID of this monitor: the numbers are of use with it only
    :ivar first: the number of the oldest event that is kept; one more than C{last} if none is
    :ivar last: the number of the latest event; 0 before the first one
    :ivar bytes: what those that are kept have together
    """

    def __init__(self, count: int = EVENT_HISTORY, size: int = EVENT_HISTORY_BYTES) -> None:
        self.id = str(uuid4())
        self.first = 1
        self.last = 0
        self.bytes = 0
        self._kept: dict[int, EventMessage] = {}
        self._count = self._size = 0
        self.limit(count, size)

    def limit(self, count: int | None = None, size: int | None = None) -> None:
        """
        Change the limits. What is too much is dropped, the oldest first.

        :param count: how many events are kept, at most; C{None}: as it is
        :param size: bytes that they may have together; C{None}: as it is
        :raise ValueError: when one is negative
        """
        for name, value in (("count", count), ("size", size)):
            if value is not None and value < 0:
                raise ValueError(f"event history: {name} is at least 0, not {value}")
        self._count = self._count if count is None else count
        self._size = self._size if size is None else size
        self._evict()

    def add(self, message: EventMessage) -> None:
        """Number an event that is about to be delivered, and keep it."""
        self.last = number = message.number = self.last + 1
        self._kept[number] = message
        if len(self._kept) > self._count:
            self._drop_oldest()

    def weigh(self, message: EventMessage) -> None:
        """Take account of the bytes of an event that has been added: now that it was delivered, it may have been encoded."""
        line = message.encoded
        message.size = size = _estimate(message.get("data"), self._size) if line is None else len(line)
        if message.number >= self.first:
            self.bytes += size
            if self.bytes > self._size:
                self._evict()

    def _evict(self) -> None:
        kept = self._kept
        while kept and (len(kept) > self._count or self.bytes > self._size):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self.bytes -= self._kept.pop(self.first).size
        self.first += 1

    def resume(self, after: int | None, monitor: str | None) -> Resumed:
        """
        Find where a reader goes on.

        :param after: the number of the last event that it had; C{None}: it wants those that come, not those that were
        :param monitor: the C{id} of the monitor that the number is of; C{None}: it does not know
        :return: where to read on
        """
        restarted = (monitor is not None and monitor != self.id) or (after is not None and after > self.last)
        if restarted:
            after = 0
        elif after is None:
            after = self.last
        lost = max(0, self.first - 1 - after)
        return Resumed(after + lost, self.first, self.last, lost, restarted)

    def after(self, number: int, most: int) -> Sequence[EventMessage]:
        """
        Read on.

        :param number: the position
        :param most: how many events to return, at most
        :return: the events that are kept and have a higher number, the oldest first. If the first of them is not the next one,
            those between are not kept any more.
        """
        begin = max(number + 1, self.first)
        return [self._kept[each] for each in range(begin, min(begin + most, self.last + 1))]


def _estimate(data: object, most: int) -> int:
    """:return: about how many bytes an event with this data has; counting ends beyond C{most}"""
    size = _FRAME
    left: list[object] = [] if data is None else [data]
    while left and size <= most:
        value = left.pop()
        if isinstance(value, str):
            size += len(value) + 3
        elif isinstance(value, dict):
            size += 2 + _KEY * len(value)
            left += value.values()
        elif isinstance(value, (list, tuple)):
            size += 2
            left += value
        else:
            size += 8
    return size

"""
Peers that go away while nothing is read from them: only they need a watch.

Of all others Twisted calls C{connectionLost} in the protocol. What becomes of a client's requests then is up to
L{Dispatcher.leave<twisted_qmon.core.dispatcher.Dispatcher.leave>}.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["WATCH_PERIOD", "PeerWatch"]

#: Seconds between two looks at whether the peers of paused connections are still there.
WATCH_PERIOD = 1.0


class PeerWatch:
    """
    Finds out that a peer has gone although nothing is read from it: a transport that is paused is not told by its reactor.

    A peer that closed its end for good shows as C{POLLHUP} (unix sockets) or after a reset (TCP); one that only shut down its
    writing side does not. Platforms without C{select.poll} are not watched.
    """

    def __init__(self, clock: Callable[[], IReactorTime]) -> None:
        self._clock = clock
        # What gives the file descriptor, and what is to be called.
        self._watched: dict[object, tuple[Callable[[], int], Callable[[], None]]] = {}
        self._timer: IDelayedCall | None = None

    def watch(self, transport: object, gone: Callable[[], None]) -> None:
        """Call C{gone}, once, when the transport's peer is seen to have gone."""
        fileno = getattr(transport, "fileno", None)
        if fileno is not None and hasattr(select, "poll"):
            self._watched[transport] = (fileno, gone)
            if self._timer is None:
                self._timer = self._clock().callLater(WATCH_PERIOD, self._look)

    def unwatch(self, transport: object) -> None:
        """Forget a transport. The timer lapses by itself: being paused and resumed all the time costs no timers."""
        self._watched.pop(transport, None)

    def stop(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        poll = select.poll()
        by_descriptor = {}
        for transport, (fileno, gone) in self._watched.items():
            descriptor = fileno()
            if descriptor >= 0:
                poll.register(descriptor, 0)
                by_descriptor[descriptor] = (transport, gone)
        for descriptor, _ in poll.poll(0):
            transport, gone = by_descriptor[descriptor]
            if self._watched.pop(transport, None) is not None:
                gone()
        if self._watched:
            self._timer = self._clock().callLater(WATCH_PERIOD, self._look)

"""
A client's events: who receives them, and from where they go on after the connection was lost. No I/O.

A server that numbers events is asked to send what was missed (C{select-events} with C{after}). One that does not, such as QEMU,
refuses that once for each connection, and its events come as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, ConnectionClosed

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.qmp._client.replies import Message

__all__ = ["MAX_HELD", "EventGap", "EventPosition", "EventReceiver", "Events"]

#: Events without a number that wait until the server has said whether it sends them again with one; beyond it the oldest are
#: dropped.
MAX_HELD = 10_000

#: What is called with each event.
EventReceiver = Callable[[Mapping[str, Any]], None]


class EventPosition(NamedTuple):
    """
    Up to where a client has a monitor's events.

    :ivar monitor: the monitor's UUID; C{None}: it is not known
    :ivar number: the number of the last event
    """

    monitor: str | None
    number: int


class EventGap(NamedTuple):
    """
    Events that a client did not get.

    :ivar lost: how many events are not kept any more by the server that is connected now
    :ivar restarted: it is not the one of before: it was restarted, or another one that does not know what was missed has taken
        its place. How many events that one had after the last that the client got is not known.
    """

    lost: int
    restarted: bool


class Events:
    """
    The receivers of a client's events, over all its connections.

    :param select: executes C{select-events} with these arguments
    :param numbered: ask for numbers, and for what was missed
    :param position: begin there; C{None}: with what comes
    :param on_gap: called when events were lost; C{None}: a line is logged
    :ivar position: up to where they have come; C{None}: the server has not said
    """

    _log = Logger()

    def __init__(
        self,
        select: Callable[[Mapping[str, JSON]], Deferred[object]],
        *,
        numbered: bool,
        position: EventPosition | None,
        on_gap: Callable[[EventGap], object] | None,
    ) -> None:
        self.position = position
        self._select = select
        self._numbered = numbered or position is not None
        self._on_gap = on_gap
        self._receivers: dict[object, tuple[EventReceiver, frozenset[str] | None]] = {}
        # There is a connection, and it has not been asked for numbers.
        self._may_select = False
        # What came before the reply: it comes again, if what was missed is to come. None: nothing is to be held back.
        self._held: deque[Message] | None = None

    def subscribe(self, receiver: EventReceiver, names: Iterable[str] | None = None) -> Callable[[], None]:
        """See L{IMonitor.subscribe<twisted_qmon.interfaces.IMonitor.subscribe>}."""
        if isinstance(names, str):
            raise TypeError("names is a collection of event names, not one name")
        token = object()
        self._receivers[token] = (receiver, None if names is None else frozenset(names))
        self._begin()

        def unsubscribe() -> None:
            self._receivers.pop(token, None)

        return unsubscribe

    # -- connections

    def connected(self) -> None:
        """There is a new connection."""
        self._may_select = self._numbered
        self._held = None
        self._begin()

    def lost(self) -> None:
        """There is none any more."""
        if not self._receivers and not self._may_select:
            # Those that there were have left: what happens from here on is not missed.
            self.position = None
        self._may_select = False
        self._held = None

    def leave_to_caller(self) -> None:
        """The program selects events itself: they come as it has asked for them, on each connection."""
        self._numbered = self._may_select = False
        self.position = None
        self._release()

    def _begin(self) -> None:
        if not self._may_select or not self._receivers:
            return
        self._may_select = False
        arguments: dict[str, JSON] = {"numbered": True}
        position = self.position
        if position is not None:
            arguments["after"] = position.number
            if position.monitor is not None:
                arguments["monitor"] = position.monitor
            self._held = deque()
        self._select(arguments).addCallbacks(self._selected, self._refused).addErrback(
            lambda failure: self._log.failure("while selecting events", failure)
        )

    def _selected(self, result: object) -> None:
        if not self._numbered:
            return
        reply = result if isinstance(result, dict) else {}
        monitor, last, lost = reply.get("monitor"), reply.get("last"), reply.get("lost")
        if not (isinstance(monitor, str) and isinstance(last, int) and isinstance(lost, int)):
            self._forget()
            return
        before, self.position = self.position, EventPosition(monitor, last)
        if before is None:
            return
        self._held = None
        restarted = reply.get("restarted") is True
        # Told once: whatever becomes of this connection, the next one goes on behind the gap.
        self.position = EventPosition(monitor, (0 if restarted else before.number) + lost)
        if lost or restarted:
            self._tell(EventGap(lost, restarted))

    def _refused(self, failure: Failure) -> None:
        failure.trap(CommandError)
        if not failure.check(ConnectionClosed):
            self._forget()

    def _forget(self) -> None:
        """This server does not number its events."""
        before, self.position = self.position, None
        if before is not None:
            self._tell(EventGap(0, True))
        self._release()

    def _tell(self, gap: EventGap) -> None:
        if self._on_gap is None:
            self._log.warn(
                "events were lost: {lost} are not kept any more; the server was restarted: {restarted}",
                lost=gap.lost,
                restarted=gap.restarted,
            )
            return
        try:
            self._on_gap(gap)
        except Exception:
            self._log.failure("while telling {receiver!r} of lost events", receiver=self._on_gap)

    # -- events

    def happened(self, message: Message) -> None:
        """An event has come."""
        if type(message.number) is int:
            if self.position is not None:
                self.position = EventPosition(self.position.monitor, message.number)
        elif self._held is not None:
            if len(self._held) >= MAX_HELD:
                self._held.popleft()
                self._log.warn("dropped the oldest of {limit} events that wait for the server's answer", limit=MAX_HELD)
            self._held.append(message)
            return
        self._deliver(message)

    def _release(self) -> None:
        held, self._held = self._held, None
        for message in held or ():
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        if not self._receivers:
            return
        event: dict[str, Any] = {"event": message.event, "timestamp": message.timestamp}
        if message.data is not ABSENT:
            event["data"] = message.data
        if message.timestamp is ABSENT:
            event["timestamp"] = {"seconds": -1, "microseconds": -1}
        if message.number is not ABSENT:
            event["number"] = message.number
            if message.upstream is not ABSENT:
                event["upstream"] = message.upstream
        for token, (receiver, names) in list(self._receivers.items()):
            if (names is None or message.event in names) and token in self._receivers:
                try:
                    receiver(event)
                except Exception:
                    self._log.failure(
                        "while telling {receiver!r} of the event {event}", receiver=receiver, event=message.event
                    )

"""
The events of a member on their way to the fleet: in their order, each with its number and that of the one before.

Nothing is queued here. What could not be sent, since there was no connection or the router did not read, is in the monitor's
history of events, and is sent from there when it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon.errors import CommandError, ConnectionClosed
from twisted_qmon.fleet.interfaces import IFleet, Publication
from twisted_qmon.fleet.member import wire_event
from twisted_qmon.info import Level

if TYPE_CHECKING:
    from twisted_qmon.core.events.history import EventHistory
    from twisted_qmon.core.events.table import EventMessage
    from twisted_qmon.core.monitor import Monitor

__all__ = ["Publisher"]

#: Events that are read from the history at a time.
_BATCH = 100


class Publisher:
    """
    Publishes the events of a monitor. Those of level C{observe} go to all whom the router lets; those above it to callers only
    whose level is known here. Without access rules a fleet may see nothing, and nothing is published.

    :param monitor: the monitor
    :param listeners: gives the callers' sessions that may see events of a level
    :ivar position: the number of the last event that was published or left out
    """

    __slots__ = (
        "_catching_up",
        "_fleet",
        "_listeners",
        "_monitor",
        "_name",
        "_reads",
        "_to_all",
        "_to_some",
        "_unsubscribe",
        "position",
    )
    _log = Logger()

    def __init__(self, monitor: Monitor, listeners: Callable[[Level], Sequence[int]]) -> None:
        self._monitor = monitor
        self._name = ""
        self._listeners = listeners
        self._fleet: IFleet | None = None
        self._reads = False
        self._catching_up = False
        self._unsubscribe: Callable[[], None] | None = None
        self.position = 0
        # The numbers of the last events that were published to all, and to some.
        self._to_all = 0
        self._to_some = 0

    @property
    def _history(self) -> EventHistory:
        return self._monitor.events.history

    def start(self, name: str) -> None:
        """
        From now on events are for the fleet, whether there is a connection or not.

        :param name: the member's name
        """
        self._name = name
        if self._unsubscribe is None:
            self.position = self._history.last
            self._unsubscribe = self._monitor.subscribe(self._happened)

    def stop(self) -> None:
        """Events are not for the fleet any more."""
        self.detach()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def attach(self, fleet: IFleet) -> None:
        """There is a connection on which the member was announced: what has happened meanwhile is published now."""
        self._fleet = fleet
        self._reads = True
        fleet.on_drain(self._drained)
        self._catch_up()

    def detach(self) -> None:
        """There is none any more."""
        self._fleet = None
        self._reads = False

    def _drained(self, reads: bool) -> None:
        # One that has ended tells nothing any more.
        if self._fleet is not None:
            self._reads = reads
            if reads:
                self._catch_up()

    def _happened(self, message: EventMessage) -> None:
        if self._reads and not self._catching_up and message.number == self.position + 1:
            self._publish(message)
        else:
            self._catch_up()

    def _catch_up(self) -> None:
        if self._catching_up:
            return
        self._catching_up = True
        try:
            while self._reads:
                messages = self._history.after(self.position, _BATCH)
                if not messages:
                    return
                if messages[0].number > self.position + 1:
                    # The history has dropped some: who gets the next one finds that out, and asks.
                    self._to_all = self._to_some = self.position = messages[0].number - 1
                self._publish_all(messages)
        finally:
            self._catching_up = False

    def _publish_all(self, messages: Sequence[EventMessage]) -> None:
        for message in messages:
            if not self._reads:
                # The one before has filled the connection.
                return
            self._publish(message)

    def _publish(self, message: EventMessage) -> None:
        fleet = self._fleet
        if fleet is None:
            return
        sessions: Sequence[int] | None = None
        after = self._to_all
        if message.level > Level.OBSERVE:
            sessions = self._listeners(message.level)
            after = max(self._to_all, self._to_some)
        if self._monitor.guard.access is None or sessions == []:
            self.position = message.number
            return
        try:
            fleet.publish(Publication(self._name, self._history.id, wire_event(message), after), sessions)
        except ConnectionClosed:
            self.detach()
            return
        except CommandError as error:
            self._log.error("the event {event} can't be published: {reason}", event=message.name, reason=error.desc)
        else:
            if sessions is None:
                self._to_all = message.number
            else:
                self._to_some = message.number
        self.position = message.number

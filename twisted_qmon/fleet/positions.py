"""
Up to where a client has the events of each member: none twice, none missing without a word. No I/O.

Each event says the number of the one that was published before it. Where that one is missing, the member is asked for what it has
kept after the last one that came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandError, ConnectionClosed, GenericError
from twisted_qmon.fleet.interfaces import FleetGap, Publication

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["MAX_HELD", "MAX_MEMBERS", "Positions"]

#: Events of one member that wait until it has told what was missed. Of more none is kept: it is asked for them, too.
MAX_HELD = 1000

#: Members whose positions are kept. Of more the one that was heard first is forgotten.
MAX_MEMBERS = 100_000

_log = Logger()

#: Asks a member for its events: (name, number of the last one that came, UUID of the monitor that it is of).
Fetch = Callable[[str, "int | None", "str | None"], "Deferred[JSON]"]


class _Position:
    """
    One member's events.

    :param owner: where they go
    :param name: the member
    """

    __slots__ = ("_fetching", "_held", "_missed", "_name", "_owner", "last", "monitor")

    def __init__(self, owner: Positions, name: str) -> None:
        self._owner = owner
        self._name = name
        self.monitor: str | None = None
        self.last = 0
        self._fetching = False
        self._missed = False
        self._held: list[Publication] = []

    def received(self, publication: Publication) -> None:
        """An event has come."""
        if self._fetching:
            self._hold(publication)
        elif self.monitor is None:
            self.monitor = publication.monitor
            self._deliver(publication)
        elif publication.monitor == self.monitor and publication.number <= self.last:
            return
        elif publication.monitor == self.monitor and publication.after <= self.last:
            self._deliver(publication)
        else:
            self._hold(publication)
            self.fetch()

    def _hold(self, publication: Publication) -> None:
        if len(self._held) >= MAX_HELD:
            self._held.clear()
            self._missed = True
        self._held.append(publication)

    def _deliver(self, publication: Publication) -> None:
        self.last = publication.number
        self._owner.deliver(publication)

    # -- what was missed

    def fetch(self) -> None:
        """Ask the member for what has happened since."""
        if not self._fetching:
            self._fetching = True
            Deferred.fromCoroutine(self._catch_up()).addErrback(self._failed)

    async def _catch_up(self) -> None:
        more = True
        while more:
            after = None if self.monitor is None else self.last
            try:
                more = self._take(await self._owner.ask(self._name, after, self.monitor))
            except ConnectionClosed:
                # The next event, or the next connection, finds it out again.
                self._held.clear()
                break
            except CommandError as error:
                self._give_up(error)
                break
        self._fetching = False
        held, self._held = self._held, []
        missed, self._missed = self._missed, False
        for publication in held:
            self.received(publication)
        if missed:
            self.fetch()

    def _take(self, answer: JSON) -> bool:
        """
        :return: whether there is more to ask for
        :raise GenericError: when that is no answer
        """
        reply: Mapping[str, JSON] = answer if isinstance(answer, Mapping) else {}
        monitor, last, lost, position = (reply.get(key) for key in ("monitor", "last", "lost", "position"))
        events, restarted = reply.get("events"), reply.get("restarted") is True
        if not (
            isinstance(monitor, str)
            and isinstance(last, int)
            and isinstance(lost, int)
            and isinstance(position, int)
            and isinstance(events, list)
        ):
            raise GenericError(f"Member '{self._name}' does not say which events it has")
        if self.monitor is not None and (lost or restarted):
            self._owner.gap(FleetGap(self._name, lost, restarted))
        before, self.monitor = self.monitor, monitor
        if before is not None and not restarted and position < self.last:
            raise GenericError(f"Member '{self._name}' goes back in its events")
        if restarted:
            self.last = 0
        for message in events:
            number = message.get("number") if isinstance(message, Mapping) else None
            if type(number) is int and number > self.last:
                self._deliver(Publication(self._name, monitor, message, self.last))
        ahead = position > self.last
        self.last = max(self.last, position)
        return before is not None and position < last and (ahead or bool(events))

    def _give_up(self, error: CommandError) -> None:
        """It does not tell: go on with what comes."""
        held = self._held
        if not held:
            return
        first = held[0]
        restarted = first.monitor != self.monitor
        lost = 0 if restarted else max(0, first.after - self.last)
        _log.warn("{member} does not tell which events were missed: {reason}", member=self._name, reason=error.desc)
        self._owner.gap(FleetGap(self._name, lost, restarted))
        self.monitor, self.last = first.monitor, first.after

    def _failed(self, failure: Failure) -> None:
        self._fetching = False
        _log.failure("while asking {member} for its events", failure, member=self._name)


class Positions:
    """
    The events of all members.

    :param ask: asks a member for its events
    :param deliver: called with each event, in the order of its member
    :param gap: called when some of them are lost
    """

    def __init__(self, ask: Fetch, deliver: Callable[[Publication], object], gap: Callable[[FleetGap], object]) -> None:
        self.ask = ask
        self.deliver = deliver
        self.gap = gap
        self._positions: dict[str, _Position] = {}

    def received(self, publication: Publication) -> None:
        """An event has come."""
        self._of(publication.member).received(publication)

    def begin(self, name: str, monitor: str, last: int) -> None:
        """
        Go on after an event that is known.

        :param monitor: the UUID of the monitor that it is of
        :param last: its number
        """
        position = self._of(name)
        position.monitor, position.last = monitor, last

    def fetch(self, name: str) -> None:
        """Ask a member for what has happened since its last event."""
        self._of(name).fetch()

    def _of(self, name: str) -> _Position:
        position = self._positions.get(name)
        if position is None:
            if len(self._positions) >= MAX_MEMBERS:
                del self._positions[next(iter(self._positions))]
            position = self._positions[name] = _Position(self, name)
        return position

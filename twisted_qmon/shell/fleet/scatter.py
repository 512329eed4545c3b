"""
One command at many members at the same time, each with a time of its own. No I/O: the calls go through an C{IFleet}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandError, CommandTimedOut, ConnectionClosed, GenericError
from twisted_qmon.fleet.errors import NoSuchMember
from twisted_qmon.shell.errors import Failed, NoConnection, TimedOut

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.fleet.interfaces import IFleet
    from twisted_qmon.info import JSON

__all__ = ["IN_FLIGHT", "TIMEOUT", "Outcome", "Scatter"]

#: How many members are called at the same time, at most.
IN_FLIGHT = 1000

#: Seconds that each member has if the person does not say.
TIMEOUT = 30.0


class Outcome(NamedTuple):
    """
    What became of the command at one member.

    :ivar member: its name
    :ivar seconds: from the call to the answer
    :ivar result: what the command returned
    :ivar error: what it failed with instead
    """

    member: str
    seconds: float
    result: JSON = None
    error: CommandError | None = None

    @property
    def status(self) -> int:
        """The exit status that C{qmon} has for it."""
        if self.error is None:
            return 0
        if isinstance(self.error, CommandTimedOut):
            return TimedOut.status
        return NoConnection.status if isinstance(self.error, (ConnectionClosed, NoSuchMember)) else Failed.status


class Scatter:
    """
    Executes one command at many members, once.

    :param fleet: connected
    :param clock: for the time that each has
    :param names: of the members
    :param command: the command's QMP name
    :param arguments: its arguments
    :param timeout: seconds that each member has from when it is called
    :param on_outcome: called with each L{Outcome} as it comes
    """

    def __init__(
        self,
        fleet: IFleet,
        clock: IReactorTime,
        names: Iterable[str],
        command: str,
        arguments: Mapping[str, JSON],
        timeout: float,
        on_outcome: Callable[[Outcome], object],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._names = iter(names)
        self._command = command
        self._arguments = arguments
        self._timeout = timeout
        self._on_outcome = on_outcome
        self._running: set[Deferred[JSON]] = set()
        self._busy = False
        self._over = False
        self._done: Deferred[None] = Deferred(self._give_up)

    def run(self) -> Deferred[None]:
        """:return: fires when each member has answered or its time has passed. Cancelling it cancels what is under way."""
        self._call_more()
        return self._done

    def _call_more(self) -> None:
        # A call may fail at once, and all of them may: that is no reason to go deeper with each.
        if self._busy:
            return
        self._busy = True
        while len(self._running) < IN_FLIGHT and (name := next(self._names, None)) is not None:
            self._call(name)
        self._busy = False
        if not self._running and not self._over:
            self._over = True
            self._done.callback(None)

    def _call(self, name: str) -> None:
        began = self._clock.seconds()
        late: list[CommandError] = []
        called = self._fleet.call(name, "execute", (self._command, self._arguments))

        def too_late() -> None:
            late.append(CommandTimedOut(f"Command '{self._command}' timed out after {self._timeout:g} s"))
            called.cancel()

        timer = self._clock.callLater(self._timeout, too_late)

        def settled(result: JSON | Failure) -> None:
            self._running.discard(called)
            if timer.active():
                timer.cancel()
            if self._over:
                return
            seconds = self._clock.seconds() - began
            if isinstance(result, Failure):
                self._on_outcome(Outcome(name, seconds, error=late[0] if late else _error(result)))
            else:
                self._on_outcome(Outcome(name, seconds, result))
            self._call_more()

        self._running.add(called)
        called.addBoth(settled)

    def _give_up(self, done: Deferred[None]) -> None:
        self._over = True
        for each in [*self._running]:
            each.cancel()


def _error(failure: Failure) -> CommandError:
    return failure.value if isinstance(failure.value, CommandError) else GenericError(failure.getErrorMessage())

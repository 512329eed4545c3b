"""
What has become of the requests, by command: counted as cheaply as can be.

A request that is done at once adds 1 to a number. Now and then one of them is timed: L{Tallies.arm}, called about once a second,
puts a stop-watch around the handler of each command, which the next call takes off again. One that has to wait takes microseconds
anyway: each of these is timed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias
from weakref import WeakSet

from twisted_qmon.core.access.verdict import PermissionDenied
from twisted_qmon.errors import CommandCancelled, CommandError, CommandTimedOut, ShuttingDown

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["BOUNDS", "MAX_TALLIES", "OTHER", "OUTCOMES", "UNKNOWN", "Counted", "Durations", "Tallies", "Tally"]

#: What may become of a request.
OUTCOMES = ("ok", "error", "cancelled", "timed-out", "refused")

#: The upper bounds, in seconds, of the groups that durations are counted in.
BOUNDS = (0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)

#: How many names of commands are counted apart: those that have been registered. Others count together.
MAX_TALLIES = 5000

#: What requests for names that no command has are counted as.
UNKNOWN = "(unknown)"

#: What requests for commands beyond L{MAX_TALLIES} are counted as.
OTHER = "(other)"

_Direct: TypeAlias = "Callable[[Mapping[str, JSON] | None], object]"


class Counted(Protocol):
    """
    A command whose requests may be done at once.

    :ivar tally: where they are counted
    """

    tally: Tally
    direct: _Direct


class Durations(NamedTuple):
    """
    How long something took, counted in groups.

    :ivar counts: how many in each group of L{BOUNDS}, and how many above
    :ivar total: the sum, in seconds
    """

    counts: Sequence[int]
    total: float


class Tally:
    """
    The requests for one command.

    :ivar at_once: how many were done at once, and well
    :ivar pended: how many of those that were pending were so for how long: in each group of L{BOUNDS}, and above
    :ivar pended_total: for how many seconds, all of them together
    """

    __slots__ = ("_others", "_pended_failed", "_timed", "_timed_total", "at_once", "pended", "pended_total")

    def __init__(self) -> None:
        self.at_once = 0
        self.pended = [0] * (len(BOUNDS) + 1)
        self.pended_total = 0.0
        self._pended_failed = 0
        # By outcome, those that were neither done at once nor pended well.
        self._others = [0] * len(OUTCOMES)
        self._timed = [0] * (len(BOUNDS) + 1)
        self._timed_total = 0.0

    def settled(self, error: CommandError | None, pended: bool) -> None:
        """
        Count a request that was not done at once, or not well.

        :param error: what it was answered with; C{None}: it was successful
        :param pended: it is in C{pended} already
        """
        if error is not None:
            self._others[_outcome(error)] += 1
            self._pended_failed += pended
        elif not pended:
            self._others[0] += 1

    def timed(self, seconds: float) -> None:
        """Note how long the call of a handler took."""
        self._timed[bisect_left(BOUNDS, seconds)] += 1
        self._timed_total += seconds

    def counts(self) -> list[int]:
        """:return: how many requests had which of L{OUTCOMES}"""
        return [self.at_once + sum(self.pended) - self._pended_failed + self._others[0], *self._others[1:]]

    @property
    def waits(self) -> Durations:
        """For how long requests were pending, of those that were not done at once, whatever became of them."""
        return Durations(self.pended, self.pended_total)

    @property
    def calls(self) -> Durations:
        """How long the calls of the handler took that were timed."""
        return Durations(self._timed, self._timed_total)


def _outcome(error: CommandError) -> int:
    if isinstance(error, CommandCancelled):
        return 2
    if isinstance(error, CommandTimedOut):
        return 3
    return 4 if isinstance(error, (PermissionDenied, ShuttingDown)) else 1


class Tallies:
    """
    The tallies of all commands, by their names. That of a command that is taken out stays.

    :ivar find: C{find(name)}: that of a command, or C{None}
    :ivar unknown: that of all names that no command has
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Tally] = {}
        self._other = Tally()
        self.unknown = Tally()
        self.find = self._by_name.get
        self._idle: WeakSet[Counted] = WeakSet()

    def of_command(self, name: str) -> Tally:
        """:return: that of a command that is registered"""
        tally = self._by_name.get(name)
        if tally is None:
            if len(self._by_name) >= MAX_TALLIES:
                return self._other
            tally = self._by_name[name] = Tally()
        return tally

    def used(self) -> dict[str, Tally]:
        """:return: the tallies of commands that were asked for, by what they are called"""
        everything = {**self._by_name, UNKNOWN: self.unknown, OTHER: self._other}
        return {name: tally for name, tally in sorted(everything.items()) if any(tally.counts())}

    # -- stop-watches

    def watch(self, command: Counted) -> None:
        """Have the next call of a command's handler timed, and one after each L{arm}."""
        self._idle.add(command)
        self.arm()

    def arm(self) -> None:
        """Have the next call of each handler timed that was called since this was called last."""
        idle, self._idle = self._idle, WeakSet()
        for command in idle:
            self._arm(command)

    def _arm(self, command: Counted) -> None:
        plain = command.direct

        def timed(arguments: Mapping[str, JSON] | None) -> object:
            command.direct = plain
            self._idle.add(command)
            began = perf_counter()
            try:
                return plain(arguments)
            finally:
                command.tally.timed(perf_counter() - began)

        command.direct = timed

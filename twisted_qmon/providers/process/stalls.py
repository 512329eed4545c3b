"""
Times in which the reactor did not run, and where its thread was.

A thread that watches (L{twisted_qmon.watchdog}) notes that the reactor is late, and where the reactor's thread is at that moment.
When the reactor runs again L{Stalls} makes a record of it, logs a warning and emits C{REACTOR_STALL}.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import twisted
from twisted.logger import Logger

import twisted_qmon
from twisted_qmon._text import printable
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.events import Event, wire_timestamp
from twisted_qmon.providers.process import text
from twisted_qmon.providers.process.stacks import FrameInfo, Place

__all__ = [
    "KEPT_STALLS",
    "MAX_STALL_FRAMES",
    "MIN_STALL",
    "STALL",
    "Noticed",
    "Pulse",
    "StallInfo",
    "Stalls",
    "culprits",
]

#: Seconds that a reactor may be late before that is a stall.
STALL = 0.5

#: The least that can be asked for: the time between two beats of the reactor.
MIN_STALL = 0.05

#: How many stalls are kept, the latest ones.
KEPT_STALLS = 20

#: How many frames of a stall are kept, the innermost ones.
MAX_STALL_FRAMES = 20

#: How many frames stand in the log, the innermost ones.
_LOGGED_FRAMES = 4

# What belongs to the reactor, to the frameworks or to this package is not what holds the reactor up.
_FRAMEWORKS = tuple(f"{Path(str(module.__file__)).parent}{os.sep}" for module in (twisted, twisted_qmon, asyncio))
_INTERNET = f"{_FRAMEWORKS[0]}internet{os.sep}"
_LOOPS = ("mainLoop", "run", "run_forever")

_log = Logger()


class Pulse(Protocol):
    """
    What shows from outside that a reactor runs: L{Latency<twisted_qmon.providers.process.latency.Latency>}.

    :ivar beat: when it last ran, in monotonic seconds; C{None}: it is not to be watched
    :ivar interval: seconds until it should run again
    :ivar thread: the identifier of its thread
    :ivar late_from: from how many seconds on C{on_late} is called; C{None}: it is not
    :ivar on_late: called in its thread with the last beat, and how late the next one was
    """

    beat: float | None
    interval: float
    thread: int
    late_from: float | None
    on_late: Callable[[float, float], object]


class Noticed(NamedTuple):
    """
    A stall, as the thread that watches has seen it.

    :ivar beat: the last beat before it: another beat, and it is over
    :ivar since: when it began, in seconds since the epoch
    :ivar frozen: the thread that watches did not run either
    :ivar stack: where the reactor's thread was, the outermost frame first
    """

    beat: float
    since: float
    frozen: bool
    stack: tuple[Place, ...]


class When(msgspec.Struct):
    """A time, as events have it: since the epoch."""

    seconds: int
    microseconds: int


class StallInfo(msgspec.Struct):
    """
    A time in which the reactor did not run.

    :ivar number: counts the stalls, from 1
    :ivar seconds: how long, so far if it goes on; what blocked the reactor took up to 0.05 s more
    :ivar since: when it began
    :ivar over: the reactor runs again
    :ivar frozen: the watchdog's thread did not run either: a C call held the interpreter's lock, and the stack is that behind
        it; or the process was stopped, or had no processor
    :ivar stack: where the reactor's thread was when it was noticed, the outermost frame first: the innermost frames that are
        neither Twisted's nor the monitor's; only such ones if there were no others; empty if it was not seen in time
    """

    number: int
    seconds: float
    since: When
    over: bool
    frozen: bool
    stack: list[FrameInfo]


def culprits(stack: Sequence[Place]) -> list[Place]:
    """
    :param stack: of the reactor's thread, the outermost frame first
    :return: the innermost frames inside the reactor's loop that are no framework's; if all are, those inside the loop
    """
    begin = max((index + 1 for index, place in enumerate(stack) if _is_loop(place)), default=0)
    inside = list(stack[begin:]) or list(stack[-1:])
    found = [place for place in inside if not place.file.startswith(_FRAMEWORKS)]
    return (found or inside)[-MAX_STALL_FRAMES:]


def _is_loop(place: Place) -> bool:
    return place.file.startswith(_INTERNET) and place.code.co_name in _LOOPS


class Stalls(CommandProvider):
    """
    The stalls of a reactor.

    Two threads use it. The one that watches assigns L{noticed}; all else is done by the reactor's, but for C{query-stalls}, which
    either may run: it copies L{kept} in one step.

    :param pulse: the reactor's
    :param limit: seconds from which on a reactor that is late has stalled
    :param monotonic: the time of the pulse
    :param wall: the time since the epoch
    :raise ValueError: when the limit is less than L{MIN_STALL}
    :ivar limit: the same
    :ivar noticed: the stall that the watching thread has seen last, or C{None}
    :ivar kept: those that are over, the oldest first
    :ivar count: how many are over since it was made
    :ivar total: for how many seconds, all of these together
    """

    events = (Event("REACTOR_STALL", level="operate", seconds=float, stack=list[FrameInfo]),)

    def __init__(
        self,
        pulse: Pulse,
        limit: float = STALL,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if not limit >= MIN_STALL:
            raise ValueError(f"a stall is at least {MIN_STALL} seconds, not {limit!r}")
        self.limit = limit
        self.noticed: Noticed | None = None
        self.kept: deque[StallInfo] = deque(maxlen=KEPT_STALLS)
        self._pulse = pulse
        self._monotonic = monotonic
        self._wall = wall
        self.count = 0
        self.total = 0.0

    def start(self) -> None:
        """Keep stalls from now on: a thread watches."""
        self._pulse.on_late = self._over
        self._pulse.late_from = self.limit

    def stop(self) -> None:
        """Keep no more. One that goes on is kept as it is: this is called in the reactor's thread, which so runs."""
        self._pulse.late_from = None
        going_on = self._going_on()
        if going_on is not None:
            self._over(going_on.beat, self._late(going_on))
        self.noticed = None

    def _going_on(self) -> Noticed | None:
        noticed = self.noticed
        return noticed if noticed is not None and noticed.beat == self._pulse.beat else None

    def _late(self, stall: Noticed) -> float:
        return max(0.0, self._monotonic() - stall.beat - self._pulse.interval)

    def _over(self, beat: float, late: float) -> None:
        noticed, self.noticed = self.noticed, None
        if noticed is None or noticed.beat != beat:
            # The thread that watches did not come to run before the reactor did.
            noticed = Noticed(beat, self._wall() - late, True, ())
        self.count += 1
        self.total += late
        info = _info(noticed, self.count, late, over=True)
        self.kept.append(info)
        _log.warn(
            "the reactor did not run for {seconds:.2f} s; {place}", seconds=info.seconds, place=_place(info.stack)
        )
        if self.monitor is not None:
            self.monitor.emit("REACTOR_STALL", {"seconds": info.seconds, "stack": info.stack})

    @command(level="operate", thread_safe=True)
    def query_stalls(self) -> list[StallInfo]:
        """show the last times in which the reactor did not run, and where it was"""
        # In this order: one that ends between the two is in both, not in neither.
        going_on, number = self._going_on(), self.count + 1
        found = list(self.kept)
        if going_on is not None and (not found or found[-1].number < number):
            found.append(_info(going_on, number, self._late(going_on), over=False))
        return found

    query_stalls.printer(text.stalls)


def _info(stall: Noticed, number: int, seconds: float, *, over: bool) -> StallInfo:
    return StallInfo(
        number=number,
        seconds=round(seconds, 3),
        since=When(**wire_timestamp(stall.since)),
        over=over,
        frozen=stall.frozen,
        stack=[place.told() for place in culprits(stall.stack)],
    )


def _place(stack: Sequence[FrameInfo]) -> str:
    if not stack:
        return "where it was is not known"
    frames = [f"{text.short_path(frame.file)}:{frame.line} in {frame.function}" for frame in reversed(stack)]
    shown = ", called at ".join(frames[:_LOGGED_FRAMES])
    more = f", and {len(frames) - _LOGGED_FRAMES} more" if len(frames) > _LOGGED_FRAMES else ""
    return printable(f"it was at {shown}{more}")

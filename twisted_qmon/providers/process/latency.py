"""
How late a reactor runs, measured all the time and for next to nothing.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from twisted_qmon.core.tally import BOUNDS, Durations

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["INTERVAL", "WINDOW", "Latency", "LatencyInfo"]

#: Seconds between two probes. Something that blocks the reactor for a time T is seen as a lateness between T - INTERVAL and T.
INTERVAL = 0.05

#: Seconds that the mean and the worst of C{query-reactor} look back.
WINDOW = 60


class LatencyInfo(msgspec.Struct):
    """
    How late the reactor runs what is due; all in seconds.

    :ivar last: the latest measurement; or how long it is overdue already, if that is more
    :ivar mean: the mean of the window
    :ivar worst: the worst of the window
    :ivar window: how far C{mean} and C{worst} look back
    :ivar interval: the time between measurements, and so how much of a blocking call may be missed
    """

    last: float
    mean: float
    worst: float
    window: float
    interval: float


def _nothing(*_: object) -> None:
    """What is done about a reactor that was late, until something is."""


class _Second(msgspec.Struct):
    """What was measured in one second of the clock."""

    number: int
    samples: int = 0
    total: float = 0.0
    worst: float = 0.0


class Latency:
    """
    A probe: a delayed call that notes how late it is called, and makes the next one.

    It keeps a sum and a maximum per second of the window and no more: a bounded few kilobytes, and a few microseconds per probe.

    Its beat shows another thread that the reactor runs.

    :param clock: the reactor whose lateness is of interest
    :param interval: seconds between two probes
    :param window: seconds to look back
    :param monotonic: the time of the beat: a clock that is never set
    :ivar interval: seconds between two probes
    :ivar beat: when the last probe was; C{None} while it does not measure. Another thread may read it.
    :ivar thread: the identifier of the thread that it measures. Another thread may read it.
    :ivar on_late: called with the last beat, and how late the next one was, if that is at least C{late_from}
    :ivar late_from: seconds; C{None}: C{on_late} is not called
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float = INTERVAL,
        window: int = WINDOW,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval = interval
        self.beat: float | None = None
        self.thread = 0
        self.on_late: Callable[[float, float], object] = _nothing
        self.late_from: float | None = None
        self._monotonic = monotonic
        self._clock = clock
        self._window = window
        self._seconds: deque[_Second] = deque(maxlen=window + 1)
        self._last = 0.0
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self._due: float | None = None
        self._call: IDelayedCall | None = None

    @property
    def running(self) -> bool:
        """It measures."""
        return self._call is not None

    def start(self) -> None:
        """Measure from now on. Starting twice is the same as starting once."""
        if self._call is None:
            self.thread = threading.get_ident()
            self._schedule()
            self.beat = self._monotonic()

    def stop(self) -> None:
        """Measure no more, and forget what is due. The figures stay."""
        call, self._call, self._due, self.beat = self._call, None, None, None
        if call is not None and call.active():
            call.cancel()

    def _schedule(self) -> None:
        self._call = self._clock.callLater(self.interval, self._probe)
        self._due = self._call.getTime()

    def _probe(self) -> None:
        now = self._clock.seconds()
        if self._due is not None:
            self._note(now, now - self._due)
        self._schedule()
        before, self.beat = self.beat, self._monotonic()
        if self.late_from is not None and before is not None:
            late = self.beat - before - self.interval
            if late >= self.late_from:
                self.on_late(before, late)

    def _note(self, now: float, late: float) -> None:
        # The clock may be a wall clock, which can be set back.
        late = max(late, 0.0)
        self._last = late
        number = int(now)
        seconds = self._seconds
        if not seconds or seconds[-1].number != number:
            if seconds and seconds[-1].number > number:
                seconds.clear()
            seconds.append(_Second(number))
        second = seconds[-1]
        second.samples += 1
        second.total += late
        second.worst = max(second.worst, late)
        self._counts[bisect_left(BOUNDS, late)] += 1
        self._total += late

    @property
    def all(self) -> Durations:
        """All that was measured, not only in the window."""
        return Durations(self._counts, self._total)

    def figures(self) -> LatencyInfo:
        """:return: what the window holds, and what is overdue at this moment"""
        now = self._clock.seconds()
        overdue = 0.0 if self._due is None else max(0.0, now - self._due)
        seconds = [second for second in self._seconds if second.number > now - self._window - 1]
        samples = sum(second.samples for second in seconds)
        total = sum(second.total for second in seconds)
        worst = max((second.worst for second in seconds), default=0.0)
        if overdue > self._last:
            # The probe is due and has not run: this query was called before it, in the turn of the reactor that is so late.
            samples, total = samples + 1, total + overdue
        return LatencyInfo(
            last=round(max(self._last, overdue), 6),
            mean=round(total / samples, 6) if samples else 0.0,
            worst=round(max(worst, overdue), 6),
            window=float(self._window),
            interval=self.interval,
        )

"""
Where the reactor's thread spends its time: pyinstrument, for some seconds.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.task import deferLater

from twisted_qmon.errors import GenericError
from twisted_qmon.providers.diagnose.heap import Progress, in_thread

if TYPE_CHECKING:
    from pyinstrument.session import Session
    from twisted.internet.interfaces import IReactorTime

__all__ = [
    "INTERVAL",
    "MAX_PROFILE_SECONDS",
    "MAX_SAMPLES",
    "MIN_INTERVAL",
    "PROGRESS_PERIOD",
    "ProfileInfo",
    "Profiling",
]

#: How many samples there may be: they are kept until the end.
MAX_SAMPLES = 60_000

#: Seconds between two samples, unless that would be more than L{MAX_SAMPLES}.
INTERVAL = 0.001

#: Seconds of the shortest time between two samples.
MIN_INTERVAL = 0.0001

#: Seconds that a profile may take.
MAX_PROFILE_SECONDS = 3600.0

#: Seconds between two reports of progress.
PROGRESS_PERIOD = 0.5


class ProfileInfo(msgspec.Struct):
    """
    What C{profile} returns.

    :ivar seconds: how long it took
    :ivar cpu_seconds: processor time that the process used in that time
    :ivar samples: how many samples there are
    :ivar interval: seconds between two of them
    :ivar text: the calls as a tree, for people
    :ivar speedscope: the same as a file for https://www.speedscope.app, all of it
    """

    seconds: float
    cpu_seconds: float
    samples: int
    interval: float
    text: str
    speedscope: dict[str, Any]


class Profiling:
    """
    Takes one profile at a time of the thread that it is called in.

    :param reactor: has threads, in which what was measured is evaluated
    :param clock: the time
    """

    def __init__(self, reactor: object, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock
        self._running = False

    async def run(self, seconds: float, interval: float | None, timeline: bool, progress: Progress) -> ProfileInfo:
        """
        Take a profile. When it is cancelled, measuring ends at once.

        :param interval: seconds between two samples; C{None}: L{INTERVAL}, or as many as there may be samples
        :param timeline: keep the order in time of what was called again and again
        :param progress: told the hundredths of a second that are over, and how many there are
        :raise GenericError: when pyinstrument is missing or can't start, another profile is being taken, or a number is out of
            range
        """
        if self._running:
            raise GenericError("A profile is being taken already")
        interval = _interval(seconds, interval)
        try:
            from pyinstrument import Profiler
        except ImportError as e:
            raise GenericError("pyinstrument is not installed: pip install 'twisted-qmon[diagnose]'") from e
        profiler = Profiler(interval=interval, async_mode="disabled")
        self._running = True
        try:
            session = await self._measure(profiler, seconds, progress)
            return await in_thread(self._reactor, _evaluate, session, interval, timeline)
        finally:
            self._running = False

    async def _measure(self, profiler: Any, seconds: float, progress: Progress) -> Session:
        try:
            # The outermost frame: nothing of what the reactor does is cut off.
            profiler.start(caller_frame=_outermost(), target_description="the reactor's thread")
        except (RuntimeError, ValueError) as e:
            raise GenericError(f"The profile can't be taken: {e}") from e
        try:
            began = self._clock.seconds()
            over = 0.0
            while over < seconds:
                await deferLater(self._clock, min(PROGRESS_PERIOD, seconds - over))
                over = self._clock.seconds() - began
                progress(round(min(over, seconds) * 100), round(seconds * 100))
        finally:
            session: Session = profiler.stop()
        return session


def _interval(seconds: float, interval: float | None) -> float:
    if not 0 < seconds <= MAX_PROFILE_SECONDS:
        raise GenericError(f"Parameter 'seconds' expects a number of seconds up to {MAX_PROFILE_SECONDS:g}")
    least = max(MIN_INTERVAL, seconds / MAX_SAMPLES)
    if interval is None:
        return max(INTERVAL, least)
    if not least <= interval <= seconds:
        raise GenericError(f"Parameter 'interval' expects a number of seconds from {least:g} to {seconds:g}")
    return interval


def _outermost() -> Any:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _evaluate(session: Session, interval: float, timeline: bool) -> ProfileInfo:
    from pyinstrument import processors
    from pyinstrument.renderers import ConsoleRenderer, SpeedscopeRenderer

    speedscope = SpeedscopeRenderer(show_all=True)
    if not timeline:
        # Or each sample would be in it: some megabytes.
        speedscope.processors.append(processors.aggregate_repeated_calls)
    document = json.loads(speedscope.render(session))
    # The schema of the format knows no null.
    for part in (document, *document["shared"]["frames"]):
        for name in [name for name, value in part.items() if value is None]:
            del part[name]
    text = ConsoleRenderer(unicode=False, color=False, timeline=timeline).render(session)
    return ProfileInfo(
        seconds=round(session.duration, 3),
        cpu_seconds=round(session.cpu_time, 3),
        samples=session.sample_count,
        interval=interval,
        text=_tree(text),
        speedscope=document,
    )


def _tree(text: str) -> str:
    """What pyinstrument prints, without the title."""
    _, found, tree = text.partition("the reactor's thread\n")
    return (tree if found else text).strip("\n")

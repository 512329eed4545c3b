"""
Whether the reactor has stalled, decided in another thread. No I/O and no clock of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted_qmon.providers.process.stacks import Place, places
from twisted_qmon.providers.process.stalls import Noticed

if TYPE_CHECKING:
    from twisted_qmon.providers.process.stalls import Pulse, Stalls

__all__ = ["StallWatch", "stack_of"]


def stack_of(thread: int) -> tuple[Place, ...]:
    """:return: where a thread is, the outermost frame first; empty if there is no such thread"""
    return tuple(places(sys._current_frames().get(thread)))


class StallWatch:
    """
    Looks whether the reactor is late. Each stall is noticed once, with the stack as it stands.

    :param stalls: what is told of a stall
    :param pulse: of the reactor
    :param stack_of: gives the stack of a thread
    :param monotonic: the time of the pulse
    :param wall: the time since the epoch
    """

    def __init__(
        self,
        stalls: Stalls,
        pulse: Pulse,
        *,
        stack_of: Callable[[int], tuple[Place, ...]] = stack_of,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._stalls = stalls
        self._pulse = pulse
        self._stack_of = stack_of
        self._monotonic = monotonic
        self._wall = wall
        self._noticed: float | None = None
        self._due: float | None = None

    def look(self) -> float:
        """
        Look now, and note a stall that is new.

        :return: seconds until the next look: when the reactor will have stalled if it does not run until then
        """
        now, wait = self._look()
        self._due = now + wait
        return wait

    def wake(self) -> None:
        """
        Look now, between two looks. Called first thing when the thread comes to run: a C function that held the interpreter's
        lock has just returned then, and the reactor's thread goes on as soon as this one has had the lock for a moment.
        """
        self._look()

    def _look(self) -> tuple[float, float]:
        """:return: the time now, and the seconds until the next look"""
        limit, beat, now = self._stalls.limit, self._pulse.beat, self._monotonic()
        wait = limit
        if beat is not None:
            late = now - beat - self._pulse.interval
            if late < limit:
                wait = limit - late
            elif beat != self._noticed:
                self._noticed = beat
                self._notice(beat, late, now)
        return now, wait

    def _notice(self, beat: float, late: float, now: float) -> None:
        # First: it goes on.
        stack = self._stack_of(self._pulse.thread)
        frozen = self._due is not None and now - self._due > self._stalls.limit / 2
        if self._pulse.beat == beat:
            # Or it has just gone on, and was seen where it is no more.
            self._stalls.noticed = Noticed(beat, self._wall() - late, frozen, stack)

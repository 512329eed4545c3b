"""
What is fixed about jobs: their states, which follows which, and which verb is taken when, all as on QEMU; and how their
pace is measured.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

__all__ = ["TRANSITIONS", "VERBS", "JobStatus", "RateMeter"]


class JobStatus(str, Enum):
    """The states of a job, by their names on the wire. C{undefined} is where it is before it exists, C{null} after."""

    UNDEFINED = "undefined"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    READY = "ready"
    STANDBY = "standby"
    WAITING = "waiting"
    PENDING = "pending"
    ABORTING = "aborting"
    CONCLUDED = "concluded"
    NULL = "null"


_S = JobStatus

#: From each state, those that may follow.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    _S.UNDEFINED: frozenset({_S.CREATED}),
    _S.CREATED: frozenset({_S.RUNNING, _S.ABORTING, _S.NULL}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.READY, _S.WAITING, _S.ABORTING}),
    _S.PAUSED: frozenset({_S.RUNNING}),
    _S.READY: frozenset({_S.STANDBY, _S.WAITING, _S.ABORTING}),
    _S.STANDBY: frozenset({_S.READY}),
    _S.WAITING: frozenset({_S.PENDING, _S.ABORTING}),
    _S.PENDING: frozenset({_S.ABORTING, _S.CONCLUDED}),
    _S.ABORTING: frozenset({_S.ABORTING, _S.CONCLUDED}),
    _S.CONCLUDED: frozenset({_S.NULL}),
    _S.NULL: frozenset(),
}

_ALIVE = frozenset({_S.CREATED, _S.RUNNING, _S.PAUSED, _S.READY, _S.STANDBY})

#: Each verb of the C{job-} commands, and the states in which a job takes it.
VERBS: dict[str, frozenset[JobStatus]] = {
    "cancel": _ALIVE | {_S.WAITING, _S.PENDING},
    "pause": _ALIVE,
    "resume": _ALIVE,
    "complete": frozenset({_S.READY, _S.STANDBY}),
    "finalize": frozenset({_S.PENDING}),
    "dismiss": frozenset({_S.CONCLUDED}),
}


class RateMeter:
    """
    How fast something progresses: over the last L{WINDOW} seconds, in the progress's own unit.
    """

    #: Seconds that the rate is measured over, and how many samples of them are kept.
    WINDOW = 30.0
    SAMPLES = 30

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def restart(self, now: float, current: int) -> None:
        """Forget what was: the clock ran, but no work was done."""
        self._samples.clear()
        self._samples.append((now, current))

    def add(self, now: float, current: int) -> None:
        """Take a sample."""
        samples = self._samples
        if samples and current < samples[-1][1]:
            samples.clear()
        if not samples or now - samples[-1][0] >= self.WINDOW / self.SAMPLES:
            samples.append((now, current))
        while len(samples) > 1 and now - samples[0][0] > self.WINDOW:
            samples.popleft()

    def rate(self, now: float, current: int) -> float | None:
        """:return: units per second; C{None} while nothing can be said"""
        if not self._samples:
            return None
        then, before = self._samples[0]
        return (current - before) / (now - then) if now > then and current >= before else None

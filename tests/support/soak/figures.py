"""
What is looked at when all clients have gone, and what has to hold: nothing grows over the last two thirds of the time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean

__all__ = ["Sample", "Trend", "look", "trend"]

#: Of memory: what may be added over the time that counts, as a part of all. Less is within what an allocator does.
MEMORY = 0.02

#: Of what is counted: whole things, one of which would be one too many.
COUNTED = 0.5


@dataclass(frozen=True)
class Sample:
    """
    One look at a process in which nothing goes on.

    :ivar minutes: since the beginning
    :ivar memory: MiB resident
    :ivar descriptors: file descriptors that are open
    :ivar threads: its threads
    :ivar pending: requests that are not answered
    :ivar clients: sessions, with that of who asks
    :ivar cpu: seconds of processor so far
    """

    minutes: float
    memory: float
    descriptors: int
    threads: int
    pending: int
    clients: int
    cpu: float


def look(pid: int, minutes: float, pending: int, clients: int) -> Sample:
    """:return: how a process is now"""
    proc = Path(f"/proc/{pid}")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    pages = int((proc / "statm").read_text().split()[1])
    return Sample(
        minutes,
        memory=pages * os.sysconf("SC_PAGESIZE") / (1 << 20),
        descriptors=len(os.listdir(proc / "fd")),
        threads=int(fields[17]),
        pending=pending,
        clients=clients,
        cpu=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    )


@dataclass(frozen=True)
class Trend:
    """
    How one figure goes over the time that counts, by a straight line through all looks (least squares).

    :ivar mean: of all looks
    :ivar growth: from the beginning to the end of the line
    :ivar error: half of the 95 % interval of that
    :ivar allowed: how much it may be
    """

    mean: float
    growth: float
    error: float
    allowed: float

    @property
    def flat(self) -> bool:
        """It does not grow: by no more than is allowed, or by nothing that can be told from what it varies by."""
        return self.growth <= self.allowed or self.growth - self.error <= 0

    def __str__(self) -> str:
        return f"{self.growth:+.2f} ± {self.error:.2f}"


def trend(times: Sequence[float], values: Sequence[float], *, memory: bool = False) -> Trend:
    """
    :param memory: what is allowed is a part of it, not a number
    :return: how values at these times go; of the last two thirds of the time
    """
    begin = times[-1] / 3
    points = [(time, value) for time, value in zip(times, values, strict=True) if time >= begin]
    mean_time, mean = fmean(time for time, _ in points), fmean(value for _, value in points)
    spread = sum((time - mean_time) ** 2 for time, _ in points)
    slope = sum((time - mean_time) * (value - mean) for time, value in points) / spread if spread else 0.0
    rest = sum((value - mean - slope * (time - mean_time)) ** 2 for time, value in points)
    deviation = sqrt(rest / (len(points) - 2) / spread) if len(points) > 2 and spread else 0.0
    length = points[-1][0] - points[0][0]
    return Trend(mean, slope * length, 1.96 * deviation * length, MEMORY * mean if memory else COUNTED)

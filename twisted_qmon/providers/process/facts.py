"""
Facts of this process that the system knows. Where it does not, the fact is C{None}.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from typing import TYPE_CHECKING

import msgspec
import twisted

from twisted_qmon.qapi.types import Size

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["ProcessInfo", "Uptime", "process_age", "process_info", "resident_memory"]


class ProcessInfo(msgspec.Struct):
    """
    What C{query-process} returns.

    :ivar pid: the process id
    :ivar argv: the command line, as Python has it
    :ivar uptime: seconds since the process began
    :ivar cpu_seconds: processor time used so far, of user and system, in seconds
    :ivar resident_memory: bytes of memory that it occupies now, where the system tells
    :ivar file_descriptors: how many it has open, where the system tells
    :ivar file_descriptor_limit: how many it may have; absent if there is no limit
    :ivar python_version: the version of Python (C{"3.11.2"})
    :ivar twisted_version: the version of Twisted (C{"24.3.0"})
    """

    pid: int
    argv: list[str]
    uptime: float
    cpu_seconds: float
    python_version: str
    twisted_version: str
    resident_memory: Size | None = None
    file_descriptors: int | None = None
    file_descriptor_limit: int | None = None


def process_age() -> float | None:
    """:return: how long this process has been there, in seconds; C{None} where there is no C{/proc}"""
    try:
        with open("/proc/self/stat", "rb") as stat, open("/proc/uptime", "rb") as uptime:
            # The second field is the name, in parentheses, and may have anything in it.
            started = int(stat.read().rpartition(b")")[2].split()[19])
            return max(0.0, float(uptime.read().split()[0]) - started / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


class Uptime:
    """
    How long the process has been there: what the system said once, and the clock from then on.

    :param clock: counts the seconds
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._began = clock.seconds() - (process_age() or 0.0)

    def seconds(self) -> float:
        """:return: seconds since the process began; without a system that tells, since this object was made"""
        return round(max(0.0, self._clock.seconds() - self._began), 3)


def resident_memory() -> int | None:
    """:return: bytes of memory that this process occupies; C{None} where the system does not tell"""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _file_descriptors() -> int | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            # One of them is the folder itself.
            return len(os.listdir(folder)) - 1
        except OSError:
            continue
    return None


def _file_descriptor_limit() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def process_info(uptime: float) -> ProcessInfo:
    """:return: the facts of this moment"""
    times = os.times()
    return ProcessInfo(
        pid=os.getpid(),
        # What is no UTF-8 comes as lone surrogates, which JSON has no way to say.
        argv=[argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for argument in sys.argv],
        uptime=uptime,
        cpu_seconds=round(times.user + times.system, 2),
        python_version=platform.python_version(),
        twisted_version=twisted.__version__,
        resident_memory=resident_memory(),
        file_descriptors=_file_descriptors(),
        file_descriptor_limit=_file_descriptor_limit(),
    )

"""
Commands that look closer at the process than is free.

L{Diagnose} is registered by C{twistd qmon} and by L{make_monitor_service<twisted_qmon.service.make_monitor_service>}; elsewhere::

    monitor.register(Diagnose(reactor))

They cost nothing until they are called. What each costs while it runs is in its help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.request import Request
from twisted_qmon.providers.diagnose import text
from twisted_qmon.providers.diagnose.memory import MemoryTrace, MemoryTraceInfo
from twisted_qmon.providers.diagnose.objects import ObjectCounter, ObjectsInfo
from twisted_qmon.providers.diagnose.objects import Sort as ObjectSort
from twisted_qmon.providers.diagnose.profiler import ProfileInfo, Profiling
from twisted_qmon.providers.diagnose.tasks import Sort as TaskSort
from twisted_qmon.providers.diagnose.tasks import Tasks, TasksInfo, TaskTrace
from twisted_qmon.qapi.types import UInt16, UInt32

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.monitor import Monitor

__all__ = ["Diagnose"]


class Diagnose(CommandProvider):
    """
    Profile, objects by type, allocations by line, and what waits.

    :param reactor: the reactor of this process
    :param clock: the time; C{None}: the reactor
    """

    def __init__(self, reactor: Any, clock: IReactorTime | None = None) -> None:
        clock = reactor if clock is None else clock
        self._profiling = Profiling(reactor, clock)
        self._objects = ObjectCounter(clock)
        self._memory = MemoryTrace(reactor, clock)
        self._tasks = Tasks(clock)
        self._task_trace = TaskTrace(clock)
        self._monitor: Monitor | None = None

    @property
    def monitor(self) -> Monitor | None:
        """The monitor it is registered with. What it has begun to trace ends when it is unregistered."""
        return self._monitor

    @monitor.setter
    def monitor(self, monitor: Monitor | None) -> None:
        self._monitor = monitor
        if monitor is None:
            self._memory.end()
            self._task_trace.end()

    @command(level="operate", on_disconnect="cancel")
    async def profile(
        self, request: Request, seconds: float = 10.0, interval: float | None = None, timeline: bool = False
    ) -> ProfileInfo:
        """
        measure for some seconds where the reactor's thread spends its time

        It needs pyinstrument, which 'twisted-qmon[diagnose]' installs. A person sees the calls as a tree; the member speedscope
        is a file for https://www.speedscope.app. Meanwhile each call of a function takes longer: code that encodes JSON takes
        about 1.5 times as long, code that does nothing but call small functions 6 times. A shorter interval makes no difference.

        :param seconds: how long
        :param interval: seconds between two samples; by default 0.001
        :param timeline: keep the order in time; otherwise equal calls are one
        """
        return await self._profiling.run(seconds, interval, timeline, request.progress)

    profile.printer(text.profile)

    @command(level="operate", on_disconnect="cancel")
    async def query_objects(
        self, request: Request, type: str | None = None, limit: UInt32 = 50, sort: ObjectSort | None = None
    ) -> ObjectsInfo:
        """
        count the objects of each type, and what has changed since the last look

        The objects are those that the garbage collector knows: instances and containers, but not strings and numbers, and none
        that gc.freeze() has taken out. The list of them is made at once, which stops the reactor for about 50 milliseconds per
        million objects. They are counted in slices of two milliseconds, between which the reactor turns: about 0.2 seconds of
        processor time per million.

        :param type: only types with this text in their names
        :param limit: at most so many types; 0: all
        :param sort: by this, the largest first; by default by change, the first time by size
        """
        return await self._objects.look(request.progress, type, sort, limit)

    query_objects.printer(text.objects)

    @command(level="operate", on_disconnect="cancel")
    async def memory_trace(
        self, action: Literal["start", "stop", "top"], limit: UInt32 = 20, frames: UInt16 = 1, seconds: float = 600.0
    ) -> MemoryTraceInfo:
        """
        trace allocations of memory to lines of the program

        'start' begins, 'top' says which lines have allocated since then what is still there, and from the second time on what
        has changed, 'stop' ends it. While it runs, code that allocates much, such as encoding JSON, takes 10 to 20 times as long,
        and each block that is there occupies some 60 bytes more; with more frames it is more. 'top' is evaluated in a thread, in
        about 2 seconds per million blocks; to copy the traces stops the reactor for about half a second of them.

        :param action: what to do
        :param limit: for top: at most so many lines; 0: all
        :param frames: for start: how many frames of each allocation are kept, up to 25
        :param seconds: for start: after which it ends by itself
        """
        if action == "start":
            return self._memory.start(frames, seconds)
        if action == "stop":
            return self._memory.stop()
        return await self._memory.top(limit)

    memory_trace.printer(text.memory)

    @command(level="operate", on_disconnect="cancel")
    async def query_tasks(
        self, request: Request, limit: UInt32 = 50, filter: str | None = None, sort: TaskSort = "age"
    ) -> TasksInfo:
        """
        show which coroutines and Deferreds wait, at which places, and for how long

        A Deferred does not know when it was made: its age counts from the first look that found it, so look twice. That of the
        monitor's own requests is exact. Its place is what it will call; with 'task-trace on' also where it was made. It looks at
        all objects, as query-objects does, for about 0.1 seconds of processor time per million and 0.1 per ten thousand that
        wait; of each of these it remembers, in 200 bytes, when it was found.

        :param limit: at most so many places; 0: all
        :param filter: only places with this text in the name of a function or file
        :param sort: by this, the oldest or the largest number first
        """
        return await self._tasks.look(request.progress, filter, sort, limit)

    query_tasks.printer(text.tasks)

    @command(level="operate")
    def task_trace(self, enable: bool, seconds: float = 600.0) -> None:
        """
        have each Deferred remember where it was made, which query-tasks then shows

        It is Twisted's own debug mode, and slow: a Deferred then takes 400 times as long to make, and some kilobytes.

        :param enable: whether those that are made from now on remember it
        :param seconds: after which it ends by itself
        """
        self._task_trace.set(enable, seconds)

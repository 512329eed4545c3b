"""
Which lines allocate memory: Python's C{tracemalloc}, for a limited time.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from twisted_qmon.errors import GenericError
from twisted_qmon.providers.diagnose.heap import in_thread
from twisted_qmon.qapi.types import Size

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["MAX_FRAMES", "MAX_LINES", "MAX_TRACE_SECONDS", "LineInfo", "MemoryTrace", "MemoryTraceInfo"]

#: Frames of each allocation that may be kept.
MAX_FRAMES = 25

#: How many lines are remembered for the next look: those that allocated most.
MAX_LINES = 10_000

#: Seconds that tracing may go on.
MAX_TRACE_SECONDS = 86_400.0


class LineInfo(msgspec.Struct):
    """
    What one line has allocated, and what is still there of it.

    :ivar file: the name of the source file
    :ivar line: the line in it, from 1
    :ivar size: bytes
    :ivar count: how many blocks of memory
    :ivar size_change: how many bytes more than at the last look; absent at the first
    :ivar count_change: how many blocks more than at the last look; absent at the first
    :ivar callers: with more than one frame: who called it in the largest of these blocks' traces, the caller first
    """

    file: str
    line: int
    size: Size
    count: int
    size_change: int | None = None
    count_change: int | None = None
    callers: list[str] | None = None


class MemoryTraceInfo(msgspec.Struct):
    """
    What C{memory-trace} returns.

    :ivar tracing: allocations are recorded
    :ivar traced: bytes of the allocations that were recorded and are still there
    :ivar peak: the most that this was
    :ivar overhead: bytes that the recording itself occupies
    :ivar lines: for C{top}: the lines
    :ivar blocks: for C{top}: how many blocks of memory that is
    :ivar seconds: how long it has been recording, if it was begun here
    :ivar since: for C{top}: seconds since the last look; absent at the first
    """

    tracing: bool
    traced: Size
    peak: Size
    overhead: Size
    lines: list[LineInfo]
    blocks: int | None = None
    seconds: float | None = None
    since: float | None = None


# A file and a line of it.
_Place: TypeAlias = tuple[str, int]

# By place bytes and blocks.
_Lines: TypeAlias = dict[_Place, tuple[int, int]]


class MemoryTrace:
    """
    Starts and stops the recording of allocations, and says what they were.

    :param reactor: has threads, in which a look is evaluated
    :param clock: the time
    """

    def __init__(self, reactor: object, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock
        self._began: float | None = None
        self._last: tuple[float, _Lines] | None = None
        self._end: IDelayedCall | None = None

    def start(self, frames: int, seconds: float) -> MemoryTraceInfo:
        """
        Record from now on.

        :param frames: how many frames of each allocation are kept
        :param seconds: after which it ends by itself
        :raise GenericError: when it is recording already, or a number is out of range
        """
        if tracemalloc.is_tracing():
            raise GenericError("Allocations are being traced already")
        if not 1 <= frames <= MAX_FRAMES:
            raise GenericError(f"Parameter 'frames' expects a number from 1 to {MAX_FRAMES}")
        if not 0 < seconds <= MAX_TRACE_SECONDS:
            raise GenericError(f"Parameter 'seconds' expects a number of seconds up to {MAX_TRACE_SECONDS:g}")
        tracemalloc.start(frames)
        self._began = self._clock.seconds()
        self._last = None
        self._end = self._clock.callLater(seconds, self.end)
        return self.info()

    def stop(self) -> MemoryTraceInfo:
        """Record no more, and forget what was recorded. Nothing happens if it does not record."""
        self.end()
        tracemalloc.stop()
        return self.info()

    def end(self) -> None:
        """Undo what L{start} began."""
        end, self._end = self._end, None
        self._began = self._last = None
        if end is not None:
            tracemalloc.stop()
            if end.active():
                end.cancel()

    async def top(self, limit: int) -> MemoryTraceInfo:
        """
        Say which lines have allocated what is there. It is evaluated in a thread.

        :param limit: at most so many lines; 0: all
        :raise GenericError: when nothing is recorded
        """
        if not tracemalloc.is_tracing():
            raise GenericError("Allocations are not traced: begin with 'memory-trace start'")
        now = self._clock.seconds()
        lines, kept, blocks = await in_thread(self._reactor, _evaluate, limit, self._last and self._last[1])
        info = self.info()
        info.lines, info.blocks = lines, blocks
        info.since = None if self._last is None else round(now - self._last[0], 3)
        if info.tracing:
            self._last = (now, kept)
        return info

    def info(self) -> MemoryTraceInfo:
        """:return: whether it records, and how much"""
        traced, peak = tracemalloc.get_traced_memory()
        seconds = None if self._began is None else round(max(0.0, self._clock.seconds() - self._began), 3)
        overhead = tracemalloc.get_tracemalloc_memory()
        return MemoryTraceInfo(tracemalloc.is_tracing(), traced, peak, overhead, [], seconds=seconds)


def _evaluate(limit: int, last: _Lines | None) -> tuple[list[LineInfo], _Lines, int]:
    if not tracemalloc.is_tracing():
        # It has just ended.
        return [], {}, 0
    found = _by_line(tracemalloc.take_snapshot())
    largest = sorted(found.items(), key=lambda item: -item[1].size)[:MAX_LINES]
    lines = {place: (line.size, line.count) for place, line in largest}
    infos = [_line_info(place, now, last) for place, now in lines.items()]
    if last is not None:
        infos.sort(key=lambda info: -(info.size_change or 0))
    if limit:
        del infos[limit:]
    for info in infos:
        callers = found[info.file, info.line].trace[1:]
        info.callers = [f"{file}:{line}" for file, line in callers] or None
    return infos, lines, sum(line.count for line in found.values())


class _Line:
    """What a line has allocated, and the trace of the largest block of it."""

    __slots__ = ("count", "largest", "size", "trace")

    def __init__(self) -> None:
        self.size = self.count = self.largest = 0
        self.trace: Sequence[_Place] = ()


def _by_line(snapshot: tracemalloc.Snapshot) -> dict[_Place, _Line]:
    lines: dict[_Place, _Line] = {}
    for size, trace in _blocks(snapshot):
        place = trace[0]
        if place[0] == tracemalloc.__file__:
            continue
        line = lines.get(place)
        if line is None:
            line = lines[place] = _Line()
        line.size += size
        line.count += 1
        if size > line.largest:
            line.largest, line.trace = size, trace
    return lines


def _blocks(snapshot: tracemalloc.Snapshot) -> Iterable[tuple[int, Sequence[_Place]]]:
    """The size of each block that is there, and its trace, the innermost frame first."""
    # What is public makes some objects for each block, which takes a hundred times as long.
    raw = getattr(snapshot.traces, "_traces", None)
    if isinstance(raw, (list, tuple)):
        return ((entry[1], entry[2]) for entry in raw)
    return (
        (each.size, [(frame.filename, frame.lineno) for frame in reversed(each.traceback)]) for each in snapshot.traces
    )


def _line_info(place: tuple[str, int], now: tuple[int, int], last: _Lines | None) -> LineInfo:
    if last is None:
        return LineInfo(*place, *now)
    before = last.get(place, (0, 0))
    return LineInfo(*place, *now, now[0] - before[0], now[1] - before[1])

"""
What waits: coroutines, and Deferreds that have not fired, by place, with age.

A Deferred does not know when it was made, nor where. So its age counts from the first look that found it, and its place is that
of what it will call. A request of the monitor knows its own age. With C{task-trace} on, each Deferred also remembers where it
was made, by Twisted's own debug mode.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, CoroutineType, MethodType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from weakref import WeakKeyDictionary

import msgspec
import twisted
from twisted.internet.defer import Deferred, getDebugging, setDebugging

from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.providers.diagnose.heap import Progress, turns, walk
from twisted_qmon.providers.process.stacks import FrameInfo
from twisted_qmon.providers.process.waiting import (
    Step,
    Waiting,
    awaited,
    coroutine_frames,
    is_suspended,
    steps,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["MAX_CHAIN", "MAX_NUMBERS", "MAX_REMEMBERED", "Sort", "TaskInfo", "TaskTrace", "Tasks", "TasksInfo"]

#: How many Deferreds and coroutines are remembered with the time at which they were first found. Of more there is no age.
MAX_REMEMBERED = 100_000

#: How many steps that wait for a Deferred are told.
MAX_CHAIN = 20

#: How many numbers of requests are told for one place.
MAX_NUMBERS = 10

#: Seconds that C{task-trace} may go on.
MAX_TRACE_SECONDS = 86_400.0

#: By which member C{query-tasks} sorts.
Sort: TypeAlias = Literal["age", "count", "name"]

_TWISTED = str(Path(twisted.__file__).parent)

# A line of the stack that a Deferred's debug mode keeps.
_CREATED = re.compile(r'\s*File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)')


class TaskInfo(msgspec.Struct):
    """
    Coroutines, or Deferreds, that wait at the same place.

    :ivar kind: a coroutine (or a generator of C{inlineCallbacks}), or a Deferred that no coroutine waits for
    :ivar name: the coroutine; or of what the Deferred will call, the first that is not Twisted's. Empty if nothing waits for it
    :ivar count: how many there are
    :ivar age: seconds that the oldest has been waiting, as far as that is known; absent if it is not
    :ivar age_from: from when that counts: C{"request"}, from when the monitor's request came, which is exact; C{"look"}, from
        the first look that found it, and so it is at least so old
    :ivar stack: of a coroutine its frames, the outermost first, what it awaits last; of a Deferred what it will call, in order
    :ivar created: where the Deferred was made that it waits for, if that was while C{task-trace} was on
    :ivar requests: the numbers of the monitor's requests among them, at most L{MAX_NUMBERS}
    """

    kind: Literal["coroutine", "deferred"]
    name: str
    count: int
    stack: list[FrameInfo]
    requests: list[int]
    age: float | None = None
    age_from: Literal["request", "look"] | None = None
    created: FrameInfo | None = None


class TasksInfo(msgspec.Struct):
    """
    What C{query-tasks} returns.

    :ivar coroutines: how many coroutines wait
    :ivar deferreds: how many Deferreds have not fired that no coroutine waits for
    :ivar place_count: at how many places, as far as the filter lets them through
    :ivar places: those that were asked for
    :ivar traced: C{task-trace} is on
    """

    coroutines: int
    deferreds: int
    place_count: int
    places: list[TaskInfo]
    traced: bool


_Code: TypeAlias = "tuple[CodeType, int]"


class _Group:
    """What waits at the same place."""

    def __init__(self, kind: Literal["coroutine", "deferred"], name: str, stack: list[FrameInfo]) -> None:
        self.info = TaskInfo(kind, name, 0, stack, [])

    def add(self, request: Request | None, age: float | None, age_from: Literal["request", "look"]) -> None:
        info = self.info
        info.count += 1
        if request is not None and len(info.requests) < MAX_NUMBERS:
            info.requests.append(request.number)
        if age is not None and (info.age is None or age > info.age):
            info.age, info.age_from = round(age, 3), age_from


class Tasks:
    """
    Finds what waits, and remembers since when.

    :param clock: the time: that of the monitor's requests
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._first: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    async def look(
        self, progress: Progress, filter: str | None = None, sort: Sort = "age", limit: int = 50
    ) -> TasksInfo:
        """
        Look at all objects.

        :param filter: only places with this text in a name or a file
        :param sort: by this: the oldest, or the largest number, first
        :param limit: at most so many places; 0: all
        """
        found = _Found()
        await walk(self._clock, found.visit, progress)
        await turns(self._clock, found.deferreds, found.classify, lambda done: None)
        groups: dict[object, _Group] = {}
        coroutines = found.outermost()
        deferreds = found.alone()
        counts = len(coroutines), len(deferreds)
        await turns(self._clock, coroutines, partial(self._group, groups, found), lambda done: None)
        await turns(self._clock, deferreds, partial(self._group, groups, found), lambda done: None)
        infos = [group.info for group in groups.values() if not filter or _matches(group.info, filter)]
        infos.sort(key=_KEYS[sort])
        return TasksInfo(*counts, len(infos), infos[:limit] if limit else infos, getDebugging())

    def _group(self, groups: dict[object, _Group], found: _Found, waiting: Sequence[object]) -> None:
        for thing in waiting:
            if isinstance(thing, Deferred):
                if not thing.called:
                    self._add_deferred(groups, thing)
            else:
                self._add_coroutine(groups, found, cast("Waiting", thing))

    def _add_coroutine(self, groups: dict[object, _Group], found: _Found, waiting: Waiting) -> None:
        frames = list(coroutine_frames(waiting))
        if not frames:
            # It has come to its end since.
            return
        deferred, result = found.drivers.get(id(waiting), (None, None))
        created = _created(deferred)
        key = (tuple((frame.f_code, frame.f_lineno) for frame in frames), created)
        group = groups.get(key)
        if group is None:
            stack = [_frame(frame.f_code, frame.f_lineno) for frame in frames]
            group = groups[key] = _Group("coroutine", waiting.__qualname__, stack)
            group.info.created = _created_frame(created)
        # A loop that awaits the next thing again and again is at the same place, but what it awaits is new.
        self._count(group, _request(result), waiting if deferred is None else deferred)

    def _add_deferred(self, groups: dict[object, _Group], deferred: Deferred[Any]) -> None:
        chain = _chain(deferred)
        created = _created(deferred)
        codes = tuple(code for code in (_code(step) for step in chain[:MAX_CHAIN]) if code is not None)
        key = (codes, created, type(deferred))
        group = groups.get(key)
        if group is None:
            stack = [_frame(code, code.co_firstlineno) for code in codes]
            group = groups[key] = _Group("deferred", _name(stack), stack)
            group.info.created = _created_frame(created)
        self._count(group, _request(deferred), deferred)

    def _count(self, group: _Group, request: Request | None, thing: object) -> None:
        now = self._clock.seconds()
        first = self._first.get(thing)
        if first is None and len(self._first) < MAX_REMEMBERED:
            first = self._first[thing] = now
        if request is not None and request.pending:
            group.add(request, max(0.0, now - request.created), "request")
        else:
            group.add(request, None if first is None else max(0.0, now - first), "look")


class _Found:
    """What a walk has found, and how it belongs together."""

    def __init__(self) -> None:
        self.deferreds: list[Deferred[Any]] = []
        # By identity: for each coroutine what it awaits, and the Deferred of its result.
        self.drivers: dict[int, tuple[Deferred[Any], Deferred[Any] | None]] = {}
        self._waiting: dict[int, Waiting] = {}
        self._unfired: dict[int, Deferred[Any]] = {}
        self._represented: set[int] = set()
        self._kinds: dict[type, bool] = {}

    def visit(self, objects: Sequence[object]) -> None:
        kinds = self._kinds
        for thing in objects:
            kind = type(thing)
            wanted = kinds.get(kind)
            if wanted is None:
                wanted = kinds[kind] = issubclass(kind, Deferred) or kind is CoroutineType
            if not wanted:
                continue
            if kind is not CoroutineType:
                self.deferreds.append(cast("Deferred[Any]", thing))
            elif is_suspended(thing):
                self._waiting[id(thing)] = cast("Waiting", thing)

    def classify(self, deferreds: Sequence[Deferred[Any]]) -> None:
        """Say of Deferreds what waits for them: a coroutine, or something else."""
        for deferred in deferreds:
            if getattr(deferred, "called", True):
                continue
            self._unfired[id(deferred)] = deferred
            for step in steps(deferred):
                for argument in step.arguments:
                    if is_suspended(argument):
                        self._drives(deferred, cast("Waiting", argument), step)

    def _drives(self, deferred: Deferred[Any], waiting: Waiting, step: Step) -> None:
        # Beside the generator Twisted hands on an object that has the Deferred of its result.
        results = (getattr(argument, "deferred", None) for argument in step.arguments if argument is not waiting)
        result = next((each for each in results if isinstance(each, Deferred)), None)
        self._waiting[id(waiting)] = waiting
        self.drivers[id(waiting)] = (deferred, result)
        self._represented.add(id(deferred))
        if result is not None:
            self._represented.add(id(result))

    def outermost(self) -> list[Waiting]:
        """:return: the coroutines that no other one awaits"""
        inner = {id(awaited(waiting)) for waiting in self._waiting.values()}
        return [waiting for identity, waiting in self._waiting.items() if identity not in inner]

    def alone(self) -> list[Deferred[Any]]:
        """:return: the Deferreds that have not fired, and are not part of a coroutine's story"""
        return [deferred for identity, deferred in self._unfired.items() if identity not in self._represented]


# -- what a Deferred will call


def _chain(deferred: Deferred[Any]) -> list[Step]:
    """The steps of a Deferred, and of those that wait for it in turn."""
    chain: list[Step] = []
    todo = [deferred]
    while todo and len(chain) < MAX_CHAIN:
        for step in steps(todo.pop(0)):
            # Of a Deferred that was returned by a callback of another one, the other one is the argument.
            others = [argument for argument in step.arguments if isinstance(argument, Deferred)]
            if callable(step.callback):
                chain.append(step)
            elif others:
                todo += others
    return chain


def _code(step: Step) -> CodeType | None:
    """The code of a step's callback; if that only passes the result on, of its errback."""
    codes = [_code_of(function) for function in (step.callback, step.errback)]
    passes_on = codes[0] is not None and codes[0].co_name == "passthru" and codes[0].co_filename.startswith(_TWISTED)
    return codes[1] if passes_on else codes[0]


def _code_of(function: object) -> CodeType | None:
    for _ in range(8):
        if isinstance(function, partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _request(deferred: Deferred[Any] | None) -> Request | None:
    """The monitor's request that a Deferred is the work of."""
    for step in () if deferred is None else _chain(deferred):
        for argument in step.arguments:
            if isinstance(argument, Request):
                return argument
    return None


# -- places


def _frame(code: CodeType, line: int | None) -> FrameInfo:
    number = line or code.co_firstlineno
    source = linecache.getline(code.co_filename, number).strip()
    return FrameInfo(code.co_filename, number, getattr(code, "co_qualname", code.co_name), source or None)


def _name(stack: Sequence[FrameInfo]) -> str:
    own = next((frame for frame in stack if not frame.file.startswith(_TWISTED)), None)
    first = own or next(iter(stack), None)
    return "" if first is None else first.function


def _created(deferred: Deferred[Any] | None) -> str | None:
    """Where a Deferred was made, as the debug mode of Twisted keeps it: the innermost line that is not Twisted's."""
    lines: Sequence[str] = getattr(getattr(deferred, "_debugInfo", None), "creator", None) or ()
    own = (line for line in reversed(lines) if _TWISTED not in line.partition("\n")[0])
    return next(own, None)


def _created_frame(created: str | None) -> FrameInfo | None:
    head, _, source = (created or "").partition("\n")
    match = _CREATED.match(head)
    if match is None:
        return None
    return FrameInfo(match["file"], int(match["line"]), match["function"], source.partition("\n")[0].strip() or None)


def _texts(info: TaskInfo) -> Iterator[str]:
    yield info.name
    for frame in (*info.stack, *([] if info.created is None else [info.created])):
        yield frame.file
        yield frame.function


def _matches(info: TaskInfo, text: str) -> bool:
    return any(text in each for each in _texts(info))


_KEYS: dict[str, Callable[[TaskInfo], tuple[float, str]]] = {
    "age": lambda info: (-(info.age or 0.0), info.name),
    "count": lambda info: (-info.count, info.name),
    "name": lambda info: (0, info.name),
}


class TaskTrace:
    """
    Has each Deferred remember where it was made, for a limited time.

    :param clock: the time
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._end: IDelayedCall | None = None

    def set(self, enable: bool, seconds: float) -> None:
        """
        :param enable: whether Deferreds that are made from now on remember where
        :param seconds: after which they do so no more
        :raise GenericError: when the number is out of range
        """
        if not 0 < seconds <= MAX_TRACE_SECONDS:
            raise GenericError(f"Parameter 'seconds' expects a number of seconds up to {MAX_TRACE_SECONDS:g}")
        self.end()
        setDebugging(enable)
        if enable:
            self._end = self._clock.callLater(seconds, self.end)

    def end(self) -> None:
        """Undo what L{set} began."""
        end, self._end = self._end, None
        if end is not None:
            setDebugging(False)
            if end.active():
                end.cancel()

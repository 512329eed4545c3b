"""
What every thread is doing, and what every pending coroutine waits at.

Coroutines are found by looking through all that the garbage collector knows, and only when they are asked for: keeping a list of
them would cost each one something, and looking costs some ten milliseconds per million objects.
"""

from __future__ import annotations

import gc
import inspect
import linecache
import sys
import threading
from collections.abc import Iterable, Iterator
from types import CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeAlias, cast

import msgspec
from twisted.internet.defer import Deferred

__all__ = ["MAX_COROUTINES", "MAX_FRAMES", "CoroutineInfo", "FrameInfo", "StacksInfo", "ThreadInfo", "stacks"]

#: How many frames of one stack are told, the innermost ones.
MAX_FRAMES = 100

#: How many different places where coroutines wait are told.
MAX_COROUTINES = 1000

_Coroutine: TypeAlias = "CoroutineType[Any, Any, Any] | GeneratorType[Any, Any, Any]"

# The generator that awaiting a Deferred makes.
_AWAIT = vars(Deferred)["__await__"].__code__


class FrameInfo(msgspec.Struct):
    """
    One level of a stack.

    :ivar file: the name of the source file
    :ivar line: the line in it, from 1
    :ivar function: the name of the function
    :ivar source: the text of the line, if the file can be read
    """

    file: str
    line: int
    function: str
    source: str | None = None


class ThreadInfo(msgspec.Struct):
    """
    One thread.

    :ivar name: its name, empty if Python does not know it
    :ivar id: its identifier
    :ivar stack: outermost call first
    """

    name: str
    id: int
    stack: list[FrameInfo]


class CoroutineInfo(msgspec.Struct):
    """
    Coroutines (or C{inlineCallbacks} generators) that wait at the same place.

    :ivar name: the qualified name of the outermost one
    :ivar count: how many wait there
    :ivar stack: the outermost one first, what it awaits last
    """

    name: str
    count: int
    stack: list[FrameInfo]


class StacksInfo(msgspec.Struct):
    """What C{query-stacks} returns."""

    threads: list[ThreadInfo]
    coroutines: list[CoroutineInfo]


def _frame_info(frame: FrameType, line: int | None = None) -> FrameInfo:
    code = frame.f_code
    number = frame.f_lineno if line is None else line
    source = linecache.getline(code.co_filename, number or 0, frame.f_globals).strip()
    return FrameInfo(code.co_filename, number or 0, getattr(code, "co_qualname", code.co_name), source or None)


def _thread_stack(frame: FrameType | None) -> list[FrameInfo]:
    stack: list[FrameInfo] = []
    while frame is not None and len(stack) < MAX_FRAMES:
        stack.append(_frame_info(frame))
        frame = frame.f_back
    return stack[::-1]


def threads() -> list[ThreadInfo]:
    """:return: all threads that run Python code, the main one first"""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sorted(sys._current_frames().items(), key=lambda item: (item[0] != main, item[0]))
    return [ThreadInfo(names.get(ident, ""), ident, _thread_stack(frame)) for ident, frame in frames]


def _awaited(waiting: _Coroutine) -> object:
    """What a coroutine or generator awaits: another one, or something else."""
    return waiting.cr_await if isinstance(waiting, CoroutineType) else waiting.gi_yieldfrom


def _frame_of(waiting: _Coroutine) -> FrameType | None:
    frame = waiting.cr_frame if isinstance(waiting, CoroutineType) else waiting.gi_frame
    return frame if isinstance(frame, FrameType) else None


def _coroutine_frames(outermost: _Coroutine) -> Iterator[FrameType]:
    waiting: object = outermost
    for _ in range(MAX_FRAMES):
        if not isinstance(waiting, (CoroutineType, GeneratorType)):
            return
        frame = _frame_of(waiting)
        # The last step is Deferred.__await__, a generator of Twisted's own.
        if frame is None or frame.f_code is _AWAIT:
            return
        yield frame
        waiting = _awaited(waiting)


def _suspended(objects: Iterable[object]) -> list[_Coroutine]:
    """The coroutines that wait, and the generators that C{inlineCallbacks} runs, among these objects."""
    found: dict[int, _Coroutine] = {}
    for thing in objects:
        # By type: isinstance() would ask the objects of the application, some of which answer with side effects.
        kind = type(thing)
        if kind is CoroutineType:
            coroutine = cast("CoroutineType[Any, Any, Any]", thing)
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED:
                found[id(coroutine)] = coroutine
        elif kind is Deferred:
            for generator in _generators_waiting_for(cast("Deferred[object]", thing)):
                found[id(generator)] = generator
    for waiting in list(found.values()):
        # A coroutine that another one awaits is part of that one's stack.
        found.pop(id(_awaited(waiting)), None)
    return list(found.values())


def _generators_waiting_for(deferred: Deferred[object]) -> Iterator[_Coroutine]:
    # Twisted hands the generator to the callback that will run it on; there is no other trace of it.
    # Its list of callbacks has had this name since 25.5, and reading the other one warns since then.
    steps = getattr(deferred, "_callbacks", None)
    for step in list(getattr(deferred, "callbacks", ()) if steps is None else steps):
        if isinstance(step, tuple) and isinstance(step[0], tuple):
            for argument in step[0][1] or ():
                if isinstance(argument, GeneratorType) and inspect.getgeneratorstate(argument) == inspect.GEN_SUSPENDED:
                    yield argument


def coroutines() -> list[CoroutineInfo]:
    """:return: where coroutines wait, the place where most of them do first"""
    places: dict[tuple[tuple[CodeType, int], ...], tuple[_Coroutine, int]] = {}
    for outermost in _suspended(gc.get_objects()):
        place = tuple((frame.f_code, frame.f_lineno) for frame in _coroutine_frames(outermost))
        if place:
            first, count = places.get(place, (outermost, 0))
            places[place] = (first, count + 1)
    most = sorted(places.values(), key=lambda entry: -entry[1])[:MAX_COROUTINES]
    return [
        CoroutineInfo(first.__qualname__, count, [_frame_info(frame) for frame in _coroutine_frames(first)])
        for first, count in most
    ]


def stacks() -> StacksInfo:
    """:return: the threads and the waiting coroutines"""
    return StacksInfo(threads(), coroutines())

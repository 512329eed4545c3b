"""
What waits: coroutines, the generators that C{inlineCallbacks} runs, and the steps that wait for a Deferred.

All of this is found by looking at objects, and costs them nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple, TypeAlias, cast

from twisted.internet.defer import Deferred

__all__ = [
    "MAX_FRAMES",
    "Step",
    "Waiting",
    "awaited",
    "coroutine_frames",
    "is_suspended",
    "outermost",
    "steps",
    "suspended",
]

#: How many frames of one stack are told, the innermost ones.
MAX_FRAMES = 100

#: A coroutine, or a generator that C{inlineCallbacks} runs.
Waiting: TypeAlias = "CoroutineType[Any, Any, Any] | GeneratorType[Any, Any, Any]"

# The generator that awaiting a Deferred makes.
_AWAIT = vars(Deferred)["__await__"].__code__


class Step(NamedTuple):
    """
    What is called when a Deferred fires.

    :ivar callback: the function; for a Deferred that waits for this one, Twisted's own mark
    :ivar errback: what is called instead after an error
    :ivar arguments: what is passed to the callback after the result
    """

    callback: object
    errback: object
    arguments: tuple[object, ...]


def steps(deferred: Deferred[Any]) -> list[Step]:
    """:return: what waits for a Deferred, in the order in which it will be called"""
    # The list of callbacks has had this name since 25.5, and reading the other one warns since then.
    pairs = getattr(deferred, "_callbacks", None)
    return [
        Step(pair[0][0], pair[1][0], tuple(pair[0][1] or ()))
        for pair in list(getattr(deferred, "callbacks", ()) if pairs is None else pairs)
        if isinstance(pair, tuple) and isinstance(pair[0], tuple)
    ]


def is_suspended(thing: object) -> bool:
    """:return: whether it is a coroutine or generator that has begun, and waits"""
    # By type: isinstance() would ask the objects of the application, some of which answer with side effects.
    kind = type(thing)
    if kind is CoroutineType:
        return inspect.getcoroutinestate(cast("CoroutineType[Any, Any, Any]", thing)) == inspect.CORO_SUSPENDED
    if kind is GeneratorType:
        return inspect.getgeneratorstate(cast("GeneratorType[Any, Any, Any]", thing)) == inspect.GEN_SUSPENDED
    return False


def awaited(waiting: Waiting) -> object:
    """:return: what a coroutine or generator awaits: another one, or something else"""
    return waiting.cr_await if isinstance(waiting, CoroutineType) else waiting.gi_yieldfrom


def _frame_of(waiting: Waiting) -> FrameType | None:
    frame = waiting.cr_frame if isinstance(waiting, CoroutineType) else waiting.gi_frame
    return frame if isinstance(frame, FrameType) else None


def coroutine_frames(outermost: Waiting) -> Iterator[FrameType]:
    """:return: the frames of a coroutine and of those that it awaits, the outermost first"""
    waiting: object = outermost
    for _ in range(MAX_FRAMES):
        if not isinstance(waiting, (CoroutineType, GeneratorType)):
            return
        frame = _frame_of(waiting)
        # The last step is Deferred.__await__, a generator of Twisted's own.
        if frame is None or frame.f_code is _AWAIT:
            return
        yield frame
        waiting = awaited(waiting)


def suspended(objects: Iterable[object]) -> list[Waiting]:
    """:return: the coroutines that wait, and the generators that C{inlineCallbacks} runs, among these objects"""
    found: dict[int, Waiting] = {}
    for thing in objects:
        kind = type(thing)
        if kind is CoroutineType and is_suspended(thing):
            found[id(thing)] = cast("CoroutineType[Any, Any, Any]", thing)
        elif kind is Deferred:
            for step in steps(cast("Deferred[object]", thing)):
                for generator in step.arguments:
                    # Twisted hands the generator to the callback that will run it on; there is no other trace of it.
                    if type(generator) is GeneratorType and is_suspended(generator):
                        found[id(generator)] = generator
    return outermost(found)


def outermost(found: dict[int, Waiting]) -> list[Waiting]:
    """:return: those that no other one among them awaits: a coroutine that another one awaits is part of that one's stack"""
    inner = {id(awaited(waiting)) for waiting in found.values()}
    return [waiting for identity, waiting in found.items() if identity not in inner]

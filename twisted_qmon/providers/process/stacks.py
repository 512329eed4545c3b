"""
What every thread is doing, and what every pending coroutine waits at.

Coroutines are found by looking through all that the garbage collector knows, and only when they are asked for: keeping a list of
them would cost each one something, and looking costs some ten milliseconds per million objects.
"""

from __future__ import annotations

import gc
import linecache
import sys
import threading
from types import CodeType, FrameType
from typing import Any, NamedTuple

import msgspec

from twisted_qmon.providers.process.waiting import MAX_FRAMES, Waiting, coroutine_frames, suspended

__all__ = [
    "MAX_COROUTINES",
    "CoroutineInfo",
    "FrameInfo",
    "Place",
    "StacksInfo",
    "ThreadInfo",
    "places",
    "stacks",
]

#: How many different places where coroutines wait are told.
MAX_COROUTINES = 1000


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
    """
    What C{query-stacks} returns.

    :ivar threads: all threads that run Python code, the main one first
    :ivar coroutines: where coroutines wait; absent from a thread that can't look at them: they belong to the reactor's
    """

    threads: list[ThreadInfo]
    coroutines: list[CoroutineInfo] | None = None


class Place(NamedTuple):
    """
    Where a frame is. It holds neither the frame nor what is in it.

    :ivar code: what is run
    :ivar line: the line of its file, from 1
    :ivar names: the module's, in which the source may be found if it is in no file
    """

    code: CodeType
    line: int
    names: dict[str, Any]

    @property
    def file(self) -> str:
        """The name of the source file."""
        return self.code.co_filename

    @property
    def function(self) -> str:
        """The name of the function."""
        return getattr(self.code, "co_qualname", self.code.co_name)

    def told(self) -> FrameInfo:
        """:return: the same with the text of the line, for which the file may be read"""
        source = linecache.getline(self.file, self.line, self.names).strip()
        return FrameInfo(self.file, self.line, self.function, source or None)


def _place(frame: FrameType) -> Place:
    return Place(frame.f_code, frame.f_lineno or 0, frame.f_globals)


def places(frame: FrameType | None) -> list[Place]:
    """:return: the places of a frame and of what called it, the outermost first; at most L{MAX_FRAMES}, the innermost ones"""
    found: list[Place] = []
    while frame is not None and len(found) < MAX_FRAMES:
        found.append(_place(frame))
        frame = frame.f_back
    return found[::-1]


def threads() -> list[ThreadInfo]:
    """:return: all threads that run Python code, the main one first"""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    # No file is read before all frames are let go: another thread's might end meanwhile, and what they hold with them, here.
    stacks = {ident: places(frame) for ident, frame in sys._current_frames().items()}
    ordered = sorted(stacks, key=lambda ident: (ident != main, ident))
    return [ThreadInfo(names.get(ident, ""), ident, [place.told() for place in stacks[ident]]) for ident in ordered]


def coroutines() -> list[CoroutineInfo]:
    """:return: where coroutines wait, the place where most of them do first"""
    places: dict[tuple[tuple[CodeType, int], ...], tuple[Waiting, int]] = {}
    for outermost in suspended(gc.get_objects()):
        place = tuple((frame.f_code, frame.f_lineno) for frame in coroutine_frames(outermost))
        if place:
            first, count = places.get(place, (outermost, 0))
            places[place] = (first, count + 1)
    most = sorted(places.values(), key=lambda entry: -entry[1])[:MAX_COROUTINES]
    return [
        CoroutineInfo(first.__qualname__, count, [_place(frame).told() for frame in coroutine_frames(first)])
        for first, count in most
    ]


def stacks(reactor_thread: int | None = None) -> StacksInfo:
    """
    :param reactor_thread: the thread of the reactor, if it is known
    :return: the threads and the waiting coroutines; asked for in another thread than the reactor's, only the threads: looking
        at all objects holds them, and some would come to their end here
    """
    return StacksInfo(threads(), coroutines() if reactor_thread in (None, threading.get_ident()) else None)

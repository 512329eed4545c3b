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

import msgspec

from twisted_qmon.providers.process.waiting import MAX_FRAMES, Waiting, coroutine_frames, suspended

__all__ = ["MAX_COROUTINES", "CoroutineInfo", "FrameInfo", "StacksInfo", "ThreadInfo", "stacks"]

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
        CoroutineInfo(first.__qualname__, count, [_frame_info(frame) for frame in coroutine_frames(first)])
        for first, count in most
    ]


def stacks() -> StacksInfo:
    """:return: the threads and the waiting coroutines"""
    return StacksInfo(threads(), coroutines())

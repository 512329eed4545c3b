"""
A walk through all objects of the process, in slices, so that the reactor turns meanwhile.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["CHUNK", "SLICE_SECONDS", "Progress", "in_thread", "turns", "walk"]

#: Seconds that a slice takes, after which the reactor has its turn.
SLICE_SECONDS = 0.002

#: Objects that are looked at between two looks at the time.
CHUNK = 2000

#: Called with what is done and what there is to do.
Progress: TypeAlias = Callable[[int, int], None]

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


async def walk(clock: IReactorTime, visit: Callable[[Sequence[object]], None], progress: Progress) -> int:
    """
    Show all objects that the garbage collector knows to a function: containers and instances, but not what holds no others, such
    as strings and numbers. To make the list of them stops the reactor for some ten milliseconds for each million objects.

    :param clock: for the reactor's turns
    :param visit: called with some objects at a time
    :param progress: told how far it is
    :return: how many there were
    """
    objects = gc.get_objects()
    total = len(objects)
    await turns(clock, objects, visit, lambda done: progress(done, total))
    return total


async def turns(
    clock: IReactorTime, items: list[_Item], visit: Callable[[Sequence[_Item]], None], done: Callable[[int], None]
) -> None:
    """
    Show the items of a list to a function, L{CHUNK} at a time, and take them out of the list. After L{SLICE_SECONDS} the reactor
    has a turn.

    :param done: told how many have been shown
    """
    total = len(items)
    while items:
        # Not the clock, which may stand still: it is about the time that this takes.
        end = time.perf_counter() + SLICE_SECONDS
        late = False
        while items and not late:
            visit(items[-CHUNK:])
            del items[-CHUNK:]
            late = time.perf_counter() >= end
        done(total - len(items))
        await deferLater(clock, 0)


def in_thread(reactor: object, function: Callable[..., _Value], *args: object) -> Deferred[_Value]:
    """:return: what a function returns, called in a thread of the reactor's; at once, if it has none"""
    if not IReactorThreads.providedBy(reactor):
        return succeed(function(*args))
    called: Deferred[_Value] = deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)
    return called

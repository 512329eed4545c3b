"""
What the memory is full of: objects by type, and what has changed since the last look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getsizeof
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from twisted.python.reflect import qual

from twisted_qmon.providers.diagnose.heap import Progress, walk
from twisted_qmon.qapi.types import Size

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["MAX_NAME", "MAX_TYPES", "ObjectCounter", "ObjectsInfo", "Sort", "TypeInfo"]

#: How many types are remembered for the next look: those with the most objects.
MAX_TYPES = 10_000

#: Characters of a type's name that are shown.
MAX_NAME = 200

#: By which member C{query-objects} sorts.
Sort: TypeAlias = Literal["change", "count", "size", "size-change", "type"]


class TypeInfo(msgspec.Struct):
    """
    The objects of one type.

    :ivar type: its qualified name
    :ivar count: how many there are
    :ivar size: bytes of all of them, without what they refer to
    :ivar count_change: how many more there are than at the last look; absent at the first
    :ivar size_change: how many bytes more these are than at the last look; absent at the first
    """

    type: str
    count: int
    size: Size
    count_change: int | None = None
    size_change: int | None = None


class ObjectsInfo(msgspec.Struct):
    """
    What C{query-objects} returns.

    :ivar count: how many objects there are of all types
    :ivar size: bytes of all of them
    :ivar type_count: how many types there are, as far as the filter lets them through
    :ivar types: those that were asked for
    :ivar since: seconds since the last look; absent at the first
    """

    count: int
    size: Size
    type_count: int
    types: list[TypeInfo]
    since: float | None = None


_Counts: TypeAlias = dict[str, tuple[int, int]]


class ObjectCounter:
    """
    Counts objects, and remembers what it counted last.

    :param clock: the time
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last: tuple[float, _Counts] | None = None

    async def look(
        self, progress: Progress, type_: str | None = None, sort: Sort | None = None, limit: int = 50
    ) -> ObjectsInfo:
        """
        Count all objects.

        :param type_: only types with this text in their names
        :param sort: by this, numbers the largest first; C{None}: by change, at the first look by size
        :param limit: at most so many types; 0: all
        """
        counting = _Counting()
        began = self._clock.seconds()
        await walk(self._clock, counting.visit, progress)
        counts = counting.by_name()
        last, self._last = self._last, (began, _most(counts))
        infos = [_info(name, counts.get(name, (0, 0)), last and last[1]) for name in _names(counts, last and last[1])]
        if type_:
            infos = [info for info in infos if type_ in info.type]
        infos.sort(key=_KEYS[sort or ("size" if last is None else "change")])
        return ObjectsInfo(
            count=sum(count for count, _ in counts.values()),
            size=sum(size for _, size in counts.values()),
            type_count=len(infos),
            types=infos[:limit] if limit else infos,
            since=None if last is None else round(began - last[0], 3),
        )


class _Counting:
    """Counts and sizes by type, as objects are shown."""

    def __init__(self) -> None:
        self._counts: dict[type, list[int]] = {}

    def visit(self, objects: Sequence[object]) -> None:
        counts = self._counts
        for thing in objects:
            kind = type(thing)
            entry = counts.get(kind)
            if entry is None:
                entry = counts[kind] = [0, 0]
            entry[0] += 1
            try:
                entry[1] += getsizeof(thing)
            except Exception:
                # The application's own __sizeof__ has failed.
                entry[1] += object.__sizeof__(thing)

    def by_name(self) -> _Counts:
        """:return: counts and sizes; two types of the same name are one"""
        named: dict[str, list[int]] = {}
        for kind, (count, size) in self._counts.items():
            entry = named.setdefault(_name(kind), [0, 0])
            entry[0] += count
            entry[1] += size
        return {name: (count, size) for name, (count, size) in named.items()}


def _name(kind: type) -> str:
    # Of a broken metaclass nothing may be right.
    try:
        return qual(kind).removeprefix("builtins.")[:MAX_NAME]
    except Exception:
        return "?"


def _most(counts: _Counts) -> _Counts:
    if len(counts) <= MAX_TYPES:
        return counts
    return dict(sorted(counts.items(), key=lambda item: -item[1][0])[:MAX_TYPES])


def _names(counts: _Counts, last: _Counts | None) -> list[str]:
    """The types that there are, and those of which there were some."""
    return [*counts, *(name for name in last or () if name not in counts)]


def _info(name: str, now: tuple[int, int], last: _Counts | None) -> TypeInfo:
    if last is None:
        return TypeInfo(name, *now)
    before = last.get(name, (0, 0))
    return TypeInfo(name, *now, now[0] - before[0], now[1] - before[1])


_KEYS: dict[str, Callable[[TypeInfo], tuple[int, str]]] = {
    "change": lambda info: (-(info.count_change or 0), info.type),
    "count": lambda info: (-info.count, info.type),
    "size": lambda info: (-info.size, info.type),
    "size-change": lambda info: (-(info.size_change or 0), info.type),
    "type": lambda info: (0, info.type),
}

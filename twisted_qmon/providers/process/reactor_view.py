"""
What a reactor has to do: what it reads and writes, what it will call, its threads, its ports and connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import ModuleType
from typing import TypeVar

import msgspec
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorFDSet, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.reflect import qual

from twisted_qmon.providers.process.latency import LatencyInfo

__all__ = [
    "MAX_LISTED",
    "MAX_TEXT",
    "DelayedCallGroup",
    "DelayedCallInfo",
    "DescriptorGroup",
    "DescriptorInfo",
    "PortInfo",
    "ReactorInfo",
    "ThreadPoolInfo",
    "asked",
    "delayed_call_groups",
    "delayed_calls",
    "described_ports",
    "descriptor_groups",
    "descriptors",
    "fd_of",
    "guarded",
    "ports",
    "thread_pool",
    "unwrapped",
]

#: How many readers, writers, delayed calls and groups C{query-reactor} lists; the counts tell of all.
MAX_LISTED = 1000

#: Characters of a text that the application's own objects give.
MAX_TEXT = 200


_Value = TypeVar("_Value")


class DescriptorInfo(msgspec.Struct):
    """
    Something the reactor reads from or writes to.

    :ivar class_: the qualified name of its class
    :ivar name: what it calls itself in logs
    :ivar fd: its file descriptor, if it has one
    """

    class_: str
    name: str
    fd: int | None = None


class DelayedCallInfo(msgspec.Struct):
    """
    A delayed call.

    :ivar when: seconds from now; negative if it is late
    :ivar what: the function that will be called
    """

    when: float
    what: str


class DelayedCallGroup(msgspec.Struct):
    """
    Delayed calls of the same function.

    :ivar what: the function
    :ivar count: how many there are
    :ivar when: seconds to the soonest
    """

    what: str
    count: int
    when: float


class DescriptorGroup(msgspec.Struct):
    """
    Things of the same class that the reactor reads from or writes to.

    :ivar class_: the qualified name of the class
    :ivar count: how many there are
    """

    class_: str
    count: int


class ThreadPoolInfo(msgspec.Struct):
    """
    The reactor's thread pool.

    :ivar minimum: threads that it keeps
    :ivar maximum: threads that it may have
    :ivar busy: threads at work
    :ivar idle: threads that wait for work
    :ivar queued: calls that wait for a thread
    """

    minimum: int
    maximum: int
    busy: int
    idle: int
    queued: int


class ReactorInfo(msgspec.Struct):
    """
    What C{query-reactor} returns. The lists have at most L{MAX_LISTED} entries, the counts tell of all. So do the groups, unless
    there are more than L{MAX_LISTED} of these: then they are the largest.

    :ivar class_: the qualified name of the reactor's class
    :ivar latency: how late it runs
    :ivar readers: what it reads from
    :ivar writers: what it has something to write to
    :ivar reader_groups: how many it reads from, by class, the largest number first
    :ivar writer_groups: the same for what it has something to write to
    :ivar connection_count: how many connections C{query-connections} lists
    :ivar delayed_calls: what it will call, soonest first
    :ivar delayed_call_groups: how many calls of a function there are, the largest number first
    :ivar thread_pool: its threads, once it has used any
    """

    class_: str
    latency: LatencyInfo
    reader_count: int
    readers: list[DescriptorInfo]
    writer_count: int
    writers: list[DescriptorInfo]
    delayed_call_count: int
    delayed_calls: list[DelayedCallInfo]
    reader_groups: list[DescriptorGroup]
    writer_groups: list[DescriptorGroup]
    delayed_call_groups: list[DelayedCallGroup]
    connection_count: int
    thread_pool: ThreadPoolInfo | None = None


class PortInfo(msgspec.Struct):
    """
    A port that listens.

    :ivar address: where (C{"tcp:127.0.0.1:8080"}, C{"unix:/run/qmp.sock"})
    :ivar class_: the qualified name of the port's class
    :ivar factory: the qualified name of the class that serves it: a factory, or a datagram protocol
    :ivar fd: its file descriptor, if it has one
    """

    address: str
    class_: str
    factory: str
    fd: int | None = None


def guarded(call: Callable[[], _Value], default: _Value) -> _Value:
    """:return: what an application's object says, or the default if it fails: a look at things must not break on one of them"""
    try:
        return call()
    except Exception:
        return default


def asked(thing: object, method: str, default: object = None) -> object:
    """:return: what its method without arguments says, if it has that and the call does not fail"""
    return guarded(lambda: getattr(thing, method)(), default)


def fd_of(thing: object) -> int | None:
    """:return: its file descriptor, if it has one"""
    fd = asked(thing, "fileno")
    return fd if isinstance(fd, int) and fd >= 0 else None


def descriptors(reactor: object) -> tuple[list[object], list[object]]:
    """:return: what the reactor reads from and writes to, empty for a reactor that can't tell"""
    if not IReactorFDSet.providedBy(reactor):
        return [], []
    return guarded(lambda: list(reactor.getReaders()), []), guarded(lambda: list(reactor.getWriters()), [])


def describe_descriptor(thing: object) -> DescriptorInfo:
    """:return: the plain facts of something that the reactor reads or writes"""
    name = asked(thing, "logPrefix", "")
    # A unix client's own path is in it, and may be no UTF-8: lone surrogates, which JSON has no way to say.
    text = str(name).encode("utf-8", "replace").decode("utf-8")
    return DescriptorInfo(qual(type(thing)), text[:MAX_TEXT], fd_of(thing))


def what(function: object) -> str:
    """:return: the name by which a programmer knows what would be called: the function in a loop, not the loop"""
    for _ in range(8):
        if isinstance(function, LoopingCall):
            return f"LoopingCall of {what(function.f)}, every {function.interval:g} s"
        if not isinstance(function, partial):
            break
        function = function.func
    owner = getattr(function, "__self__", None)
    if isinstance(owner, LoopingCall):
        return what(owner)
    name = getattr(function, "__qualname__", None)
    if name is None:
        return f"a {qual(type(function))}"
    if owner is not None and not isinstance(owner, (type, ModuleType)):
        return f"{qual(type(owner))}.{getattr(function, '__name__', name)}"[:MAX_TEXT]
    return f"{getattr(function, '__module__', None) or '?'}.{name}"[:MAX_TEXT]


def delayed_calls(clock: IReactorTime) -> list[DelayedCallInfo]:
    """:return: all delayed calls, soonest first"""
    now = clock.seconds()
    calls = [
        DelayedCallInfo(round(call.getTime() - now, 6), what(getattr(call, "func", None)))
        for call in clock.getDelayedCalls()
    ]
    return sorted(calls, key=lambda call: call.when)


def descriptor_groups(things: Iterable[object]) -> list[DescriptorGroup]:
    """:return: how many there are of each class, the largest number first"""
    counts = Counter(qual(type(thing)) for thing in things)
    return [DescriptorGroup(name, count) for name, count in counts.most_common(MAX_LISTED)]


def delayed_call_groups(calls: Sequence[DelayedCallInfo]) -> list[DelayedCallGroup]:
    """
    :param calls: soonest first
    :return: how many there are of each function, the largest number first
    """
    groups: dict[str, DelayedCallGroup] = {}
    for call in calls:
        group = groups.setdefault(call.what, DelayedCallGroup(call.what, 0, call.when))
        group.count += 1
    return sorted(groups.values(), key=lambda group: -group.count)[:MAX_LISTED]


def thread_pool(reactor: object) -> ThreadPoolInfo | None:
    """:return: what its threads are doing; C{None} if it has none yet (asking must not make them)"""
    pool = getattr(reactor, "threadpool", None)
    if pool is None:
        return None
    queued = asked(getattr(pool, "_queue", None), "qsize", 0)
    return ThreadPoolInfo(
        minimum=int(pool.min),
        maximum=int(pool.max),
        busy=len(pool.working),
        idle=len(pool.waiters),
        queued=queued if isinstance(queued, int) else 0,
    )


def address(where: object) -> str:
    """:return: an address as text, in the way of endpoint descriptions"""
    kind = str(getattr(where, "type", type(where).__name__)).lower()
    host = getattr(where, "host", None)
    if host is not None:
        if ":" in str(host):
            kind = kind.removesuffix("6")
            host = f"[{host}]"
        return f"{kind}:{host}:{getattr(where, 'port', '')}"
    if hasattr(where, "name"):
        name = where.name
        return f"unix:{_path(name)}" if name else "unix"
    if IAddress.providedBy(where) or where is None:
        return type(where).__name__ if where is not None else ""
    return str(where)[:MAX_TEXT]


def _path(name: object) -> str:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    # A name in Linux's abstract name space.
    return "@" + text[1:] if text.startswith("\0") else text


def unwrapped(thing: object, attribute: str) -> object:
    """:return: what a chain of wrappers (TLS, policies) is around"""
    for _ in range(8):
        inner = getattr(thing, attribute, None)
        if inner is None:
            return thing
        thing = inner
    return thing


def ports(reactor: object) -> list[PortInfo]:
    """:return: the ports that listen, by address"""
    return sorted((info for _, info in described_ports(descriptors(reactor)[0])), key=lambda port: port.address)


def described_ports(readers: Iterable[object]) -> list[tuple[object, PortInfo]]:
    """
    :param readers: what the reactor reads from
    :return: the ports among it
    """
    found: list[tuple[object, PortInfo]] = []
    for port in readers:
        if IListeningPort.providedBy(port):
            factory = getattr(port, "factory", None) or getattr(port, "protocol", None)
            factory = unwrapped(factory, "wrappedFactory")
            where = address(asked(port, "getHost"))
            info = PortInfo(where, qual(type(port)), qual(type(factory)) if factory is not None else "", fd_of(port))
            found.append((port, info))
    return found

"""
What is measured of twisted-qmon: a monitor as its users have it, with a few commands.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from functools import cached_property
from typing import Any, Literal, TypedDict

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from twisted_qmon import CommandProvider, Event, HMPFactory, Monitor, QMPFactory, Size, command
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.core.audit.trail import Audit

#: As long as a line of an audit is.
_LINE = b"x" * 189 + b"\n"


class Node(TypedDict):
    """A nested argument."""

    driver: Literal["file", "nbd", "null"]
    filename: str
    offset: int


def make_result(size: int) -> list[dict[str, Any]]:
    """A result whose JSON is about so many bytes."""
    return [{"name": f"device-{n:06}", "number": n, "enabled": True} for n in range(size // 52)]


class Measured(CommandProvider):
    """Commands of every kind."""

    events = [Event("BENCHMARK", device=str, actual=int)]

    def __init__(self) -> None:
        self.held: list[Deferred[None]] = []
        self.results: dict[int, list[dict[str, Any]]] = {}

    @command
    def nothing(self) -> None: ...

    @command
    def written(self) -> None:
        """Write what has the length of the two lines of an audit, and no more."""
        os.write(self.file, _LINE)
        os.write(self.file, _LINE)

    @cached_property
    def file(self) -> int:
        """A file that is appended to, and has no name."""
        file, path = tempfile.mkstemp()
        os.unlink(path)
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        return file

    @command
    def take(self, device: str, size: Size, live: bool, mode: Literal["full", "top"], node: Node) -> None: ...

    @command
    def later(self) -> Deferred[None]:
        """Completes a reactor turn later."""
        done: Deferred[None] = Deferred()
        reactor.callLater(0, done.callback, None)  # type: ignore[attr-defined]
        return done

    @command
    def hold(self) -> Deferred[None]:
        """Completes with C{release}."""
        self.held.append(Deferred())
        return self.held[-1]

    @command
    def release(self) -> None:
        held, self.held = self.held, []
        for each in held:
            each.callback(None)

    @command
    def big(self, size: int) -> Any:
        if size not in self.results:
            self.results[size] = make_result(size)
        return self.results[size]

    @command
    def swallow(self, text: str) -> int:
        return len(text)

    @command
    def tell(self) -> None:
        assert self.monitor is not None
        self.monitor.emit("BENCHMARK", {"device": "virtio0", "actual": 1 << 29})


def make_monitor(commands: int = 0) -> Monitor:
    """:param commands: how many more to register"""
    monitor = Monitor("benchmark")
    monitor.register(Measured())
    for n in range(commands):
        monitor.register_command(f"filler-{n}", _nothing)
    return monitor


def _nothing() -> None: ...


def machine(in_flight: int, commands: int, *, rules: bool = False, audit: str | None = None) -> Any:
    """
    Its QMP.

    :param rules: with rules, by which each user may do everything
    :param audit: a file for the record of what is done
    """
    monitor = make_monitor(commands)
    if rules:
        grant = {"who": ["uid:*"], "level": "admin", "never": ["quit"]}
        monitor.set_guard(access=Access(parse_rules({"grant": [grant]}, "rules")))
    if audit is not None:
        # As in any process that has begun to log; to nowhere, since what a log costs is not measured.
        globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
        record = Audit(audit, time.time)
        record.open()
        monitor.set_guard(audit=record)
    return QMPFactory(monitor, in_flight=in_flight, max_connections=100_000)


def human() -> Any:
    """Its human monitor."""
    return HMPFactory(make_monitor(), max_connections=100_000)

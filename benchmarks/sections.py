"""
What C{python -m benchmarks} measures, by section. A measurement is a function of how many pairs there are to be and how many
seconds each is to take; what can't be cut by seconds takes its own time. It yields its rows, and ends what it started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.cost import (
    big_messages,
    completion,
    diagnose,
    fleet,
    growth,
    process_provider,
    proxy,
    slow_clients,
    ssh_echo,
    startup,
    terminal,
    watchdog,
    web,
)
from benchmarks.load import clients
from benchmarks.load.compare import measurement
from benchmarks.load.workloads import WORKLOADS
from benchmarks.report.table import Row

Measurement: TypeAlias = Callable[[int, float], Iterable[Row]]


@dataclass(frozen=True)
class Section:
    """
    Measurements of one subject.

    :ivar name: for the command line
    :ivar title: what it is about
    :ivar measurements: by name
    """

    name: str
    title: str
    measurements: dict[str, Measurement]


# The workloads of a load process, by section.
_LOADED = {
    "server": (
        "pingpong", "pingpong64", "window8", "window64", "window512", "arguments", "later", "held", "big", "huge", "pieces",
        "connect", "idle",
    ),
    "events": ("events1", "events100", "events1000", "numbered100"),
    "people": ("human",),
    "access": ("rules", "rules64", "audit", "audit64"),
}  # fmt: skip


def sections(against: str = "") -> tuple[Section, ...]:
    """
    :param against: of the servers, only contenders with this in their name, besides ours
    :return: all sections, in the order of the table
    """
    named = {each.name: measurement(each, against) for each in WORKLOADS}
    loaded = {section: {name: named.pop(name) for name in names} for section, names in _LOADED.items()}
    assert not named, f"workloads without a section: {', '.join(named)}"
    return (
        Section("server", "the QMP server", loaded["server"]),
        Section("events", "events", loaded["events"]),
        Section("people", "the human monitor", loaded["people"]),
        Section("access", "rules and audit", loaded["access"]),
        Section("client", "the client library", dict(clients.MEASUREMENTS)),
        Section("growth", "what grows, and what takes memory", dict(growth.MEASUREMENTS)),
        Section("start", "start-up", dict(startup.MEASUREMENTS)),
        Section("terminal", "qmon, the terminal client", {**terminal.MEASUREMENTS, **completion.MEASUREMENTS}),
        Section("ssh", "SSH", dict(ssh_echo.MEASUREMENTS)),
        Section("web", "HTTP", dict(web.MEASUREMENTS)),
        Section("fleet", "a fleet behind a router", dict(fleet.MEASUREMENTS)),
        Section("qemu", "in front of a QEMU", dict(proxy.MEASUREMENTS)),
        Section("watchdog", "the watchdog's thread", dict(watchdog.MEASUREMENTS)),
        Section("process", "a look into the process", {**process_provider.MEASUREMENTS, **diagnose.MEASUREMENTS}),
        Section(
            "limits", "clients and messages that do harm", {**slow_clients.MEASUREMENTS, **big_messages.MEASUREMENTS}
        ),
    )

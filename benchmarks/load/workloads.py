"""
The workloads with a load process, and the goal of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contender:
    """
    One server in one workload.

    :ivar title: its name in the table
    :ivar server: see L{benchmarks.servers.contenders.serve}
    :ivar dialect: how the load speaks to it
    :ivar goal: our rate is to be so many times its own
    :ivar job: what differs for it
    """

    title: str
    server: str
    dialect: str = "qmp"
    goal: float | None = None
    job: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """
    :ivar name: for the command line and the table
    :ivar title: what it is
    :ivar job: what the load is told; see L{benchmarks.load.load}
    :ivar contenders: the first is ours: the others are compared with it
    :ivar most: pairs, of what takes seconds each
    """

    name: str
    title: str
    job: dict[str, Any]
    contenders: tuple[Contender, ...]
    most: int = 1000


def _echo(goal: float | None = None, server: str = "echo") -> Contender:
    return Contender("bare echo" if server == "echo" else f"bare, {server}", server, "bare", goal)


def _qemu(goal: float | None = None) -> Contender:
    return Contender("QEMU", "qemu", goal=goal)


def _amp(goal: float | None = None) -> Contender:
    return Contender("AMP", "amp", "amp", goal)


_OURS = Contender("ours", "ours")
_UVLOOP = Contender("ours, uvloop", "ours --uvloop")


# Without an audit: the handler writes two lines that are there already.
_BARE_WRITES = Contender("ours, two bare writes", "ours", job={"command": "written"})


def _lockstep(window: int, command: str = "query", **more: Any) -> dict[str, Any]:
    return {"traffic": "lockstep", "window": window, "command": command, **more}


def _ours(in_flight: int) -> Contender:
    return Contender(f"ours, in-flight {in_flight}", f"ours --in-flight {in_flight}")


WORKLOADS = (
    Workload("pingpong", "ping-pong, 1 client", _lockstep(1), (_OURS, _UVLOOP, _echo(0.85), _qemu(1.5), _amp())),
    Workload("pingpong64", "ping-pong, 64 clients", _lockstep(1, clients=64), (_OURS, _UVLOOP, _echo(), _amp())),
    Workload("window8", "pipelined, window 8", _lockstep(8), (_OURS, _UVLOOP, _echo(), _qemu(), _amp())),
    Workload("window64", "pipelined, window 64", _lockstep(64), (_OURS, _UVLOOP, _echo(0.8), _qemu(25), _amp(10))),
    Workload("window512", "pipelined, window 512", _lockstep(512), (_OURS, _UVLOOP, _echo(1.0), _qemu(25), _amp(10))),
    Workload(
        "arguments",
        "5 arguments with validation, window 64",
        _lockstep(64, "take"),
        (
            _OURS,
            Contender("ours, no arguments", "ours", goal=0.6, job={"command": "nothing"}),
            _echo(),
            # What the bytes alone cost who looks at nothing.
            Contender("bare echo, no arguments", "echo", "bare", job={"command": "nothing"}),
        ),
    ),
    Workload(
        "later",
        "asynchronous, window 64",
        _lockstep(64, "later", in_order=False),
        (_ours(64), Contender("bare, one Deferred each", "later", "bare", 0.6), _OURS),
    ),
    Workload(
        "held",
        "10,000 pending at once",
        {"traffic": "held", "window": 10_000, "command": "hold", "in_order": False},
        (_ours(20_000), Contender("bare, one Deferred each", "hold", "bare")),
    ),
    Workload("big", "replies of 200 KB", _lockstep(1, "big", size=200_000), (_OURS, _echo(server="big"))),
    Workload("huge", "replies of 16 MiB", _lockstep(1, "big", size=1 << 24), (_OURS, _echo(server="big")), most=6),
    Workload(
        "pieces",
        "requests of 1 MB in pieces of 1 KB",
        {"traffic": "pieces", "window": 1, "command": "swallow", "size": 1_000_000, "piece": 1000},
        (_OURS, _echo()),
    ),
    *(
        Workload(
            f"events{clients}",
            f"an event to {clients} clients",
            {"traffic": "events", "clients": clients},
            (_OURS, Contender("bare, the same bytes", "tell", "bare", 0.7 if clients == 1000 else None)),
        )
        for clients in (1, 100, 1000)
    ),
    Workload(
        "numbered100",
        "a numbered event to 100 clients",
        {"traffic": "events", "clients": 100},
        (
            Contender("ours, numbered", "ours", job={"numbered": True}),
            Contender("ours", "ours"),
            Contender("bare, the same bytes", "tell", "bare"),
        ),
    ),
    Workload(
        "connect",
        "connect, negotiate, one command",
        {"traffic": "connect", "window": 1, "command": "query"},
        (_OURS, Contender("bare echo, greeting", "greeting"), _qemu()),
    ),
    *(
        Workload(
            f"{kind}{'' if window == 1 else window}",
            f"{title}, {'ping-pong' if window == 1 else f'window {window}'}",
            # Above the level observe: the audit has two lines of each.
            _lockstep(window, "nothing"),
            (Contender(f"ours, {title}", f"ours {options}"), Contender("ours", "ours", goal=goal), *more),
        )
        for kind, title, options, goal, more in (
            ("rules", "with rules", "--rules", 0.95, ()),
            ("audit", "with audit", "--rules --audit", 0.7, (_BARE_WRITES,)),
        )
        for window in (1, 64)
    ),
    Workload(
        "idle",
        "ping-pong beside 10,000 idle connections",
        _lockstep(1, idle=10_000),
        (_OURS, _echo()),
        most=3,
    ),
    Workload(
        "human",
        "human monitor, line by line",
        _lockstep(1, dialect="human"),
        (
            Contender("ours", "human", "human"),
            Contender("bare lines", "prompt", "human"),
            Contender("QEMU", "qemu-human", "human"),
        ),
    ),
)

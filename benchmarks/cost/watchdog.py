"""
What the watchdog's thread costs: a process that does nothing, and one that serves as much as it can.

The idle processes run side by side, with the thread, with the thread that serves as well, and without. Under load it is one
process, whose thread is stopped and started between short runs; what counts is its processor time for each request. Processor
time is the kernel's, in nanoseconds (/proc/PID/task/TID/schedstat), so this runs on Linux.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from statistics import median

from benchmarks.cost._idle import idle_shares, spent, stop
from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT

#: Of a processor: what the thread of an idle process may take.
IDLE_MORE = 0.001

#: Of the requests without the thread: what a busy process has to answer with it.
BUSY = 0.97

IDLE_TURNS, IDLE_SECONDS = 6, 2.5

SERVER = """
import sys
from twisted.internet import reactor
from twisted_qmon import Monitor, make_monitor_service
monitor = Monitor(clock=reactor)
options = {"off": {"stall": None}, "on": {}, "doors": {"watchdog": ["unix:watchdog-" + sys.argv[2]]}}[sys.argv[1]]
service = make_monitor_service(reactor, monitor, ["unix:" + sys.argv[2]], in_flight=64, **options)

def watch(on: bool):
    thread = service.getServiceNamed("watchdog")
    return thread.startService() if on else thread.stopService()

monitor.register_command("watch", watch)
service.startService()
reactor.callWhenRunning(print, "running", flush=True)
reactor.run()
"""


def _start(kind: str, folder: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, kind, f"{kind}.sock"], stdout=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def idle(pairs: int, seconds: float) -> Iterator[Row]:
    """The processor time per second of processes that do nothing."""
    titles = {"off": "without the thread", "on": "with the thread", "doors": "with the thread that serves"}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        shares = idle_shares({kind: partial(_start, kind, folder) for kind in titles}, IDLE_TURNS, IDLE_SECONDS)
    for kind, title in titles.items():
        more = [on - off for on, off in zip(shares[kind], shares["off"], strict=True)]
        yield Row(
            "idle processor", title, rate=median(shares[kind]) * 1000, unit="ms a second",
            # Of what is allowed, which is a part of a processor: a ratio to nearly nothing would say nothing.
            ratio=paired_ratio(more, [IDLE_MORE] * len(more)) if kind == "on" else None,
            goal=1.0 if kind == "on" else None, smaller=True,
        )  # fmt: skip


def _load(title: str, window: int, requests: int, pairs: int) -> Iterator[Row]:
    """What a request costs with the thread, beside what it costs without."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        process = _start("on", folder)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(f"{folder}/on.sock")
            client.recv(65536)
            _ask(client, {"execute": "qmp_capabilities"})
            costs: dict[bool, list[float]] = {True: [], False: []}
            for number in range(pairs):
                for on in (True, False) if number % 2 else (False, True):
                    _ask(client, {"execute": "watch", "arguments": {"on": on}})
                    # The thread's end is seen here a moment later than by its process.
                    time.sleep(0.02)
                    costs[on].append(_cost(process, client, window, requests // window))
        finally:
            client.close()
            stop(process)
    for on, contender in ((True, "with the thread"), (False, "without")):
        yield Row(
            title, contender, rate=median(costs[on]) / requests * 1e6, unit="us CPU",
            ratio=None if on else paired_ratio(costs[False], costs[True]), goal=None if on else BUSY,
        )  # fmt: skip


def busy(pairs: int, seconds: float) -> Iterator[Row]:
    """Under load."""
    yield from _load("watchdog, ping-pong", 1, 2_000, 2 * pairs)
    yield from _load("watchdog, window 64", 64, 40_000, 2 * pairs)


def _ask(client: socket.socket, message: object) -> None:
    client.sendall(json.dumps(message).encode() + b"\n")
    answer = client.recv(65536)
    assert b'"return"' in answer, answer


def _cost(process: subprocess.Popen[str], client: socket.socket, window: int, times: int) -> float:
    messages = b'{"execute": "query-name", "id": 1}\n' * window
    before = spent(process)
    for _ in range(times):
        client.sendall(messages)
        left = window
        while left:
            left -= client.recv(65536).count(b"\n")
    return spent(process) - before


MEASUREMENTS = {"watchdog-idle": idle, "watchdog-busy": busy}

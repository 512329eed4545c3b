"""
What the commands about the process cost while none of them is asked for: a process that does nothing, with them and without.

Processor time is the kernel's, in nanoseconds (/proc/PID/schedstat), so this runs on Linux. How well the latency figure agrees
with blocking calls of known length is printed by C{python -m benchmarks.cost.process_provider}.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from statistics import median

from benchmarks.cost._idle import idle_shares
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT

IDLE_TURNS, IDLE_SECONDS = 5, 2.0

IDLE = """
import sys
from twisted.internet import reactor
from twisted_qmon import Monitor
from twisted_qmon.providers.process import Process
monitor = Monitor(clock=reactor)
if sys.argv[1] == "with":
    monitor.register(Process(reactor))
reactor.callWhenRunning(print, "running", flush=True)
reactor.run()
"""

BLOCK = """
import time, sys
from twisted.internet import reactor
from twisted_qmon import Monitor
from twisted_qmon.providers.process import Process
monitor = Monitor(clock=reactor)
monitor.register(Process(reactor))
monitor.register_command("block", lambda seconds: time.sleep(seconds))

def ask():
    monitor.execute("block", {"seconds": float(sys.argv[1])})
    # In the same turn, and again when the reactor has gone on.
    same = worst()
    reactor.callLater(0.2, lambda: (print(same, worst()), reactor.stop()))

def worst():
    return monitor.execute("query-reactor").result["latency"]["worst"]

reactor.callLater(float(sys.argv[2]), ask)
reactor.run()
"""


def _start(kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IDLE, kind],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def idle(pairs: int, seconds: float) -> Iterator[Row]:
    """The processor time per second of two processes that do nothing, with the provider and without."""
    kinds = ("with", "without")
    shares = idle_shares({kind: partial(_start, kind) for kind in kinds}, IDLE_TURNS, IDLE_SECONDS)
    for kind in kinds:
        yield Row("idle processor, the process provider", kind, rate=median(shares[kind]) * 1000, unit="ms a second")


def blocking() -> None:
    """Print what the latency figure makes of calls of known length."""
    for seconds in (0.1, 0.25, 0.5, 1.0):
        seen = []
        for _ in range(5):
            command = [sys.executable, "-c", BLOCK, str(seconds), str(0.5 + random.random() / 10)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seen.append([float(word) for word in result.stdout.split()])
        same, after = zip(*seen, strict=True)
        print(
            f"blocked for {seconds:4g} s: seen in the same turn as {min(same):.3f} to {max(same):.3f} s,"
            f" afterwards as {min(after):.3f} to {max(after):.3f} s"
        )


MEASUREMENTS = {"process-idle": idle}


if __name__ == "__main__":
    blocking()

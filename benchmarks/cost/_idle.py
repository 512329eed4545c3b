"""
What processes cost that do nothing. Processor time is the kernel's, in nanoseconds, so this runs on Linux.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping

#: Seconds after which a process is taken to be idle.
SETTLE = 2.0


def spent(process: subprocess.Popen[str]) -> float:
    """:return: the seconds of processor time that all its threads have had"""
    total = 0
    for task in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def stop(process: subprocess.Popen[str]) -> None:
    """End it, and wait for its end."""
    process.terminate()
    process.communicate()


def idle_shares(
    starters: Mapping[str, Callable[[], subprocess.Popen[str]]], turns: int, seconds: float
) -> dict[str, list[float]]:
    """
    :param starters: start the processes; each says a line when it runs
    :param turns: how often it is measured, all at the same time
    :param seconds: for how long
    :return: of each, how much of a processor it took, in each turn
    """
    processes: dict[str, subprocess.Popen[str]] = {}
    shares: dict[str, list[float]] = {kind: [] for kind in starters}
    try:
        for kind, start in starters.items():
            processes[kind] = process = start()
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(SETTLE)
        for _ in range(turns):
            began = {kind: (spent(process), time.monotonic()) for kind, process in processes.items()}
            time.sleep(seconds)
            for kind, process in processes.items():
                before, since = began[kind]
                shares[kind].append((spent(process) - before) / (time.monotonic() - since))
    finally:
        for process in processes.values():
            stop(process)
    return shares

"""
What the watchdog's thread costs: a process that does nothing, and one that serves as much as it can.

    python -m benchmarks.cost.watchdog [SECONDS]

The idle processes run side by side for SECONDS (20), with the thread, with the thread that serves as well, and without. Under
load it is one process, whose thread is stopped and started between short runs; what counts is its processor time for each
request. Processor time is the kernel's, in nanoseconds (/proc/PID/task/TID/schedstat), so this runs on Linux.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

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


def _start(kind: str, name: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", SERVER, kind, name], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()
    process.stdout.close()


def _spent(process: subprocess.Popen) -> float:
    total = 0
    for task in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def idle(seconds: float) -> None:
    """Print the processor time per second of processes that do nothing."""
    kinds = ("off", "on", "doors")
    processes = {kind: _start(kind, f"{kind}.sock") for kind in kinds}
    try:
        time.sleep(2)
        began = {kind: (_spent(process), time.monotonic()) for kind, process in processes.items()}
        time.sleep(seconds)
        for kind, process in processes.items():
            spent, since = began[kind]
            share = (_spent(process) - spent) / (time.monotonic() - since)
            print(f"idle, the watchdog {kind:5}: {share:.3%} of one core, over {seconds:g} s")
    finally:
        for process in processes.values():
            _stop(process)


def load(window: int, requests: int, runs: int) -> None:
    """Print what a request costs with the thread, as a part of what it costs without."""
    process = _start("on", "load.sock")
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect("load.sock")
        client.recv(65536)
        _ask(client, {"execute": "qmp_capabilities"})
        pairs = []
        for number in range(runs):
            cost = {}
            for on in (True, False) if number % 2 else (False, True):
                _ask(client, {"execute": "watch", "arguments": {"on": on}})
                # The thread's end is seen here a moment later than by its process.
                time.sleep(0.02)
                cost[on] = _cost(process, client, window, requests // window)
            pairs.append(cost[False] / cost[True])
        low, middle, high = statistics.quantiles(pairs, n=4)
        print(f"window {window:2}: {middle:.3f} of the requests without the thread (quartiles {low:.3f}, {high:.3f})")
    finally:
        client.close()
        _stop(process)


def _ask(client: socket.socket, message: object) -> None:
    client.sendall(json.dumps(message).encode() + b"\n")
    answer = client.recv(65536)
    assert b'"return"' in answer, answer


def _cost(process: subprocess.Popen, client: socket.socket, window: int, times: int) -> float:
    messages = b'{"execute": "query-name", "id": 1}\n' * window
    before = _spent(process)
    for _ in range(times):
        client.sendall(messages)
        left = window
        while left:
            left -= client.recv(65536).count(b"\n")
    return _spent(process) - before


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        idle(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
        load(64, 100_000, 30)
        load(1, 5_000, 30)
        os.chdir("/")

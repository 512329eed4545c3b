"""
How quick C{qmon} is: one command against the least that qemu.qmp does, lines on a pipe against qmp-shell, and a key at the prompt
while events come.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT

#: The least program that sends one command with QEMU's own library.
ONE_SHOT = """
import asyncio, json, sys
from qemu.qmp import QMPClient

async def main():
    client = QMPClient()
    await client.connect(sys.argv[1])
    print(json.dumps(await client.execute("query-status")))
    await client.disconnect()

asyncio.run(main())
"""

#: The least program that does: a plain socket, and no look at what comes.
BARE = """
import json, socket, sys

client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
lines = client.makefile("rb")
lines.readline()
client.sendall(b'{"execute": "qmp_capabilities"}')
lines.readline()
client.sendall(b'{"execute": "query-status"}')
print(json.dumps(json.loads(lines.readline())["return"]))
"""

#: What the installed program C{qmon} consists of.
QMON = "import sys; from twisted_qmon.shell.main import main; sys.exit(main())"

LINES = 1000

#: Events a second while keys are pressed, how many keys, and the longest that half of them may take, in seconds.
EVENTS = 1000
KEYS = 100
LONGEST = 0.030

# A server that emits events at that rate. Each is as long as events are.
_SERVER = """
import sys
from twisted.internet import reactor, task
from twisted.internet.endpoints import serverFromString
from twisted_qmon import CommandProvider, Event, Monitor, QMPFactory

class Events(CommandProvider):
    events = [Event("TICK", number=int, text=str)]

rate = int(sys.argv[2])
monitor = Monitor(clock=reactor)
monitor.register(Events())
number = 0

def tick(count):
    global number
    for _ in range(count):
        number += 1
        monitor.emit("TICK", {"number": number, "text": "something has happened"})

serverFromString(reactor, f"unix:{sys.argv[1]}:mode=600").listen(QMPFactory(monitor))
if rate:
    task.LoopingCall.withCount(lambda count: tick(count * rate // 100)).start(0.01)
reactor.run()
"""


@contextmanager
def serving(folder: Path, rate: int = 0) -> Iterator[str]:
    """:return: the address of a server that emits so many events a second"""
    address = folder / "it.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(address), str(rate)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        while process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(address))
                    break
                except OSError:
                    time.sleep(0.01)
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        yield str(address)
    finally:
        process.kill()
        process.wait()


def environment(folder: Path) -> dict[str, str]:
    """:return: the environment of a terminal program, with nothing of the user's"""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # Byte code is kept, as it is of an installed package.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "XDG_STATE_HOME": str(folder / "state"),
        "TERM": "xterm-256color",
    }


def _seconds(argv: Sequence[str], folder: Path, text: str, expected: int) -> float:
    """How long a program takes from its start to its end; it has to say C{running} so many times."""
    started = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, env=environment(folder), input=text, capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode or done.stdout.count("running") < expected:
        raise RuntimeError(f"{argv} ended with status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return taken


def _compare(
    title: str, contenders: Sequence[tuple[str, list[str], str]], folder: Path, expected: int, pairs: int, goal: float
) -> Iterable[Row]:
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(pairs + 1):
        for n in range(len(contenders)) if turn % 2 else range(len(contenders) - 1, -1, -1):
            taken = _seconds(contenders[n][1], folder, contenders[n][2], expected)
            if turn:
                times[n].append(taken)
    for n, (name, _, _) in enumerate(contenders):
        yield Row(
            title,
            name,
            rate=median(times[n]) * 1000,
            unit="ms",
            ratio=paired_ratio(times[0], times[n]) if n else None,
            # The first of the others has the goal.
            goal=goal if n == 1 else None,
            smaller=True,
        )


def one_command(pairs: int, seconds: float) -> Iterable[Row]:
    """One command, from the start of the program to its end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, serving(Path(name)) as address:
        qmon = [sys.executable, "-c", QMON, address, "exec", "query-status"]
        contenders = [
            ("qmon exec", qmon, ""),
            ("one shot with qemu.qmp", [sys.executable, "-c", ONE_SHOT, address], ""),
            ("a bare socket", [sys.executable, "-c", BARE, address], ""),
        ]
        yield from _compare("one command", contenders, Path(name), 1, pairs, 0.6)


def lines(pairs: int, seconds: float) -> Iterable[Row]:
    """A thousand commands on a pipe, start and end included."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, serving(Path(name)) as address:
        shell = [sys.executable, "-c", "from qemu.qmp.qmp_shell import main; main()", address]
        contenders = [
            ("qmon", [sys.executable, "-c", QMON, address], "info status\n" * LINES),
            ("qmp-shell", shell, "query-status\n" * LINES),
        ]
        yield from _compare(f"{LINES:,} lines on a pipe", contenders, Path(name), LINES, pairs, 1.2)


def keys(pairs: int, seconds: float) -> Iterable[Row]:
    """From a key to its echo, while events appear above the line."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, serving(Path(name), EVENTS) as address:
        times = _echoes(address, Path(name))
    yield Row(f"a key's echo at {EVENTS:,} events/s", "qmon, median", rate=median(times) * 1000, unit="ms")
    yield Row(
        f"a key's echo at {EVENTS:,} events/s",
        f"{LONGEST * 1000:.0f} ms",
        rate=LONGEST * 1000,
        unit="ms",
        ratio=paired_ratio(times, [LONGEST] * len(times)),
        goal=1.0,
        smaller=True,
    )


def _echoes(address: str, folder: Path) -> list[float]:
    import pexpect

    child = pexpect.spawn(
        sys.executable, ["-c", QMON, address], cwd=str(folder), env=environment(folder), dimensions=(40, 120)
    )
    child.delaybeforesend = None
    try:
        child.expect_exact("(qmon)")
        child.send("events on\r")
        child.expect_exact("TICK")
        times = []
        for number in range(KEYS):
            # One that has not been on the screen before: it can only be the echo.
            key = chr(0x4E00 + number).encode()
            drain(child, 0.02 + 0.003 * (number % 17))
            started = time.perf_counter()
            child.send(key)
            child.expect_exact(key, timeout=10)
            times.append(time.perf_counter() - started)
            if number % 20 == 19:
                child.send("\x15")
        return times
    finally:
        child.close(force=True)


def drain(child: object, seconds: float) -> None:
    """Read what comes, for a time."""
    import pexpect

    assert isinstance(child, pexpect.spawn)
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        try:
            child.read_nonblocking(65536, left)
        except pexpect.TIMEOUT:
            return


MEASUREMENTS: dict[str, Callable[[int, float], Iterable[Row]]] = {
    "one-command": one_command,
    "lines": lines,
    "echo": keys,
}

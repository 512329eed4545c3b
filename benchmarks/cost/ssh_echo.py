"""
From a key to its echo over SSH: the human monitor's line editor against C{cat} behind the same server.
"""

from __future__ import annotations

import os
import shutil
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

#: How many keys are pressed at each, in turn; and by how many seconds the editor's median may be the longer.
KEYS = 300
LONGER = 0.002

# A server whose subsystem "cat" starts that program in a pseudo-terminal, which echoes.
_SERVER = """
import os, sys
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted_qmon import HMPFactory, Monitor, QMPFactory
from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
from twisted_qmon.ssh.command import CommandFactory
from twisted_qmon.ssh.factory import SSHFactory
from twisted_qmon.ssh.host_key import load_host_key

class Program(ProcessProtocol):
    def __init__(self, session):
        self.outReceived = session.transport.write

class Cat(Protocol):
    def connectionMade(self):
        self.process = reactor.spawnProcess(Program(self), "cat", ["cat"], env=os.environ, usePTY=True)
        self.transport.write(b"(cat) ")
    def dataReceived(self, data):
        self.process.write(data)
    def connectionLost(self, reason):
        self.process.signalProcess("KILL")

class Server(SSHFactory):
    def subsystem(self, name):
        return Cat() if name == b"cat" else super().subsystem(name)

folder, port = sys.argv[1], sys.argv[2]
monitor = Monitor(clock=reactor)
factory = Server(
    HMPFactory(monitor), CommandFactory(monitor), QMPFactory(monitor),
    load_host_key(f"{folder}/host"), AuthorizedKeys(f"{folder}/id.pub"),
)
serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(factory)
reactor.run()
"""


@contextmanager
def _serving(folder: Path) -> Iterator[list[str]]:
    """:return: the command C{ssh} for the server"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")], check=True)
    (folder / "id.pub").chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(folder), port], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        while process.poll() is None and socket.socket().connect_ex(("127.0.0.1", int(port))):
            time.sleep(0.02)
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        yield [
            "ssh", "-F", "/dev/null", "-p", port, "-i", str(folder / "id"), "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder / 'known'}", "127.0.0.1",
        ]  # fmt: skip
    finally:
        process.kill()
        process.wait()


def _echoes(commands: Sequence[Sequence[str]]) -> list[list[float]]:
    """:return: the seconds from each key to its echo, of each command; a key at one, then the same key at the next"""
    import pexpect

    children = [pexpect.spawn(program, list(words), dimensions=(24, 80), timeout=20) for program, *words in commands]
    times: list[list[float]] = [[] for _ in children]
    try:
        for child in children:
            child.delaybeforesend = None
            child.expect_exact(") ")
        for number in range(KEYS):
            # One that has not been on the screen before: it can only be the echo.
            key = chr(0x4E00 + number).encode()
            for n in range(len(children)) if number % 2 else range(len(children) - 1, -1, -1):
                time.sleep(0.003)
                started = time.perf_counter()
                children[n].send(key)
                children[n].expect_exact(key)
                times[n].append(time.perf_counter() - started)
            if number % 20 == 19:
                for child in children:
                    child.send("\x15")
        return times
    finally:
        for child in children:
            child.close(force=True)


def ssh_echo(pairs: int, seconds: float) -> Iterable[Row]:
    """A key's echo over SSH; without C{ssh} nothing is measured."""
    if shutil.which("ssh") is None:
        return
    title = "a key's echo over SSH"
    with tempfile.TemporaryDirectory(prefix="bench-") as name, _serving(Path(name)) as ssh:
        ours, cat = _echoes([ssh, [*ssh[:-1], "-tt", "-s", ssh[-1], "cat"]])
    yield Row(title, "the human monitor", rate=median(ours) * 1000, unit="ms")
    yield Row(title, "cat", rate=median(cat) * 1000, unit="ms", ratio=paired_ratio(ours, cat))
    allowed = median(cat) + LONGER
    yield Row(
        title, f"cat + {LONGER * 1000:.0f} ms", rate=allowed * 1000, unit="ms",
        ratio=paired_ratio(ours, [allowed] * len(ours)), goal=1.0, smaller=True,
    )  # fmt: skip


MEASUREMENTS: dict[str, Callable[[int, float], Iterable[Row]]] = {"ssh-echo": ssh_echo}

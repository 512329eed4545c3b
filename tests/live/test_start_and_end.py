"""How twistd qmon starts as a daemon, or doesn't; how signals end it; and what unix sockets go through on the way."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.twistd_process import PATIENCE, QMP, ROOT, SLOW, TWISTD, Twistd, until

pytestmark = pytest.mark.live


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def daemonize(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run C{twistd qmon} without C{-n}. :return: what came of it, once the process that was started is over"""
    return subprocess.run(
        [*TWISTD, "qmon", *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def fails(folder: Path, words: str, *arguments: str) -> None:
    """It says on one line why it can't start, with status 1; the log has the whole line; nothing is left running."""
    result = daemonize(folder, *arguments)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line for line in lines if words[:40] in line] == lines[:1], result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert words in (folder / "twistd.log").read_text()
    until("its end", lambda: not (folder / "twistd.pid").exists())


def test_daemon(tmp_path: Path) -> None:
    """It starts, serves, and ends at SIGTERM."""
    assert daemonize(tmp_path).returncode == 0
    pid = int(until("a pid", lambda: (tmp_path / "twistd.pid").read_text()))
    client = QMP(tmp_path / "qmp.sock")
    assert client.execute("query-process")["pid"] == pid
    client.close()
    os.kill(pid, signal.SIGTERM)
    until("the end", lambda: not (tmp_path / "twistd.pid").exists())
    assert not (tmp_path / "qmp.sock").exists()


def test_daemon_without_a_folder(tmp_path: Path) -> None:
    """A missing folder is told, and the process that was started does not wait for ever."""
    fails(
        tmp_path, "can't listen at unix:nowhere/qmp.sock: No such file or directory", "--qmp", "unix:nowhere/qmp.sock"
    )


def test_daemon_with_busy_ports(tmp_path: Path) -> None:
    """So is a TCP port, a socket's path, and a port of a hosted plugin that another process has."""
    with socket.socket() as busy, socket.socket(socket.AF_UNIX) as path:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        path.bind(str(tmp_path / "busy.sock"))
        path.listen()
        listen = f"tcp:{port}:interface=127.0.0.1"
        fails(tmp_path, f"can't listen at {listen}: Address already in use", "--qmp", listen)
        fails(tmp_path, "can't listen at unix:busy.sock: another process serves", "--qmp", "unix:busy.sock")
        fails(tmp_path, "web: Couldn't listen on 127.0.0.1:", "web", "--path", ".", "--listen", listen)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Twistd]:
    """A process with slow commands and a drain of a minute."""
    (tmp_path / "slow_provider.py").write_text(SLOW)
    arguments = ["--qmp", "unix:qmp.sock", "--provider", "slow_provider.Slow", "--drain", "60"]
    with Twistd(tmp_path, arguments, paths=[tmp_path]) as process:
        yield process


def begin(process: Twistd, *commands: str) -> QMP:
    """:return: a client for which commands are pending, numbered from 1"""
    client = process.qmp()
    for number, command in enumerate(commands, 1):
        client.socket.sendall(json.dumps({"execute": command, "id": number}).encode())
    until("pending", lambda: len(process.qmp().execute("query-pending")) > len(commands) - 1)
    return client


def rest_of(client: QMP) -> list[Any]:
    messages = [json.loads(line) for line in client.reader]
    return [
        m.get("event", m.get("error", {}).get("desc", m.get("return"))) for m in messages if m.get("event") != "LOG"
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_second_signal(slow: Twistd, number: signal.Signals) -> None:
    """It ends the drain at once: what is pending is cancelled and answered, then SHUTDOWN and the end; no traceback."""
    client = begin(slow, "never", "never")
    slow.popen.send_signal(number)
    until("the drain", lambda: not (slow.folder / "qmp.sock").exists())
    time.sleep(0.2)
    assert slow.popen.poll() is None
    began = time.monotonic()
    slow.popen.send_signal(number)
    assert rest_of(client) == ["Command 'never' was cancelled", "Command 'never' was cancelled", "SHUTDOWN"]
    slow.ends()
    assert time.monotonic() - began < 5
    assert "2 of 2 pending requests cancelled" in slow.output()
    assert "Traceback" not in slow.output()


def test_hang_up_drains(slow: Twistd) -> None:
    """SIGHUP ends the process as SIGTERM does: what is pending is answered first."""
    client = begin(slow, "soon")
    slow.popen.send_signal(signal.SIGHUP)
    assert rest_of(client) == ["done", "SHUTDOWN"]
    assert slow.ends() == 0
    assert "the drain was clean" in slow.output()


def test_signal_during_quit(slow: Twistd) -> None:
    """A signal while C{quit} drains is no error, and a second one ends that drain."""
    client = begin(slow, "never")
    client.socket.sendall(b'{"execute":"quit","id":2}')
    until("the drain", lambda: not (slow.folder / "qmp.sock").exists())
    slow.popen.send_signal(signal.SIGTERM)
    until("the first", lambda: "Received SIGTERM, shutting down" in slow.output(), slow)
    slow.popen.send_signal(signal.SIGTERM)
    assert rest_of(client) == ["Command 'never' was cancelled", "SHUTDOWN", {}]
    slow.ends()
    assert "Traceback" not in slow.output()


def test_deaf_client_at_the_end(slow: Twistd) -> None:
    """A client that does not read keeps the end waiting for seconds, one more signal ends that too."""
    deaf = begin(slow)
    deaf.socket.sendall(b'{"execute":"big"}' * 8)
    until("they are served", lambda: len(process_queue(slow)) == 1)
    slow.popen.send_signal(signal.SIGTERM)
    until("the drain is over", lambda: "the drain was clean" in slow.output(), slow)
    began = time.monotonic()
    slow.popen.send_signal(signal.SIGTERM)
    slow.ends()
    assert time.monotonic() - began < 3


def process_queue(process: Twistd) -> list[Any]:
    """:return: the connections with bytes that their clients have not read"""
    return [info for info in process.qmp().execute("query-connections") if info.get("queued")]


@pytest.mark.parametrize("limit", ["--idle-timeout", "--negotiation-timeout"])
def test_deaf_clients_lose_their_slots(limit: str, tmp_path: Path) -> None:
    """A client that sends much and reads nothing is disconnected soon after its time limit, and another one fits in."""
    with Twistd(tmp_path, ["--qmp", "unix:qmp.sock", "--max-connections", "1", limit, "1"]) as process:
        until("the socket", (tmp_path / "qmp.sock").exists, process)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(tmp_path / "qmp.sock"))
            deaf.settimeout(1)
            command = "query-qmp-schema" if limit == "--idle-timeout" else "nonsense"
            if limit == "--idle-timeout":
                deaf.sendall(b'{"execute":"qmp_capabilities"}')
            with pytest.raises(TimeoutError):
                while True:
                    deaf.sendall(f'{{"execute":"{command}"}}'.encode() * 100)
            began = time.monotonic()

            def served() -> Any:
                try:
                    return process.qmp()
                except (EOFError, ConnectionError):
                    return None

            until("a free slot", served, process)
            assert time.monotonic() - began < 10


PROCESSES = 12
ROUNDS = 150

# Listens, each time that it is told to, as one listener of the service does, and ends that in order.
RACER = """
import sys
from twisted.internet import reactor
from twisted_qmon import Monitor, QMPFactory
from twisted_qmon.service import Listener

listener = Listener(reactor, "unix:" + sys.argv[1], QMPFactory(Monitor(clock=reactor)))

print("ready", flush=True)
while sys.stdin.readline():
    try:
        listener.startService()
    except SystemExit as e:
        print("refused" if "another process serves this socket" in str(e) else e, flush=True)
    else:
        print("serving", flush=True)
    sys.stdin.readline()
    stopped = []
    listener.stopService().addCallback(stopped.append)
    while not stopped:
        reactor.iterate()
    print("ended", flush=True)
"""


class Racers:
    """Processes that all do the same at the same time."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", RACER, str(path)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes = [subprocess.Popen(command, env=environment(), **pipes) for _ in range(PROCESSES)]
        assert self.answers() == ["ready"] * PROCESSES

    def all_go(self) -> list[str]:
        """Have each take its next step. :return: what they say to it, sorted"""
        for process in self.processes:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        return self.answers()

    def answers(self) -> list[str]:
        return sorted(process.stdout.readline().strip() for process in self.processes)  # type: ignore[union-attr]

    def end(self) -> None:
        for process in self.processes:
            process.communicate(timeout=PATIENCE)


@pytest.mark.slow
def test_one_of_many_takes_over(tmp_path: Path) -> None:
    """Of twelve processes that find the same stale socket one serves it, each time; the others say so."""
    path = tmp_path / "sock"
    racers = Racers(path)
    try:
        for _ in range(ROUNDS):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))
            assert racers.all_go() == ["refused"] * (PROCESSES - 1) + ["serving"]
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            assert racers.all_go() == ["ended"] * PROCESSES
            assert not path.exists()
    finally:
        racers.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another user")
def test_uid(tmp_path: Path) -> None:
    """With C{twistd --uid} the sockets belong to the user that the process becomes: it can be talked to, and removes them."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="qmon-") as name:
        folder = Path(name)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        with Twistd(folder, ["--qmp", "unix:qmp.sock"], options=["--uid", "nobody", "--pidfile", ""]) as process:
            client = process.qmp()
            assert client.execute("query-process")["pid"] == process.popen.pid
            for path in (folder / "qmp.sock", folder / "qmp.sock.lock"):
                status = os.lstat(path)
                assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
                    nobody.pw_uid,
                    nobody.pw_gid,
                    0o600,
                )
            connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
            python = ["/usr/bin/python3", "-c", connect, str(folder / "qmp.sock")]
            subprocess.run(python, user=nobody.pw_uid, group=nobody.pw_gid, check=True, timeout=PATIENCE)
            process.popen.terminate()
            process.ends()
            assert "Traceback" not in process.output()
        assert not (folder / "qmp.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another user")
def test_uid_in_a_folder_of_root(tmp_path: Path) -> None:
    """In a folder where that user may not remove anything, the end is in order all the same, and the next start takes over."""
    with tempfile.TemporaryDirectory(prefix="qmon-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for _ in range(2):
            with Twistd(folder, ["--qmp", "unix:qmp.sock"], options=["--uid", "nobody", "--pidfile", ""]) as process:
                process.qmp()
                process.popen.terminate()
                process.ends()
                assert "can't remove" in process.output()
                assert "Traceback" not in process.output()
            assert (folder / "qmp.sock").exists()

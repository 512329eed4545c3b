"""
A C{twistd -n qmon web} that is stuck in a resource, asked meanwhile: whole processes, seen from outside.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.live.twistd_process import PATIENCE, QMP, Program, Twistd, free_port, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it needs Linux"),
]

RESOURCE = """
import ctypes, os, sys, time
from twisted.web.resource import Resource

class Slow(Resource):
    isLeaf = True

    def render_GET(self, request):
        seconds = float(request.args[b"seconds"][0])
        getattr(self, request.args[b"how"][0].decode())(seconds)
        return b"done"

    def sleep(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end or os.access("stay", os.F_OK):
            time.sleep(0.2)  # asleep

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end or os.access("stay", os.F_OK):
            sum(range(100))  # busy

    def hold(self, seconds):
        usleep = ctypes.PyDLL(None).usleep
        with open("began", "w") as file:
            file.write(f"{time.monotonic()}\\n")
        usleep(int(seconds * 1e6))  # held

    def write(self, seconds):
        for _ in range(10000):
            sys.__stdout__.write("x" * 100 + "\\\\n")  # full
            sys.__stdout__.flush()
"""

# Where each of them is stuck.
LINES = {line.rpartition("# ")[2]: number for number, line in enumerate(RESOURCE.splitlines(), 1) if "  # " in line}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the process runs, with the module of the resource; short, for the sake of the unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="qmon-") as name:
        (Path(name) / "slow.py").write_text(RESOURCE)
        yield Path(name)


class Server(Twistd):
    """A web server with a slow resource, both watchdog's doors and a limit of 0.3 s."""

    def __init__(self, folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        doors = ["--watchdog", "unix:wd.sock", "--watchdog-hmp", "unix:wdh.sock", "--stall", "0.3"]
        web = ["web", "--class", "slow.Slow", "--listen", f"tcp:{self.port}:interface=127.0.0.1"]
        super().__init__(folder, [*doors, *arguments, *web], paths=[folder], options=("--pidfile=", *options))

    def get(self, how: str, seconds: float) -> None:
        """Ask for the resource, and wait for it."""
        address = f"http://127.0.0.1:{self.port}/?how={how}&seconds={seconds}"
        with urllib.request.urlopen(address, timeout=PATIENCE) as page:
            assert page.read() == b"done"

    @contextmanager
    def stuck(self, how: str, seconds: float) -> Iterator[None]:
        """The reactor is stuck in here for as long or longer, as the watchdog sees it; at the end it no longer is."""
        thread = Thread(target=self.get, args=(how, seconds))
        watchdog = self.qmp("wd.sock")
        stay = self.folder / "stay"
        stay.touch()
        try:
            thread.start()
            until("a stall", lambda: any(map(_in_the_resource, watchdog.execute("query-stalls"))), self)
            yield
        finally:
            stay.unlink()
            thread.join(PATIENCE)
        until("its end", lambda: all(each["over"] for each in watchdog.execute("query-stalls")), self)

    def person(self, *lines: str) -> str:
        """:return: what a person sees at the watchdog's human monitor"""
        with socket.socket(socket.AF_UNIX) as person:
            person.settimeout(PATIENCE)
            person.connect(str(self.folder / "wdh.sock"))
            person.sendall("".join(f"{line}\n" for line in (*lines, "exit")).encode())
            return b"".join(iter(lambda: person.recv(65536), b"")).decode()


def _in_the_resource(stall: Any) -> bool:
    # A busy machine may let the reactor stall elsewhere, too.
    return not stall["over"] and bool(stall["stack"]) and _place(stall["stack"])[0] == "slow.py"


def _place(frames: Any) -> tuple[str, int, str]:
    last = frames[-1]
    return os.path.basename(last["file"]), last["line"], last["function"].rpartition(".")[2]


@pytest.mark.parametrize(("how", "mark"), [("sleep", "asleep"), ("spin", "busy")])
def test_asked_while_stuck(folder: Path, how: str, mark: str) -> None:
    """Both doors answer while the reactor is stuck, and name file and line; afterwards there is an event, and a warning."""
    with Server(folder) as server:
        client = server.qmp()
        client.execute("query-name")
        before = {each["number"] for each in server.qmp("wd.sock").execute("query-stalls")}
        with server.stuck(how, 2.0):
            watchdog = server.qmp("wd.sock")
            (stall,) = [each for each in watchdog.execute("query-stalls") if _in_the_resource(each)]
            assert stall["number"] not in before
            main = watchdog.execute("query-stacks")["threads"][0]
            assert "not available from the watchdog" in watchdog.error("quit")
            assert watchdog.execute("query-process")["pid"] == server.popen.pid
            seen = server.person("info stalls", "info stacks", "quit", "info process")
            assert all(not each["over"] for each in watchdog.execute("query-stalls")[-1:]), "it took too long to ask"
        file, line, function = _place(stall["stack"])
        assert (file, function) == ("slow.py", how)
        assert abs(line - LINES[mark]) <= 1
        assert "slow.py" in {os.path.basename(frame["file"]) for frame in main["stack"]}
        assert "slow.py" in seen
        assert "so far" in seen
        assert "Error: The command quit is not available from the watchdog" in seen
        event = client.event("REACTOR_STALL")["data"]
        while event["seconds"] < 1.9:
            event = client.event("REACTOR_STALL")["data"]
        assert 1.9 <= event["seconds"] <= 2 * PATIENCE
        assert _place(event["stack"])[0] == "slow.py"
        (kept,) = [each for each in client.execute("query-stalls") if each["number"] == stall["number"]]
        assert kept["over"]
        assert kept["seconds"] == event["seconds"]
        assert (
            f"it was at {kept['stack'][-1]['file'].rpartition('/')[2]}:{kept['stack'][-1]['line']}" in server.output()
        )


def _held(server: Server, seconds: float) -> tuple[Any, float]:
    """Hold the lock, and ask meanwhile. :return: the last stall, and seconds from before the C call to the reply"""
    watchdog = server.qmp("wd.sock")
    before = {each["number"] for each in watchdog.execute("query-stalls")}
    began = server.folder / "began"
    began.unlink(missing_ok=True)
    thread = Thread(target=server.get, args=("hold", seconds))
    thread.start()
    until("the C call", lambda: began.exists() and began.read_text().endswith("\n"), server)
    watchdog.execute("query-name")
    answered = time.monotonic()
    thread.join(PATIENCE)
    stalls = until(
        "the record",
        lambda: [each for each in watchdog.execute("query-stalls") if each["over"] and each["number"] not in before],
        server,
    )
    return stalls[-1], answered - float(began.read_text())


def test_c_call_that_holds_the_lock(folder: Path) -> None:
    """
    While a C function holds the interpreter's lock nothing answers; behind it what was asked is, and it is recorded.

    Behind the C function the watchdog's thread has the lock for some milliseconds. A busy machine may let it sleep through them,
    and what is seen then is what comes next: so it is tried several times, and two must show the line itself.
    """
    seen: list[object] = []
    with Server(folder) as server:
        until("the web server", lambda: _listens(server.port), server)
        right = 0
        while right < 2 and len(seen) < 8:
            stall, waited = _held(server, 1.0)
            place = stall["stack"] and _place(stall["stack"])
            seen.append((place, stall["frozen"], stall["seconds"], waited))
            held = place == ("slow.py", LINES["held"], "hold") and stall["frozen"] and 0.9 <= stall["seconds"] <= 10
            right += held and waited >= 1.0
    assert right == 2, seen


def test_stuck_in_its_own_log(folder: Path) -> None:
    """A process whose output no other process reads is stuck in writing it; the watchdog, which logs nothing itself, answers."""
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    port = free_port()
    program = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "qmon"]
    program += ["--watchdog", "unix:wd.sock", "--watchdog-hmp", "unix:wdh.sock", "--stall", "0.3"]
    program += ["web", "--class", "slow.Slow", "--listen", f"tcp:{port}:interface=127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])}
    popen = subprocess.Popen(program, cwd=folder, env=environment, stdout=writer, stderr=writer)
    os.close(writer)
    clients: list[QMP] = []
    try:

        def connect() -> QMP | None:
            try:
                clients.append(QMP(folder / "wd.sock"))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            return clients[-1]

        first = until("the watchdog", connect)
        until("the web server", lambda: _listens(port))
        asking = Thread(target=_give_up, args=(f"http://127.0.0.1:{port}/?how=write&seconds=1",))
        asking.start()
        until("a stall", lambda: any(not each["over"] for each in first.execute("query-stalls")))
        for _ in range(20):
            # Each connection and each refusal is something to log.
            client = connect()
            assert client is not None
            client.error("quit")
            assert _place(client.execute("query-stalls")[-1]["stack"])[0] == "slow.py"
    finally:
        for client in clients:
            client.close()
        popen.kill()
        popen.wait(PATIENCE)
        os.close(reader)
    asking.join(PATIENCE)


def _give_up(address: str) -> None:
    with suppress(OSError):
        urllib.request.urlopen(address, timeout=PATIENCE).close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_terminated_while_stuck(folder: Path) -> None:
    """SIGTERM while the reactor is stuck: the watchdog answers until it runs; then everything ends, and no socket is left."""
    with Server(folder) as server:
        watchdog = server.qmp("wd.sock")
        until("the web server", lambda: _listens(server.port))
        stay = folder / "stay"
        stay.touch()
        thread = Thread(target=_give_up, args=(f"http://127.0.0.1:{server.port}/?how=spin&seconds=0",))
        thread.start()
        until("a stall", lambda: any(map(_in_the_resource, watchdog.execute("query-stalls"))), server)
        server.popen.send_signal(signal.SIGTERM)
        assert watchdog.execute("query-stalls")[-1]["over"] is False
        stay.unlink()
        assert server.ends() in (0, -signal.SIGTERM)
        thread.join(PATIENCE)
        assert not list(folder.glob("*.sock"))
        assert watchdog.reader.read() == b""
        assert "did not run for" in server.output()


def test_killed_while_stuck(folder: Path) -> None:
    """After SIGKILL the next process takes the sockets over."""
    with Server(folder) as server:
        watchdog = server.qmp("wd.sock")
        until("the web server", lambda: _listens(server.port))
        thread = Thread(target=_give_up, args=(f"http://127.0.0.1:{server.port}/?how=sleep&seconds={PATIENCE}",))
        thread.start()
        until("a stall", lambda: any(map(_in_the_resource, watchdog.execute("query-stalls"))), server)
        server.popen.kill()
        server.ends()
        thread.join(PATIENCE)
        assert (folder / "wd.sock").is_socket()
    with Server(folder) as server:
        assert server.qmp("wd.sock").execute("query-process")["pid"] == server.popen.pid


def test_stopped_by_a_signal(folder: Path) -> None:
    """A process that was stopped as a whole says that it was, and blames no line of the program."""
    with Server(folder) as server:
        watchdog = server.qmp("wd.sock")
        watchdog.execute("query-name")
        until("the reactor", lambda: server.qmp().execute("query-reactor")["latency"]["mean"] >= 0)
        before = {each["number"] for each in watchdog.execute("query-stalls")}
        server.popen.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        server.popen.send_signal(signal.SIGCONT)
        stalls = until(
            "the record",
            lambda: [
                each
                for each in watchdog.execute("query-stalls")
                if each["over"] and each["number"] not in before and each["seconds"] >= 0.9
            ],
        )
        # The least of it is the second in which it was stopped; a busy machine may have held it up just before.
        stall = stalls[-1]
        assert stall["frozen"]
        assert "slow.py" not in {os.path.basename(frame["file"]) for frame in stall["stack"]}


def test_access_and_audit(folder: Path) -> None:
    """The watchdog's doors have their levels, the rules hold there, also after SIGHUP, and the record has who asked, at once."""
    rules = folder / "access.toml"
    rules.write_text('default = "operate"\n')
    with Server(
        folder, "--access", "access.toml", "--audit", "audit", "--watchdog", "unix:ro.sock:level=observe"
    ) as server:
        observer, watchdog = server.qmp("ro.sock"), server.qmp("wd.sock")
        assert "needs operate" in observer.error("query-stacks")
        with server.stuck("sleep", 0.5):
            watchdog.execute("query-stacks")
            lines = [json.loads(line) for line in (folder / "audit").read_text().splitlines()]
            assert ("unix:wd.sock", "query-stacks", "end") in {
                (line["endpoint"], line.get("command"), line["phase"]) for line in lines
            }
            assert ("unix:ro.sock", "query-stacks", "refused") in {
                (line["endpoint"], line.get("command"), line["phase"]) for line in lines
            }
        assert "uid:" in server.output()
        (folder / "audit").rename(folder / "audit.1")
        rules.write_text('default = "none"\n')
        server.popen.send_signal(signal.SIGHUP)
        assert "has no access here" in json.loads(watchdog.reader.readline())["error"]["desc"]
        assert watchdog.reader.read() == b""
        until("the audit to be opened again", lambda: (folder / "audit").exists())


EMBEDDED = """
import os, sys, threading, time
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted_qmon import Monitor, make_monitor_service

def left():
    names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("qmon"))
    return len(os.listdir("/proc/self/fd")), names, sorted(name for name in os.listdir(".") if name.endswith(".sock"))

async def main():
    monitor = Monitor(clock=reactor)
    service = make_monitor_service(reactor, monitor, ["unix:qmp.sock"], watchdog=["unix:wd.sock"], stall=0.2)
    service.startService()
    await service.stopService()
    before = left()
    for _ in range(5):
        service.startService()
        await deferLater(reactor, 0.1)
        print(left()[1:])
        time.sleep(0.4)
        await deferLater(reactor, 0.1)
        stopped = service.getServiceNamed("watchdog").stopService()
        # The main thread is stuck while the other one ends.
        end = time.monotonic() + 30
        while left()[1:] != ([], ["qmp.sock"]) and time.monotonic() < end:
            time.sleep(0.01)
        print(left()[1:])
        await stopped
        await service.stopService()
        assert left() == before, (left(), before)
    service.startService()
    # Each sleep is one; a busy machine may add some.
    print(len((await monitor.execute("query-stalls"))) >= 5)
    # The process ends while the thread runs.
    await deferLater(reactor, 0.1)

from twisted.internet.defer import Deferred
done = Deferred.fromCoroutine(main())
done.addErrback(lambda failure: print(failure.getTraceback()))
done.addBoth(lambda _: reactor.stop())
reactor.run()
"""


def test_embedded(folder: Path) -> None:
    """Without twistd: it is started and stopped again and again, and leaves nothing; its end does not need the main thread."""
    with Program(folder, [sys.executable, "-c", EMBEDDED]) as program:
        assert program.ends() == 0, program.output()
        lines = program.output().splitlines()
    assert lines == [*["(['qmon-watchdog'], ['qmp.sock', 'wd.sock'])", "([], ['qmp.sock'])"] * 5, "True"]


def test_daemon(folder: Path) -> None:
    """A daemon's thread is started behind the fork; what can't be listened at is reported."""
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    with Program(folder, [*twistd, "qmon", "--watchdog", "unix:daemon.sock"]) as program:
        assert program.ends() == 0, program.output()
        pid = int(until("the pid", lambda: (folder / "twistd.pid").exists() and (folder / "twistd.pid").read_text()))
        try:
            assert program.qmp("daemon.sock").execute("query-process")["pid"] == pid
        finally:
            os.kill(pid, signal.SIGTERM)
            until("its end", lambda: not (folder / "twistd.pid").exists())
    with Program(folder, [*twistd, "qmon", "--watchdog", "unix:missing/daemon.sock"]) as program:
        assert program.ends() == 1
        assert "can't listen at unix:missing/daemon.sock" in program.output()


def test_answers_in_time(folder: Path) -> None:
    """While the main thread sleeps query-stacks takes milliseconds, and while it computes not much more: the best of ten does."""
    with Server(folder) as server:
        for how, limit in (("sleep", 0.05), ("spin", 0.5)):
            with server.stuck(how, 0.5):
                watchdog = server.qmp("wd.sock")
                times = []
                for _ in range(10):
                    began = time.monotonic()
                    watchdog.execute("query-stacks")
                    times.append(time.monotonic() - began)
                assert min(times) < limit, (how, times)

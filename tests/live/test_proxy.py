"""
The proxy in front of a real QEMU: many machines, the same answers, life and death.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live.needs import missing, need
from tests.live.real_qemu import Person, RealQemu, StorageDaemon
from tests.live.twistd_process import PATIENCE, QMP, Twistd, until

pytestmark = pytest.mark.live

BARE, BARE_COMMANDS = 40, 450
LIBRARY, LIBRARY_COMMANDS = 10, 200


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[RealQemu]:
    """A running QEMU."""
    with RealQemu(tmp_path) as qemu:
        yield qemu


@pytest.fixture
def proxy(tmp_path: Path, qemu: RealQemu) -> Iterator[Twistd]:
    """A proxy to it."""
    with Twistd(tmp_path, ["--qemu", f"unix:{qemu.socket}"]) as proxy:
        connected(proxy)
        yield proxy


def connected(proxy: Twistd, command: str = "query-block") -> QMP:
    """A client of the proxy, once QEMU is behind it, which has that command."""
    client = proxy.qmp()
    until("QEMU behind the proxy", lambda: "return" in client.answer(command), proxy)
    return client


# -- many clients

_unique = itertools.count(1000)


def make_command(chance: random.Random) -> tuple[str, dict[str, Any] | None, Any]:
    """A command whose answer no other client gets: name, arguments, and the answer."""
    number = next(_unique)
    kind = chance.randrange(3)
    if kind == 0:
        return "human-monitor-command", {"command-line": f"print /d {number}"}, {"return": f"{number}\r\n"}
    if kind == 1:
        error = {"class": "DeviceNotFound", "desc": f"Device 'd{number}' not found"}
        return "device_del", {"id": f"d{number}"}, {"error": error}
    error = {"class": "CommandNotFound", "desc": f"The command x-{number} has not been found"}
    return f"x-{number}", None, {"error": error}


async def bare_client(path: Path, count: int, seed: int) -> int:
    """A client on a bare socket: pipelines, and uses the same ids as everybody else. Returns how many answers were right."""
    chance = random.Random(seed)
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
    await reader.readline()
    writer.write(b'{"execute": "qmp_capabilities"}\n')
    assert json.loads(await reader.readline()) == {"return": {}}
    right = 0
    waiting: dict[Any, Any] = {}
    unused = [0, 1, "0", "1", None, True, 1.5, [0], {"id": 0}]
    sent = 0
    while right < count:
        while sent < count and unused:
            id = unused.pop()
            name, arguments, answer = make_command(chance)
            waiting[json.dumps(id)] = answer
            message = {"execute": name, "id": id}
            writer.write(
                json.dumps(message if arguments is None else {**message, "arguments": arguments}).encode() + b"\n"
            )
            sent += 1
        message = json.loads(await reader.readline())
        id = message.pop("id")
        assert message == waiting.pop(json.dumps(id)), message
        unused.insert(0, id)
        right += 1
    assert not waiting
    writer.close()
    return right


async def library_client(path: Path, count: int, seed: int) -> int:
    """The same with qemu.qmp."""
    from qemu.qmp import QMPClient
    from qemu.qmp.qmp_client import ExecuteError

    chance = random.Random(seed)
    client = QMPClient(f"library-{seed}")
    await client.connect(str(path))

    async def one() -> int:
        name, arguments, answer = make_command(chance)
        try:
            result = {"return": await client.execute(name, arguments)}
        except ExecuteError as e:
            # Before 0.0.4 of the library the error itself was one level higher.
            error: Any = getattr(e.error, "error", e.error)
            result = {"error": {"class": e.error_class, "desc": error.desc}}
        assert result == answer
        return 1

    right = 0
    for _ in range(count // 10):
        right += sum(await asyncio.gather(*(one() for _ in range(10))))
    await client.disconnect()
    return right


@pytest.mark.slow
def test_many_clients(proxy: Twistd) -> None:
    """Fifty clients, ids colliding on purpose, 20,000 commands: every answer at its owner, with its id."""
    try:
        import qemu.qmp  # noqa: F401
    except ImportError:
        missing("qemu.qmp (pip install qemu.qmp)")

    async def everybody() -> int:
        path = proxy.folder / "qmp.sock"
        clients = [bare_client(path, BARE_COMMANDS, seed) for seed in range(BARE)]
        clients += [library_client(path, LIBRARY_COMMANDS, seed) for seed in range(LIBRARY)]
        return sum(await asyncio.wait_for(asyncio.gather(*clients), 240))

    assert asyncio.run(everybody()) == 20_000


# -- the same answers

REQUESTS: list[tuple[str, Any]] = [
    ("query-version", {"x": 1}),
    ("query-status", {"x": 1}),
    ("human-monitor-command", {}),
    ("human-monitor-command", {"command-line": "info version"}),
    ("human-monitor-command", {"command-line": "help"}),
    ("human-monitor-command", {"command-line": "nope"}),
    ("human-monitor-command", {"command-line": "info cpus", "cpu-index": 99}),
    ("human-monitor-command", {"command-line": 5}),
    ("device_del", {"id": "nope"}),
    ("device_add", {"driver": "nope"}),
    ("block-stream", {"device": "nope"}),
    ("balloon", {"value": 1}),
    ("query-balloon", None),
    ("qom-get", {"path": "/machine", "property": "nope"}),
    ("qom-get", {"path": "/machine", "property": "type"}),
    ("qom-list", {"path": "/machine"}),
    ("qom-list-types", None),
    ("device-list-properties", {"typename": "ide-hd"}),
    ("query-command-line-options", None),
    ("query-cpu-definitions", None),
    ("migrate-pause", None),
    ("stop", None),
    ("no-such-command", {"a": "é\u20ac\U0001f600\n"}),
    ("netdev_add", {"type": "nope", "id": "x"}),
]


def test_same_answers(qemu: RealQemu, proxy: Twistd) -> None:
    """What QEMU answers directly, it answers through the proxy: all commands without arguments that only look, and errors."""
    direct, through = QMP(qemu.other), proxy.qmp()
    try:
        assert through.greeting == direct.greeting
        schema = direct.execute("query-qmp-schema")
        types = {each["name"]: each for each in schema}
        requests = list(REQUESTS)
        for each in schema:
            if each["meta-type"] == "command" and each["name"].startswith(("query-", "x-query-")):
                members = types[each["arg-type"]]["members"]
                # Those two have our own commands in them.
                if all("default" in member for member in members) and each["name"] not in (
                    "query-commands",
                    "query-qmp-schema",
                ):
                    requests.append((each["name"], None))
        compared = 0
        for name, arguments in requests:
            first, second = direct.answer(name, arguments), direct.answer(name, arguments)
            # Some count what has happened.
            if first == second:
                assert through.answer(name, arguments) == first, name
                compared += 1
        assert compared > 70
        ours = through.execute("query-qmp-schema")
        assert ours[: len(schema)] == schema
        names = [each["name"] for each in through.execute("query-commands")]
        assert set(names) > {each["name"] for each in direct.execute("query-commands")}
        assert len(names) == len(set(names))
    finally:
        direct.socket.close()
        direct.reader.close()


def test_events(qemu: RealQemu, proxy: Twistd) -> None:
    """Every client gets QEMU's events, with QEMU's timestamps, in its order, on the same side of the reply."""
    direct = QMP(qemu.other)
    clients = [proxy.qmp() for _ in range(5)]
    for _ in range(5):
        clients[0].execute("cont")
        clients[0].execute("stop")
    direct.execute("query-status")
    expected = [each for each in direct.events if each["event"] in ("RESUME", "STOP")]
    assert len(expected) == 10
    for client in clients:
        client.execute("query-status")
        assert [each for each in client.events if each["event"] in ("RESUME", "STOP")] == expected
    direct.reader.close()
    direct.socket.close()


def test_busy_main_loop(qemu: RealQemu, proxy: Twistd) -> None:
    """While QEMU's main loop hangs, what we know ourselves is answered, and what QEMU does out of band is done."""
    fifo = qemu.folder / "fifo"
    os.mkfifo(fifo)
    hanging, other = proxy.qmp(), proxy.qmp()
    image = {"driver": "blkdebug", "node-name": "b", "config": str(fifo), "image": {"driver": "null-co"}}
    hanging.socket.sendall(json.dumps({"execute": "blockdev-add", "arguments": image, "id": "hangs"}).encode())

    def pending() -> list[Any]:
        return [each for each in other.execute("query-pending") if each["command"] == "blockdev-add"]

    until("the command is pending", pending)
    try:
        assert other.execute("query-version")["qemu"]["major"] > 0
        assert other.execute("query-commands")
        assert other.execute("query-qmp-schema")
        assert "stop" in other.execute("human-monitor-command", {"command-line": "help"})
        assert [each["id"] for each in pending()] == ["hangs"]
        urgent = proxy.qmp()
        # A client without oob can't send it; one that has it can.
        assert "unexpected" in json.loads(_exchange(urgent, b'{"exec-oob": "migrate-pause"}'))["error"]["desc"]
        with socket.socket(socket.AF_UNIX) as bare:
            bare.settimeout(PATIENCE)
            bare.connect(str(proxy.folder / "qmp.sock"))
            reader = bare.makefile("rb")
            bare.sendall(b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}')
            bare.sendall(b'{"exec-oob": "migrate-pause", "id": "now"}')
            replies = [json.loads(reader.readline()) for _ in range(3)]
            reader.close()
        assert (replies[2]["id"], replies[2]["error"]["class"]) == ("now", "GenericError")
    finally:
        # QEMU goes on when the other end of it is opened.
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        os.close(descriptor)
    assert json.loads(hanging.reader.readline())["id"] == "hangs"
    assert other.execute("query-status")["running"] is False


def _exchange(client: QMP, data: bytes) -> bytes:
    client.socket.sendall(data + b"\n")
    return client.reader.readline()


# -- life and death


def test_log(qemu: RealQemu, proxy: Twistd) -> None:
    """Connecting, losing QEMU and each failed attempt is one line of the log: which QEMU, where, why."""
    address = re.escape(f"unix:{qemu.socket}")
    version = proxy.qmp().execute("query-version")["qemu"]
    number = f"{version['major']}.{version['minor']}.{version['micro']}"
    qemu.kill()
    qemu.socket.unlink()
    later = r"next attempt in \d+\.\d s\n"
    for line in (
        rf"connected to QEMU {re.escape(number)} at {address}: \d+ commands, \d+ events\n",
        rf"disconnected from QEMU at {address}: The connection to the monitor was lost: [^;]+; {later}",
        rf"can't connect to QEMU at {address}: No such file or directory; {later}",
    ):
        until(line, lambda line=line: re.search(line, proxy.output()), proxy)
    assert "Scheduling retry" not in proxy.output()


def test_killed_and_back(qemu: RealQemu, proxy: Twistd) -> None:
    """kill -9 with a hundred requests pending: a hundred errors; then a new QEMU at the same place serves the same clients."""
    clients = [proxy.qmp() for _ in range(20)]
    qemu.freeze()
    for client in clients:
        client.socket.sendall(b"".join(b'{"execute": "query-block", "id": %d}\n' % number for number in range(5)))
    watcher = proxy.qmp()
    until("a hundred pending", lambda: len(watcher.execute("query-pending")) >= 100)
    began = time.monotonic()
    qemu.kill()
    for client in clients:
        replies = [client._read() for _ in range(6)]
        events = [each["event"] for each in replies if "event" in each]
        errors = {each["id"]: each["error"]["class"] for each in replies if "id" in each}
        assert events == ["QEMU_DISCONNECTED"]
        assert errors == dict.fromkeys(range(5), "GenericError")
    assert time.monotonic() - began < 5
    assert clients[0].error("query-block") == "QEMU is not connected"
    qemu.start()
    for client in clients:
        client.event("QEMU_CONNECTED")
        assert client.execute("query-status")["status"] == "prelaunch"


def test_frozen(qemu: RealQemu, proxy: Twistd) -> None:
    """A QEMU that stands still is found out, what is pending fails, and once it goes on it is served again."""
    client = proxy.qmp()
    qemu.freeze()
    began = time.monotonic()
    assert client.error("query-block") == "QEMU did not answer for 10 s"
    assert 9.5 < time.monotonic() - began < 20
    client.event("QEMU_DISCONNECTED")
    address = re.escape(f"unix:{qemu.socket}")
    line = rf"disconnected from QEMU at {address}: QEMU did not answer for 10 s; next attempt in \d+\.\d s\n"
    until(line, lambda: re.search(line, proxy.output()), proxy)
    assert client.execute("query-version")["qemu"]["major"] > 0
    qemu.thaw()
    client.event("QEMU_CONNECTED")
    assert client.execute("query-status")["running"] is False


def test_quit(qemu: RealQemu, proxy: Twistd) -> None:
    """C{quit} is QEMU's: it ends QEMU, and the proxy stays. C{qmon-quit} ends the proxy."""
    client = proxy.qmp()
    assert client.execute("quit") == {}
    assert client.event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-qmp-quit"}
    client.event("QEMU_DISCONNECTED")
    assert qemu.ends() == 0
    assert client.execute("query-pending") == []
    assert client.execute("qmon-quit") == {}
    proxy.ends()


@pytest.mark.parametrize("end", ["quit", "kill"])
def test_upstream_lost(tmp_path: Path, qemu: RealQemu, end: str) -> None:
    """With --upstream-lost close the end of QEMU is the end of its clients' connections, as at QEMU itself; others may come."""
    with Twistd(tmp_path, ["--qemu", f"unix:{qemu.socket}", "--upstream-lost", "close"]) as proxy:
        client = connected(proxy)
        idle = proxy.qmp()
        with Person(tmp_path / "hmp.sock") as person:
            if end == "quit":
                assert client.execute("quit") == {}
            else:
                qemu.kill()
            for each in (client, idle):
                assert each.event("QEMU_DISCONNECTED")
                with pytest.raises(EOFError):
                    while True:
                        each._read()
            text = b""
            while data := person.socket.recv(65536):
                text += data
            assert b"QEMU disconnected" in text
        qemu.ends()
        assert proxy.qmp().error("query-block") == "QEMU is not connected"
        qemu.start()
        connected(proxy)


def test_not_there(tmp_path: Path) -> None:
    """A proxy without a QEMU says so; when QEMU comes, it is served."""
    qemu = RealQemu(tmp_path)
    with Twistd(tmp_path, ["--qemu", f"unix:{qemu.socket}"]) as proxy:
        client = proxy.qmp()
        assert "twisted-qmon" in client.greeting["QMP"]["version"]["package"]
        for name in ("query-block", "query-status"):
            assert client.error(name) == "QEMU is not connected"
        with qemu:
            client.event("QEMU_CONNECTED")
            assert client.execute("query-block")[0]["device"] == "hd0"
            assert proxy.qmp().greeting["QMP"]["version"] == client.execute("query-version")


def test_ready_timeout(tmp_path: Path) -> None:
    """The greeting waits for a QEMU that comes late, as long as the option says."""
    qemu = RealQemu(tmp_path)
    options = ["--qemu", f"unix:{qemu.socket}", "--ready-timeout", "20"]
    with Twistd(tmp_path, options) as proxy, socket.socket(socket.AF_UNIX) as early:
        until("the socket", lambda: (tmp_path / "qmp.sock").exists(), proxy)
        early.connect(str(tmp_path / "qmp.sock"))
        early.settimeout(3)
        with pytest.raises(TimeoutError):
            early.recv(1)
        with qemu:
            early.settimeout(PATIENCE)
            assert json.loads(early.recv(65536))["QMP"]["version"] == proxy.qmp().execute("query-version")


# -- other servers


def test_another_server(qemu: RealQemu, proxy: Twistd) -> None:
    """What comes back may have other commands: the proxy has those then, and no human monitor behind it if there is none."""
    client = proxy.qmp()
    qemu.kill()
    client.event("QEMU_DISCONNECTED")
    with StorageDaemon(qemu.socket):
        client.event("QEMU_CONNECTED")
        names = {each["name"] for each in client.execute("query-commands")}
        assert {"block-export-add", "query-pending"} <= names
        assert not names & {"device_add", "balloon", "migrate"}
        assert client.execute("query-named-block-nodes") == []
        assert "not been found" in client.error("device_add", {"driver": "x"})
        assert "not been found" in client.error("human-monitor-command", {"command-line": "info version"})
    client.event("QEMU_DISCONNECTED")
    qemu.start()
    client.event("QEMU_CONNECTED")
    assert client.execute("query-status")["status"] == "prelaunch"
    assert "pc" in client.execute("human-monitor-command", {"command-line": "info qtree"})
    assert "qmon-savevm" in {each["name"] for each in client.execute("query-commands")}


def test_storage_daemon(tmp_path: Path) -> None:
    """
    In front of a storage daemon there is what that has, and what is ours: nothing that would be taken for its own, and the
    long commands that it is good for.
    """
    options = ["--qemu", f"unix:{tmp_path}/daemon", "--qmp", "unix:qmp.sock", "--hmp", "unix:hmp.sock"]
    with (
        StorageDaemon(tmp_path / "daemon") as daemon,
        closing(QMP(daemon.other)) as direct,
        Twistd(tmp_path, options) as proxy,
    ):
        through = connected(proxy, "query-block-jobs")
        theirs, names = ({each["name"] for each in client.execute("query-commands")} for client in (direct, through))
        assert theirs < names
        for name in ("query-status", "query-name", "human-monitor-command"):
            assert name not in names
            assert through.answer(name) == direct.answer(name)
        assert {name for name in names - theirs if name.startswith("qmon-")} == {
            *("qmon-quit", "qmon-block-stream", "qmon-block-commit"),
            *("qmon-blockdev-backup", "qmon-blockdev-mirror", "qmon-drive-backup", "qmon-drive-mirror"),
        }
        for name in ("from", "to"):
            through.execute("blockdev-add", {"driver": "null-co", "node-name": name, "size": 1 << 20})
        backup = {"device": "from", "target": "to", "sync": "full", "job-id": "backup"}
        assert through.execute("qmon-blockdev-backup", backup) == {}
        assert direct.execute("query-jobs") == []
        with Person(proxy.folder / "hmp.sock") as person:
            assert person.does("info status") == "unknown command: 'info status'\n"
            assert re.search("node-name: *from\\n", person.does("info named-block-nodes"))
            assert person.does("savevm x") == "unknown command: 'savevm'\n"


def test_no_greeting(tmp_path: Path) -> None:
    """A server that accepts and does not greet (a guest agent) is said to serve another client, or not to be a QMP server."""
    need("qemu-system-x86_64")
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "agent"))
    silent.listen()
    with silent, Twistd(tmp_path, ["--qemu", f"unix:{tmp_path}/agent"]) as proxy:
        line = (
            f"can't connect to QEMU at unix:{tmp_path}/agent: The server did not greet within 10 s: it serves another client "
            "(a QEMU monitor has one client at a time), or it is not a QMP server; next attempt in"
        )
        until("the log", lambda: line in proxy.output(), proxy)

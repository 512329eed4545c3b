"""File descriptors through the proxy to a real QEMU, as the clients that are there send them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.descriptors import Passer, Passing, open_copies
from tests.live.real_qemu import Person
from tests.live.twistd_process import PATIENCE, Twistd, until

pytestmark = pytest.mark.live

NONE = "No file descriptor supplied via SCM_RIGHTS"


@pytest.fixture
def passing(tmp_path: Path) -> Iterator[Passing]:
    """A QEMU that runs and a proxy; at the end neither has a descriptor left."""
    with Passing(tmp_path) as passing:
        yield passing
        until("the end of all descriptors", passing.is_clean, passing.proxy)
        assert "IFileDescriptorReceiver" not in passing.proxy.output()


#: A command, its arguments, how many descriptors come with it, and whether they come with a blank ahead of it.
STEPS: list[tuple[str, Any, int, bool]] = [
    ("getfd", {"fdname": "a"}, 1, False),
    ("getfd", {"fdname": "a"}, 1, True),
    ("getfd", {"fdname": "b"}, 0, False),
    ("getfd", {"fdname": "1b"}, 1, False),
    ("getfd", {"fdname": "b"}, 0, False),
    ("closefd", {"fdname": "a"}, 0, False),
    ("closefd", {"fdname": "a"}, 0, False),
    ("add-fd", None, 0, False),
    ("add-fd", {"fdset-id": -1}, 1, True),
    ("add-fd", None, 0, False),
    ("add-fd", {"fdset-id": 5, "opaque": "five"}, 1, False),
    ("query-fdsets", None, 0, False),
    ("remove-fd", {"fdset-id": 5}, 0, False),
    ("remove-fd", {"fdset-id": 5}, 0, False),
    ("query-fdsets", None, 0, False),
    ("human-monitor-command", {"command-line": "getfd c"}, 0, False),
]


def test_same_answers(passing: Passing) -> None:
    """What QEMU answers directly, it answers through the proxy."""

    def play(client: Passer) -> list[Any]:
        answers = []
        for name, arguments, count, blank in STEPS:
            answer = client.passes(name, arguments, *[passing.number] * count, blank=blank)
            if "fd" in (result := answer.get("return") or {}):
                result["fd"] = 0
            for each in result if name == "query-fdsets" else ():
                each["fds"][0]["fd"] = 0
            answers.append(answer)
        client.close()
        return answers

    through = play(passing.client())
    assert play(Passer(passing.qemu.other)) == through
    assert [each["error"]["desc"] for each in through if "error" in each].count(NONE) == 4


def test_many(passing: Passing) -> None:
    """Some hundred of them in all ways, of clients that stay and that go, and a QEMU and proxies that die: none is left over."""
    chance = random.Random(7)
    client = passing.client()
    while passing.passed < 300:
        passing.play(client, chance)
    client.close()
    until("the end of them all", passing.is_clean, passing.proxy)
    passing.qemu_dies()
    passing.proxy_dies(killed=True)
    passing.proxy_dies(killed=False)


def test_qemu_qmp(passing: Passing) -> None:
    """qemu.qmp's send_fd_scm, which sends a blank: before getfd, before add-fd, and used by blockdev-add."""
    qmp = pytest.importorskip("qemu.qmp")

    async def session() -> None:
        client = qmp.QMPClient("test")
        await client.connect(str(passing.folder / "qmp.sock"))
        try:
            for _ in range(10):
                client.send_fd_scm(passing.number)
                await client.execute("getfd", {"fdname": "one"})
                await client.execute("closefd", {"fdname": "one"})
                client.send_fd_scm(passing.number)
                added = await client.execute("add-fd")
                name = f"/dev/fdset/{added['fdset-id']}"
                await client.execute("blockdev-add", {"driver": "file", "node-name": "n", "filename": name})
                await client.execute("blockdev-del", {"node-name": "n"})
                await client.execute("remove-fd", added)
        finally:
            await client.disconnect()

    asyncio.run(asyncio.wait_for(session(), PATIENCE))


def test_go_qemu(passing: Passing) -> None:
    """go-qemu's RunWithFile: no out-of-band execution, no line end, the descriptor with the command in one sendmsg."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(passing.folder / "qmp.sock"))
    with client, client.makefile("rb") as answers:
        assert b'"oob"' in answers.readline()
        client.sendall(b'{"execute":"qmp_capabilities"}\n')
        assert json.loads(answers.readline()) == {"return": {}}
        socket.send_fds(client, [b'{"execute":"getfd","arguments":{"fdname":"file"}}'], [passing.number])
        assert json.loads(answers.readline()) == {"return": {}}
        assert passing.copies() == (1, 0)


def test_migrate(passing: Passing) -> None:
    """A descriptor is what QEMU migrates to: here a pipe, of which the test reads the other end."""
    client = passing.client()
    client.execute("stop")
    mine, theirs = os.pipe()
    assert client.passes("getfd", {"fdname": "stream"}, theirs) == {"return": {}}
    os.close(theirs)
    assert client.execute("migrate", {"uri": "fd:stream"}) == {}
    stream = b""
    while select.select([mine], [], [], PATIENCE)[0] and (data := os.read(mine, 1 << 16)):
        stream += data
    os.close(mine)
    # The end of the file: no copy of it is open.
    assert stream.startswith(b"QEVM")
    until("the end of the migration", lambda: client.execute("query-migrate").get("status") == "completed")
    client.close()


def test_other_doors(tmp_path: Path) -> None:
    """The human monitor, and a server that is no proxy, close them without a word in the log."""
    with Passing(tmp_path) as passing:
        with Person(tmp_path / "hmp.sock") as person:
            socket.send_fds(person.socket, [b"getfd a\n"], [passing.number] * 3)
            assert NONE in person.reads()
        until("the end of all descriptors", passing.is_clean, passing.proxy)
        assert "IFileDescriptorReceiver" not in passing.proxy.output()
    folder = tmp_path / "own"
    folder.mkdir()
    with Twistd(folder, ["--qmp", "unix:qmp.sock"]) as own:
        own.qmp()
        file = folder / "passed"
        file.touch()
        number = os.open(file, os.O_RDONLY)
        client = Passer(folder / "qmp.sock")
        client.send(b" ", number, number)
        assert "return" in client.passes("query-version", None, number, number)
        os.close(number)
        assert open_copies(own.popen.pid, file) == 0
        client.close()
        assert "IFileDescriptorReceiver" not in own.output()

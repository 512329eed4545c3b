"""Clients that others wrote, at a real twistd: qemu.qmp, and node's qemu-qmp. (qmp-shell plays the sessions of the README.)"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.needs import missing, need
from tests.live.twistd_process import PATIENCE, Twistd

pytestmark = pytest.mark.live

PROVIDER = """
from twisted.internet import reactor
from twisted.internet.task import deferLater

from twisted_qmon import CommandProvider, DeviceNotActive, Event, command


class Slow(CommandProvider):
    events = [Event("TICK", n=int)]

    @command
    def later(self, n: int):
        return deferLater(reactor, 0.001 * (n % 7), lambda: n)

    @command
    def tick(self, n: int) -> None:
        self.monitor.emit("TICK", {"n": n})

    @command
    def refuse(self) -> None:
        raise DeviceNotActive("not today")
"""

NODE = """
const QMP = require('qemu-qmp');
const qmp = new QMP();
const fail = (what) => { console.error(what); process.exit(1); };
qmp.on('tick', () => console.log('TICK'));
qmp.connect(process.argv[2], (error) => {
  if (error) fail(error);
  qmp.execute('query-version', (error, version) => {
    if (error) fail(error);
    console.log(JSON.stringify(version));
    qmp.execute('later', {n: 3}, (error, n) => {
      if (error) fail(error);
      console.log(n);
      qmp.execute('refuse', (error) => {
        console.log(error.message);
        qmp.execute('tick', {n: 1}, () => qmp.end());
      });
    });
  });
});
"""


@pytest.fixture
def twistd(tmp_path: Path) -> Iterator[Twistd]:
    """A server with commands that take their time."""
    (tmp_path / "slow_provider.py").write_text(PROVIDER)
    arguments = ["--qmp", "unix:qmp.sock", "--provider", "slow_provider.Slow"]
    with Twistd(tmp_path, arguments, paths=[tmp_path]) as process:
        process.qmp().close()
        yield process


def test_qemu_qmp(twistd: Twistd) -> None:
    """qemu.qmp negotiates out-of-band, gathers 100 concurrent commands, sees our error classes and gets events."""
    qmp = pytest.importorskip("qemu.qmp")

    async def session() -> None:
        client = qmp.QMPClient("test")
        await client.connect(str(twistd.folder / "qmp.sock"))
        try:
            assert client.greeting.QMP.capabilities == ["oob"]
            answers = await asyncio.gather(*(client.execute("later", {"n": n}) for n in range(100)))
            assert answers == list(range(100))
            with pytest.raises(qmp.ExecuteError) as caught:
                await client.execute("refuse")
            assert (caught.value.error_class, caught.value.error.error.desc) == ("DeviceNotActive", "not today")
            with pytest.raises(qmp.ExecuteError) as caught:
                await client.execute("nope")
            assert caught.value.error_class == "CommandNotFound"
            with client.listener("TICK") as listener:
                for n in range(10):
                    await client.execute("tick", {"n": n})
                seen = [(await listener.get())["data"]["n"] for _ in range(10)]
            assert seen == list(range(10))
            with pytest.raises(qmp.ExecuteError):
                await client.execute("cancel-command", {"id": "none"}, oob=True)
        finally:
            await client.disconnect()

    asyncio.run(asyncio.wait_for(session(), PATIENCE))


def test_node(twistd: Twistd, tmp_path: Path) -> None:
    """node's qemu-qmp executes, sees errors, and hears events."""
    node, npm = need("node"), need("npm")
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "client.js").write_text(NODE)
    install = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "qemu-qmp@0.5.0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if install.returncode:
        missing(f"qemu-qmp from the npm registry ({install.stderr.strip()[:200]})")
    result = subprocess.run(
        [node, str(folder / "client.js"), str(twistd.folder / "qmp.sock")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    version, number, refusal, tick = result.stdout.splitlines()
    assert json.loads(version)["package"].startswith("twisted-qmon")
    assert (number, refusal, tick) == ("3", "not today", "TICK")


def test_one_byte_at_a_time(twistd: Twistd) -> None:
    """A client that sends one byte at a time, and no line ends, is served like any other."""
    client: Any = twistd.qmp()
    for byte in b'{"execute":"later","arguments":{"n":5},"id":"slow"}':
        client.socket.sendall(bytes([byte]))
    assert client._read() == {"return": 5, "id": "slow"}

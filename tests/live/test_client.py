"""
The QMP client with a real QEMU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.live.real_qemu import RealQemu
from twisted_qmon import CommandError, DeviceNotFound, GenericError, QMPClient
from twisted_qmon.errors import CommandCancelled, CommandTimedOut, ConnectionClosed
from twisted_qmon.hmp.console import Console, Person


class QMPClientTests(TestCase):
    """Over a unix socket, with nothing in between."""

    pytestmark = pytest.mark.live
    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.qemu = RealQemu(Path(folder.name))
        self.qemu.start()
        self.addCleanup(self.qemu.kill)
        self.endpoint = UNIXClientEndpoint(reactor, str(self.qemu.socket))

    def connect(self, **options: Any) -> Deferred[QMPClient]:
        """A client, closed at the end of the test."""

        def connected(client: QMPClient) -> QMPClient:
            self.addCleanup(client.close)
            return client

        return QMPClient.connect(self.endpoint, **options).addCallback(connected)

    async def test_executes(self) -> None:
        """Results, errors with their classes, many at a time, out of band, big replies."""
        client = await self.connect()
        self.assertTrue(client.oob)
        self.assertEqual((await client.execute("query-version"))["qemu"], client.greeting["version"]["qemu"])
        with self.assertRaises(DeviceNotFound):
            await client.execute("device_del", {"id": "nope"})
        with self.assertRaises(GenericError):
            await client.execute_oob("migrate-pause")
        texts = await gatherResults(
            [client.execute("human-monitor-command", {"command-line": f"print /d {n}"}) for n in range(200)]
        )
        self.assertEqual(texts, [f"{n}\r\n" for n in range(200)])
        self.assertGreater(len(await client.execute("query-qmp-schema")), 500)

    async def test_events(self) -> None:
        """Events arrive in order, before the reply that they belong to."""
        client = await self.connect()
        seen: list[str] = []
        client.subscribe(lambda event: seen.append(event["event"]), ["RESUME", "STOP"])
        await client.execute("cont")
        await client.execute("stop")
        self.assertEqual(seen, ["RESUME", "STOP"])

    async def test_commands(self) -> None:
        """QEMU's commands are known from its schema."""
        client = await self.connect()
        commands = await client.commands()
        names = {each["name"] for each in await client.execute("query-commands")}
        self.assertEqual(set(commands), names)
        parameters = commands["block-stream"].parameters
        assert parameters is not None
        self.assertIn(("device", False), [(each.name, each.optional) for each in parameters])

    async def test_frozen(self) -> None:
        """A QEMU that stands still: requests time out and can be cancelled; their late replies are dropped."""
        client = await self.connect()
        self.qemu.freeze()
        late = client.execute("query-status", timeout=0.2)
        cancelled = client.execute("query-block")
        cancelled.cancel()
        with self.assertRaises(CommandCancelled):
            await cancelled
        with self.assertRaises(CommandTimedOut):
            await late
        self.qemu.thaw()
        self.assertEqual((await client.execute("query-status"))["status"], "prelaunch")

    async def test_killed(self) -> None:
        """What is pending fails when QEMU dies."""
        client = await self.connect()
        self.qemu.freeze()
        pending = [client.execute("query-status") for _ in range(100)]
        self.qemu.kill()
        for each in pending:
            with self.assertRaises(ConnectionClosed):
                await each
        with self.assertRaises(ConnectionClosed):
            await client.execute("query-status")

    async def test_second_client(self) -> None:
        """A QEMU monitor that serves a client says nothing to the next: after a while that is an error."""
        await self.connect()
        with self.assertRaisesRegex(ConnectionClosed, "one client at a time"):
            await self.connect(negotiation_timeout=0.3)

    async def test_reconnects(self) -> None:
        """The service finds the next QEMU at the same place."""
        service = QMPClient.service(self.endpoint, retry_policy=lambda _: 0.05)
        service.startService()
        self.addCleanup(service.stopService)
        client = await service.when_connected()
        seen: list[str] = []
        client.subscribe(lambda event: seen.append(event["event"]))
        self.qemu.kill()
        while client.connected:
            await deferLater(reactor, 0.02)
        self.qemu.start()
        await service.when_connected()
        await client.execute("cont")
        self.assertEqual(seen, ["RESUME"])

    async def test_human_console(self) -> None:
        """The human monitor runs over the client: lines go to QEMU's own."""
        client = await self.connect()
        texts: list[str] = []
        resumed: list[Deferred[None]] = []
        console = Console(client, Person("one", ""), write=texts.append, on_resume=lambda: resumed.pop().callback(None))
        for line, expected in (
            ("info status", "VM status: paused"),
            ("print 1+1", "0x2"),
            ("nope", "unknown command: 'nope'"),
            ("help stop", "stop|s  -- stop emulation"),
        ):
            waiting: Deferred[None] = Deferred()
            resumed.append(waiting)
            console.line(line)
            if console.suspended:
                await waiting
            else:
                resumed.clear()
            self.assertIn(expected, "".join(texts))
            texts.clear()

    async def test_not_there(self) -> None:
        """The endpoint's error is passed on when there is no server."""
        self.qemu.kill()
        self.qemu.socket.unlink()
        with self.assertRaises(Exception) as caught:
            await self.connect()
        self.assertNotIsInstance(caught.exception, CommandError)

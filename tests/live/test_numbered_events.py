"""
Numbered events with real processes: killed and started again, in front of a QEMU, and read slowly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.live.real_qemu import RealQemu
from tests.live.twistd_process import PATIENCE, Twistd, until
from twisted_qmon import QMPClient
from twisted_qmon.qmp.client import EventGap, EventPosition

#: A module with a command that emits events.
NEWS = """
from twisted_qmon import CommandProvider, Event, command


class News(CommandProvider):
    events = [Event("NEWS", n=int, text=str)]
    n = 0

    @command
    def tell(self, count: int, size: int = 10) -> int:
        for _ in range(count):
            self.n += 1
            self.emit("NEWS", {"n": self.n, "text": "x" * size})
        return self.n
"""


def newspaper(folder: Path, *arguments: str) -> Twistd:
    """A process with these commands."""
    (folder / "news.py").write_text(NEWS)
    return Twistd(folder, ["--provider", "news.News", *arguments], paths=[folder])


class ResumingClientTests(TestCase):
    """C{QMPClient.service} while its server comes and goes."""

    pytestmark = pytest.mark.live
    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="qmon-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.seen: list[int] = []
        self.gaps: list[EventGap] = []

    def start(self) -> Twistd:
        process = newspaper(self.folder, "--event-history", "50")
        process.__enter__()
        self.addCleanup(process.__exit__, None, None, None)
        return process

    def follow(self, position: EventPosition | None = None) -> QMPClient:
        """A client that resumes."""
        endpoint = UNIXClientEndpoint(reactor, str(self.folder / "qmp.sock"))
        service = QMPClient.service(endpoint, retry_policy=lambda _: 0.1, position=position, on_gap=self.gaps.append)
        service.client.subscribe(lambda event: self.seen.append(event["data"]["n"]), ["NEWS"])
        service.startService()
        self.addCleanup(service.stopService)
        return service.client

    async def comes(self, holds: Callable[[], object]) -> None:
        """Wait until it holds."""
        end = reactor.seconds() + PATIENCE
        while not holds():
            assert reactor.seconds() < end, (self.seen, self.gaps)
            await deferLater(reactor, 0.02)

    async def test_killed(self) -> None:
        """
        What is told while the connection is lost comes afterwards, or is told as lost; a process that was killed and
        started again is told as such, and sends all that it has.
        """
        process = self.start()
        teller = process.qmp()
        client = self.follow()
        await self.comes(lambda: client.position)
        teller.execute("tell", {"count": 3})
        await self.comes(lambda: len(self.seen) == 3)
        self.assertEqual(self.seen, [1, 2, 3])
        for count in (40, 100):
            connection: Any = client._connection
            connection.transport.abortConnection()
            teller.execute("tell", {"count": count})
            await self.comes(lambda: not client.connected)
            await self.comes(lambda: self.seen[-1] == teller.execute("tell", {"count": 0}))
        self.assertEqual(self.seen, [*range(1, 44), *range(94, 144)])
        self.assertEqual(self.gaps, [EventGap(50, False)])
        before = client.position
        process.popen.kill()
        process.ends()
        self.start().qmp().execute("tell", {"count": 2})
        await self.comes(lambda: len(self.gaps) == 2 and self.seen[-1] == 2)
        self.assertEqual(self.gaps[1], EventGap(0, True))
        self.assertEqual(self.seen[-3:], [143, 1, 2])
        assert before is not None
        assert client.position is not None
        self.assertNotEqual(client.position.monitor, before.monitor)

    async def test_position(self) -> None:
        """A client that is started again itself goes on where it was."""
        teller = self.start().qmp()
        monitor = teller.execute("select-events", {"names": [], "numbered": True})["monitor"]
        teller.execute("tell", {"count": 10})
        client = self.follow(EventPosition(monitor, 0))
        await self.comes(lambda: self.seen and self.seen[-1] == 10)
        position = client.position
        await client.close()
        self.seen.clear()
        teller.execute("tell", {"count": 5})
        self.follow(position)
        await self.comes(lambda: self.seen and self.seen[-1] == 15)
        self.assertEqual((self.seen[-5:], self.gaps), ([11, 12, 13, 14, 15], []))


@pytest.mark.live
def test_slowReader(tmp_path: Path) -> None:
    """A client that reads nothing until the process is about to end gets the whole history, and SHUTDOWN at its end."""
    with newspaper(tmp_path, "--event-history", "5000", "--max-queued", "10K") as process:
        teller = process.qmp()
        teller.execute("select-events", {"names": []})
        slow = process.qmp()
        slow.execute("select-events", {"names": []})
        # More than the buffers of a socket hold.
        teller.execute("tell", {"count": 3000, "size": 1000})
        assert slow.execute("select-events", {"numbered": True, "after": 0})["lost"] == 0
        teller.execute("tell", {"count": 100, "size": 1000})
        process.popen.terminate()
        until("its end", lambda: "drain was clean" in process.output(), process)
        events: list[Any] = []
        while not events or events[-1]["event"] != "SHUTDOWN":
            events.append(slow.events.pop(0) if slow.events else slow._read())
        assert [event["number"] for event in events] == list(range(1, len(events) + 1))
        assert [event["data"]["n"] for event in events if event["event"] == "NEWS"] == list(range(1, 3101))
        with pytest.raises(EOFError):
            slow._read()


@pytest.mark.live
def test_qemuRestarted(tmp_path: Path) -> None:
    """A client that was away while QEMU was killed and started again is sent the events of both, and told which is which."""
    with RealQemu(tmp_path) as qemu, Twistd(tmp_path, ["--qemu", f"unix:{qemu.socket}"]) as proxy:
        client = proxy.qmp()
        until("QEMU behind the proxy", lambda: "return" in client.answer("query-block"), proxy)
        selected = client.execute("select-events", {"numbered": True})
        client.execute("cont")
        client.execute("stop")
        assert (client.event("RESUME")["upstream"], client.event("STOP")["upstream"]) == (1, 1)
        client.close()
        qemu.kill()
        qemu.start()
        back = proxy.qmp()
        until("QEMU behind the proxy", lambda: "return" in back.answer("query-block"), proxy)
        back.execute("cont")
        # Those that came without numbers.
        back.events.clear()
        back.execute("select-events", {"numbered": True, "after": selected["last"], "monitor": selected["monitor"]})
        events = [back.event(name) for name in ("RESUME", "STOP", "QEMU_DISCONNECTED", "QEMU_CONNECTED", "RESUME")]
        assert [event["upstream"] for event in events] == [1, 1, 1, 2, 2]
        numbers = [event["number"] for event in events]
        assert numbers == sorted(numbers)

"""The proxies of all QEMUs in a folder, without a QEMU: what connects to a socket is put there by hand."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import FakeConnection
from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.service import qemu_folder
from twisted_qmon.service.qemu_folder import GREETING_TIMEOUT, QemuFolder, name_of, serve_qemu_folder
from twisted_qmon.testing import HMPConnection, QMPConnection


class QemuFolderTests(SynchronousTestCase):
    """A folder with sockets, and the process that is a proxy for each."""

    def setUp(self) -> None:
        # Short: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.source, self.target = self.folder / "from", self.folder / "to"
        self.source.mkdir()
        self.target.mkdir()
        self.patch(resource, "setrlimit", lambda *_: None)
        self.reactor: Any = MemoryReactorClock()
        self.monitor = Monitor(clock=self.reactor)
        self.answered = 0

    def begin(self, **options: Any) -> QemuFolder:
        self.service = make_monitor_service(self.reactor, self.monitor, stall=None, **options)
        self.proxies = serve_qemu_folder(
            self.service, str(self.source), str(self.target), lambda: Monitor(clock=self.reactor)
        )
        self.root = MultiService()
        self.service.setServiceParent(self.root)
        self.root.privilegedStartService()
        self.root.startService()
        self.addCleanup(self.end)
        return self.proxies

    def end(self) -> None:
        if self.root.running:
            stopped = self.root.stopService()
            for _ in range(5):
                self.reactor.advance(1)
            self.successResultOf(stopped)

    def log(self) -> EventLoggingObserver:
        observer = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        assert isinstance(observer, EventLoggingObserver)
        return observer

    def turn(self, seconds: float = 0.1) -> None:
        for reader in list(self.reactor.getReaders()):
            reader.doRead()
        self.reactor.advance(seconds)

    def make(self, file: str) -> None:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(self.source / file))

    def attempts(self) -> list[str]:
        """The sockets that have been connected to since this was called last."""
        new = self.reactor.unixClients[self.answered :]
        self.answered = len(self.reactor.unixClients)
        return [os.path.basename(address) for address, *_ in new]

    def accept(self, number: int = -1) -> FakeConnection:
        """A QEMU answers an attempt to connect to its socket."""
        factory = self.reactor.unixClients[number][1]
        return FakeConnection(factory.buildProtocol(None))

    def connect(self, number: int = -1) -> FakeConnection:
        qemu = self.accept(number)
        qemu.greet()
        qemu.introduce()
        return qemu

    def doors(self) -> list[str]:
        """The sockets that are served."""
        return sorted(os.path.basename(os.fsdecode(server[0])) for server in self.reactor.unixServers)

    def names(self) -> list[Any]:
        found = self.successResultOf(self.monitor.execute("query-upstreams"))
        return [(each["name"], each["connected"]) for each in found]

    def factory(self, name: str) -> Any:
        return next(server[1] for server in self.reactor.unixServers if os.fsdecode(server[0]).endswith(f"/{name}"))

    def test_appears_and_goes(self) -> None:
        """A QEMU's sockets are there from its greeting on, with its commands, and gone with its own."""
        self.begin()
        self.make("vm.sock")
        self.turn()
        self.assertEqual((self.attempts(), self.doors(), self.names()), (["vm.sock"], [], [("vm", False)]))
        self.connect()
        self.assertEqual((self.doors(), self.names()), (["vm.hmp", "vm.qmp"], [("vm", True)]))
        client = QMPConnection(self.monitor, factory=self.factory("vm.qmp"))
        self.assertIn("query-block", {each["name"] for each in client.execute("query-commands")["return"]})
        person = HMPConnection(self.monitor, factory=self.factory("vm.hmp"))
        self.assertRegex(person.type("info clients"), r"hmp-\d+ .* vm\.hmp ")
        self.assertEqual(person.protocol.standing.endpoint, "vm.hmp")
        (self.source / "vm.sock").unlink()
        for _ in range(30):
            self.turn()
        self.assertTrue(client.closed)
        self.assertEqual(self.names(), [])
        self.assertNotIn("SHUTDOWN", [each.get("event") for each in client.received()])

    def test_info(self) -> None:
        """A person sees which QEMUs there are."""
        self.begin()
        person = HMPConnection(self.monitor)
        self.assertIn("no QEMU", person.type("info upstreams"))
        self.make("vm.sock")
        self.turn()
        self.assertIn("vm    not connected", person.type("info upstreams"))
        self.connect()
        self.assertIn("vm    connected  7.2.22         0        0", person.type("info upstreams"))

    def test_no_greeting(self) -> None:
        """A socket that does not greet in time is tried again, later each time, and has no proxy."""
        self.begin()
        self.make("serial.sock")
        self.turn()
        gaps, waited = [], 0.0
        for _ in range(12):
            self.attempts()
            self.accept()
            self.reactor.advance(GREETING_TIMEOUT)
            waited = 0.0
            while not self.attempts():
                self.reactor.advance(0.5)
                waited += 0.5
            gaps.append(waited)
        self.assertEqual(self.doors(), [])
        self.assertLess(gaps[0], 3)
        self.assertGreater(gaps[-1], 10)
        self.assertLessEqual(max(gaps), qemu_folder.MAX_RETRY + 2)

    def test_dead(self) -> None:
        """While a QEMU is dead and its socket is there, its proxy is there too, and says so; then it is connected again."""
        self.begin()
        self.make("vm.sock")
        self.turn()
        qemu = self.connect()
        client = QMPConnection(self.monitor, factory=self.factory("vm.qmp"))
        qemu.die()
        client.send({"execute": "query-block"})
        self.assertIn("QEMU is not connected", str(client.received()[-1]))
        self.assertEqual(self.names(), [("vm", False)])
        self.attempts()
        self.reactor.advance(2)
        self.assertEqual(self.attempts(), ["vm.sock"])
        self.connect()
        self.assertEqual(self.names(), [("vm", True)])

    def test_replaced(self) -> None:
        """A socket that takes the place of another one is connected to at once, whether the old connection is over or not."""
        self.begin()
        self.make("vm.sock")
        self.turn()
        first = self.connect()
        self.attempts()
        self.make("new")
        self.turn(0)
        (self.source / "new").rename(self.source / "vm.sock")
        self.turn()
        self.assertTrue(first.transport.disconnecting)
        first.die()
        self.reactor.advance(2)
        self.assertIn("vm.sock", self.attempts())
        self.connect().die()
        self.reactor.advance(2)
        self.attempts()
        factory = self.reactor.unixClients[-1][1]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.make("new")
        (self.source / "new").rename(self.source / "vm.sock")
        self.turn()
        self.assertIn("vm.sock", self.attempts())

    def test_one_name(self) -> None:
        """Of two sockets of one name the first has the proxy, until it goes; one line says so."""
        log = self.log()
        self.begin()
        self.make("vm.sock")
        self.turn()
        self.make("vm.qmp")
        self.turn()
        self.turn()
        self.assertEqual(self.attempts(), ["vm.sock"])
        lines = [formatEvent(event) for event in log]
        self.assertEqual(sum("'vm'" in (line or "") for line in lines), 1)
        (self.source / "vm.sock").unlink()
        for _ in range(30):
            self.turn()
        self.assertEqual(self.attempts(), ["vm.qmp"])

    def test_left_alone(self) -> None:
        """Names that no proxy can have are left alone, with one line each, and so are more sockets than there may be."""
        self.patch(qemu_folder, "MAX_UPSTREAMS", 1)
        log = self.log()
        self.begin()
        for name in (".sock", ".hidden", "a\nb"):
            self.make(name)
        self.turn()
        self.assertEqual(self.attempts(), [])
        self.make("one")
        self.turn()
        self.make("two")
        self.turn()
        self.assertEqual(self.attempts(), ["one"])
        lines = [formatEvent(event) or "" for event in log]
        self.assertEqual(sum("left alone" in line for line in lines), 4)

    def test_rules(self) -> None:
        """The rules hold for each QEMU, by the names of its sockets; read again, they hold at once."""
        text: Any = {"default": "none", "grant": [{"who": ["*"], "level": "observe", "endpoint": "vm.qmp"}]}
        access = Access(parse_rules(text, "rules"))
        self.begin(access=access)
        self.make("vm.sock")
        self.turn()
        self.connect()
        client = QMPConnection(self.monitor, factory=self.factory("vm.qmp"))
        client.send({"execute": "quit"})
        self.assertIn("Permission denied", str(client.received()))
        person = HMPConnection(self.monitor, factory=self.factory("vm.hmp"))
        self.assertTrue(person.closed)
        access.rules = parse_rules(cast("Any", {"default": "none"}), "rules")
        self.monitor.guard.reload()
        self.assertTrue(client.closed)

    def test_stale(self) -> None:
        """What another process has left is removed; what is no socket stays."""
        for name in ("old.qmp", "old.hmp", "other"):
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(self.target / name))
        (self.target / "file.qmp").write_text("")
        self.begin()
        self.assertEqual(sorted(os.listdir(self.target)), [".lock", "file.qmp", "other"])

    def test_served_by_another(self) -> None:
        """A socket that another process serves stays, and one line says so."""
        log = self.log()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.target / "vm.qmp"))
            other.listen()
            self.begin()
        self.assertIn("vm.qmp", os.listdir(self.target))
        self.assertTrue(any("another process serves" in (formatEvent(event) or "") for event in log))

    def test_two_processes(self) -> None:
        """A second process can't serve the same folder."""
        self.begin()
        service = make_monitor_service(self.reactor, Monitor(clock=self.reactor), stall=None)
        serve_qemu_folder(service, str(self.source), str(self.target), Monitor)
        error = self.assertRaises(SystemExit, service.startService)
        self.assertIn("--proxy-folder: another process holds", str(error))

    def test_cannot_listen(self) -> None:
        """A proxy that can't listen is a line of the log, and no end of the process."""
        log = self.log()
        self.begin()
        self.make("vm.sock")
        self.turn()

        def listen(*arguments: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(self.reactor, "listenUNIX", listen)
        self.connect()
        lines = [formatEvent(event) or "" for event in log]
        self.assertEqual(sum("No space left on device" in line for line in lines), 2)
        self.assertEqual(self.names(), [("vm", True)])

    def test_ends(self) -> None:
        """At the end each QEMU's requests have their time, and its clients are told, as those of the process itself."""
        self.begin(drain=3)
        self.make("vm.sock")
        self.turn()
        self.connect()
        client = QMPConnection(self.monitor, factory=self.factory("vm.qmp"))
        client.send({"execute": "query-block", "id": 1})
        stopped = self.root.stopService()
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        self.service.hurry()
        for _ in range(4):
            self.reactor.advance(1)
        self.successResultOf(stopped)
        self.assertEqual([each.get("event") for each in client.received() if "event" in each], ["SHUTDOWN"])
        self.assertTrue(client.closed)

    def test_gone_before_it_greets(self) -> None:
        """A socket that goes before its QEMU has greeted leaves nothing behind."""
        self.begin()
        self.make("vm.sock")
        self.turn()
        (self.source / "vm.sock").unlink()
        for _ in range(30):
            self.turn()
        self.assertEqual((self.doors(), self.names()), ([], []))


def test_names() -> None:
    """A QEMU's name is that of its socket without what it usually ends with."""
    assert [name_of(file) for file in ("a.sock", "a.qmp", "a", "a.sock.qmp", "a.b")] == ["a", "a", "a", "a.sock", "a.b"]

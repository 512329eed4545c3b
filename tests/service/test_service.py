"""The service: starting, stopping in order, and sockets that are taken over."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from typing import Any, cast

from twisted.application.service import Application, MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import Monitor, QMPFactory, make_monitor_service
from twisted_qmon._transport.endpoints import server_endpoint, unix_path
from twisted_qmon._transport.unix_port import claim_path
from twisted_qmon._twistd.start_up import StartError
from twisted_qmon.providers.quit import Quit
from twisted_qmon.service import MonitorService
from twisted_qmon.testing import HMPConnection, QMPConnection


class ServiceTests(SynchronousTestCase):
    """A service on a reactor without sockets; clients are put to its factories by hand."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.monitor = Monitor(clock=self.reactor)
        self.service = make_monitor_service(
            self.reactor, self.monitor, ["tcp:1:interface=127.0.0.1"], ["tcp:2:interface=127.0.0.1"], drain=3.0
        )
        self.root = MultiService()
        self.service.setServiceParent(self.root)
        self.waiting: list[Deferred[int]] = []
        self.monitor.register_command("wait", self.wait)

    def wait(self) -> Deferred[int]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def start(self) -> QMPConnection:
        self.root.privilegedStartService()
        self.root.startService()
        return QMPConnection(self.monitor, factory=self.service.factories[0])

    def stop(self) -> None:
        stopped = self.root.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)

    def log(self) -> EventLoggingObserver:
        observer = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        assert isinstance(observer, EventLoggingObserver)
        return observer

    def ends(self, client: QMPConnection) -> list[Any]:
        """The messages of a client that has been disconnected: names of events, ids or returns of replies."""
        self.assertTrue(client.closed)
        return [m.get("event", m.get("id", m.get("return"))) for m in client.received()]

    def test_serves(self) -> None:
        """It listens at each endpoint, and gives the monitor the commands that belong to a process."""
        client = self.start()
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [1, 2])
        names = {each["name"] for each in client.execute("query-commands")["return"]}
        self.assertLessEqual({"human-monitor-command", "query-jobs", "query-process"}, names)
        self.assertNotIn("quit", names)
        self.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_readyTimeout(self) -> None:
        """How long greetings wait is the same at each endpoint."""
        service = make_monitor_service(
            self.reactor, Monitor(clock=self.reactor), ["tcp:3"], ["tcp:4"], ready_timeout=7.5
        )
        self.assertEqual([vars(factory)["ready_timeout"] for factory in service.factories], [7.5, 7.5])

    def test_eventHistory(self) -> None:
        """The history of events has the limits that the service is made with; without any, those of the monitor stay."""
        cases: list[tuple[dict[str, Any], int]] = [({}, 2), ({"event_history": 2}, 1), ({"event_history_bytes": 0}, 3)]
        for limits, first in cases:
            monitor = Monitor(clock=self.reactor, event_history=1)
            make_monitor_service(self.reactor, monitor, **limits)
            for _ in range(2):
                monitor.emit("EVENTS_LOST", {"count": 1})
            self.assertEqual((monitor.events.history.first, monitor.events.history.last), (first, 2))

    def test_cleanStop(self) -> None:
        """Pending requests get their time; then SHUTDOWN, then the end of file, and one line in the log."""
        client = self.start()
        client.send({"execute": "wait", "id": 1})
        observer = self.log()
        stopped = self.root.stopService()
        client.send({"execute": "query-name", "id": 2})
        refused, *_ = client.received()
        self.assertEqual((refused["id"], refused["error"]["desc"]), (2, "The monitor is shutting down"))
        self.assertNoResult(stopped)
        self.waiting[0].callback(1)
        self.reactor.advance(0)
        self.assertEqual(self.ends(client), [1, "SHUTDOWN"])
        self.successResultOf(stopped)
        lines = [event["log_format"] for event in observer if "drain" in event.get("log_format", "")]
        self.assertEqual(lines, ["the drain was clean: {pending} pending requests were answered"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_dirtyStop(self) -> None:
        """What is pending when the drain is over is cancelled and answered; the log says how many."""
        client = self.start()
        client.send({"execute": "wait", "id": 1}, {"execute": "wait"}, {"execute": "wait"})
        observer = self.log()
        stopped = self.root.stopService()
        self.reactor.advance(2.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.reactor.advance(0)
        first, second, third, event = client.received()
        for reply in (first, second, third):
            self.assertEqual(reply["error"]["desc"], "Command 'wait' was cancelled")
        self.assertEqual(event["data"], {"guest": False, "reason": "host-signal"})
        self.successResultOf(stopped)
        (line,) = [event for event in observer if "cancelled" in event.get("log_format", "")]
        self.assertEqual((line["cancelled"], line["pending"]), (3, 3))

    def test_hurry(self) -> None:
        """The drain is cut short: what is pending is cancelled and answered at once, and counted."""
        client = self.start()
        client.send({"execute": "wait", "id": 1}, {"execute": "wait", "id": 2})
        self.service.hurry()
        self.assertEqual(client.received(), [])
        observer = self.log()
        stopped = self.root.stopService()
        self.reactor.advance(1.0)
        self.waiting[0].callback(1)
        self.service.hurry()
        self.reactor.advance(0)
        self.reactor.advance(0)
        self.assertEqual(self.ends(client), [1, 2, "SHUTDOWN"])
        self.successResultOf(stopped)
        (line,) = [event for event in observer if "cancelled" in event.get("log_format", "")]
        self.assertEqual((line["cancelled"], line["pending"], line["seconds"]), (1, 2, 1.0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hurryJobs(self) -> None:
        """So is the time of what else is drained."""
        self.start()
        seconds: list[float] = []
        waiting: Deferred[None] = Deferred()

        def drain(time: float) -> Deferred[None]:
            seconds.append(time)
            if time == 0:
                waiting.callback(None)
                return succeed(None)
            return waiting

        self.service.drains.append(drain)
        stopped = self.root.stopService()
        self.assertNoResult(stopped)
        self.service.hurry()
        self.reactor.advance(0)
        self.assertEqual(seconds, [3.0, 0])
        self.successResultOf(stopped)

    def test_hurryAgain(self) -> None:
        """After the drain it is the clients that don't read which are not waited for."""
        client = self.start()
        client.transport.stop_reading()
        client.send({"execute": "query-qmp-schema"}, {"execute": "query-qmp-schema"})
        stopped = self.root.stopService()
        self.reactor.advance(0)
        self.assertNoResult(stopped)
        self.service.hurry()
        self.successResultOf(stopped)
        self.assertTrue(client.closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_onStart(self) -> None:
        """What is to be done when it has started is done each time."""
        started: list[bool] = []
        self.service.on_start.append(lambda: started.append(bool(self.service.running)))
        self.start()
        self.stop()
        self.start()
        self.stop()
        self.assertEqual(started, [True, True])

    def test_startedInADaemon(self) -> None:
        """In another process than it was made in, a failure to listen is an exception, which twistd reports, and logged."""
        self.patch(os, "getpid", lambda: 1)

        def refuse(*args: Any, **options: Any) -> Any:
            raise CannotListenError("127.0.0.1", 1, OSError(98, "Address already in use"))

        self.reactor.listenTCP = refuse
        observer = self.log()
        with self.assertRaises(StartError) as caught:
            self.root.privilegedStartService()
        words = "can't listen at tcp:1:interface=127.0.0.1: Address already in use"
        self.assertEqual(str(caught.exception), words)
        self.assertEqual([event["text"] for event in observer if event["log_level"].name == "critical"], [words])

    def test_owner(self) -> None:
        """Unix sockets go to the user that the application says."""
        service = make_monitor_service(
            self.reactor, Monitor(clock=self.reactor), application=Application("a", uid=3, gid=4)
        )
        self.assertEqual(service.owner, (3, 4))
        service = make_monitor_service(self.reactor, Monitor(clock=self.reactor), application=Application("a"))
        self.assertEqual(service.owner, None)
        service = make_monitor_service(self.reactor, Monitor(clock=self.reactor), owner=(5, 6))
        self.assertEqual(service.owner, (5, 6))

    def test_names(self) -> None:
        """A listener's name has no folders, so that it can be part of a path; it is told from another of the same file name."""
        descriptions = ["unix:/run/a/qmp.sock", "unix:/run/b/qmp.sock"]
        service = make_monitor_service(self.reactor, Monitor(clock=self.reactor), descriptions)
        services: Any = service.monitor.execute("query-services").result
        paths = [info["path"] for info in services]
        self.assertLessEqual({"qmp unix:qmp.sock", "qmp unix:qmp.sock (2)"}, set(paths))

    def test_quit(self) -> None:
        """quit: SHUTDOWN first, then its own reply; it does not count as pending."""
        self.monitor.register(Quit(lambda request: self.service.shut_down("host-qmp-quit", request)))
        client = self.start()
        client.send({"execute": "wait", "id": 1}, {"execute": "quit", "id": 2})
        self.assertEqual(client.received(), [])
        self.waiting[0].callback(0)
        reply, event, last = client.received()
        self.assertEqual((reply["id"], event["event"], last), (1, "SHUTDOWN", {"return": {}, "id": 2}))
        self.assertEqual(event["data"]["reason"], "host-qmp-quit")
        self.stop()
        self.assertEqual(self.ends(client), [])

    def test_aPersonQuits(self) -> None:
        """No prompt follows, as on QEMU, and what is typed behind it is not run."""
        self.monitor.register(Quit(lambda request: self.service.shut_down("host-qmp-quit", request)))
        self.start()
        people = self.service.factories[1]
        person, other = HMPConnection(self.monitor, factory=people), HMPConnection(self.monitor, factory=people)
        self.assertEqual(other.type("wait"), "")
        self.assertEqual(person.type("quit\nnonsense"), "")
        self.waiting[0].callback(0)
        self.assertEqual((person.output(), other.output()), ("", "0\r\n(qmon) "))
        self.stop()
        self.assertEqual((person.closed, person.output(), other.closed), (True, "", True))
        self.start()
        self.assertIn("(qmon) ", HMPConnection(self.monitor, factory=people).banner)
        self.stop()

    def test_restart(self) -> None:
        """A stopped service can be started again: it listens, and takes requests."""
        self.start()
        self.stop()
        client = self.start()
        self.assertEqual(len(self.reactor.tcpServers), 4)
        self.assertEqual(client.execute("query-status")["return"]["status"], "running")
        self.stop()

    def test_onlyStartService(self) -> None:
        """Whoever calls only startService gets a service that listens."""
        service = MonitorService(self.reactor, self.monitor)
        service.serve("tcp:7:interface=127.0.0.1", QMPFactory(self.monitor))
        service.startService()
        self.assertEqual(self.reactor.tcpServers[-1][0], 7)
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        service.startService()
        self.assertEqual(len(self.reactor.tcpServers), 2)
        self.assertFalse(self.monitor.refusing)
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)

    def test_busyPort(self) -> None:
        """A port that can't be had ends the start with one line."""

        def refuse(*args: Any, **options: Any) -> Any:
            raise CannotListenError("127.0.0.1", 1, OSError(98, "Address already in use"))

        self.reactor.listenTCP = refuse
        with self.assertRaises(SystemExit) as caught:
            self.root.privilegedStartService()
        self.assertIn("Address already in use", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_noPort(self) -> None:
        """A number that is no port's ends the start with one line, too."""

        def refuse(*args: Any, **options: Any) -> Any:
            raise OverflowError("bind(): port must be 0-65535.")

        self.reactor.listenTCP = refuse
        with self.assertRaises(SystemExit) as caught:
            self.root.privilegedStartService()
        self.assertIn("port must be 0-65535", str(caught.exception))

    def test_sameTwice(self) -> None:
        """The same description may be given twice: what that means is the port's business."""
        twice = ["tcp:0:interface=127.0.0.1"] * 3
        service = make_monitor_service(self.reactor, Monitor(clock=self.reactor), twice)
        service.privilegedStartService()
        self.assertEqual(len(self.reactor.tcpServers), 3)
        self.assertLessEqual(
            {f"qmp {twice[0]}", f"qmp {twice[0]} (2)", f"qmp {twice[0]} (3)"}, set(service.namedServices)
        )

    def test_badDescription(self) -> None:
        """A description that makes no sense is a ValueError, whatever Twisted raises."""
        for description in ("", "unix", "unix:", "tcp:x", "nope:1", "tcp", "unix:a:mode=9", "unix:a:mode=600:b:c:d"):
            with self.assertRaises(ValueError):
                make_monitor_service(self.reactor, Monitor(clock=self.reactor), [description])


class SocketTests(SynchronousTestCase):
    """Unix sockets in a folder of their own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s:ock")

    def test_unixPath(self) -> None:
        """The path of a description is found, escapes and keywords included."""
        for description, path in (
            ("unix:/a/b", "/a/b"),
            ("unix:a\\:b:mode=660", "a:b"),
            ("unix:mode=660:address=x", "x"),
            ("tcp:1", None),
            ("unix", None),
        ):
            self.assertEqual(unix_path(description), path)

    def test_mode(self) -> None:
        """A unix endpoint without a mode gets 600, one with a mode keeps it."""
        reactor = MemoryReactorClock()
        for suffix, mode in (("", 0o600), (":mode=660", 0o660)):
            endpoint: Any = server_endpoint(reactor, "unix:x" + suffix)
            self.assertEqual(endpoint._mode, mode)
            self.assertFalse(endpoint._wantPID)

    def test_stale(self) -> None:
        """A socket that nobody serves is removed."""
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.path)
        self.assertTrue(stat.S_ISSOCK(os.lstat(self.path).st_mode))
        claim_path(self.path)
        self.assertFalse(os.path.lexists(self.path))
        claim_path(self.path)

    def test_live(self) -> None:
        """A live one is left alone, also when it is too busy to take a connection."""
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.path)
            server.listen(0)
            with self.assertRaises(CannotListenError):
                claim_path(self.path)
        self.assertTrue(os.path.lexists(self.path))

    def test_file(self) -> None:
        """A file that is no socket is not touched, and the error says what it is."""
        with open(self.path, "w") as file:
            file.write("precious")
        with self.assertRaises(CannotListenError) as caught:
            claim_path(self.path)
        self.assertEqual(caught.exception.socketError.strerror, f"{self.path} is not a socket")
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious")

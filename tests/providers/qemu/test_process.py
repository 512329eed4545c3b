"""A QEMU that is started here: the process is played by the test, its monitor is a real socket pair."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import Any, cast

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import VERSION, make_schema
from twisted_qmon import Monitor
from twisted_qmon.errors import GenericError
from twisted_qmon.providers.qemu.child_log import MAX_LINE, MAX_LINES, ChildLog
from twisted_qmon.providers.qemu.heartbeat import HEARTBEAT
from twisted_qmon.providers.qemu.process import GREETING, LAST_WORDS, QemuCommand


class Reactor(MemoryReactorClock):
    """
    A reactor whose one process the test plays.

    :ivar error: what a start fails with
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: OSError | None = None
        self.signals: list[str] = []
        self.pid: int | None = 4711
        self.ended = False

    def spawnProcess(self, protocol: Any, program: str, arguments: list[str], **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.protocol, self.arguments = protocol, arguments
        self.monitor = socket.socket(fileno=os.dup(options["childFDs"][3]))
        self.monitor.setblocking(False)
        protocol.makeConnection(self)
        return self

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, status: int = 0, number: int | None = None, *, streams: bool = True) -> None:
        """The process ends, and with it what holds its streams, or not."""
        self.ended = True
        reason = Failure(ProcessTerminated(status, number) if status or number else ProcessDone(0))
        self.protocol.processExited(reason)
        if streams:
            self.protocol.processEnded(reason)


class ProcessTests(SynchronousTestCase):
    """Start, end, and what goes wrong with either."""

    def setUp(self) -> None:
        self.reactor: Any = Reactor()
        self.monitor = Monitor(clock=self.reactor)
        self.statuses: list[int] = []
        self.buffer = b""

    def begin(self) -> QemuCommand:
        self.command = QemuCommand(
            ["/usr/bin/qemu", "-name", "a b"], self.reactor, patience=2.0, ended=self.statuses.append
        )
        self.monitor.register(self.command.provider)
        self.command.startService()
        self.addCleanup(self.close, self.reactor)
        return self.command

    def close(self, reactor: Any) -> None:
        self.reactor = reactor
        if hasattr(reactor, "monitor"):
            reactor.monitor.close()
        self.turn()

    def log(self) -> EventLoggingObserver:
        observer = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        assert isinstance(observer, EventLoggingObserver)
        return observer

    def lines(self, observer: EventLoggingObserver) -> str:
        return "\n".join(formatEvent(event) or "" for event in observer)

    def turn(self, seconds: float = 0) -> None:
        for reader in list(self.reactor.getReaders()):
            reason = reader.doRead()
            if reason is not None:
                self.reactor.removeReader(reader)
                reader.connectionLost(Failure(reason))
        for writer in list(self.reactor.getWriters()):
            reason = writer.doWrite()
            if reason is not None:
                writer.connectionLost(Failure(reason))
        self.reactor.advance(seconds)

    def say(self, message: Any) -> None:
        self.reactor.monitor.sendall(json.dumps(message).encode() + b"\r\n")
        self.turn()

    def asked(self) -> list[Any]:
        with contextlib.suppress(BlockingIOError):
            self.buffer += self.reactor.monitor.recv(1 << 16)
        *lines, self.buffer = self.buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def introduce(self) -> None:
        """QEMU greets and describes itself."""
        self.say({"QMP": {"version": VERSION, "capabilities": ["oob"]}})
        self.turn()
        answers = {"query-qmp-schema": make_schema(), "human-monitor-command": "help\r\n"}
        for _ in range(10):
            self.turn()
            for request in self.asked():
                self.say({"return": answers.get(request["execute"], {}), "id": request["id"]})

    def test_started(self) -> None:
        """It is started once, without a shell, with a monitor at a descriptor, and its commands are served."""
        self.begin()
        arguments = self.reactor.arguments
        self.assertEqual(arguments[-7:-4], ["/usr/bin/qemu", "-name", "a b"])
        self.assertEqual(
            arguments[-4:], ["-chardev", "socket,id=twisted-qmon,fd=3", "-mon", "chardev=twisted-qmon,mode=control"]
        )
        self.introduce()
        self.assertTrue(self.command.provider.connected)
        self.assertIsNotNone(self.monitor.command("query-block"))
        self.failureResultOf(self.command._process.connect(None))  # type: ignore[arg-type]

    def test_quit(self) -> None:
        """When it ends by itself, its status is told once; it is not started again."""
        self.begin()
        self.introduce()
        self.reactor.monitor.close()
        self.turn()
        self.reactor.end()
        self.reactor.advance(100)
        self.assertEqual(self.statuses, [0])
        self.assertEqual(self.reactor.signals, [])
        self.failureResultOf(self.monitor.execute("query-block"), GenericError)

    def test_statuses(self) -> None:
        """Its status is its own, or 128 and the number of the signal that ended it."""
        for status, number, told in ((3, None, 3), (None, signal.SIGKILL, 137)):
            self.reactor = Reactor()
            self.monitor = Monitor(clock=self.reactor)
            self.begin()
            self.reactor.end(status, number)
            self.assertEqual(self.statuses.pop(), told)

    def test_streams_kept_open(self) -> None:
        """A process that has its streams, and stays, does not hold up its end for long; what comes meanwhile is logged."""
        log = self.log()
        self.begin()
        self.reactor.end(1, streams=False)
        self.reactor.protocol.childDataReceived(2, b"no such option\n")
        self.assertEqual(self.statuses, [])
        self.reactor.advance(LAST_WORDS)
        self.assertEqual(self.statuses, [1])
        self.assertIn("QEMU: no such option", self.lines(log))
        self.reactor.protocol.processEnded(Failure(ProcessTerminated(1)))
        self.assertEqual(self.statuses, [1])

    def test_cannot_start(self) -> None:
        """A start that fails is an end with status 1."""
        log = self.log()
        self.reactor.error = OSError(11, "Resource temporarily unavailable")
        self.begin()
        self.assertEqual(self.statuses, [1])
        self.assertIn("Resource temporarily unavailable", self.lines(log))
        self.successResultOf(self.command.stopService())

    def test_stop(self) -> None:
        """To end it, it is told to quit."""
        self.begin()
        self.introduce()
        stopped = self.command.stopService()
        self.assertEqual([request["execute"] for request in self.asked()], ["quit"])
        self.assertNoResult(stopped)
        self.reactor.monitor.close()
        self.turn()
        self.reactor.end()
        self.successResultOf(stopped)
        self.assertEqual((self.statuses, self.reactor.signals), ([0], []))

    def test_stop_by_signals(self) -> None:
        """If it does not quit in time, it gets SIGTERM, and in the end SIGKILL."""
        self.begin()
        self.introduce()
        stopped = self.command.stopService()
        self.reactor.advance(1.9)
        self.assertEqual(self.reactor.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.reactor.advance(2)
        self.assertEqual(self.reactor.signals, ["TERM", "KILL"])
        self.reactor.end(None, signal.SIGKILL)
        self.turn()
        self.successResultOf(stopped)
        self.assertEqual(self.statuses, [137])

    def test_hurry(self) -> None:
        """Who hurries has the next step taken at once."""
        self.begin()
        self.introduce()
        self.command.hurry()
        stopped = self.command.stopService()
        self.command.hurry()
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.command.hurry()
        self.assertEqual(self.reactor.signals, ["TERM", "KILL"])
        self.reactor.end(None, signal.SIGKILL)
        self.turn()
        self.successResultOf(stopped)

    def test_silent(self) -> None:
        """One that does not greet is left alone, and one line says so; it is ended by a signal."""
        log = self.log()
        self.begin()
        for _ in range(20):
            self.turn(GREETING)
        self.assertEqual(self.lines(log).count("has not greeted"), 1)
        self.assertEqual(self.reactor.signals, [])
        stopped = self.command.stopService()
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.reactor.end(None, signal.SIGTERM)
        self.turn()
        self.successResultOf(stopped)

    def test_no_qemu(self) -> None:
        """A program that says something else is ended: it can't be spoken to."""
        log = self.log()
        self.begin()
        self.say({"hello": "world"})
        self.turn(2.1)
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.assertIn("QEMU's monitor is lost: ending QEMU", self.lines(log))
        self.assertIn("it does not begin with a greeting", self.lines(log))
        self.reactor.end(None, signal.SIGTERM)

    def test_stands_still(self) -> None:
        """One that stands still keeps its only connection: its requests wait, and one line says so."""
        log = self.log()
        self.begin()
        self.introduce()
        done = self.monitor.execute("query-block")
        (request,) = self.asked()
        for _ in range(20):
            self.turn(HEARTBEAT)
        self.assertEqual(self.lines(log).count("QEMU has not answered"), 1)
        self.assertNoResult(done)
        self.say({"return": [], "id": request["id"]})
        self.assertEqual(self.successResultOf(done), [])

    def test_ends_while_it_is_sent_a_signal(self) -> None:
        """A signal for a process that has just ended is no error."""
        self.begin()
        self.reactor.ended = True
        self.command._process.signal("TERM")
        self.assertEqual(self.reactor.signals, [])
        self.reactor.end()

    def test_stop_before_start(self) -> None:
        """One that was not started is stopped at once."""
        command = QemuCommand(["/usr/bin/qemu"], self.reactor, patience=2.0, ended=self.statuses.append)
        self.successResultOf(command.stopService())


class ChildLogTests(SynchronousTestCase):
    """What is logged of what a process prints."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.observer = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        self.log = ChildLog(self.reactor, "standard error", LogLevel.warn)

    def lines(self) -> list[str]:
        return [formatEvent(event) or "" for event in self.observer]

    def test_lines(self) -> None:
        """Each line is one of the log's, however it comes; the last need not be whole."""
        for piece in (b"o", b"ne\r\ntw", b"o\n\xff\x1b[0m\n", b"rest"):
            self.log.write(piece)
        self.log.end()
        self.log.end()
        self.assertEqual(self.lines()[:2], ["QEMU: one", "QEMU: two"])
        self.assertNotIn("\x1b", self.lines()[2])
        self.assertEqual(self.lines()[3:], ["QEMU: rest"])

    def test_long_line(self) -> None:
        """The rest of a very long line is left out, and not kept."""
        for _ in range(10):
            self.log.write(b"x" * 1500)
        self.log.write(b"x\nnext\n")
        self.log.write(b"y" * (MAX_LINE + 5) + b"\n")
        self.assertEqual([len(line) for line in self.lines()], [MAX_LINE + 9, 10, MAX_LINE + 9])

    def test_flood(self) -> None:
        """Of very many lines some are logged each second, and how many are not."""
        self.log.write(b"x\n" * (MAX_LINES + 50))
        self.assertEqual(len(self.lines()), MAX_LINES)
        self.reactor.advance(1)
        self.log.write(b"x\n" * (MAX_LINES + 7))
        self.log.end()
        left_out = [line for line in self.lines() if "left out" in line]
        self.assertEqual([line.split()[0] for line in left_out], ["50", "7"])

"""The human monitor on a transport: suspended and resumed, no line early, lost or out of its place."""

from __future__ import annotations

import socket
from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.fronted_server import FakeFrontedServer
from tests.support.hmp_fakes import FakeMonitor
from twisted_qmon import CommandProvider, GenericError, HMPFactory, Monitor, Request, command
from twisted_qmon.hmp.console import PREPARE_TIMEOUT
from twisted_qmon.hmp.protocol import MAX_HELD, MAX_LINE, HMPProtocol
from twisted_qmon.hmp.telnet import TIMING_MARK_REFUSED
from twisted_qmon.info import CommandInfo
from twisted_qmon.interfaces import ISuspendable
from twisted_qmon.testing import HMPConnection, QMPConnection

P = "(qmon) "


class Commands(CommandProvider):
    """Commands of every kind; C{ran} is what ran, in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ran: list[str] = []
        self.request: Request | None = None
        self.late: Deferred[Any] | None = None

    @command
    def now(self, text: str) -> str:
        """answer at once"""
        self.ran.append(text)
        return text

    @command
    def soon(self, text: str) -> Deferred[str]:
        """answer at once, through a Deferred"""
        self.ran.append(text)
        return succeed(text)

    @command
    def slow(self, request: Request, text: str, seconds: float = 5.0) -> Deferred[str]:
        """answer later"""
        self.ran.append(text)
        self.request = request
        self.late = Deferred()
        timer = self.clock.callLater(seconds, self.late.callback, text)

        def cancelled(failure: Failure) -> Failure:
            timer.cancel()
            return failure

        return self.late.addErrback(cancelled)

    @command
    def refuse(self, text: str) -> Deferred[str]:
        """fail at submit"""
        self.ran.append(text)
        raise GenericError(f"refused {text}")

    @command
    def fail(self, text: str) -> Deferred[str]:
        """fail later"""
        self.ran.append(text)
        deferred: Deferred[str] = Deferred()
        self.clock.callLater(1, deferred.errback, GenericError(f"failed {text}"))
        return deferred

    @command
    def fail_now(self, text: str) -> Deferred[str]:
        """fail at once, through a Deferred"""
        self.ran.append(text)
        return fail(GenericError(f"failed {text}"))

    @command(timeout=2)
    def never(self, text: str) -> Deferred[str]:
        """time out"""
        self.ran.append(text)
        return Deferred()

    @command
    def give_up(self, request: Request, text: str) -> Deferred[str]:
        """be cancelled"""
        self.ran.append(text)
        self.clock.callLater(1, request.cancel)
        return Deferred()


class ProtocolCase(SynchronousTestCase):
    """Has a monitor with commands, and a person at it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.commands = Commands(self.clock)
        self.monitor.register(self.commands)

    def connect(self, **options: Any) -> HMPConnection:
        return HMPConnection(self.monitor, **options)


class SessionTests(ProtocolCase):
    """Lines in, text out."""

    def test_interfaces(self) -> None:
        """The protocol can be suspended."""
        verifyObject(ISuspendable, HMPProtocol())

    def test_banner_and_prompt(self) -> None:
        """One line, then the prompt without an end."""
        self.assertRegex(
            self.connect().banner, r"\Atwisted-qmon [0-9.]+ monitor - type 'help' for more information\r\n\(qmon\) \Z"
        )
        self.assertEqual(self.connect(banner="Hello\nyou", prompt="> ").banner, "Hello\r\nyou\r\n> ")

    def test_line_ends(self) -> None:
        """LF ends a line, one CR before it is no part of it; output lines end CR LF."""
        person = self.connect()
        person.send_bytes(b'now a\r\nnow b\nnow "c\rd"\r\r\n\n')
        self.assertEqual(person.output(), f"a\r\n{P}b\r\n{P}c\\rd\r\n{P}{P}")

    def test_a_line_in_pieces(self) -> None:
        """A line is run when its end has come, and not before."""
        person = self.connect()
        for piece in (b"n", b"ow", b" x", b"yz"):
            person.send_bytes(piece)
        self.assertEqual((person.output(), self.commands.ran), ("", []))
        person.send_bytes(b"\nno")
        self.assertEqual(person.output(), f"xyz\r\n{P}")

    def test_bad_bytes(self) -> None:
        """What is no UTF-8, NUL and control bytes are errors; the session goes on."""
        person = self.connect()
        person.send_bytes(b"now \xc3\x28\nnow \0\nnow \xed\xa0\x80\n\xff\xfe\n\x1b[A\nnow \xe4\xb8\x96\n")
        self.assertEqual(
            person.output(),
            f"Error: the line is not UTF-8: byte 0xc3 at 5\r\n{P}"
            f"Error: control character in the line: '\\x00'\r\n{P}"
            f"Error: the line is not UTF-8: byte 0xed at 5\r\n{P}"
            f"Error: the line is not UTF-8: byte 0xff at 1\r\n{P}"
            f"Error: control character in the line: '\\x1b'\r\n{P}"
            f"世\r\n{P}",
        )
        self.assertEqual(self.commands.ran, ["世"])

    def test_telnet(self) -> None:
        """Negotiation is no part of a line, wherever it is cut."""
        person = self.connect()
        for byte in b"\xff\xfd\x03\xff\xfb\x01no\xff\xf1w a\r\0\xff\xfa\x18\0x\xff\xf0now b\r\n":
            person.send_bytes(bytes([byte]))
        self.assertEqual(person.output(), f"a\r\n{P}b\r\n{P}")

    def test_the_name_of_a_clients_socket(self) -> None:
        """Stands in log files and in C{info pending}: it has no effect on a terminal, and makes no second line."""
        transport = StringTransport(peerAddress=UNIXAddress("/tmp/\x1b]0;x\x07\n[-] stopped"))
        protocol: Any = HMPFactory(self.monitor).buildProtocol(None)
        protocol.makeConnection(transport)
        self.assertEqual(protocol.peer, "unix:/tmp/\\x1b]0;x\\x07\\n[-] stopped")

    def test_prompts_are_not_translated(self) -> None:
        """Neither are they cut off at a limit of the transport."""
        self.assertTrue(self.connect(prompt="(世界) ").banner.endswith("(世界) "))


class LongLineTests(ProtocolCase):
    """A line over the limit is refused whole."""

    refused = f"Error: the line is longer than {MAX_LINE} bytes\r\n{P}"

    def test_the_limit(self) -> None:
        """The longest line runs, with or without CR; one byte more does not."""
        longest = b"now " + b"x" * (MAX_LINE - 4)
        for end in (b"\n", b"\r\n"):
            person = self.connect()
            person.send_bytes(longest + end)
            self.assertEqual(person.output(), "x" * (MAX_LINE - 4) + f"\r\n{P}")
            person.send_bytes(longest + b"x" + end)
            self.assertEqual(person.output(), self.refused)

    def test_in_one_piece(self) -> None:
        """What follows it in the same chunk runs, in its place."""
        person = self.connect()
        long = b"now " + b"x" * 9000 + b"\n"
        person.send_bytes(b"now a\n" + long + b"now b\n" + long + long + b"\r\nnow c\nnow d")
        self.assertEqual(person.output(), f"a\r\n{P}{self.refused}b\r\n{P}{self.refused}{self.refused}{P}c\r\n{P}")
        person.send_bytes(b"d\n")
        self.assertEqual(person.output(), f"dd\r\n{P}")

    def test_in_pieces(self) -> None:
        """Its tail runs nothing, and nothing of it is kept."""
        person = self.connect()
        for _ in range(100):
            person.send_bytes(b"now x;" * 1000)
            self.assertLessEqual(len(person.protocol._buffer), MAX_LINE + 1)
        person.send_bytes(b"now tail\nnow a\nnow b\n")
        self.assertEqual(person.output(), f"{self.refused}a\r\n{P}b\r\n{P}")
        self.assertEqual(self.commands.ran, ["a", "b"])

    def test_behind_a_slow_command(self) -> None:
        """It keeps its place."""
        person = self.connect()
        person.send_bytes(b"slow a\n" + b"x" * 9000 + b"\nslow b\n" + b"y" * 9000 + b"\nnow c\n")
        self.assertEqual(person.output(), "")
        self.clock.advance(5)
        self.assertEqual(person.output(), f"a\r\n{P}{self.refused}slow b\r\n")
        self.clock.advance(5)
        self.assertEqual(person.output(), f"b\r\n{P}{self.refused}now c\r\nc\r\n{P}")


class SuspensionTests(ProtocolCase):
    """A pending command holds its person up, and nobody else."""

    def test_ten_lines_typed_meanwhile(self) -> None:
        """They run afterwards, in order, once each; the transport is paused for so long."""
        person, machine = self.connect(), QMPConnection(self.monitor)
        lines = "".join(f"now {number}\n" for number in range(10))
        person.send_bytes(f"slow first\n{lines}".encode())
        for _ in range(4):
            self.clock.advance(1)
            self.assertEqual(person.transport.producerState, "paused")
            self.assertEqual(machine.execute("now", {"text": "machine"}), {"return": "machine"})
            self.assertEqual(person.output(), "")
        self.commands.ran.clear()
        self.clock.advance(1)
        self.assertEqual(person.transport.producerState, "producing")
        shown = "".join(f"now {number}\r\n{number}\r\n{P}" for number in range(10))
        self.assertEqual(person.output(), f"first\r\n{P}{shown}")
        self.assertEqual(self.commands.ran, [str(number) for number in range(10)])
        self.assertEqual(person.transport.pauses, 1)

    def test_synchronous_commands_never_pause(self) -> None:
        """Nor do those whose Deferred has fired, those that fail at once, help, or nonsense."""
        person = self.connect()
        person.send_bytes(b"now a\nsoon b\nrefuse c\nfail-now d\nhelp\ninfo\nnonsense\nnow\n\n")
        self.assertEqual(self.commands.ran, ["a", "b", "c", "d"])
        self.assertEqual((person.transport.pauses, person.transport.producerState), (0, "producing"))

    def test_every_end_resumes_once(self) -> None:
        """A later failure, a timeout, a cancel: an error, and one prompt."""
        for line, error in (
            (b"fail x\n", "failed x"),
            (b"never x\n", "Command 'never' timed out after 2 s"),
            (b"give-up x\n", "Command 'give-up' was cancelled"),
        ):
            person = self.connect()
            person.send_bytes(line + b"now y\n")
            self.assertEqual(person.transport.producerState, "paused")
            self.clock.advance(10)
            self.assertEqual(person.output(), f"Error: {error}\r\n{P}now y\r\ny\r\n{P}")
            self.assertEqual((person.transport.producerState, person.transport.pauses), ("producing", 1))

    def test_paused_from_outside(self) -> None:
        """As with any LineReceiver: lines are held and the transport is paused, until it is resumed."""
        person = self.connect()
        self.assertIsInstance(person.protocol, LineReceiver)
        person.protocol.pauseProducing()
        self.assertEqual(person.transport.producerState, "paused")
        person.protocol.dataReceived(b"now a\r\nnow b\r\n")
        self.assertEqual(self.commands.ran, [])
        person.protocol.resumeProducing()
        self.assertEqual((person.output(), person.transport.producerState), (f"a\r\n{P}b\r\n{P}", "producing"))

    def test_suspensions_nest(self) -> None:
        """Reading goes on when each suspend has had its resume; the transport is told once."""
        person = self.connect()
        protocol = person.protocol
        protocol.suspend()
        protocol.suspend()
        protocol.dataReceived(b"now a\n")
        protocol.resume()
        self.assertEqual((person.output(), person.transport.producerState), ("", "paused"))
        protocol.resume()
        self.assertEqual((person.output(), person.transport.producerState), (f"a\r\n{P}", "producing"))
        self.assertEqual(person.transport.pauses, 1)
        self.assertRaises(RuntimeError, protocol.resume)

    def test_suspended_by_somebody_else_while_a_command_is_pending(self) -> None:
        """The prompt waits for both."""
        person = self.connect()
        person.send_bytes(b"slow a\nnow b\n")
        person.protocol.suspend()
        self.clock.advance(5)
        self.assertEqual(person.output(), "a\r\n")
        person.protocol.resume()
        self.assertEqual(person.output(), f"{P}now b\r\nb\r\n{P}")

    def test_progress(self) -> None:
        """Lines of their own, at most one a second."""
        person = self.connect()
        person.send_bytes(b"progress on\nslow a\n")
        person.output()
        for step in range(1, 17):
            self.clock.advance(0.25)
            assert self.commands.request is not None
            self.commands.request.progress(step, 20)
        self.assertEqual(
            person.output(),
            "slow: 5 % (1 of 20)\r\nslow: 20 % (4 of 20)\r\nslow: 40 % (8 of 20)\r\nslow: 60 % (12 of 20)\r\n",
        )
        self.clock.advance(1)
        self.assertEqual(person.output(), f"slow: 80 % (16 of 20)\r\na\r\n{P}")

    def test_the_first_prompt_waits(self) -> None:
        """Until the commands are known, or it has been long enough; what is typed before is held."""
        for known in (True, False):
            monitor = FakeMonitor([CommandInfo("x")], {"x": "y"})
            monitor.pending = []
            transport = StringTransport()
            protocol: Any = HMPFactory(monitor, banner="B", clock=self.clock).buildProtocol(None)
            protocol.makeConnection(transport)
            protocol.dataReceived(b"x\n")
            self.assertEqual((transport.value(), transport.producerState), (b"B\r\n", "paused"))
            waiting, monitor.pending = monitor.pending, None
            if known:
                waiting[0].callback(monitor.infos)
            else:
                self.clock.advance(PREPARE_TIMEOUT)
            self.assertEqual((transport.value(), transport.producerState), (b"B\r\n(qmon) y\r\n(qmon) ", "producing"))

    def test_a_monitor_that_is_not_ready(self) -> None:
        """Its first prompt waits as a greeting does, at most as long."""
        ready: Deferred[None] = Deferred()
        self.monitor.set_upstream(FakeFrontedServer(ready))
        person = self.connect(banner="B")
        self.assertEqual(person.banner, "B\r\n")
        self.clock.advance(PREPARE_TIMEOUT)
        self.assertEqual((person.output(), person.transport.producerState), (P, "producing"))


class TypedAheadTests(ProtocolCase):
    """A line that waited for a command is shown behind the prompt at which it runs."""

    def test_as_it_was_typed(self) -> None:
        """Empty lines and tabs too; what a terminal would obey, and what is no UTF-8, as escapes."""
        person = self.connect()
        person.send_bytes(b"slow a\n\nnow\tb\nnow \x1b[2J\nnow \xff\n")
        self.clock.advance(5)
        self.assertEqual(
            person.output(),
            f"a\r\n{P}\r\n{P}now\tb\r\nb\r\n{P}"
            f"now \\x1b[2J\r\nError: control character in the line: '\\x1b'\r\n{P}"
            f"now \\xff\r\nError: the line is not UTF-8: byte 0xff at 5\r\n{P}",
        )

    def test_only_what_waited_for_a_command(self) -> None:
        """Lines in one chunk are not shown, nor those that came after the command was done."""
        person = self.connect()
        person.send_bytes(b"now a\nnow b\nslow c\nslow d\nnow e\n")
        self.assertEqual(person.output(), f"a\r\n{P}b\r\n{P}")
        self.clock.advance(5)
        self.assertEqual(person.output(), f"c\r\n{P}slow d\r\n")
        self.clock.advance(5)
        self.assertEqual(person.output(), f"d\r\n{P}now e\r\ne\r\n{P}")
        self.assertEqual(person.type("now f"), f"f\r\n{P}")

    def test_what_the_transport_had_not_read(self) -> None:
        """A line that was in the socket's buffer when the command was done waited for it as well; what comes later did not."""
        person = self.connect()
        here, there = socket.socketpair()
        with here, there:
            person.protocol.transport.getHandle = lambda: here
            person.send_bytes(b"slow a\n")
            there.sendall(b"now b\nnow c\nno")
            self.clock.advance(5)
            there.sendall(b"w d\nnow e\n")
            data = here.recv(65536)
            person.send_bytes(data[:9])
            person.send_bytes(data[9:])
        self.assertEqual(person.output(), f"a\r\n{P}now b\r\nb\r\n{P}now c\r\nc\r\n{P}d\r\n{P}e\r\n{P}")


class TelnetTests(ProtocolCase):
    """Ctrl-C at a telnet client: IAC IP, and IAC DO TIMING-MARK, before whose answer the client shows no output."""

    interrupt = b"\xff\xf4\xff\xfd\x06"
    answer = b"\xff\xfc\x06\r\n"

    def waiting(self, typed: bytes) -> HMPConnection:
        person = self.connect()
        person.send_bytes(typed)
        person.take_bytes()
        return person

    def test_cancels_what_is_pending(self) -> None:
        """The mark is answered first, then the error is printed and the prompt is back."""
        person = self.waiting(b"slow a\r\n")
        self.assertEqual(person.transport.producerState, "producing")
        person.send_bytes(self.interrupt)
        told = f"Error: Command 'slow' was cancelled\r\n{P}".encode()
        self.assertEqual(person.take_bytes(), self.answer + told)
        self.assertEqual(list(self.monitor.pending), [])
        self.assertEqual(person.type("now b\r"), f"b\r\n{P}")

    def test_in_one_chunk_with_the_line(self) -> None:
        """It cancels the command before it, and not one behind it."""
        person = self.waiting(b"")
        person.send_bytes(b"slow a\r\nnow b\r\n" + self.interrupt + b"slow c\r\n")
        told = f"Error: Command 'slow' was cancelled\r\n{P}now b\r\nb\r\n{P}".encode()
        self.assertEqual(person.take_bytes(), self.answer + told)
        self.assertEqual([request.arguments for request in self.monitor.pending], [{"text": "c"}])

    def test_with_nothing_pending(self) -> None:
        """A new prompt."""
        person = self.waiting(b"now a\r\n")
        person.send_bytes(self.interrupt)
        self.assertEqual(person.take_bytes(), self.answer + P.encode())

    def test_in_pieces(self) -> None:
        """A mark that comes later is answered then, and the prompt is shown again: the client has discarded it."""
        person = self.waiting(b"slow a\r\n")
        person.send_bytes(self.interrupt[:2])
        self.assertEqual(person.take_bytes(), f"\r\nError: Command 'slow' was cancelled\r\n{P}".encode())
        person.send_bytes(self.interrupt[2:])
        self.assertEqual(person.take_bytes(), self.answer + P.encode())

    def test_a_mark_alone(self) -> None:
        """Is answered, and cancels nothing."""
        person = self.waiting(b"slow a\r\n")
        person.send_bytes(self.interrupt[2:])
        self.assertEqual(person.take_bytes(), self.answer)
        self.clock.advance(5)
        self.assertEqual(person.take_bytes(), f"a\r\n{P}".encode())

    def test_read_on_while_suspended(self) -> None:
        """Only a client whose lines end as telnet's do, or that has sent a telnet command; the others' transports are paused."""
        for first, state in (
            (b"", "paused"),
            (b"\r\n", "producing"),
            (b"\r\0", "producing"),
            (b"\xff\xf1", "producing"),
        ):
            person = self.waiting(first + b"slow a\n")
            self.assertEqual((first, person.transport.producerState), (first, state))
            self.clock.advance(5)
            self.assertEqual(person.transport.producerState, "producing")

    def test_long_lines_read_on_while_suspended(self) -> None:
        """Are refused in their place, before what came behind them."""
        person = self.waiting(b"slow a\r\nnow b\r\n")
        for data in (b"x" * 5000 + b"\r\nnow c\r\n", b"y" * 5000, b"y\r\nnow d\r\n", b"now e\r\n"):
            person.send_bytes(data)
        self.clock.advance(5)
        self.assertEqual(self.commands.ran, ["a", "b", "c", "d", "e"])
        refused = f"Error: the line is longer than {MAX_LINE} bytes\r\n"
        self.assertEqual(
            person.output().split(P),
            ["a\r\n", "now b\r\nb\r\n", refused, "now c\r\nc\r\n", refused, "now d\r\nd\r\n", "now e\r\ne\r\n", ""],
        )

    def test_read_on_up_to_a_bound(self) -> None:
        """Beyond it the transport is paused. All lines run, in order, and none while the command is pending."""
        person = self.waiting(b"slow a\r\n")
        line = b"now " + b"x" * 1000 + b"\r\n"
        sent = 0
        while person.transport.producerState == "producing":
            person.send_bytes(line)
            sent += 1
        self.assertLess(abs(sent * len(line) - MAX_HELD), 2 * len(line))
        self.assertEqual(self.commands.ran, ["a"])
        self.clock.advance(5)
        self.assertEqual(len(self.commands.ran), 1 + sent)
        self.assertEqual(person.transport.producerState, "producing")

    def test_one_who_does_not_read_is_not_read(self) -> None:
        """Answers to timing marks can't pile up."""
        person = self.waiting(b"slow a\r\n")
        person.transport.stop_reading()
        marks = 0
        while person.transport.producerState == "producing":
            person.send_bytes(self.interrupt[2:] * 1000)
            marks += 1000
            self.assertLess(marks, 100_000)
        self.assertEqual(len(person.transport.value()), len(TIMING_MARK_REFUSED) * marks + 2 * (marks // 1000))

    def test_the_end_of_input_while_suspended(self) -> None:
        """Comes through at once where the transport is read on; what was typed is still run and answered."""
        person = self.waiting(b"slow a\r\nnow b\r\n")
        person.half_close()
        self.assertFalse(person.closed)
        self.clock.advance(5)
        self.assertEqual((person.output(), person.closed), (f"a\r\n{P}now b\r\nb\r\n{P}", True))

    def test_urgent_data_stays_in_its_place(self) -> None:
        """IAC DM as TCP's urgent data would otherwise lose its second byte."""
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
            for sock, inline in ((tcp, True), (unix, False)):
                transport: Any = StringTransport()
                transport.getHandle = lambda sock=sock: sock
                HMPFactory(self.monitor).buildProtocol(None).makeConnection(transport)
                self.assertEqual(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)), inline)


class EndTests(ProtocolCase):
    """How a session ends."""

    def test_end_of_input(self) -> None:
        """What is pending is answered and what came complete is run, then the connection is closed."""
        person = self.connect()
        person.send_bytes(b"slow a\nnow b\nslow c\nnow incomplete")
        person.half_close()
        self.clock.advance(5)
        self.assertEqual((person.output(), person.closed), (f"a\r\n{P}now b\r\nb\r\n{P}slow c\r\n", False))
        self.clock.advance(5)
        self.assertEqual((person.output(), person.closed), (f"c\r\n{P}", True))
        self.assertEqual(self.commands.ran, ["a", "b", "c"])

    def test_end_of_input_with_nothing_pending(self) -> None:
        """Closes at once."""
        person = self.connect()
        person.half_close()
        self.assertTrue(person.closed)

    def test_nothing_runs_for_somebody_who_has_gone(self) -> None:
        """Lines that were held are not run, whatever becomes of the command before them."""
        person = self.connect()
        person.send_bytes(b"slow a\nnow b\n" + b"x" * 9000 + b"\nnow c\n")
        person.lose()
        self.clock.advance(10)
        self.assertEqual((self.commands.ran, person.output()), (["a"], ""))
        person.protocol.dataReceived(b"now d\n")
        person.protocol.resumeProducing()
        self.assertEqual(self.commands.ran, ["a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_monitor_is_told(self) -> None:
        """A command that is to be cancelled with its caller is."""
        self.monitor.register_command("held", lambda: Deferred(), on_disconnect="cancel")
        person = self.connect()
        person.type("held")
        self.assertEqual(len(list(self.monitor.pending)), 1)
        person.lose()
        self.assertEqual(list(self.monitor.pending), [])

    def test_limits(self) -> None:
        """Connections are counted, idle ones ended, waiting ones not."""
        factory = HMPFactory(self.monitor, max_connections=1, idle_timeout=4)
        person = self.connect(factory=factory)
        self.assertTrue(self.connect(factory=factory).refused)
        self.assertEqual(person.type("slow a"), "")
        self.clock.pump([1] * 6)
        self.assertFalse(person.closed)
        self.clock.pump([1] * 8)
        self.assertTrue(person.closed)

    def test_a_completed_command_is_no_input(self) -> None:
        """The idle timeout counts from the last input, not from the output that came since."""
        person = self.connect(idle_timeout=10)
        person.type("slow a")
        self.clock.advance(5)
        self.assertEqual(person.output(), f"a\r\n{P}")
        self.clock.advance(4.9)
        self.assertFalse(person.closed)
        self.clock.advance(0.1)
        self.assertTrue(person.closed)

    def test_closing_the_factory(self) -> None:
        """Ends every session; what is typed then runs nothing."""
        person = self.connect()
        closed = person.factory.close()
        self.successResultOf(closed)
        self.assertTrue(person.closed)


class BackPressureTests(ProtocolCase):
    """A person who does not read is not read either."""

    def test_lines_wait(self) -> None:
        """Output is bounded by the transport's mark and one command's, and all of it comes when it is read."""
        person = self.connect()
        person.transport.stop_reading()
        line = b"now " + b"x" * 4000 + b"\n"
        person.send_bytes(line * 50)
        self.assertEqual(person.transport.producerState, "paused")
        self.assertLess(len(person.transport.value()), (1 << 16) + 5000)
        ran = len(self.commands.ran)
        self.assertLess(ran, 20)
        for _ in range(10):
            person.transport.read_on()
            person.transport.stop_reading()
        person.transport.read_on()
        self.assertEqual(len(self.commands.ran), 50)
        self.assertEqual(person.output(), ("x" * 4000 + f"\r\n{P}") * 50)
        self.assertEqual(person.transport.producerState, "producing")

    def test_end_of_input_of_one_who_reads_late(self) -> None:
        """All lines run and all their output comes before the connection is closed."""
        person = self.connect()
        person.transport.stop_reading()
        person.send_bytes((b"now " + b"x" * 4000 + b"\n") * 40)
        person.half_close()
        self.assertFalse(person.closed)
        for _ in range(10):
            person.transport.read_on()
            person.transport.stop_reading()
        person.transport.read_on()
        self.assertEqual(person.output(), ("x" * 4000 + f"\r\n{P}") * 40)
        self.assertTrue(person.closed)


_LINES = st.sampled_from(
    [
        "now",
        "soon",
        "slow",
        "refuse",
        "fail",
        "fail-now",
        "never",
        "give-up",
        "nonsense",
        "help now",
        "x" * 5000,
        "\xff",
    ]
)


@cache
def _answers(*chunks: bytes) -> tuple[str, list[str]]:
    """What is printed, and what ran, when these bytes come as fast as they are read."""
    clock = Clock()
    monitor = Monitor(clock=clock)
    commands = Commands(clock)
    monitor.register(commands)
    person = HMPConnection(monitor)
    for chunk in [*chunks, b""]:
        while person.transport.producerState == "paused":
            clock.advance(1)
        person.send_bytes(chunk)
    return person.output(), commands.ran


@settings(max_examples=60, deadline=None)
@given(st.lists(_LINES, max_size=12), st.data())
def test_any_sequence_in_any_pieces(lines: list[str], data: Any) -> None:
    """What is printed is what the same commands print one by one."""
    typed = [f"{line} {number}\n".encode("latin-1") for number, line in enumerate(lines)]
    together = b"".join(typed)
    cuts = data.draw(st.lists(st.integers(0, len(together)), max_size=8))
    edges = [0, *sorted(cuts), len(together)]
    pieces = [together[begin:end] for begin, end in pairwise(edges)]
    printed, ran = _answers(*pieces)
    one_by_one = [_answers(line) for line in typed]
    # What was typed ahead is shown where it runs, and nowhere else.
    for line in typed:
        shown = line.decode("utf-8", "backslashreplace").replace("\n", "\r\n")
        assert printed.count(P + shown) <= 1
        printed = printed.replace(P + shown, P)
    assert printed == "".join(text for text, _ in one_by_one)
    assert ran == [name for _, names in one_by_one for name in names]
    assert len(ran) == len(set(ran))


_KEYS = {"interrupt": b"\xff\xf4", "mark": b"\xff\xfd\x06", "both": b"\xff\xf4\xff\xfd\x06", "nop": b"\xff\xf1"}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([*_KEYS, "now", "slow", "soon", "refuse", "fail"]), max_size=14), st.data())
def test_any_telnet_session(keys: list[str], data: Any) -> None:
    """Whatever is typed and interrupted: each line runs once, in order; each mark is answered; in the end there is a prompt."""
    typed = [_KEYS.get(key) or f"{key} {n}\r\n".encode() for n, key in enumerate(keys)]
    stream = b"\r\n" + b"".join(typed)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    clock = Clock()
    monitor = Monitor(clock=clock)
    commands = Commands(clock)
    monitor.register(commands)
    person = HMPConnection(monitor)
    for begin, end in pairwise([0, *cuts, len(stream)]):
        while person.transport.producerState == "paused":
            clock.advance(1)
        person.send_bytes(stream[begin:end])
        clock.advance(data.draw(st.sampled_from([0, 1, 5])))
    while list(monitor.pending):
        clock.advance(1)
    assert commands.ran == [str(n) for n, key in enumerate(keys) if key not in _KEYS]
    output = person.take_bytes()
    assert output.count(TIMING_MARK_REFUSED) == stream.count(_KEYS["mark"])
    assert output.endswith(P.encode())
    assert person.transport.producerState == "producing"

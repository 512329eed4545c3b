"""The human monitor on a transport: suspended and resumed, no line early, lost or out of its place."""

from __future__ import annotations

import socket
from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from zope.interface.verify import verifyObject

from tests.support.fronted_server import FakeFrontedServer
from tests.support.hmp_commands import Commands, P, ProtocolCase
from tests.support.hmp_fakes import FakeMonitor
from twisted_qmon import HMPFactory, Monitor
from twisted_qmon.hmp.console import PREPARE_TIMEOUT
from twisted_qmon.hmp.protocol import MAX_LINE, HMPProtocol
from twisted_qmon.info import CommandInfo
from twisted_qmon.interfaces import ISuspendable
from twisted_qmon.testing import HMPConnection, QMPConnection


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

"""Ctrl-C at a telnet client of the human monitor, and what is read on for its sake while a command is pending."""

from __future__ import annotations

import socket
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.support.hmp_commands import Commands, P, ProtocolCase
from twisted_qmon import HMPFactory, Monitor
from twisted_qmon.hmp.protocol import MAX_HELD, MAX_LINE
from twisted_qmon.hmp.telnet import TIMING_MARK_REFUSED
from twisted_qmon.testing import HMPConnection


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

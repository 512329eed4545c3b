"""Telnet in character mode: agreed upon with clients that have a terminal, unseen by all others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.screen import Screen
from twisted_qmon import CommandProvider, Monitor, command
from twisted_qmon.hmp import protocol
from twisted_qmon.hmp.telnet import CharacterMode, TelnetFilter, TelnetOption, WindowSize
from twisted_qmon.testing import HMPConnection

P = "(qmon) "
WILL, WONT, DO, DONT = 0xFB, 0xFC, 0xFD, 0xFE
ECHO, SGA, TTYPE, NAWS = 1, 3, 24, 31

#: What the server asks of a client that offers the size of its window.
ASKED = bytes((255, DO, NAWS, 255, WILL, ECHO, 255, WILL, SGA))
#: What GNU's telnet sends first, and what it answers.
OFFER = bytes((255, DO, SGA, 255, WILL, TTYPE, 255, WILL, NAWS))
AGREED = bytes((255, DO, ECHO))


def size(columns: int, rows: int) -> bytes:
    told = (columns.to_bytes(2, "big") + rows.to_bytes(2, "big")).replace(b"\xff", b"\xff\xff")
    return b"\xff\xfa\x1f" + told + b"\xff\xf0"


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"a" + OFFER + b"b", [b"a", TelnetOption(DO, SGA), TelnetOption(WILL, TTYPE), TelnetOption(WILL, NAWS), b"b"]),
        (size(80, 24), [WindowSize(80, 24)]),
        (size(255, 65535), [WindowSize(255, 65535)]),
        (size(10, 10), [WindowSize(10, 10)]),
        (b"\xff\xfa\x1f\0\x50\0\xff\xf0", []),
        (b"\xff\xfa\x18\0xterm\xff\xf0", []),
    ],
)
def test_what_is_told(data: bytes, parts: list[object]) -> None:
    """Options and sizes, whole or byte by byte, where they are asked for; else none of it."""
    assert TelnetFilter(tells_options=True).feed(data) == parts
    filter = TelnetFilter(tells_options=True)
    assert [part for begin, end in pairwise(range(len(data) + 1)) for part in filter.feed(data[begin:end])] == parts
    assert [part for part in TelnetFilter().feed(data) if not isinstance(part, bytes)] == []


def test_negotiation() -> None:
    """Nothing is said before a window is offered, nothing twice; one that changes its mind has its way, once."""
    mode = CharacterMode()
    for part in (TelnetOption(DO, SGA), TelnetOption(WILL, TTYPE), TelnetOption(WONT, NAWS), WindowSize(80, 24)):
        assert mode.receive(part) == b""
    assert mode.receive(TelnetOption(WILL, NAWS)) == ASKED
    assert mode.receive(TelnetOption(WILL, NAWS)) == b""
    assert not mode.agreed
    mode.receive(TelnetOption(DO, ECHO))
    assert (mode.agreed, mode.size) == (True, (80, 24))
    assert mode.receive(TelnetOption(DONT, TTYPE)) == b""
    assert mode.receive(TelnetOption(DONT, ECHO)) == bytes((255, WONT, ECHO, 255, WONT, SGA))
    assert mode.receive(TelnetOption(DO, ECHO)) == b""
    assert not mode.agreed


class Commands(CommandProvider):
    """A command that answers, and one that waits."""

    waiting: Deferred[str] | None = None

    @command
    def now(self, text: str) -> str:
        """answer at once"""
        return text

    @command
    def slow(self) -> Deferred[str]:
        """answer later"""
        self.waiting = Deferred()
        return self.waiting


class CharacterModeTests(SynchronousTestCase):
    """A person with telnet."""

    def setUp(self) -> None:
        self.monitor = Monitor(clock=Clock())
        self.commands = Commands()
        self.monitor.register(self.commands)
        self.person = HMPConnection(self.monitor, banner="hello")

    def send(self, data: bytes) -> bytes:
        self.person.send_bytes(data)
        return self.person.take_bytes()

    def test_lines_are_edited(self) -> None:
        """From the moment on which it is agreed; CR is followed by NUL or LF."""
        self.assertEqual(self.send(OFFER), ASKED)
        self.assertEqual(self.send(size(20, 5)), b"")
        out = self.send(AGREED)
        self.assertEqual(out, b"\r\0\x1b[K\x1b[?2004h(qmon) ")
        screen = Screen(20, 5)
        screen.feed(f"hello\r\n{P}" + out.decode())
        screen.feed(self.send(b"xnow " + b"a" * 20 + b"\x01").decode())
        self.assertEqual(screen.text, f"hello\n{P}xnow aaaaaaaa\naaaaaaaaaaaa")
        out = self.send(b"\x1b[3~\r\0")
        self.assertNotRegex(out, rb"\r[^\n\0]")
        screen.feed(out.decode())
        self.assertEqual(screen.text, f"hello\n{P}now aaaaaaaaa\naaaaaaaaaaa\n{'a' * 20}\n{P}".rstrip())
        self.send(size(60, 20))
        self.assertEqual(self.person.protocol._editor._painter.columns, 60)

    def test_ctrl_c(self) -> None:
        """The key, and telnet's command for it."""
        self.send(OFFER)
        self.send(AGREED)
        for interrupt in (b"\x03", b"\xff\xf4", b"\xff\xf4\xff\xfd\x06"):
            self.send(b"slow\r\0now a\r\0")
            out = self.send(interrupt)
            self.assertIn(b"Command 'slow' was cancelled", out)
            self.assertEqual(out.startswith(b"\xff\xfc\x06"), len(interrupt) > 2)
            self.assertTrue(out.endswith(P.encode()))
            self.assertTrue(self.send(b"half" + interrupt).endswith(b"^C\r\n" + P.encode()))

    def test_what_was_typed_before(self) -> None:
        """A line that has begun, and lines that wait for a command, are for the editor."""
        self.assertEqual(self.send(OFFER), ASKED)
        self.send(b"now ab")
        self.assertTrue(self.send(AGREED).endswith(b"now ab"))
        self.assertIn(b"\r\nabc\r\n", self.send(b"c\r\0"))
        person = self.person = HMPConnection(self.monitor)
        self.send(OFFER + b"slow\r\nnow x\r\nno")
        self.assertEqual(self.send(AGREED), b"")
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        out = person.take_bytes()
        self.assertIn(b"done\r\n", out)
        self.assertIn(b"now x\r\nx\r\n", out)
        self.assertTrue(out.endswith(b"no"))

    def test_back_to_lines(self) -> None:
        """A client that wants to echo by itself again has lines again."""
        self.send(OFFER)
        self.send(AGREED + b"half")
        out = self.send(bytes((255, DONT, ECHO)))
        self.assertTrue(out.startswith(bytes((255, WONT, ECHO, 255, WONT, SGA))))
        self.assertTrue(out.endswith(f"\r\n\x1b[?2004l{P}".encode()))
        self.assertEqual(self.send(b"now a\r\n"), f"a\r\n{P}".encode())
        self.send(b"slow\r\n")
        self.assertEqual(self.send(OFFER), ASKED)
        self.send(AGREED + bytes((255, DO, SGA)))
        self.assertEqual(self.send(bytes((255, DONT, SGA)))[:3], bytes((255, WONT, ECHO)))

    def test_clients_that_do_not_agree(self) -> None:
        """See what they see without."""
        self.send(OFFER)
        self.assertEqual(self.send(bytes((255, DONT, ECHO)) + size(80, 24) + b"now a\r\n"), f"a\r\n{P}".encode())
        self.assertTrue(self.send(b"exit\r\n" + OFFER) == b"")

    def test_without_the_editor(self) -> None:
        """Where wcwidth is not installed nothing is negotiated."""
        self.patch(protocol, "_can_edit", lambda: False)
        self.person = HMPConnection(self.monitor)
        self.assertEqual(self.send(OFFER + AGREED + size(1, 1)), b"")

    def test_behind_the_end(self) -> None:
        """Of a session nothing is negotiated."""
        protocol: Any = self.person.protocol
        protocol.suspend()
        self.person.half_close()
        protocol._finishing = True
        protocol._receive(OFFER, typed_ahead=False)
        self.assertEqual(self.person.take_bytes(), f"hello\r\n{P}".encode()[len(f"hello\r\n{P}") :])

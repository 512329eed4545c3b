"""
A human monitor that programs take for QEMU's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import Proxy
from tests.support.qemu_hmp_session import PROMPT
from twisted_qmon import HMPFactory, Monitor
from twisted_qmon.hmp.editor.interface import Entered, Outcome
from twisted_qmon.hmp.protocol import MAX_LINE
from twisted_qmon.hmp.qemu_style import MAX_HISTORY, QEMUStyleProtocol, Readline, qemu_banner
from twisted_qmon.testing import HMPConnection

RECORDING = Path(__file__).parent.parent / "data" / "qemu-hmp-session.json"

#: QEMU's C{help}, as far as the recording uses its words.
HELP = "".join(
    f"{entry}\r\n"
    for entry in (
        *(
            f"{name} args -- text"
            for name in ["balloon", "device_del", "eject", "help|?", "info", "print|p", "set_link", "x"]
        ),
        *("cont|c  -- resume emulation", "stop|s  -- stop emulation"),
    )
)
INFO = "".join(
    f"info {name}  -- {'show the current VM status (running|paused)' if name == 'status' else 'text'}\r\n"
    for name in [
        "block",
        "cpus",
        "kvm",
        "mice",
        "migrate",
        "name",
        "qtree",
        "snapshots",
        "status",
        "tpm",
        "uuid",
        "version",
    ]
)


class RecordedTests(SynchronousTestCase):
    """A session of 50 lines at a QEMU 7.2, played again in front of a QEMU that answers as that one did."""

    def setUp(self) -> None:
        self.proxy = Proxy(connect=False)
        self.proxy.qemu.greet()
        while requests := self.proxy.qemu.asked():
            for request in requests:
                self.introduce(request)

    def introduce(self, request: Any) -> None:
        line = request.get("arguments", {}).get("command-line")
        answers: dict[str, Any] = {
            "query-qmp-schema": SCHEMA,
            "human-monitor-command": {"help": HELP, "info": INFO}.get(line, ""),
        }
        self.proxy.qemu.answer(request, answers.get(request["execute"], {}))

    def test_session(self) -> None:
        """Every byte that comes back is the same."""
        (_, banner), *recorded = json.loads(RECORDING.read_text())
        self.assertEqual(len(recorded), 50)
        person = HMPConnection(self.proxy.monitor, style="qemu")
        self.assertEqual(person.banner, banner)
        for keys, text in recorded:
            person.send_bytes(keys.encode("latin-1"))
            for request in self.proxy.qemu.asked():
                self.assertEqual(request["execute"], "human-monitor-command")
                # The answer is what stands between the end of the line and the next prompt.
                answer = text.partition("\r\n")[2].removesuffix(PROMPT.decode())
                self.proxy.qemu.answer(request, answer.encode("latin-1").decode())
            self.assertEqual(person.take_bytes().decode("latin-1"), text, keys)

    def test_nothingUnasked(self) -> None:
        """No notice, no hint, none of our words of the session: QEMU has none of them."""
        person = HMPConnection(self.proxy.monitor, style="qemu")
        for line in ("exit", "events on", "watch info name", "sto"):
            person.send_bytes(line.encode() + b"\n")
            for request in self.proxy.qemu.asked():
                self.proxy.qemu.answer(request, f"unknown command: '{line.split()[0]}'\r\n")
            self.assertTrue(
                person.output().endswith(f"{line}\x1b[K\r\nunknown command: '{line.split()[0]}'\r\n(qemu) "), line
            )
        self.proxy.qemu.die()
        self.proxy.clock.advance(0)
        self.assertEqual(person.output(), "")
        self.assertFalse(person.protocol.console.terminal)


SCHEMA = [
    *(
        {"name": name, "meta-type": "command", "arg-type": "0", "ret-type": "0"}
        for name in ("human-monitor-command", "query-status")
    ),
    {"name": "0", "meta-type": "object", "members": []},
]


class ProtocolTests(SynchronousTestCase):
    """In front of a monitor of our own."""

    def setUp(self) -> None:
        self.monitor = Monitor("m", clock=Clock())

    def person(self, **options: Any) -> HMPConnection:
        return HMPConnection(self.monitor, style="qemu", **options)

    def test_banner(self) -> None:
        """The banner has the monitor's version; one that has none gets zeros."""
        version = ".".join(str(self.monitor.version["qemu"][part]) for part in ("major", "minor", "micro"))
        self.assertEqual(qemu_banner(self.monitor), f"QEMU {version} monitor - type 'help' for more information")
        other: Any = object()
        self.assertEqual(qemu_banner(other), "QEMU 0.0.0 monitor - type 'help' for more information")

    def test_prompt(self) -> None:
        """The prompt is QEMU's, unless another is given."""
        self.assertTrue(self.person().banner.endswith("\r\n(qemu) "))
        self.assertTrue(self.person(prompt="(vm) ").banner.endswith("\r\n(vm) "))

    def test_styles(self) -> None:
        """A style that is not known is refused; the usual one is unchanged."""
        with self.assertRaisesRegex(ValueError, "style is one of qmon, qemu, not 'vi'"):
            HMPFactory(self.monitor, style="vi")
        self.assertNotIsInstance(HMPConnection(self.monitor).protocol, QEMUStyleProtocol)

    def test_notUTF8(self) -> None:
        """A line that is not UTF-8 is shown as it is, and refused."""
        person = self.person()
        person.send_bytes(b"\xe9\r")
        self.assertEqual(person.take_bytes(), b"\xe9\x1b[K\r\nError: the line is not UTF-8: byte 0xe9 at 1\r\n(qemu) ")

    def test_longLine(self) -> None:
        """What is longer than QEMU's buffer is not shown; the line is refused, since its beginning is another command."""
        person = self.person()
        person.send_bytes(b"x" * (MAX_LINE + 10))
        person.take_bytes()
        person.send_bytes(b"y\n")
        self.assertEqual(person.output(), f"\r\nError: the line is longer than {MAX_LINE} bytes\r\n(qemu) ")

    def test_paced(self) -> None:
        """The echo of a long line is many times the line: it is made as the client reads it."""
        person = self.person()
        person.transport.stop_reading()
        person.send_bytes(b"x" * 2000 + b"\ninfo name\n")
        for _ in range(1000):
            self.assertLess(len(person.transport.value()), 200_000)
            person.transport.read_buffer()
        person.transport.read_on()
        text = person.output()
        self.assertGreater(len(text), 2000 * 2000)
        self.assertTrue(text.endswith("info name\x1b[K\r\nm\r\n(qemu) "))

    def test_suspended(self) -> None:
        """Keys that come while a command is pending are shown behind its output."""
        from twisted.internet.defer import Deferred

        waiting: Deferred[str] = Deferred()
        self.monitor.register_command("wait", lambda: waiting)
        person = self.person()
        person.send_bytes(b"wait\ng\n")
        person.take_bytes()
        waiting.callback("done")
        self.assertEqual(person.output(), "done\r\n(qemu) g\x1b[K\r\nunknown command: 'g'\r\n(qemu) ")


def editor(blocked: list[bool] | None = None) -> tuple[Readline, bytearray]:
    """One that edits a line, and what it writes."""
    shown = bytearray()
    readline = Readline(shown.extend, lambda: bool(blocked and blocked[0]))
    readline.begin("> ")
    shown.clear()
    return readline, shown


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (b"one\n", "one"),
        (b"one\x02\x03\x07two\r", "onetwo"),
        (b"one\x1b[D\x1b[D\x1b[D\x1b[Dx\x1b[C\x1b[C\x1b[C\x1b[Cy\n", "xoney"),
        (b"one\x1bOH\x04\x1bOF2\n", "ne2"),
        (b"one two\x17three\n", "one three"),
        (b"one two \x17\n", "one "),
        (b" one\x17\n", ""),
        (b"  \x17\n", ""),
        (b"\x7fone\x1b[1~\x7f\x1b[3~\x1b[4~\x08\n", "n"),
        (b"one\x1b[99999~\x1b[z\x1bOz\x1bz\x1b\x1b\n", "one"),
        (b"a\x1b[1z\x9b~b\n", "ba"),
        (b"ab\x1b[1z\x1bOz\x9b~c\n", "abc"),
        (b"caf\xc3\xa9\n", "café"),
        (b"\xff\n", "\udcff"),
    ],
)
def test_keys(keys: bytes, line: str) -> None:
    """What keys make of a line."""
    readline, _ = editor()
    assert readline.receive(keys) is False
    assert readline.next() == Outcome(Entered.LINE, line)


def test_history() -> None:
    """The lines that were entered come back, each once, as far as they are kept; an empty one changes nothing."""
    readline, _ = editor()

    def enter(keys: bytes) -> str:
        readline.receive(keys + b"\n")
        outcome = readline.next()
        assert outcome is not None
        readline.begin("> ")
        return outcome.line

    assert enter(b"\x1b[A\x1b[B") == ""
    for number in range(MAX_HISTORY + 5):
        enter(b"%d" % number)
    assert enter(b"\x1b[A") == f"{MAX_HISTORY + 4}"
    assert enter(b"\x1b[A" * 100) == "5"
    assert enter(b"\x1b[F\x1b[A\x1b[E") == "5"
    assert enter(b"\x1b[A\x1b[A\x1b[B\x1b[B") == ""
    assert enter(b"7") == "7"
    assert enter(b"\x1b[A") == "7"


def test_held() -> None:
    """Keys that are not looked at are held: while no line is edited, and while the terminal takes no more."""
    blocked = [False]
    readline, _ = editor(blocked)
    readline.receive(b"one\ntwo\n")
    assert readline.next() == Outcome(Entered.LINE, "one")
    assert (readline.next(), readline.held, readline.has_line, readline.active) == (None, 4, True, False)
    readline.drop_enter()
    assert readline.held == 4
    readline.begin("> ")
    blocked[0] = True
    assert (readline.next(), readline.held) == (None, 4)
    blocked[0] = False
    assert readline.next() == Outcome(Entered.LINE, "two")
    readline.receive(b"\n")
    readline.drop_enter()
    readline.drop_enter()
    assert (readline.held, readline.has_line) == (0, False)


def test_show() -> None:
    """Text is shown as it is between lines, and above a line that is edited."""
    readline, shown = editor()
    readline.receive(b"ab\x1b[D")
    readline.next()
    shown.clear()
    readline.show("text\n")
    assert shown == b"\r\ntext\r\n> ab\x1b[K\x1b[D"
    readline.resize(80, 25)
    readline.leave()
    shown.clear()
    readline.show("text\n")
    assert shown == b"text\r\n"

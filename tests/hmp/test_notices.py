"""
What a person is told without having asked.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import Event, Monitor
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.hmp.console import Console, Person
from twisted_qmon.testing import HMPConnection

VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}


class Front(CommandProvider):
    """What a provider in front of a QEMU emits, and a command that takes long."""

    events = (Event("QEMU_CONNECTED", version=dict), Event("QEMU_DISCONNECTED", reason=str), Event("OTHER"))

    def __init__(self) -> None:
        self.waiting: Deferred[str] = Deferred()

    @command
    def wait(self) -> Deferred[str]:
        return self.waiting

    @command
    def lose(self) -> None:
        self.go()

    def go(self) -> None:
        """QEMU has gone."""
        assert self.monitor is not None
        self.monitor.emit("QEMU_DISCONNECTED", {"reason": "it \x1b[2J ended"})

    def come(self) -> None:
        """QEMU is there."""
        assert self.monitor is not None
        self.monitor.emit("QEMU_CONNECTED", {"version": VERSION})


class NoticeTests(SynchronousTestCase):
    """QEMU goes and comes back while a person is there."""

    def setUp(self) -> None:
        self.monitor = Monitor(clock=Clock())
        self.front = Front()
        self.monitor.register(self.front)
        self.person = HMPConnection(self.monitor, prompt="> ", banner="hello")

    def test_at_the_prompt(self) -> None:
        """A person at the prompt is told at once, in one line above a new prompt, made printable."""
        self.assertEqual(self.person.banner, "hello\r\n> ")
        self.front.go()
        self.assertEqual(self.person.output(), "\r\nQEMU disconnected: it \\x1b[2J ended\r\n> ")
        self.front.come()
        self.assertEqual(self.person.output(), "\r\nQEMU 7.2.22 connected\r\n> ")
        self.monitor.emit("OTHER")
        self.assertEqual(self.person.output(), "")

    def test_while_waiting(self) -> None:
        """A person who waits for a command is told at once; the prompt comes when the command is done."""
        self.person.type("wait")
        self.front.go()
        self.assertEqual(self.person.output(), "QEMU disconnected: it \\x1b[2J ended\r\n")
        self.front.waiting.callback("done")
        self.assertEqual(self.person.output(), "done\r\n> ")

    def test_within_a_line(self) -> None:
        """What happens while a line is run is told before its prompt."""
        self.assertEqual(self.person.type("lose"), "QEMU disconnected: it \\x1b[2J ended\r\n> ")

    def test_does_not_read(self) -> None:
        """A person who does not read is told nothing: nothing piles up."""
        self.person.transport.stop_reading()
        self.person.transport.high_water = 0
        self.person.type("info version")
        before = len(self.person.transport.value())
        for _ in range(100):
            self.front.go()
            self.front.come()
        self.assertEqual(len(self.person.transport.value()), before)
        self.person.transport.read_on()
        self.person.output()
        self.front.come()
        self.assertEqual(self.person.output(), "\r\nQEMU 7.2.22 connected\r\n> ")

    def test_at_the_end(self) -> None:
        """After the end of the input, or of the connection, nothing is told."""
        self.person.type("wait")
        self.person.half_close()
        self.front.waiting.callback("done")
        self.person.output()
        self.front.go()
        self.assertEqual(self.person.output(), "")
        self.assertEqual(self.monitor.events._named, {})

    def test_not_asked_for_elsewhere(self) -> None:
        """A console that has nowhere to show them is told nothing: the one of C{human-monitor-command}."""
        texts: list[str] = []
        console = Console(self.monitor, Person("one"), write=texts.append)
        console.start()
        self.front.go()
        console.close()
        self.assertEqual(texts, [])

"""A person at a terminal that sends each key: the human monitor with its line editor."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.screen import Screen
from twisted_qmon import CommandProvider, Event, GenericError, HMPFactory, Monitor, command
from twisted_qmon.hmp.editor.line import MAX_EDITED
from twisted_qmon.hmp.protocol import MAX_HELD, MAX_LINE, HMPProtocol
from twisted_qmon.testing import Connection

P = "(qmon)"


class Commands(CommandProvider):
    """A command that answers, one that waits, and one whose answer is long."""

    events = [Event("SALE", what=str)]

    def __init__(self) -> None:
        self.waiting: Deferred[str] | None = None
        self.log_fails = False

    @command
    def now(self, text: str) -> str:
        """answer at once"""
        return text

    @command
    def slow(self) -> Deferred[str]:
        """answer later"""
        self.waiting = Deferred()
        return self.waiting

    @command
    def big(self) -> str:
        """say a lot"""
        return "\n".join(str(n) for n in range(20_000))

    @command
    def query_log(self, limit: int | None = None, after: int | None = None) -> list[str]:
        """the log"""
        if self.log_fails:
            raise GenericError("no log")
        return []

    @command(level="admin")
    def newer(self) -> str:
        """answer"""
        return "newer"


class _TerminalFactory(HMPFactory):
    def buildProtocol(self, addr: object) -> Any:
        protocol: Any = super().buildProtocol(None)
        if isinstance(protocol, HMPProtocol):
            protocol.speaks_telnet = False
            protocol.edit_lines(60, 12)
        return protocol


class Person(Connection):
    """A person at a terminal."""

    def __init__(self, monitor: Monitor, **options: Any) -> None:
        self.screen = Screen(60, 12)
        super().__init__(_TerminalFactory(monitor, banner="hello", **options))

    def press(self, *keys: str) -> str:
        """Press keys. :return: the screen"""
        for key in keys:
            self.send_bytes(key.encode())
        return self.shown

    @property
    def shown(self) -> str:
        """The screen."""
        self.screen.feed(self.take_bytes().decode())
        return self.screen.text


class KeyboardTests(SynchronousTestCase):
    """Keys in, a screen out."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.commands = Commands()
        self.monitor.register(self.commands)
        self.person = Person(self.monitor)

    def test_a_line(self) -> None:
        """Is edited, run, and remembered."""
        person = self.person
        self.assertEqual(person.shown, f"hello\n{P}")
        self.assertEqual(person.press("nowx a", "\x1b[D" * 2, "\x7f", "\r"), f"hello\n{P} now a\na\n{P}")
        self.assertEqual(person.press("\x1b[A").splitlines()[-1], f"{P} now a")
        self.assertTrue(person.press("\x03").endswith(f"{P} now a^C\n{P}"))

    def test_pending(self) -> None:
        """What is typed while a command is pending waits for its end; Ctrl-C cancels it and drops that."""
        person = self.person
        person.press("slow\r", "now a\rno")
        self.assertEqual(person.shown, f"hello\n{P} slow")
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        self.assertEqual(person.shown, f"hello\n{P} slow\ndone\n{P} now a\na\n{P} no")
        person.press("\x15slow\r", "now b\r", "\x03")
        self.assertEqual(person.shown.splitlines()[-3:], ["^C", "Error: Command 'slow' was cancelled", P])
        self.assertEqual(person.press("\r").splitlines()[-1], P)

    def test_held_keys_have_a_limit(self) -> None:
        """Beyond it the transport is not read until the command is done."""
        person = self.person
        person.press("slow\r", "x" * (MAX_HELD - 1))
        self.assertEqual(person.transport.producerState, "producing")
        person.press("\x15now a\r")
        self.assertEqual(person.transport.producerState, "paused")
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        self.assertEqual(person.transport.producerState, "producing")
        self.assertTrue(person.shown.endswith(f"\na\n{P}"))

    def test_events(self) -> None:
        """Are shown above what is being typed; while a command is pending, where the cursor is."""
        person = self.person
        person.press("events on\r", "now a", "\x1b[D")
        self.monitor.emit("SALE", {"what": "hats"})
        lines = person.shown.splitlines()
        self.assertIn("SALE", lines[-2])
        self.assertEqual(lines[-1], f"{P} now a")
        self.assertEqual(person.screen.at[1], 11)
        person.press("\rslow\r")
        self.monitor.emit("SALE", {"what": "gloves"})
        self.assertIn("gloves", person.shown.splitlines()[-1])

    def test_watching(self) -> None:
        """Ctrl-C ends it; so does the next line, which is run; Enter alone gives the prompt."""
        for keys, last in (
            ("\x03", ["^C", P]),
            ("\r", ["a", P]),
            ("now b\r", [f"{P} now b", "b", P]),
            ("\x04", ["a", P]),
            ("n\x7f\r", [P, P]),
        ):
            person = Person(self.monitor)
            person.press("watch 1 now a\r")
            self.clock.advance(1)
            self.assertEqual(person.shown, f"hello\n{P} watch 1 now a\na\n\na")
            self.assertEqual(person.press(keys).splitlines()[-len(last) :], last)
            self.clock.advance(5)
            self.assertEqual(person.shown.splitlines()[-len(last) :], last)
            person.lose()

    def test_a_watched_command_that_is_pending(self) -> None:
        """Ctrl-C cancels it, and ends the watching."""
        person = self.person
        person.press("watch 1 slow\r", "\x03")
        self.assertEqual(person.shown.splitlines()[-3:], ["^C", "Error: Command 'slow' was cancelled", P])

    def test_something_that_ends_by_itself(self) -> None:
        """A log that can't be followed any more gives the prompt back."""
        person = self.person
        person.press("log follow\r")
        self.assertEqual(person.shown, f"hello\n{P} log follow")
        self.commands.log_fails = True
        self.clock.advance(5)
        self.assertEqual(person.shown, f"hello\n{P} log follow\nError: no log\n{P}")
        self.assertTrue(person.press("now a\r").endswith(f"\na\n{P}"))

    def test_completion(self) -> None:
        """Tab completes what the person may run."""
        self.assertEqual(self.person.press("inf\t").splitlines()[-1], f"{P} info")
        self.assertIn("now    newer\n" + P, self.person.press("\x15n\t").replace("newer  now", "now    newer"))
        self.assertEqual(Person(self.monitor, level="operate").press("n\t").splitlines()[-1], f"{P} now")

    def test_commands_that_are_not_known(self) -> None:
        """Then Tab rings."""
        self.person.protocol.console._command_index.names = Deferred
        self.person.press("inf\t")
        self.assertEqual(self.person.shown.splitlines()[-1], f"{P} inf")

    def test_long_lines(self) -> None:
        """A line as long as a line may be is run; a longer one, and a paste that is too long, are refused as a whole."""
        person = self.person
        room = MAX_LINE - len("now ")
        self.assertIn("b" * 50, person.press("now " + "b" * room + "\r"))
        person.press("now " + "c" * (room + 1) + "\r")
        self.assertEqual(person.shown.splitlines()[-2:], [f"Error: the line is longer than {MAX_LINE} bytes", P])
        person.press("\x1b[200~" + "now d\n" * (MAX_EDITED // 6 + 1) + "\x1b[201~")
        person.press("now e\n" * 4 + "\r")
        self.assertIn(f"Error: the line is longer than {MAX_EDITED} bytes", person.shown)

    def test_a_person_who_does_not_read(self) -> None:
        """Nothing is taken, and nothing is painted, however often the terminal changes its size; then it goes on."""
        person = self.person
        person.press("now half", "\r")
        person.transport.stop_reading()
        person.send_bytes(b"big\r")
        self.assertEqual(person.transport.producerState, "paused")
        size = len(person.transport.value())
        for columns in range(20, 60):
            person.protocol.terminal_resized(columns, 20)
        person.protocol.interrupt()
        self.assertEqual(len(person.transport.value()), size)
        person.screen.resize(20, 59)
        person.transport.read_on()
        self.assertEqual(person.shown.splitlines()[-2:], ["19999", P])
        person.press("x" * 80)
        self.assertEqual(person.shown.splitlines()[-1], "x" * 28)

    def test_another_size(self) -> None:
        """The line is folded anew."""
        person = self.person
        person.press("x" * 30)
        person.screen.resize(12, 20)
        person.protocol.terminal_resized(20, 12)
        self.assertEqual(person.shown.splitlines()[-2:], [f"{P} {'x' * 13}", "x" * 17])
        person.press("\x15exit\r")
        person.protocol.terminal_resized(30, 12)
        self.assertTrue(person.closed)

    def test_leaving(self) -> None:
        """Ctrl-D on an empty line, C{exit} and an end from this side leave the terminal as it was, the cursor in a new row."""
        for keys in ("\x04", "exit\r", "half"):
            person = Person(self.monitor)
            person.send_bytes(keys.encode())
            if keys == "half":
                person.protocol.finish()
            data = person.take_bytes().decode()
            person.screen.feed(data)
            self.assertTrue(person.closed)
            self.assertEqual(person.screen.at[1], 0)
            self.assertTrue(data.endswith("\x1b[?2004l"))

    def test_an_end_of_input(self) -> None:
        """What was entered is run first."""
        person = self.person
        person.press("slow\rnow a\r")
        person.half_close()
        self.assertFalse(person.closed)
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        self.assertTrue(person.closed)
        self.assertIn(f"done\n{P} now a\na", person.shown)

    def test_not_telnet(self) -> None:
        """Byte 255 is a byte that is not UTF-8, and no telnet command."""
        self.person.send_bytes(b"\xff\xf4\xff\xfd\x06")
        self.assertEqual(self.person.shown.splitlines()[-1], f"{P} \ufffd\ufffd\ufffd\ufffd\x06".rstrip("\x06"))

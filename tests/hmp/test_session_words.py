"""The words that are about a person's session: leaving it, events, the log, what is repeated; and what helps on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.hmp_fakes import FakeMonitor, qemu_answers
from twisted_qmon import CommandProvider, Event, HMPFactory, Monitor, command
from twisted_qmon.hmp.commands.command_index import CommandIndex
from twisted_qmon.hmp.console import MAX_UNKNOWN, Console, Person
from twisted_qmon.hmp.follow import LOG_PERIOD, LONGEST_LOG_PERIOD, WATCH_PERIOD
from twisted_qmon.info import CommandInfo, Level
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.process import Process
from twisted_qmon.providers.quit import Quit
from twisted_qmon.testing import HMPConnection, connected_client

P = "> "


class Shop(CommandProvider):
    """Something to ask."""

    events = (Event("SOLD", what=str), Event("STOLEN", what=str))

    def __init__(self) -> None:
        self.asked = 0
        self.gate: Deferred[str] | None = None

    @command
    def query_sales(self) -> int:
        """show the sales"""
        self.asked += 1
        return self.asked

    @command
    def query_safe(self) -> str:
        """show the safe"""
        return "shut"

    @command
    def count(self) -> Deferred[str]:
        """count the money"""
        self.gate = Deferred()
        return self.gate


class _Alarm(CommandProvider):
    """An event that takes more than looking."""

    events = (Event("ALARM", level="operate"),)


class SessionCase(SynchronousTestCase):
    """A person at a monitor."""

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.monitor = Monitor(clock=self.clock)
        self.shop = Shop()
        self.monitor.register(self.shop)
        self.person = self.connect()

    def connect(self, **options: Any) -> HMPConnection:
        return HMPConnection(self.monitor, prompt=P, **options)

    def type(self, line: str) -> str:
        return self.person.type(line)


class LeaveTests(SessionCase):
    """How one leaves."""

    def test_words(self) -> None:
        """C{exit} and C{logout}: what was printed comes through, and nothing behind them is run."""
        for word in ("exit", " logout "):
            person = self.connect()
            person.send_bytes(f"info safe\n{word}\ninfo sales\n".encode())
            self.assertEqual((person.output(), person.closed), (f"shut\r\n{P}", True))
        self.assertEqual(self.shop.asked, 0)

    def test_exact_forms(self) -> None:
        """With anything behind it, the word is no command."""
        self.assertEqual(self.type("exit now"), f"unknown command: 'exit now'\r\ndid you mean 'exit'?\r\n{P}")
        self.assertFalse(self.person.closed)

    def test_a_command_of_that_name(self) -> None:
        """Goes first."""
        self.monitor.register_command("exit", lambda: "not you")
        self.monitor.register_command("events", lambda state: f"my {state}")
        self.assertEqual(self.type("exit"), f"not you\r\n{P}")
        self.assertEqual(self.type("events on"), f"my on\r\n{P}")
        self.type("logout")
        self.assertTrue(self.person.closed)

    def test_ctrl_d(self) -> None:
        """At the beginning of a line ends the input: what was typed before is answered, what comes behind is not read."""
        for typed in (b"\x04", b"info safe\n\x04info sales\n", b"info safe\r\n\x04"):
            person = self.connect()
            person.send_bytes(typed)
            self.assertEqual(person.output(), f"shut\r\n{P}" if len(typed) > 1 else "")
            self.assertTrue(person.closed)
        self.assertEqual(self.shop.asked, 0)

    def test_ctrl_d_elsewhere(self) -> None:
        """Inside a line it is a control character as any other."""
        self.person.send_bytes(b"info\x04 safe\n")
        self.assertEqual(self.person.output(), f"Error: control character in the line: '\\x04'\r\n{P}")
        self.person.send_bytes(b"inf")
        self.person.send_bytes(b"\x04")
        self.assertFalse(self.person.closed)

    def test_ctrl_d_while_a_command_is_pending(self) -> None:
        """It is answered; it can still be cancelled."""
        for key, answer in ((None, f"5\r\n{P}"), (b"\xff\xf4", f"\r\nError: Command 'count' was cancelled\r\n{P}")):
            person = self.connect()
            person.send_bytes(b"count\r\n")
            person.send_bytes(b"\x04info sales\r\n")
            self.assertFalse(person.closed)
            if key is None:
                assert self.shop.gate is not None
                self.shop.gate.callback("5")
            else:
                person.send_bytes(key)
            self.assertEqual((person.output(), person.closed), (answer, True))

    def test_not_for_machines(self) -> None:
        """C{human-monitor-command} knows none of these words."""
        self.monitor.register(HumanMonitorCommand())
        for line in ("exit", "events on", "log follow", "watch info safe", "sales"):
            answer = self.successResultOf(self.monitor.execute("human-monitor-command", {"command-line": line}))
            self.assertEqual(answer, f"unknown command: '{line.split()[0]}'\r\n")


class EventTests(SessionCase):
    """C{events on}."""

    def test_on_and_off(self) -> None:
        """Each event is a line above a new prompt, with its data."""
        self.monitor.emit("SOLD", {"what": "before"})
        self.assertEqual(self.type("events on"), P)
        self.monitor.emit("SOLD", {"what": "a hat"}, timestamp=0.25)
        self.assertRegex(self.person.output(), r'\A\r\n\d\d:\d\d:00\.250  SOLD  what="a hat"\r\n> \Z')
        self.assertEqual(self.type("events off"), P)
        self.monitor.emit("SOLD", {"what": "behind"})
        self.assertEqual(self.person.output(), "")
        self.assertEqual(self.type("events off"), P)

    def test_some(self) -> None:
        """Those named, until others are named."""
        for line, seen in (("events on STOLEN", "b"), ("events on SOLD,NOPE", "a"), ("events on SOLD STOLEN", "ab")):
            self.type(line)
            self.monitor.emit("SOLD", {"what": "a"})
            self.monitor.emit("STOLEN", {"what": "b"})
            shown = self.person.output()
            self.assertEqual("".join(c for c in "ab" if f"what={c}\r\n" in shown), seen)
            self.assertEqual(shown.count("what="), len(seen))

    def test_while_a_command_is_pending(self) -> None:
        """A line of its own, without a prompt."""
        self.type("events on")
        self.assertEqual(self.type("count"), "")
        self.monitor.emit("SOLD", {"what": "x"})
        self.assertRegex(self.person.output(), r"\A\S+  SOLD  what=x\r\n\Z")

    def test_a_person_who_does_not_read(self) -> None:
        """Is told how many events there were meanwhile."""
        self.type("events on")
        self.monitor.register_command("flood", lambda: "x" * 100_000)
        self.person.transport.stop_reading()
        self.type("flood")
        for number in range(1500):
            self.monitor.emit("SOLD", {"what": str(number)})
        self.person.transport.read_on()
        self.assertNotIn("SOLD", self.person.output())
        self.monitor.emit("SOLD", {"what": "x"})
        self.assertRegex(
            self.person.output(), r"\A\r\n\(1,500 events before this one were not shown\)\r\n.*what=x\r\n> \Z"
        )

    def test_the_end(self) -> None:
        """Nobody is told who has gone."""
        self.type("events on")
        self.person.lose()
        self.monitor.emit("SOLD", {"what": "x"})
        self.assertEqual(self.person.output(), "")

    def test_events_of_a_level(self) -> None:
        """One who may only look is not told of what takes more."""
        self.monitor.register(_Alarm())
        self.type("events on")
        for level, seen in ((Level.OBSERVE, 0), (Level.OPERATE, 1)):
            self.person.protocol.console.caller.standing = SimpleNamespace(
                level=level, guarded=False, permits=lambda need: True, identity="x"
            )
            self.monitor.emit("ALARM", {})
            self.assertEqual(self.person.output().count("ALARM"), seen)

    def test_other_forms(self) -> None:
        """Are no commands."""
        for line in ("events", "events maybe", "events off SOLD"):
            self.assertTrue(self.type(line).startswith(f"unknown command: '{line}'\r\n"))

    def test_remote(self) -> None:
        """Over a connection to another monitor too."""
        client, pump = connected_client(self.monitor)
        person = HMPConnection(client, factory=HMPFactory(client, prompt=P))
        pump.flush()
        person.type("events on")
        pump.flush()
        person.output()
        self.monitor.emit("SOLD", {"what": "x"})
        pump.flush()
        self.assertRegex(person.output(), r"SOLD  what=x\r\n> \Z")


class WatchTests(SessionCase):
    """C{watch}."""

    def test_until_the_next_line(self) -> None:
        """The line is run at once and then every so often, without a prompt; an empty line ends it."""
        self.assertEqual(self.type("watch info sales"), "1\r\n")
        self.clock.advance(WATCH_PERIOD / 2)
        self.assertEqual(self.person.output(), "")
        self.clock.advance(WATCH_PERIOD / 2)
        self.assertEqual(self.person.output(), "\r\n2\r\n")
        self.assertEqual(self.type(""), P)
        self.clock.advance(WATCH_PERIOD * 3)
        self.assertEqual((self.person.output(), self.shop.asked), ("", 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_line_that_ends_it(self) -> None:
        """Is run."""
        self.type("watch 0.5 info sales")
        self.clock.pump([0.5, 0.5])
        self.assertEqual(self.person.output(), "\r\n2\r\n\r\n3\r\n")
        self.assertEqual(self.type("info safe"), f"shut\r\n{P}")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ctrl_c(self) -> None:
        """In telnet ends it, and the prompt is back; also while the command is pending."""
        self.type("watch info sales\r")
        self.person.send_bytes(b"\xff\xf4\xff\xfd\x06")
        self.assertEqual(self.person.take_bytes(), b"\xff\xfc\x06\r\n" + P.encode())
        self.assertEqual(self.type("watch count\r"), "")
        self.person.send_bytes(b"\xff\xf4\xff\xfd\x06")
        told = f"\r\nError: Command 'count' was cancelled\r\n{P}"
        self.assertEqual(self.person.take_bytes(), b"\xff\xfc\x06" + told.encode())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_command_that_takes_longer(self) -> None:
        """Is waited for. A line typed meanwhile is kept, and ends it."""
        self.assertEqual(self.type("watch 1 count\r"), "")
        self.clock.pump([1, 1, 1])
        assert self.shop.gate is not None
        self.shop.gate.callback("a")
        self.assertEqual(self.person.output(), "a\r\n")
        self.clock.advance(1)
        self.person.send_bytes(b"info safe\r\n")
        self.assertEqual(self.person.output(), "\r\n")
        self.shop.gate.callback("b")
        self.assertEqual(self.person.output(), f"b\r\nshut\r\n{P}")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_person_who_does_not_read(self) -> None:
        """Nothing is run for one."""
        self.monitor.register_command("flood", lambda: "x" * 100_000)
        self.person.transport.stop_reading()
        self.type("watch 1 flood")
        before = len(self.person.transport.value())
        self.clock.pump([1] * 10)
        self.assertEqual(len(self.person.transport.value()), before)

    def test_one_who_watches_is_not_idle(self) -> None:
        """The idle timeout counts from the end of it."""
        person = self.connect(idle_timeout=5)
        person.type("watch 1 info sales")
        self.clock.pump([1] * 20)
        self.assertFalse(person.closed)
        person.type("")
        self.clock.pump([1] * 12)
        self.assertTrue(person.closed)

    def test_a_connection_that_is_being_closed(self) -> None:
        """Nothing is run for it any more, so that it comes to its end."""
        self.person.transport.stop_reading()
        self.type("watch 1 info sales")
        self.person.factory.close()
        self.clock.pump([1] * 3)
        self.assertEqual(self.shop.asked, 1)
        self.person.transport.read_on()
        self.assertTrue(self.person.closed)

    def test_what_can_not_be_watched(self) -> None:
        """The words of the session, what has to be confirmed, nothing at all, and too often."""
        self.monitor.register(Quit(lambda request: Deferred(), beside="web"))
        for line, error in (
            ("watch watch info safe", "watch: 'watch' can't be repeated"),
            ("watch 1 exit", "watch: 'exit' can't be repeated"),
            ("watch q", "watch: 'q' can't be repeated"),
            ("watch", 'watch: line expected\r\nTry "help watch" for more information'),
            ("watch 5", 'watch: line expected\r\nTry "help watch" for more information'),
            ("watch 0.01 info safe", "watch: seconds: at least 0.1 expected, got '0.01'"),
        ):
            self.assertEqual(self.type(line), f"{error}\r\n{P}")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end(self) -> None:
        """Nothing is left when the person has gone."""
        self.type("watch info sales")
        self.person.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LogTests(SessionCase):
    """C{log follow}."""

    def setUp(self) -> None:
        super().setUp()
        self.publisher = LogPublisher()
        self.log = Logger("shop", observer=self.publisher)
        self.process = Process(self.clock, publisher=self.publisher)
        self.process.service()
        self.monitor.register(self.process)
        self.process._log_keeper.start()

    def shown(self) -> list[str]:
        return [line.partition("  ")[2] for line in self.person.output().split("\r\n")[:-1]]

    def test_until_the_next_line(self) -> None:
        """The last ten entries first, then those that come; each once."""
        for number in range(12):
            self.log.info("event {number}", number=number)
        self.person.send_bytes(b"log follow\n")
        self.assertEqual(self.shown(), [f"info      shop: event {number}" for number in range(2, 12)])
        self.log.error("two\nlines")
        self.clock.advance(LOG_PERIOD)
        self.assertEqual(self.shown(), ["error     shop: two", "  lines"])
        for _ in range(20):
            self.clock.advance(LOG_PERIOD)
        self.assertEqual(self.person.output(), "")
        self.log.info("later")
        self.clock.advance(LONGEST_LOG_PERIOD)
        self.assertEqual(self.shown(), ["info      shop: later"])
        self.assertEqual(self.type(""), P)
        self.log.info("behind")
        self.clock.advance(LOG_PERIOD)
        self.assertEqual(self.person.output(), "")

    def test_a_person_who_does_not_read(self) -> None:
        """The log is not read for one; it is shown later."""
        self.person.send_bytes(b"log follow\n")
        self.person.transport.stop_reading()
        for _ in range(20):
            self.log.info("{x}", x="x" * 8000)
            self.clock.advance(LOG_PERIOD)
        self.assertLess(len(self.person.transport.value()), (1 << 16) + 20_000)
        self.person.transport.read_on()
        self.clock.advance(LONGEST_LOG_PERIOD)
        self.assertEqual(sum("shop: x" in line for line in self.shown()), 20)

    def test_its_own_audit(self) -> None:
        """What is audited of following the log is not in the log, or that would not end; what else is audited is."""
        globalLogPublisher.addObserver(self.publisher)
        self.addCleanup(globalLogPublisher.removeObserver, self.publisher)
        audit = Logger("twisted_qmon.audit", observer=self.publisher)
        audit.info("{command}: ok", command="query-log")
        audit.warn("{command} was refused", command="query-log")
        audit.info("{command}: ok", command="quit")
        self.person.send_bytes(b"log follow\n")
        self.assertEqual(
            self.shown(),
            ["warn      twisted_qmon.audit: query-log was refused", "info      twisted_qmon.audit: quit: ok"],
        )
        for _ in range(20):
            self.clock.advance(LOG_PERIOD)
        self.assertEqual(self.person.output(), "")

    def test_a_log_that_goes(self) -> None:
        """Ends it, with an error and a prompt."""
        self.person.send_bytes(b"log follow\n")
        self.monitor.unregister(self.process)
        self.clock.advance(LONGEST_LOG_PERIOD)
        self.assertEqual(self.person.output(), f"\r\nError: The command query-log has not been found\r\n{P}")
        self.assertEqual(self.type("log follow"), f"log follow: this monitor has no query-log\r\n{P}")
        self.assertTrue(self.type("log").startswith("unknown command: 'log'"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_late_answer(self) -> None:
        """Is not shown any more."""
        late: Deferred[Any] = Deferred()
        monitor = FakeMonitor([CommandInfo("query-log")], {"query-log": late})
        written: list[str] = []
        index = CommandIndex(monitor, interactive=True)
        console = Console(monitor, Person("x"), write=written.append, command_index=index, clock=Clock())
        console.line("log follow")
        self.assertTrue(console.following)
        console.cancel()
        late.callback([{"number": 1, "text": "x"}])
        self.assertEqual((written, console.following), ([], False))


class QuitTests(SessionCase):
    """C{quit}, said by a person."""

    def setUp(self) -> None:
        super().setUp()
        self.quits: list[str] = []

        def stop(request: Any) -> Deferred[None]:
            self.quits.append(request.caller.name)
            return Deferred()

        self.stop = stop

    def test_with_something_beside(self) -> None:
        """Once is asked to be said again; what is said in between is not forgotten."""
        self.monitor.register(Quit(self.stop, beside="web"))
        asked = f"quit: this ends 'web' as well. Say 'quit' again, or 'quit now'\r\n{P}"
        self.assertEqual(self.type("quit"), asked)
        self.assertEqual(self.type("info safe"), f"shut\r\n{P}")
        self.assertEqual(self.type("q"), asked)
        self.assertEqual(self.quits, [])
        self.assertEqual(self.type("quit"), "")
        self.assertEqual(self.quits, [self.person.protocol.name])

    def test_now(self) -> None:
        """Says it at once."""
        self.monitor.register(Quit(self.stop, beside="web"))
        self.assertEqual(self.type("quit  now"), "")
        self.assertEqual(len(self.quits), 1)

    def test_alone(self) -> None:
        """Once is enough where nothing else ends with it, and for machines."""
        self.monitor.register(Quit(self.stop))
        self.type("quit")
        self.assertEqual(len(self.quits), 1)

    def test_one_who_may_not(self) -> None:
        """Is told so, and not asked for a confirmation."""
        self.monitor.register(Quit(self.stop, beside="web"))
        self.person.protocol.console.caller.standing = SimpleNamespace(
            level=Level.OBSERVE, guarded=False, permits=lambda need: need.name != "quit", identity="x"
        )
        self.assertNotIn("Say 'quit' again", self.type("quit"))

    def test_machines(self) -> None:
        """Neither QMP nor C{human-monitor-command} is asked."""
        self.monitor.register(Quit(self.stop, beside="web"))
        self.monitor.register(HumanMonitorCommand())
        self.monitor.execute("quit")
        self.monitor.execute("human-monitor-command", {"command-line": "quit"})
        self.assertEqual(len(self.quits), 2)

    def test_remote(self) -> None:
        """A person at a remote monitor is asked as well."""
        self.monitor.register(Quit(self.stop, beside="web"))
        client, pump = connected_client(self.monitor)
        person = HMPConnection(client, factory=HMPFactory(client, prompt=P))
        pump.flush()
        person.output()
        self.assertIn("Say 'quit' again", person.type("quit"))
        pump.flush()
        self.assertEqual(self.quits, [])


class HintTests(SessionCase):
    """What was nearly typed."""

    def test_beginnings(self) -> None:
        """An unambiguous beginning is enough behind C{info}; a whole name is never one."""
        self.assertEqual(self.type("info saf"), f"shut\r\n{P}")
        self.assertEqual(self.type("info sal"), f"1\r\n{P}")
        self.assertEqual(
            self.type("info sa"), f"unknown command: 'info sa'\r\ndid you mean 'info safe' or 'info sales'?\r\n{P}"
        )
        self.monitor.register_command("query-sa", lambda: "short")
        self.assertEqual(self.type("info sa"), f"short\r\n{P}")
        self.assertEqual(self.type("coun"), f"unknown command: 'coun'\r\ndid you mean 'count'?\r\n{P}")

    def test_suggestions(self) -> None:
        """Names that look alike, also with C{info} forgotten or too much."""
        self.monitor.register_command("hidden-thing", lambda: None, hidden=True)
        for typed, meant in (
            ("sales", "'info sales'"),
            ("query-sales", "'info sales'"),
            ("slaes x y", "'info sales'"),
            ("info slaes", "'info sales'"),
            ("info count", "'count'"),
            ("counts", "'count'"),
            ("exti", "'exit'"),
            ("info qmp-schme", "'info qmp-schema'"),
        ):
            self.type("info safe")
            word = " ".join(typed.split()[: 2 if typed.startswith("info") else 1])
            self.assertEqual(self.type(typed), f"unknown command: '{word}'\r\ndid you mean {meant}?\r\n{P}")
        for typed in ("xyzzy", "hidden-thinh", "c" * 41, "info xyzzy"):
            self.type("info safe")
            self.assertEqual(self.type(typed), f"unknown command: '{typed}'\r\n{P}")

    def test_a_stream_of_unknown_words(self) -> None:
        """Gets no suggestions from some point on, until a command is known again."""
        answers = [self.type("counts") for _ in range(MAX_UNKNOWN + 2)]
        self.assertEqual([answer.count("did you mean") for answer in answers], [1] * MAX_UNKNOWN + [0, 0])
        self.type("info safe")
        self.assertIn("did you mean", self.type("counts"))

    def test_in_front_of_a_qemu(self) -> None:
        """Lines are QEMU's: nothing is added to what it says, and its commands go first, but for C{log follow}."""
        infos = [CommandInfo("human-monitor-command", origin="qemu"), CommandInfo("query-command-help")]
        monitor = FakeMonitor(infos, {"human-monitor-command": qemu_answers})
        person = HMPConnection(monitor, factory=HMPFactory(monitor, prompt=P, clock=self.clock))  # type: ignore[arg-type]
        for line in ("info stat", "statsu", "log follow x", "quti"):
            self.assertEqual(person.type(line), f"qemu: {line}\r\n{P}")
        self.assertEqual(person.type("log follow"), f"log follow: this monitor has no query-log\r\n{P}")
        self.assertEqual(person.type("events on"), P)
        person.type("exit")
        self.assertTrue(person.closed)


class ProgressTests(SessionCase):
    """Progress where a terminal is at the other end."""

    def test_telnet(self) -> None:
        """Is on as soon as the client has negotiated, unless it was switched off."""
        self.assertEqual(self.type("progress"), f"progress is off\r\n{P}")
        self.person.send_bytes(b"\xff\xfd\x01")
        self.assertEqual(self.type("progress"), f"\r\n{P}progress is on\r\n{P}".partition(P)[2])
        self.type("progress off")
        self.person.send_bytes(b"\xff\xfd\x03")
        self.assertEqual(self.type("progress"), f"progress is off\r\n{P}")


class HelpTests(SessionCase):
    """The words in C{help}."""

    def test_listed(self) -> None:
        """For people, and not for machines."""
        self.monitor.register(HumanMonitorCommand())
        for_machines = self.successResultOf(self.monitor.execute("human-monitor-command", {"command-line": "help"}))
        shown = self.type("help")
        for word in ("exit|logout", "events on|off", "watch [seconds] line", "log follow"):
            self.assertIn(f"\r\n{word} ", shown)
            self.assertNotIn(f"\r\n{word} ", for_machines)
        self.assertTrue(self.type("help watch").startswith("watch [seconds] line -- "))

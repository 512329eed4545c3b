"""One person's session: lines in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.hmp_fakes import FakeMonitor, qemu_answers
from twisted_qmon.errors import CommandCancelled, DeviceNotFound, GenericError
from twisted_qmon.info import CommandInfo
from twisted_qmon.shell.lines.session import Session


class _Server(FakeMonitor):
    """A monitor that executes out of band as well."""

    def execute_oob(self, name: str, arguments: Mapping[str, Any] | None = None) -> Deferred[Any]:
        return self.execute(f"oob {name}", arguments)


class SessionTests(SynchronousTestCase):
    def make(self, *names: str, **answers: Any) -> Session:
        self.server = _Server(map(CommandInfo, names), {key.replace("_", "-"): answers[key] for key in answers})
        self.results: list[str] = []
        self.errors: list[str] = []
        session = Session(self.server, self.results.append, self.errors.append)
        self.successResultOf(session.prepare())
        return session

    def run_line(self, session: Session, line: str) -> bool:
        done: bool = self.successResultOf(session.run(line))
        return done

    def test_a_line(self) -> None:
        """A line is run by the console; what it prints is a result."""
        session = self.make("foo", foo="done")
        self.assertTrue(self.run_line(session, "foo"))
        self.assertEqual((self.results, self.errors), (["done\n"], []))

    def test_a_line_that_fails(self) -> None:
        """An unknown word, a wrong argument and a failed command are errors, and said to be; the next line is none."""
        session = self.make("foo", "bar", foo="done", bar=GenericError("no"))
        for line in ("frob", "foo x", "bar", "foo \x1b"):
            self.assertFalse(self.run_line(session, line), line)
        self.assertEqual(self.results, [])
        self.assertIn("unknown command: 'frob'", self.errors[0])
        self.assertEqual(self.errors[2], "Error: no\n")
        self.assertTrue(self.run_line(session, "foo"))
        self.assertTrue(self.run_line(session, "  "))

    def test_a_line_that_takes_time(self) -> None:
        """It is done when its command is; until then its name is known, no other line is run, and it can be cancelled."""
        waiting: Deferred[Any] = Deferred(lambda d: d.errback(CommandCancelled("cancelled")))
        session = self.make("foo", foo=lambda _: waiting)
        done = session.run("foo")
        self.assertNoResult(done)
        self.assertEqual(session.running, "foo")
        self.assertRaises(RuntimeError, session.run, "foo")
        session.cancel()
        self.assertFalse(self.successResultOf(done))
        self.assertEqual(self.errors, ["Error: cancelled\n"])
        self.assertEqual(session.running, "")
        session.cancel()

    def test_a_message(self) -> None:
        """A JSON object is sent as it stands, and its reply shown with its id."""
        session = self.make("foo", foo={"a": "\x7f"})
        self.assertTrue(self.run_line(session, ' {"execute": "foo", "arguments": {"b": 1}, "id": [2]}'))
        self.assertEqual(json.loads(self.results[0]), {"return": {"a": "\x7f"}, "id": [2]})
        self.assertNotIn("\x7f", self.results[0])
        self.assertEqual(self.server.asked[-1], ("foo", {"b": 1}))

    def test_a_message_that_fails(self) -> None:
        """An error reply is shown as such."""
        session = self.make("foo", foo=DeviceNotFound("no x"))
        self.assertFalse(self.run_line(session, '{"execute": "foo"}'))
        self.assertEqual(json.loads(self.errors[0]), {"error": {"class": "DeviceNotFound", "desc": "no x"}})

    def test_a_message_out_of_band(self) -> None:
        """So is one to be executed out of band."""
        session = self.make("foo")
        self.server.answers["oob foo"] = 1
        self.assertTrue(self.run_line(session, '{"exec-oob": "foo"}'))

    def test_a_message_that_takes_time(self) -> None:
        """It can be cancelled as a line can."""
        waiting: Deferred[Any] = Deferred(lambda d: d.errback(CommandCancelled("cancelled")))
        session = self.make("foo", foo=lambda _: waiting)
        done = session.run('{"execute": "foo"}')
        self.assertEqual(session.running, "foo")
        session.cancel()
        self.assertFalse(self.successResultOf(done))
        self.assertIn("cancelled", self.errors[0])

    def test_what_is_no_message(self) -> None:
        """What is no JSON, or no message, is refused here and not sent."""
        session = self.make("foo", foo=1)
        for line, reason in (
            ("{x", "invalid JSON at 2: "),
            ("{}", "a message has one of"),
            ('{"execute": 1}', "a message has one of"),
            ('{"execute": "foo", "exec-oob": "foo"}', "a message has one of"),
            ('{"execute": "foo", "arguments": 1}', "a message has one of"),
            ('{"execute": "foo", "more": 1}', "a message has one of"),
            ('{"a":' * 100_000, "nested too deeply"),
        ):
            self.assertFalse(self.run_line(session, line))
            self.assertIn(reason, self.errors.pop())
        self.assertEqual([name for name, _ in self.server.asked], [])

    def test_leaving(self) -> None:
        """C{exit} and C{logout} leave, unless the server has a command of that name."""
        session = self.make("foo")
        self.assertTrue(self.run_line(session, " exit "))
        self.assertTrue(session.left)
        session = self.make("exit", exit="done")
        self.assertTrue(self.run_line(session, "exit"))
        self.assertFalse(session.left)
        self.assertEqual(self.results, ["done\n"])

    def test_a_qemu(self) -> None:
        """In front of a QEMU a line goes to it, and what it says is a result, also what it says of an error."""
        session = self.make()
        self.server.infos = {"human-monitor-command": CommandInfo("human-monitor-command", origin="qemu")}
        self.server.answers["human-monitor-command"] = qemu_answers
        self.assertTrue(self.run_line(session, "frob"))
        self.assertEqual(self.results, ["qemu: frob\n"])

    def make_interactive(self, *names: str, **answers: Any) -> tuple[Session, Clock]:
        self.server = _Server(map(CommandInfo, names), {key.replace("_", "-"): answers[key] for key in answers})
        self.results, self.errors = [], []
        self.announced: list[str] = []
        clock: Any = Clock()
        session = Session(self.server, self.results.append, self.errors.append, clock, self.announced.append)
        self.successResultOf(session.prepare())
        return session, clock

    def test_a_person_leaves(self) -> None:
        """For a person the words to leave are the console's."""
        session, _ = self.make_interactive("foo")
        self.assertTrue(self.run_line(session, "logout"))
        self.assertTrue(session.left)

    def test_a_line_that_is_watched(self) -> None:
        """It goes on, and is no prompt, until it is cancelled."""
        session, clock = self.make_interactive("foo", foo="done")
        done = session.run("watch 1 foo")
        self.assertNoResult(done)
        self.assertEqual(session.running, "watch 1 foo")
        clock.pump([1, 1])
        self.assertEqual("".join(self.results).split(), ["done"] * 3)
        self.assertNoResult(done)
        session.cancel()
        self.assertTrue(self.successResultOf(done))
        self.assertEqual(session.running, "")

    def test_a_log_that_ends(self) -> None:
        """What goes on and fails gives the prompt back."""
        waiting: Deferred[Any] = Deferred()
        session, _ = self.make_interactive("query-log", query_log=lambda _: waiting)
        done = session.run("log follow")
        self.assertNoResult(done)
        waiting.errback(GenericError("gone"))
        self.successResultOf(done)
        self.assertIn("gone", self.announced[0])

    def test_closing(self) -> None:
        """The monitor is told when the session is over."""
        session = self.make()
        session.close()
        self.assertEqual(len(self.server.left), 1)

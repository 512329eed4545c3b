"""C{query-pending}: which requests it lists, and what a person is shown."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import Monitor, Request, Secret
from twisted_qmon.core.access.identity import unix_identity
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.testing import HMPConnection, QMPConnection


class QueryPendingTests(SynchronousTestCase):
    """A monitor with a command that never ends by itself, and clients that wait for it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.requests: list[Request] = []

        def wait(request: Request) -> Deferred[None]:
            self.requests.append(request)
            return Deferred()

        self.monitor.register_command("wait", wait)
        self.monitor.register_command("other", lambda: Deferred())
        self.person = HMPConnection(self.monitor, prompt="> ")

    def query(self, **arguments: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.successResultOf(self.monitor.execute("query-pending", arguments))
        return found

    def lines(self, typed: str) -> list[str]:
        *lines, prompt = self.person.type(typed).split("\r\n")
        self.assertEqual(prompt, "> ")
        return lines

    def test_nothing(self) -> None:
        """An empty list; a person is told in words."""
        self.assertEqual(self.query(), [])
        self.assertEqual(self.lines("info pending"), ["no pending requests"])

    def test_some(self) -> None:
        """At most so many, those with a text, in another order."""
        for name in ("wait", "other", "wait"):
            QMPConnection(self.monitor).execute(name)
        numbers = [info["number"] for info in self.query()]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual([info["number"] for info in self.query(limit=2)], numbers[:2])
        self.assertEqual([info["number"] for info in self.query(limit=0, filter="wait")], numbers[::2])
        self.assertEqual([info["command"] for info in self.query(sort="command")], ["other", "wait", "wait"])
        sessions = [info["session"] for info in self.query(sort="session")]
        self.assertEqual(sessions, sorted(sessions))
        self.assertEqual(len(self.query(filter=sessions[0] + "0")), 0)

    def test_a_table(self) -> None:
        """With the time since it came, and the progress; what was cancelled and goes on is marked."""
        machine = QMPConnection(self.monitor)
        machine.execute("wait")
        self.clock.advance(90)
        self.requests[0].progress(3, 20)
        [info] = self.query()
        number, session = info["number"], info["session"]
        self.assertEqual(
            self.lines("info pending"),
            [
                f"{'number':>{len(str(number))}}  {'session':{len(session)}}  command   since  progress",
                f"{number:>6}  {session:7}  wait     90.0 s   3 of 20",
            ],
        )

    def test_many(self) -> None:
        """A person is shown a hundred, and how many more there are; all are shown on demand."""
        for _ in range(130):
            self.monitor.execute("wait")
        for typed, count, hidden in (("", 102, "30"), ("limit=7", 9, "123"), ("limit=120 filter=wait", 122, "10")):
            lines = self.lines(f"info pending {typed}")
            self.assertEqual((len(lines), lines[-1]), (count, f"... and {hidden} more (limit=0 shows all)"))
        self.assertEqual(len(self.lines("info pending limit=0")), 131)

    def test_many_with_a_guard(self) -> None:
        """The same where a record is kept, and beside a client that may not see everything; that one counts its own."""
        self.monitor.set_guard(audit=Audit(None, self.clock.seconds))
        self.person = HMPConnection(self.monitor, prompt="> ")
        for _ in range(10):
            self.monitor.execute("wait")
        self.assertEqual(self.lines("info pending limit=7")[-1], "... and 3 more (limit=0 shows all)")
        observer = HMPConnection(self.monitor, level="observe")
        self.assertEqual(self.lines("info pending limit=7")[-1], "... and 3 more (limit=0 shows all)")
        self.assertIn("no pending requests", observer.type("info pending"))
        bob = unix_identity(1001, 1, [1001], {1001: "bob"}, {})
        machine = QMPConnection(self.monitor, identity=bob)
        machine.send(*({"execute": "wait", "id": n} for n in range(5)))
        observer = HMPConnection(self.monitor, identity=bob, level="observe")
        self.assertIn("... and 2 more", observer.type("info pending limit=3"))
        self.assertEqual(self.lines("info pending limit=7")[-1], "... and 8 more (limit=0 shows all)")

    def test_arguments(self) -> None:
        """A client sees the arguments of its own requests, without what is secret; nothing that is wrong, infinite or long."""

        def take(request: Request, text: str, number: float = 0, password: Secret[str] | None = None) -> Deferred[None]:
            return wait_for_ever()

        def wait_for_ever() -> Deferred[None]:
            return Deferred()

        self.monitor.register_command("take", take)
        alice, again, bob = (
            QMPConnection(self.monitor, identity=unix_identity(uid, pid, [], {}, {}), in_flight=20)
            for uid, pid in ((1000, 1), (1000, 2), (1001, 3))
        )
        for number, arguments in enumerate(
            [
                b'{"text": "a", "password": "marker"}',
                b'{"text": "a", "number": 1e999}',
                b'{"text": "%b"}' % (b"x" * 5000),
            ]
        ):
            alice.send(b'{"execute": "take", "id": %d, "arguments": %b}' % (number, arguments))
        for client in (alice, again):
            shown = [entry.get("arguments") for entry in client.execute("query-pending")["return"]]
            self.assertEqual(shown, [{"text": "a", "password": "***"}, None, None])
        infos = bob.execute("query-pending")["return"]
        self.assertEqual([("arguments" in info, info["command"]) for info in infos], [(False, "take")] * 3)
        for message in (
            {"execute": "take", "arguments": {"text": 5}},
            {"execute": "nothing", "arguments": {"text": 5}},
        ):
            alone = QMPConnection(self.monitor, in_flight=1)
            alone.send({"execute": "wait", "id": 1}, {**message, "id": 2})
            self.assertEqual(len(alone.protocol.session._in_band.waiting), 1)
            waiting = self.query(filter=alone.protocol.name)[-1]
            self.assertEqual((waiting["command"], waiting.get("arguments")), (message["execute"], None))

    def test_arguments_that_are_a_command(self) -> None:
        """Of a line, or the arguments of a command inside another one, nothing is shown but what the inner request shows."""

        def take(text: str, password: Secret[str]) -> Deferred[None]:
            return Deferred()

        self.monitor.register_command("take", take)
        self.monitor.register(HumanMonitorCommand())
        alice = QMPConnection(self.monitor, identity=unix_identity(1000, 1, [], {}, {}))
        inner = {"command": "take", "arguments": {"text": "a", "password": "marker"}}
        alice.send({"execute": "human-monitor-command", "arguments": {"command-line": "take a marker"}, "id": 1})
        alice.send({"execute": "human-readable-text", "arguments": inner, "id": 2})
        shown = [entry.get("arguments") for entry in alice.execute("query-pending")["return"]]
        self.assertEqual(
            shown, [None, {"text": "a", "password": "***"}, {"command": "take"}, {"text": "a", "password": "***"}]
        )

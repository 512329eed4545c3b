"""What is recorded of who did what, as clients of every kind meet it: in memory, with identities that are given."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher

from tests.support.guarded import ROOT, Fixture, Painter, user
from twisted_qmon import GenericError
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.providers.process import Process


class AuditTests(Fixture):
    """What is recorded."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "file"
        self.audit = Audit(str(self.path), self.clock.seconds)
        self.monitor.set_guard(audit=self.audit)

    def lines(self) -> list[dict[str, Any]]:
        """What has been written since the last call."""
        self.audit.close()
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        self.path.write_text("")
        return lines

    def recorded(self) -> list[tuple[Any, ...]]:
        """The same, the essentials."""
        return [
            (line["phase"], line.get("command"), line.get("arguments"), line.get("outcome")) for line in self.lines()
        ]

    def test_commands(self) -> None:
        """A command above observe has a line before it runs and one before it is answered; one at observe has none."""
        bob = self.qmp(user("bob"))
        self.lines()
        bob.execute("query-lamp")
        bob.execute("switch", {"on": True})
        self.assertEqual(self.recorded(), [("start", "switch", {"on": True}, None), ("end", "switch", None, "ok")])

    def test_before_and_after(self) -> None:
        """The first line is there while the command runs; the second when the reply is, joined to the first by the number."""
        bob = self.qmp(user("bob"))
        bob.send({"execute": "quit"})
        [start] = [line for line in self.lines() if line["phase"] == "start"]
        self.clock.advance(2)
        self.monitor.pending.by_number(start["number"])
        bob.send({"execute": "switch", "arguments": {"on": True}, "id": 1})
        self.lines()
        for request in self.monitor.pending:
            request.cancel()
        [end] = [line for line in self.lines() if line["phase"] == "end" and line["command"] == "quit"]
        self.assertEqual((end["number"], end["outcome"], end["seconds"]), (start["number"], "cancelled", 2.0))
        self.assertEqual(end["identity"], "uid:1001(bob) pid:1")

    def test_refused_unknown_invalid(self) -> None:
        """What does not run has one line with names of arguments, and no value."""
        bob = self.qmp(user("bob"))
        self.lines()
        bob.execute("set-colour", {"colour": "marker"})
        bob.execute("nothing", {"x": "marker"})
        bob.execute("switch", {"on": "marker", "more": 1})
        self.assertEqual(
            [(phase, name, arguments) for phase, name, arguments, _ in self.recorded()],
            [("refused", "set-colour", ["colour"]), ("end", "nothing", ["x"]), ("end", "switch", ["on", "more"])],
        )

    def test_values_that_are_wrong_are_not_kept(self) -> None:
        """What a client is told of an argument that is not valid may have its value in it; the audit and the log have not."""
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.monitor.register(Painter())
        bob = self.qmp(user("bob"))
        self.lines()
        answer = bob.execute("colour", {"colour": "marker"})
        self.assertIn("marker", answer["error"]["desc"])
        [line] = self.lines()
        self.assertEqual(line["outcome"], {"class": "GenericError", "desc": "The arguments are not valid"})
        self.assertNotIn("marker", repr([line, *observer]))

    def test_what_a_handler_returns(self) -> None:
        """Whatever a handler returns or raises, there is one beginning and one end, with the number of the request."""

        async def waits() -> int:
            await self.lamp.glow()
            return 7

        def fails() -> None:
            raise ZeroDivisionError

        def refuses() -> None:
            raise GenericError("no")

        for name, handler in (("waits", waits), ("fails", fails), ("refuses", refuses), ("odd", lambda: object())):
            self.monitor.register_command(name, handler)
        bob = self.qmp(user("bob"))
        self.lines()
        bob.send(*({"execute": name, "id": name} for name in ("waits", "fails", "refuses", "odd")))
        [number] = [request.number for request in self.monitor.pending]
        self.clock.advance(3)
        self.lamp.waiting.pop().callback(None)
        self.assertEqual(len(bob.received()), 4)
        self.assertEqual(len(self.flushLoggedErrors()), 2)
        lines = self.lines()
        ends = {line["number"]: line for line in lines if line["phase"] == "end"}
        self.assertEqual(
            {line["number"]: line["command"] for line in lines if line["phase"] == "start"},
            {number: line["command"] for number, line in ends.items()},
        )
        self.assertEqual(len(lines), 8)
        self.assertEqual(
            (ends[number]["command"], ends[number]["seconds"], ends[number]["outcome"]), ("waits", 3.0, "ok")
        )
        self.assertEqual(
            [line["outcome"]["desc"].partition(" ")[0] for line in ends.values() if line["outcome"] != "ok"],
            ["Command", "no", "Command"],
        )

    def test_following(self) -> None:
        """Who follows the log is recorded once, however often it looks; each look needs the permission all the same."""
        process = Process(Clock(), None)
        self.monitor.register(process)
        bob = self.qmp(user("bob"))
        self.lines()
        for after in (0, 3, 4, 4):
            bob.execute("query-log", {"after": after})
        bob.execute("query-log")
        self.assertEqual(
            [line[:3] for line in self.recorded()],
            [
                ("start", "query-log", {"after": 0}),
                ("end", "query-log", None),
                ("start", "query-log", None),
                ("end", "query-log", None),
            ],
        )
        other = self.qmp(user("bob"))
        other.execute("query-log", {"after": 3})
        self.assertEqual([line[:2] for line in self.recorded()[1:]], [("start", "query-log"), ("end", "query-log")])
        alice = self.qmp(user("alice"))
        self.assertIn("needs operate", alice.execute("query-log", {"after": 3})["error"]["desc"])

    def test_record_that_fails(self) -> None:
        """If the end of a command can't be recorded for a reason that nobody thought of, it is answered all the same."""
        bob = self.qmp(user("bob"))
        self.audit.ended = lambda *arguments: 1 // 0  # type: ignore[method-assign, assignment]
        self.assertEqual(bob.execute("switch", {"on": True}), {"return": {}})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_full_and_ending(self) -> None:
        """What is recorded is subject to the same limits: a monitor that takes no requests takes none of these."""
        bob = self.qmp(user("bob"))
        self.lines()
        self.monitor.refuse()
        self.assertIn("shutting down", bob.execute("switch", {"on": True})["error"]["desc"])
        self.assertEqual(self.recorded(), [])

    def test_people(self) -> None:
        """A typed line is recorded as the command it is; C{human-monitor-command} as the line inside."""
        bob = self.hmp(user("bob"))
        self.lines()
        bob.type("sw on")
        self.assertEqual(self.recorded(), [("start", "switch", {"on": True}, None), ("end", "switch", None, "ok")])
        machine = self.qmp(user("bob"))
        self.lines()
        machine.execute("human-monitor-command", {"command-line": "switch on"})
        self.assertEqual(self.recorded(), [("start", "switch", {"on": True}, None), ("end", "switch", None, "ok")])

    def test_connections(self) -> None:
        """Connections, their ends and those that were turned away are recorded."""
        self.qmp(user("bob")).lose()
        self.qmp(user("eve"), negotiate=False)
        self.assertEqual([line["phase"] for line in self.lines()], ["connect", "disconnect", "refused"])

    def test_cancel_by_number(self) -> None:
        """To cancel another's request is recorded, as much as needs admin; to cancel one's own is not."""
        root = self.qmp(ROOT)
        self.lines()
        root.execute("cancel-command", {"number": 12345})
        self.assertEqual(
            [line[:3] for line in self.recorded()],
            [("start", "cancel-command", {"number": 12345}), ("end", "cancel-command", None)],
        )
        root.execute("cancel-command", {"id": 12345})
        self.assertEqual(self.recorded(), [])

    def test_program(self) -> None:
        """What the program itself asks for is recorded as its own."""
        self.monitor.execute("switch", {"on": True})
        self.assertEqual([line["identity"] for line in self.lines()], ["local", "local"])

    def test_required(self) -> None:
        """With a required audit that can't be written, nothing above observe runs; looking goes on."""
        self.monitor.set_guard(audit=Audit("/nowhere/at/all", self.clock.seconds, required=True))
        bob = self.qmp(user("bob"))
        self.assertIn("the audit can't be written", bob.execute("switch", {"on": True})["error"]["desc"])
        self.assertEqual(bob.execute("query-lamp"), {"return": True})
        self.assertEqual(self.lamp.done, ["query-lamp"])

"""
Who may do what, and who did it, as clients of every kind meet it: in memory, with identities that are given.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support.access_reference import LEVELS, may
from tests.support.guarded import ROOT, Fixture, Lamp, denied, user
from twisted_qmon import GenericError, HMPFactory, Monitor, QMPFactory, Request
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import tcp_identity
from twisted_qmon.core.access.names import user_name
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.info import Level, Need
from twisted_qmon.providers.clients import Clients
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.testing import HMPConnection, MemoryTransport, QMPConnection


class RefusalTests(Fixture):
    """Each way in gets the same verdict."""

    def test_qmp(self) -> None:
        """A command beyond one's level is refused before its arguments are looked at; one within it runs."""
        alice = self.qmp(user("alice"))
        self.assertEqual(alice.execute("query-lamp"), {"return": True})
        self.assertEqual(
            alice.execute("switch", {"no": "sense"}), denied("switch", "operate", "uid:1000(alice)", "observe")
        )
        self.assertEqual(alice.execute("quit"), denied("quit", "admin", "uid:1000(alice)", "observe"))
        self.assertEqual(self.lamp.done, ["query-lamp"])
        self.assertEqual(self.stopped, [])

    def test_also_and_never(self) -> None:
        """C{also} lets one command more through; C{never} holds back what the level would allow."""
        bob = self.qmp(user("bob"))
        self.assertEqual(bob.execute("switch", {"on": True}), {"return": {}})
        self.assertEqual(
            bob.execute("set-colour", {"colour": "red"})["error"]["desc"],
            "Permission denied: 'set-colour' is never allowed to uid:1001(bob)",
        )
        bob.send({"execute": "quit"})
        self.assertEqual(len(self.stopped), 1)

    def test_batch(self) -> None:
        """In one chunk with many others a refused command gets its error in its place."""
        alice = self.qmp(user("alice"))
        alice.send(
            *({"execute": name, "id": n} for n, name in enumerate(["query-lamp", "smash", "query-lamp", "nothing"]))
        )
        self.assertEqual(
            [next(iter(reply.keys() - {"id"})) for reply in alice.received()], ["return", "error", "return", "error"]
        )
        self.assertEqual(self.lamp.done, ["query-lamp", "query-lamp"])

    def test_out_of_band(self) -> None:
        """C{exec-oob} is no way around."""
        alice = self.qmp(user("alice"), oob=True)
        alice.send(
            {"exec-oob": "smash", "id": 1},
            {"exec-oob": "quit", "id": 2},
            {"exec-oob": "cancel-command", "id": 3, "arguments": {"number": 1}},
        )
        self.assertEqual(
            [reply["error"]["desc"].partition(",")[0] for reply in alice.received()],
            [
                "Permission denied: 'smash' needs admin",
                "Permission denied: 'quit' needs admin",
                "Permission denied: 'cancel-command' with 'number' needs admin",
            ],
        )

    def test_waiting_request(self) -> None:
        """A request that waits for its turn is judged when it starts."""
        alice = self.qmp(user("alice"), in_flight=1)
        alice.send({"execute": "glow", "id": 1}, {"execute": "smash", "id": 2})
        self.assertEqual(alice.received(), [])
        self.lamp.waiting.pop().callback(None)
        glow, smash = alice.received()
        self.assertEqual(glow["return"], {})
        self.assertIn("Permission denied: 'smash'", smash["error"]["desc"])

    def test_person(self) -> None:
        """A typed line gets the same verdict, by name and by alias, whatever stands behind it; so does typed JSON."""
        alice = self.hmp(user("alice"))
        for line in ("switch on", "sw on", "switch", "switch no sense at all", "  sw"):
            self.assertIn(
                "Error: Permission denied: 'switch' needs operate, uid:1000(alice) has observe", alice.type(line)
            )
        self.assertIn("'quit' needs admin", alice.type("q"))
        self.assertIn("unknown command", alice.type('{"execute":"quit"}'))
        self.assertIn("true", alice.type("info lamp"))
        self.assertEqual(self.lamp.done, ["query-lamp"])

    def test_failure_points_to_the_log_where_it_may_be_read(self) -> None:
        """After a failure that was logged a person is told where to read on, but for one who may not: nothing is asked for it."""

        def query_worse() -> None:
            raise ZeroDivisionError

        self.monitor.register_command("query-worse", query_worse)
        self.monitor.register_command("query-log", lambda level, namespace, limit: [], level="operate")
        self.assertIn("See log: info log", self.hmp(user("bob")).type("info worse"))
        alice = self.hmp(user("alice"))
        self.assertNotIn("See log", alice.type("info worse"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(alice.protocol.console.last_command, "query-worse")

    def test_human_monitor_command(self) -> None:
        """Each line inside C{human-monitor-command} is judged as if its caller had typed it."""
        alice = self.qmp(user("alice"))
        for line in ("quit", "q", "sw on", "\nquit", "client-disconnect qmp-1"):
            answer = alice.execute("human-monitor-command", {"command-line": line})
            self.assertIn("Permission denied", answer["return"])
        answer = alice.execute("human-monitor-command", {"command-line": "info lamp"})
        self.assertEqual(answer, {"return": "true\r\n"})
        answer = alice.execute("human-monitor-command", {"command-line": "info whoami"})
        self.assertIn("uid:1000(alice) pid:1, level observe", answer["return"])

    def test_human_readable_text(self) -> None:
        """A command inside C{human-readable-text} is judged as one of its own; so is what that prints."""
        alice = self.qmp(user("alice"))
        for name in ("switch", "quit", "smash"):
            answer = alice.execute("human-readable-text", {"command": name, "arguments": {}})
            self.assertIn(f"Permission denied: '{name}' needs", answer["error"]["desc"])
        self.assertEqual(self.lamp.done, [])

    def test_unknown_command(self) -> None:
        """A command that there is not is unknown, whoever asks."""
        answer = self.qmp(user("alice")).execute("nothing")
        self.assertEqual(answer["error"]["class"], "CommandNotFound")

    def test_needs_nothing(self) -> None:
        """Negotiation, events, C{query-whoami} and cancelling by id need no level."""
        alice = self.qmp(user("alice", 77))
        self.assertEqual(
            alice.execute("query-whoami"),
            {"return": {"identity": "uid:1000(alice) pid:77", "level": "observe", "session": alice.protocol.name}},
        )
        self.assertEqual(alice.execute("select-events", {"names": ["LAMP_CHANGE"]}), {"return": {}})
        alice.send({"execute": "glow", "id": 5})
        alice.send({"execute": "cancel-command", "arguments": {"id": 5}, "id": 6})
        self.assertEqual(sorted((reply["id"], "error" in reply) for reply in alice.received()), [(5, True), (6, False)])

    def test_program(self) -> None:
        """The program that has the monitor may do everything, and a caller that it stands in for, what that one may."""
        self.assertEqual(self.successResultOf(self.monitor.execute("switch", {"on": True})), {})
        alice = self.qmp(user("alice"))
        failure = self.failureResultOf(self.monitor.execute("smash", caller=alice.protocol.session), GenericError)
        self.assertIn("uid:1000(alice) has observe", failure.value.desc)


class NoAccessTests(Fixture):
    """Who may do nothing."""

    def test_machine(self) -> None:
        """A machine gets one error line instead of the greeting, and the end of file."""
        eve = self.qmp(user("eve"), negotiate=False)
        self.assertEqual(
            eve.greeting,
            {"error": {"class": "GenericError", "desc": "Permission denied: uid:1002(eve) has no access here"}},
        )
        self.assertEqual(eve.received(), [])
        self.assertTrue(eve.closed)

    def test_person(self) -> None:
        """A person gets one line of text, and the end of file."""
        eve = self.hmp(user("eve"))
        self.assertEqual(eve.banner, "Permission denied: uid:1002(eve) has no access here\r\n")
        self.assertTrue(eve.closed)

    def test_unknown_credentials(self) -> None:
        """Where nothing is known but an address, the default applies."""
        self.assertTrue(QMPConnection(self.monitor, negotiate=False).closed)


class EndpointLevelTests(Fixture):
    """The level of an endpoint, with and without rules."""

    def test_cap(self) -> None:
        """The lower of the endpoint's level and that of the rules holds, also for what C{also} adds."""
        bob = self.qmp(user("bob"), level="observe")
        self.assertEqual(bob.execute("switch", {"on": True}), denied("switch", "operate", "uid:1001(bob)", "observe"))
        self.assertEqual(bob.execute("quit"), denied("quit", "admin", "uid:1001(bob)", "observe"))

    def test_without_rules(self) -> None:
        """Without rules the endpoint's level is all there is, for machines and people."""
        monitor = Monitor(clock=self.clock)
        monitor.register(Lamp())
        one = QMPConnection(monitor, identity=user("eve"), level="operate")
        self.assertEqual(one.execute("switch", {"on": True}), {"return": {}})
        self.assertEqual(one.execute("smash"), denied("smash", "admin", "uid:1002(eve)", "operate"))
        self.assertIn("Permission denied", HMPConnection(monitor, identity=user("eve"), level="observe").type("sw on"))
        self.assertEqual(QMPConnection(monitor).execute("smash"), {"return": {}})

    def test_wrong_level(self) -> None:
        """A level that there is not is refused when the factory is made; so is one for a monitor that is elsewhere."""
        for factory in (QMPFactory, HMPFactory):
            with self.assertRaisesRegex(ValueError, "'root' is not a level"):
                factory(self.monitor, level="root")
        elsewhere: Any = object()
        with self.assertRaisesRegex(ValueError, "the monitor is behind a connection"):
            HMPFactory(elsewhere, level="observe")

    def test_monitor_without_rules_asks_nobody(self) -> None:
        """Without rules, level or audit, a request is not even looked at by the guard."""
        monitor = Monitor(clock=self.clock)
        QMPConnection(monitor, identity=user("eve")).execute("query-version")
        self.assertIsNone(monitor.dispatcher.guard)


class ListTests(Fixture):
    """What is listed is what the caller may run."""

    def test_query_commands(self) -> None:
        """C{query-commands} and C{query-command-help} list what the caller may run; the schema lists all."""
        names = {
            who: {entry["name"] for entry in self.qmp(user(who)).execute("query-commands")["return"]}
            for who in ("alice", "bob")
        }
        self.assertIn("query-lamp", names["alice"])
        self.assertIn("query-whoami", names["alice"])
        self.assertEqual(names["alice"] & {"switch", "smash", "quit", "set-colour", "client-disconnect"}, set())
        self.assertEqual(names["bob"] & {"switch", "smash", "quit", "set-colour"}, {"switch", "quit"})
        alice = self.qmp(user("alice"))
        described = {entry["name"] for entry in alice.execute("query-command-help")["return"]}
        self.assertEqual(described, names["alice"])
        self.assertEqual(
            alice.execute("query-command-help", {"name": "smash"}),
            denied("smash", "admin", "uid:1000(alice)", "observe"),
        )
        schema = alice.execute("query-qmp-schema")["return"]
        self.assertIn("smash", [entry["name"] for entry in schema])
        everything = self.qmp(ROOT).execute("query-commands")["return"]
        self.assertEqual({entry["name"] for entry in everything}, set(self.monitor.registry.active))

    def test_help(self) -> None:
        """C{help} and C{info} show a person what they may type."""
        alice, root = self.hmp(user("alice")), self.hmp(ROOT)
        self.assertNotIn("smash", alice.type("help"))
        self.assertIn("smash", root.type("help"))
        self.assertIn("info lamp", alice.type("info"))
        self.assertNotIn("info connections-monitor", alice.type("info"))
        self.assertIn("unknown command", alice.type("help smash"))
        self.assertIn("break it", root.type("help smash"))

    def test_pending(self) -> None:
        """One's own requests are shown, whatever the session; those of others from the level operate up."""
        alice, again, bob = self.qmp(user("alice", 1)), self.qmp(user("alice", 2)), self.qmp(user("bob"))
        alice.send({"execute": "glow", "id": 1})
        bob.send({"execute": "glow", "id": 2})

        def shown(client: QMPConnection) -> set[Any]:
            return {entry.get("id") for entry in client.execute("query-pending")["return"]}

        self.assertEqual(shown(alice), {1})
        self.assertEqual(shown(again), {1})
        self.assertEqual(shown(bob), {1, 2})

    def test_pending_over_tcp(self) -> None:
        """Where the identity is only an address, one's own is the same session's."""
        rules = Access(parse_rules({"default": "observe"}, "rules"))
        monitor = Monitor(clock=self.clock, access=rules)
        monitor.register(Lamp())
        one, other = (QMPConnection(monitor, identity=tcp_identity("127.0.0.1", 4444)) for _ in range(2))
        one.send({"execute": "glow", "id": 1})
        self.assertEqual(len(one.execute("query-pending")["return"]), 1)
        self.assertEqual(other.execute("query-pending")["return"], [])


class EventTests(Fixture):
    """An event has a level too."""

    def test_event_below_the_level(self) -> None:
        """Who is below an event's level does not get it, asked for or not."""
        alice, bob = self.qmp(user("alice")), self.qmp(user("bob"))
        self.monitor.emit("LAMP_SECRET", {"text": "x"})
        self.monitor.emit("LAMP_CHANGE", {"on": True})
        self.assertEqual([event["event"] for event in alice.received()], ["LAMP_CHANGE"])
        self.assertEqual([event["event"] for event in bob.received()], ["LAMP_SECRET", "LAMP_CHANGE"])
        alice.execute("select-events", {"names": ["LAMP_SECRET"]})
        self.monitor.emit("LAMP_SECRET", {"text": "x"})
        self.assertEqual(alice.received(), [])

    def test_history(self) -> None:
        """What a client missed is judged as what comes, and so is what a person is shown."""
        self.monitor.emit("LAMP_SECRET", {"text": "marker"})
        self.monitor.emit("LAMP_CHANGE", {"on": True})
        alice, person = self.qmp(user("alice")), self.hmp(user("alice"))
        alice.send({"execute": "select-events", "arguments": {"numbered": True, "after": 0}, "id": 1})
        person.type("events on")
        self.monitor.emit("LAMP_SECRET", {"text": "marker"})
        self.monitor.emit("LAMP_CHANGE", {"on": False})
        received, printed = alice.received(), person.output()
        self.assertEqual([event["data"] for event in received[1:]], [{"on": True}, {"on": False}])
        self.assertIn("LAMP_CHANGE", printed)
        self.assertNotIn("marker", f"{received}{printed}")


class JobTests(Fixture):
    """A job belongs to who started it."""

    rules = {
        "grant": [
            {"who": ["uid:alice"], "level": "observe"},
            {"who": ["uid:bob"], "level": "operate"},
            {"who": ["uid:root"], "level": "admin"},
        ]
    }

    def test_cancel(self) -> None:
        """One's own job may be cancelled at any level, another's by admin only; another's may be paused from operate up."""
        alice, bob, root = self.qmp(user("alice")), self.qmp(user("bob")), self.qmp(ROOT)
        for client in (alice, bob, root):
            client.execute("select-events", {"names": []})
        alice.execute("burn", {"id": "a"})
        bob.execute("burn", {"id": "b"})
        self.assertEqual(self.lamp.asked_by, [("uid:1000(alice) pid:1", "observe"), ("uid:1001(bob) pid:1", "operate")])
        for client, job in ((alice, "b"), (bob, "a")):
            self.assertIn(
                "of another caller's job needs admin", client.execute("job-cancel", {"id": job})["error"]["desc"]
            )
        self.assertIn("needs operate", alice.execute("job-pause", {"id": "b"})["error"]["desc"])
        self.assertIn("needs operate", alice.execute("job-cancel", {"id": "none"})["error"]["desc"])
        self.assertEqual(alice.execute("job-cancel", {"id": "a"}), {"return": {}})
        self.assertEqual(root.execute("job-cancel", {"id": "b"}), {"return": {}})

    def test_started_in_a_batch(self) -> None:
        """A job that is started by a command among many belongs to the same caller."""
        alice = self.qmp(user("alice"))
        alice.send({"execute": "burn", "arguments": {"id": "a"}}, {"execute": "burn", "arguments": {"id": "b"}})
        self.assertEqual({job.owner.identity.name for job in self.jobs}, {"uid:1000(alice)"})

    def test_started_by_a_coroutine(self) -> None:
        """So does one that is started by a coroutine, at once or later, for a machine, alone or with others, and for a person."""

        async def burn_later(id: str) -> None:
            jobs = Jobs.of(self.monitor)
            jobs.start(f"{id}-1", "burn", lambda job: Deferred())
            await self.lamp.glow()
            jobs.start(f"{id}-2", "burn", lambda job: Deferred())

        self.monitor.register_command("burn-later", burn_later, level="observe")
        self.monitor.register_command("burn-more", burn_later, level="operate")
        alice, bob, person = self.qmp(user("alice")), self.qmp(user("bob")), self.hmp(user("alice"))
        self.monitor.set_guard(audit=Audit(None, self.clock.seconds))
        self.monitor.guard.judge(bob.protocol.standing)
        alice.send({"execute": "burn-later", "arguments": {"id": "a"}})
        person.type("burn-later b")
        bob.send({"execute": "burn-more", "arguments": {"id": "c"}})
        for waiting in self.lamp.waiting:
            waiting.callback(None)
        self.assertEqual(
            {job.id: job.owner.identity.name.partition("(")[2] for job in self.jobs},
            {f"{id}-{n}": who for id, who in (("a", "alice)"), ("b", "alice)"), ("c", "bob)")) for n in (1, 2)},
        )

    def test_started_by_the_program(self) -> None:
        """A job that the program starts is its own."""
        self.monitor.execute("burn", {"id": "a"})
        self.jobs.start("b", "burn", lambda job: Deferred())
        self.assertEqual({job.owner.identity.text for job in self.jobs}, {"local"})


class ReloadTests(Fixture):
    """The rules change while clients are connected."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "file"
        self.path.write_text("default = 'operate'")
        self.monitor.set_guard(access=str(self.path))

    def test_change(self) -> None:
        """A change holds from the next command on, also of one that came in the same chunk."""
        alice, root = self.qmp(user("alice")), self.qmp(user("bob"))
        self.path.write_text("default = 'observe'")
        self.monitor.guard.reload()
        self.assertEqual(
            alice.execute("switch", {"on": True}), denied("switch", "operate", "uid:1000(alice)", "observe")
        )
        self.path.write_text("default = 'admin'")
        self.monitor.guard.reload()
        self.path.write_text("default = 'observe'")
        root.send({"execute": "access-reload"}, {"execute": "smash"})
        reload, smash = root.received()
        self.assertEqual(reload, {"return": {}})
        self.assertIn("Permission denied", smash["error"]["desc"])

    def test_nothing_left(self) -> None:
        """A session that now has none is told so, and closed."""
        alice, person = self.qmp(user("alice")), self.hmp(user("bob"))
        person.output()
        self.path.write_text("")
        self.monitor.guard.reload()
        self.assertIn("has no access here", alice.received()[0]["error"]["desc"])
        self.assertTrue(alice.closed)
        self.assertIn("has no access here", person.output())
        self.assertTrue(person.closed)

    def test_invalid(self) -> None:
        """Rules that can't be used are an error of the command, and the old ones stay."""
        self.path.write_text("default = 'admin'")
        self.monitor.guard.reload()
        root = self.qmp(ROOT)
        self.path.write_text("default = 'root'")
        self.assertEqual(
            root.execute("access-reload")["error"]["desc"],
            f"{self.path}: default: 'root' is not a level: none, observe, operate or admin",
        )
        self.assertEqual(root.execute("smash"), {"return": {}})

    def test_without_rules(self) -> None:
        """Where there are no rules there is nothing to read again."""
        monitor = Monitor(clock=self.clock)
        monitor.register(Clients())
        self.assertEqual(QMPConnection(monitor).execute("access-reload")["error"]["desc"], "There are no access rules")

    def test_one_that_cannot_be_turned_away(self) -> None:
        """If one connection fails while it is told, the others are turned away all the same, and it may do nothing any more."""
        one, other = self.qmp(user("alice")), self.qmp(user("bob"))
        one.protocol.turn_away = lambda: 1 // 0
        self.path.write_text("")
        self.monitor.guard.reload()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(other.closed)
        self.assertEqual(one.execute("query-lamp"), denied("query-lamp", "observe", "uid:1000(alice)", "none"))

    def test_names_are_looked_up_again(self) -> None:
        """With the rules the names of users are read again: a number may be another user's by now."""
        user_name(0)
        self.assertEqual(user_name.cache_info().currsize, 1)
        self.monitor.guard.reload()
        self.assertEqual(user_name.cache_info().currsize, 0)


class UnknownTests(Fixture):
    """Callers of whom it is not known, or not yet, who they are."""

    def test_identity_that_cannot_be_found_out(self) -> None:
        """A connection whose identity can't be found out for a reason that nobody thought of is closed, and may do nothing."""

        class Broken(MemoryTransport):
            """A transport that fails."""

            def getPeer(self) -> Any:
                """Works once, for the log."""
                if self.disconnecting or hasattr(self, "_asked"):
                    raise ZeroDivisionError
                self._asked = True
                return super().getPeer()

        for factory in (QMPFactory(self.monitor), HMPFactory(self.monitor)):
            protocol: Any = factory.buildProtocol(None)
            transport = Broken()
            transport.protocol = protocol
            protocol.makeConnection(transport)
            self.assertTrue(transport.disconnected)
            self.assertEqual(bytes(transport.taken), b"")
            self.assertFalse(protocol.standing.permits(Need(Level.OBSERVE, "query-lamp")))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.monitor.guard.clients, {})

    def test_caller_without_a_standing(self) -> None:
        """A caller that brings no standing along is this program: it may do everything, and what it does is recorded."""

        class Other:
            """A caller that somebody has made."""

            name, kind, peer = "other-1", "other", ""

        path = self.folder / "audit"
        self.monitor.set_guard(audit=Audit(str(path), self.clock.seconds))
        caller: Any = Other()
        self.assertEqual(self.successResultOf(self.monitor.execute("switch", {"on": True}, caller=caller)), {})
        self.assertEqual(self.monitor.serve("set-colour", {"colour": "red"}, caller, 1), {})
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual(
            [(line["identity"], line["command"], line["phase"]) for line in lines],
            [("local", name, phase) for name in ("switch", "set-colour") for phase in ("start", "end")],
        )

    def test_who_asks_within_anothers_command(self) -> None:
        """
        What a client without limits begins belongs to it, even where a command of another client lets it go on. There are no
        rules, and a second endpoint for those who may look.
        """
        monitor = Monitor(clock=self.clock)
        lamp, jobs = Lamp(), Jobs()
        for provider in (lamp, jobs):
            monitor.register(provider)
        monitor.register_command("query-glow", lambda: lamp.waiting.pop().callback(None))
        bob = QMPConnection(monitor, identity=user("bob"), in_flight=1)
        alice = QMPConnection(monitor, identity=user("alice"), level="observe")
        bob.send({"execute": "glow"}, {"execute": "burn", "arguments": {"id": "a"}})
        alice.send({"execute": "query-glow", "id": 1}, {"execute": "query-lamp", "id": 2})
        [job] = jobs
        self.assertEqual(job.owner.identity.name, "uid:1001(bob)")
        alice.received()
        self.assertIn("needs admin", alice.execute("job-cancel", {"id": "a"})["error"]["desc"])


def test_commands_that_come_and_go_are_forgotten() -> None:
    """What a guarded caller may run at once follows the commands that there are, also within a batch, and does not pile up."""
    monitor = Monitor(clock=Clock(), access=Access(parse_rules({"default": "observe"}, "rules")))
    client = QMPConnection(monitor)
    for number in range(50):
        monitor.register_command(f"query-{number}", lambda: None)
        assert client.execute(f"query-{number}") == {"return": {}}
        monitor.unregister(f"query-{number}")
        assert client.execute(f"query-{number}")["error"]["class"] == "CommandNotFound"
    view = client.protocol.standing.view
    assert len(view) <= 1
    monitor.register_command("query-last", lambda: monitor.unregister("query-last"))
    client.send({"execute": "query-last", "id": 1}, {"execute": "query-last", "id": 2})
    assert ["error" in reply for reply in client.received()] == [False, True]
    client.lose()
    assert client.protocol.standing.view is None


def test_serve_asks_the_guard_by_itself() -> None:
    """A caller that is put to C{Monitor.serve} by hand gets the same verdict."""
    monitor = Monitor(clock=Clock(), access=Access(parse_rules({"default": "observe"}, "rules")))
    monitor.register(Lamp())
    session = QMPConnection(monitor).protocol.session
    refused = monitor.serve("switch", {"on": True}, session, 1)
    assert isinstance(refused, Request)
    assert isinstance(refused.error, GenericError)
    assert monitor.serve("query-lamp", None, session, 1) is True


@pytest.mark.parametrize("level", list(Level))
def test_level_is_written_in_small_letters(level: Level) -> None:
    """Wherever a level is shown it is the word that is written in rules."""
    assert f"{level}" == str(level) == level.name.lower()


_grants = st.lists(
    st.fixed_dictionaries(
        {"who": st.lists(st.sampled_from(["uid:alice", "uid:1001", "gid:*", "*"]), min_size=1, max_size=2)},
        optional={
            "level": st.sampled_from(LEVELS[1:]),
            "also": st.lists(st.sampled_from(["smash", "s*", "sw"]), max_size=1),
            "never": st.lists(st.sampled_from(["switch", "query-*", "sw", "glow"]), max_size=1),
        },
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(
        st.fixed_dictionaries({"grant": _grants, "default": st.sampled_from(LEVELS[1:])}), min_size=1, max_size=4
    ),
    cap=st.sampled_from(LEVELS[1:]),
    audited=st.booleans(),
    together=st.booleans(),
)
def test_what_is_served_is_what_is_allowed(
    documents: list[dict[str, Any]], cap: str, audited: bool, together: bool
) -> None:
    """
    Whatever the rules are and become, with an audit and without, alone and in a batch, a command is served if and only if the
    slow reading of the documentation allows it. What is remembered of a command never outlives the rules that it came from.
    """
    needs = {"query-lamp": "observe", "switch": "operate", "smash": "admin", "set-colour": "operate"}
    arguments: dict[str, Any] = {"switch": {"on": True}, "set-colour": {"colour": "red"}}
    monitor = Monitor(clock=Clock(), audit=Audit(None, Clock().seconds) if audited else None)
    monitor.register(Lamp())
    monitor.set_guard(access=Access(parse_rules(documents[0], "rules")))
    clients = {name: QMPConnection(monitor, identity=user(name), level=cap) for name in ("alice", "bob")}
    for document in [*documents, documents[0]]:
        monitor.set_guard(access=Access(parse_rules(document, "rules")))
        monitor.guard.reload()
        for name, client in clients.items():
            messages = [
                {"execute": each, "arguments": arguments.get(each, {}), "id": each} for each in [*needs, *needs]
            ]
            for batch in [messages] if together else [[message] for message in messages]:
                client.send(*batch)
            uid = {"alice": 1000, "bob": 1001}[name]
            attributes = [f"uid:{uid}", f"uid:{name}", f"gid:{uid}", f"gid:{name}"]
            for reply in client.received():
                command = reply["id"]
                names = [command, *(["sw"] if command == "switch" else [])]
                assert ("return" in reply) is may(document, attributes, "", cap, names, needs[command]), (name, reply)

"""
The door to a QEMU: who is asked, who gets which answer, and what becomes of them when QEMU comes and goes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.fake_qemu import COMMANDS, VERSION, Door, make_schema
from twisted_qmon import CommandProvider, Monitor, command
from twisted_qmon.errors import CommandCancelled, CommandNotFound, ConnectionClosed, GenericError
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.providers.qemu import DESCRIBE_TIMEOUT, Qemu
from twisted_qmon.providers.qemu import upstream as _upstream
from twisted_qmon.providers.qemu.commands import merge_schema
from twisted_qmon.providers.qemu.upstream import HEARTBEAT, IN_FLIGHT
from twisted_qmon.qapi.schema import build_schema
from twisted_qmon.testing import connected_client


class PassingOnTests(SynchronousTestCase):
    """Requests of clients, QEMU's replies."""

    def setUp(self) -> None:
        self.door = Door()
        self.qemu = self.door.qemu

    def test_interfaces(self) -> None:
        """Door and commands provide what they promise."""
        verifyObject(ICommandProvider, self.door.door)
        for each in self.door.monitor.registry.active.values():
            verifyObject(ICommand, each)

    def test_raw(self) -> None:
        """A result is passed on as it came, byte by byte."""
        client = self.door.client()
        client.send({"execute": "query-status", "id": "mine"})
        (request,) = self.qemu.asked()
        self.assertEqual({**request, "id": 0}, {"execute": "query-status", "id": 0})
        self.qemu.say(b'{"return": {"b": 1.0,  "a": "\\u00E9", "c": 1e5}, "id": %d}' % request["id"])
        self.assertEqual(client.take_bytes(), b'{"return":{"b": 1.0,  "a": "\\u00E9", "c": 1e5},"id":"mine"}\r\n')

    def test_ids(self) -> None:
        """Ids of any kind, or none, come back to whom they belong, whatever others use."""
        ids: list[Any] = [1, 1.5, "1", None, True, [1], {"a": {}}]
        clients = [self.door.client() for _ in ids]
        for client, id in zip(clients, ids, strict=True):
            client.send({"execute": "query-status", "id": id})
        bare = self.door.client()
        bare.send({"execute": "query-status"})
        served: list[int] = []
        while requests := self.qemu.asked():
            for request in requests:
                served.append(request["id"])
                self.qemu.answer(request, len(served) - 1)
        self.assertEqual(len(set(served)), len(ids) + 1)
        for number, (client, id) in enumerate(zip(clients, ids, strict=True)):
            (reply,) = client.received()
            self.assertEqual(json.dumps(reply), json.dumps({"return": number, "id": id}))
        self.assertEqual(bare.received(), [{"return": len(ids)}])

    def test_errors(self) -> None:
        """Error class and words are QEMU's."""
        client = self.door.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        self.qemu.say({"id": request["id"], "error": {"class": "DeviceNotActive", "desc": "No \u00e9 balloon"}})
        error = {"class": "DeviceNotActive", "desc": "No \u00e9 balloon"}
        self.assertEqual(client.received(), [{"id": 1, "error": error}])

    def test_unreadable_reply(self) -> None:
        """A number that is no JSON in QEMU's reply becomes an error of that request."""
        client = self.door.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        self.qemu.say(b'{"return": {"x": inf}, "id": %d}' % request["id"])
        (reply,) = client.received()
        self.assertEqual((reply["id"], reply["error"]["class"]), (1, "GenericError"))

    def test_not_ascii(self) -> None:
        """Should a server write UTF-8, our clients get ASCII all the same."""
        client = self.door.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        self.qemu.say('{"return": "é", "id": %d}'.encode() % request["id"])
        self.assertEqual(client.received(), [{"return": "é", "id": 1}])

    def test_arguments(self) -> None:
        """Arguments go to QEMU unchecked, as our parser understood them."""
        client = self.door.client()
        client.send(b"{'execute': 'migrate', 'arguments': {'no\\'such': [1, {'x': null}]}, 'id': 5}")
        (request,) = self.qemu.asked()
        self.assertEqual(request["arguments"], {"no'such": [1, {"x": None}]})

    def test_unknown_command(self) -> None:
        """What QEMU does not have and we don't have is refused here."""
        client = self.door.client()
        client.send({"execute": "nope", "id": 1})
        self.assertEqual(client.received()[0]["error"]["desc"], "The command nope has not been found")
        self.assertEqual(self.qemu.asked(), [])

    def test_oob(self) -> None:
        """Out of band stays out of band, past all that waits; QEMU says which commands may."""
        client = self.door.client(oob=True)
        client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        client.send({"exec-oob": "migrate-pause", "id": "now"}, {"exec-oob": "query-block", "id": "no"})
        requests = self.qemu.asked()
        self.assertEqual([each for each in requests if "exec-oob" in each], [requests[-1]])
        self.assertEqual(len(requests), IN_FLIGHT + 1)
        self.qemu.answer(requests[-1], {})
        answers = {each["id"]: each for each in client.received()}
        self.assertEqual(answers["now"], {"return": {}, "id": "now"})
        self.assertEqual(answers["no"]["error"]["desc"], "The command query-block does not support OOB")

    def test_ours_stand_beside(self) -> None:
        """Commands that QEMU does not have are ours, and are answered without it."""
        client = self.door.client()
        client.send({"execute": "query-pending", "id": 1})
        self.assertEqual(client.received(), [{"return": [], "id": 1}])
        self.assertEqual(self.qemu.asked(), [])

    def test_large(self) -> None:
        """A reply of 16 MiB in pieces is passed on."""
        client = self.door.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        text = json.dumps("x" * (16 << 20)).encode()
        data = b'{"return": %b, "id": %d}\r\n' % (text, request["id"])
        for start in range(0, len(data), 1 << 16):
            self.qemu.protocol.dataReceived(data[start : start + (1 << 16)])
        self.assertEqual(client.take_bytes(), b'{"return":%b,"id":1}\r\n' % text)


class TurnsTests(SynchronousTestCase):
    """A few requests at QEMU, the others in fair turns."""

    def setUp(self) -> None:
        self.door = Door()
        self.qemu = self.door.qemu
        self.execute = self.door.door.upstream.execute

    def serve_one(self) -> str:
        """Answer the oldest request; return its command."""
        if not getattr(self, "waiting", None):
            self.waiting: list[Any] = []
        self.waiting += self.qemu.asked()
        request = self.waiting.pop(0)
        self.qemu.answer(request, {})
        return str(request["execute"])

    def test_in_flight(self) -> None:
        """Two at a time; the next goes out when one comes back."""
        done = [self.execute(f"c{n}") for n in range(5)]
        requests = self.qemu.asked()
        self.assertEqual([each["execute"] for each in requests], ["c0", "c1"])
        self.qemu.answer(requests[1], "one")
        self.assertEqual(self.successResultOf(done[1]).value, "one")
        self.assertEqual([each["execute"] for each in self.qemu.asked()], ["c2"])
        self.assertNoResult(done[0])

    def test_fair(self) -> None:
        """Somebody with one request waits for one of each, not for a thousand of somebody else."""
        a, b, c = object(), object(), object()
        for n in range(1000):
            self.execute(f"a{n}", None, a)
        for n in range(3):
            self.execute(f"b{n}", None, b)
        self.execute("c0", None, c)
        order = [self.serve_one() for _ in range(12)]
        self.assertEqual(order, ["a0", "a1", "a2", "b0", "c0", "a3", "b1", "a4", "b2", "a5", "a6", "a7"])

    def test_cancel_waiting(self) -> None:
        """What is not sent yet is taken back, and QEMU never sees it."""
        done = [self.execute(f"c{n}") for n in range(4)]
        done[2].cancel()
        self.failureResultOf(done[2], CommandCancelled)
        self.assertEqual([self.serve_one() for _ in range(3)], ["c0", "c1", "c3"])
        for each in (done[0], done[1], done[3]):
            self.assertEqual(self.successResultOf(each).value, {})

    def test_cancel_sent(self) -> None:
        """The reply to what is sent and cancelled is dropped; until then it keeps its place at QEMU."""
        done = [self.execute(f"c{n}") for n in range(4)]
        done[0].cancel()
        self.failureResultOf(done[0], CommandCancelled)
        requests = self.qemu.asked()
        self.assertEqual(len(requests), 2)
        self.qemu.answer(requests[0], {})
        self.assertEqual([each["execute"] for each in self.qemu.asked()], ["c2"])
        self.assertEqual(self.door.door.upstream._in_flight, 2)

    def test_cancel_all(self) -> None:
        """A caller whose requests are all taken back leaves nothing behind."""
        mine = object()
        done = [self.execute("x", None, mine) for _ in range(5)]
        for each in done:
            each.cancel()
            self.failureResultOf(each, CommandCancelled)
        for request in self.qemu.asked():
            self.qemu.answer(request, {})
        upstream = self.door.door.upstream
        self.assertEqual((upstream._queues, list(upstream._turns), upstream._waiting), ({}, [], 0))
        self.assertEqual(upstream._in_flight, 0)

    def test_cancel_command(self) -> None:
        """C{cancel-command} at the door reaches what is still waiting there."""
        client = self.door.client(oob=True)
        client.send(*({"execute": "query-status", "id": n} for n in range(4)))
        client.send({"exec-oob": "cancel-command", "arguments": {"id": 3}, "id": "c"})
        answers = {each["id"]: each for each in client.received()}
        self.assertEqual(answers["c"], {"return": {}, "id": "c"})
        self.assertEqual(answers[3]["error"]["desc"], "Command 'query-status' was cancelled")
        self.assertEqual([self.serve_one() for _ in range(3)], ["query-status"] * 3)
        self.assertEqual([each["id"] for each in client.received()], [0, 1, 2])

    def test_caller_leaves(self) -> None:
        """When a client goes, what it had waiting is dropped, and what is sent runs to its end, unheard."""
        client = self.door.client()
        client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        client.lose()
        requests = self.qemu.asked()
        for request in requests:
            self.qemu.answer(request, {})
        self.assertEqual(len(requests), 2)
        self.assertEqual(self.qemu.asked(), [])

    def test_limit(self) -> None:
        """How many may wait is limited; one more is refused."""
        self.patch(_upstream, "MAX_WAITING", 3)
        for _ in range(5):
            self.assertNoResult(self.execute("x"))
        self.assertIn("3 requests", str(self.failureResultOf(self.execute("x"), GenericError).value))

    def test_unsayable(self) -> None:
        """Arguments that can't be sent fail their request, sent at once or later, and nobody else's."""
        bad = {"x": {1}}
        self.failureResultOf(self.execute("bad", bad), GenericError)
        done = [self.execute("a"), self.execute("b"), self.execute("bad", bad), self.execute("c")]
        self.assertEqual([self.serve_one() for _ in range(3)], ["a", "b", "c"])
        self.failureResultOf(done[2], GenericError)
        self.assertEqual(self.successResultOf(done[3]).value, {})


class EventTests(SynchronousTestCase):
    """QEMU's events at our clients."""

    def test_passed_on(self) -> None:
        """Everybody gets an event with QEMU's own timestamp and data, in QEMU's order, before the reply that follows
        it."""
        door = Door()
        clients = [door.client(), door.client()]
        for client in clients:
            client.send({"execute": "query-status", "id": 1})
        (one, two) = door.qemu.asked()
        door.qemu.event("STOP")
        door.qemu.event("MIGRATION", {"status": "odd", "more": [1]})
        door.qemu.answer(one, {})
        door.qemu.answer(two, {})
        for client in clients:
            first, second, reply = client.received()
            self.assertEqual(first, {"event": "STOP", "timestamp": {"seconds": 17, "microseconds": 4}})
            self.assertEqual(second["data"], {"status": "odd", "more": [1]})
            self.assertEqual(reply["id"], 1)

    def test_held_until_described(self) -> None:
        """Events that come before QEMU has said what it can do are delivered afterwards, in order."""
        door = Door(connect=False)
        client = door.client_at_once()
        door.clock.advance(2.1)
        client.send({"execute": "qmp_capabilities"})
        client.received()
        door.qemu.greet()
        door.qemu.event("STOP")
        door.qemu.event("MIGRATION", {"status": "setup"})
        self.assertEqual(client.received(), [])
        door.qemu.introduce()
        self.assertEqual([each["event"] for each in client.received()], ["QEMU_CONNECTED", "STOP", "MIGRATION"])

    def test_held_is_bounded(self) -> None:
        """Of events that wait, the oldest give way beyond the limit."""
        self.patch(_upstream, "MAX_HELD_EVENTS", 2)
        door = Door(connect=False)
        door.qemu.greet()
        for name in ("STOP", "RESUME", "MIGRATION"):
            door.qemu.event(name)
        door.qemu.introduce()
        self.assertEqual(door.event_names(), ["QEMU_CONNECTED", "RESUME", "MIGRATION"])

    def test_not_in_schema(self) -> None:
        """An event that the schema does not have is delivered all the same."""
        door = Door()
        door.qemu.event("SOMETHING_NEW", {"a": 1})
        door.qemu.event("SOMETHING_NEW", {"a": 2})
        self.assertEqual([each["data"] for each in door.events], [{"a": 1}, {"a": 2}])
        door.qemu.die()
        door.clock.advance(1)
        door.qemu.greet()
        door.qemu.introduce()
        self.assertNotIn("SOMETHING_NEW", door.monitor.events.definitions)

    def test_not_rate_limited(self) -> None:
        """What QEMU sends is not limited a second time."""
        door = Door()
        for _ in range(5):
            door.qemu.event("STOP")
        self.assertEqual(door.event_names(), ["STOP"] * 5)


class NamesTests(SynchronousTestCase):
    """Who we say that we are, and what there is."""

    def test_version(self) -> None:
        """Greeting and C{query-version} are QEMU's."""
        door = Door()
        client = door.client()
        self.assertEqual(client.greeting["QMP"]["version"], VERSION)
        client.send({"execute": "query-version", "id": 1})
        self.assertEqual(client.received(), [{"return": VERSION, "id": 1}])
        self.assertEqual(door.qemu.asked(), [])

    def test_greeting_waits(self) -> None:
        """A client that comes early is greeted when QEMU is known, or after two seconds with what is known then."""
        door = Door(connect=False)
        early = door.client_at_once()
        self.assertEqual(early.take_bytes(), b"")
        door.qemu.greet()
        door.qemu.introduce()
        self.assertEqual(early.received()[0]["QMP"]["version"], VERSION)
        door.endpoint.there = False
        door.qemu.die()
        late = door.client_at_once()
        door.clock.advance(1.9)
        self.assertEqual(late.take_bytes(), b"")
        door.clock.advance(0.2)
        self.assertEqual(late.received()[0]["QMP"]["version"], VERSION)

    def test_greeting_without_qemu(self) -> None:
        """Without any QEMU so far the greeting tells our own version."""
        door = Door(start=False)
        door.endpoint.there = False
        door.door.service.startService()
        client = door.client_at_once()
        door.clock.advance(2.1)
        self.assertIn("twisted-qmon", client.received()[0]["QMP"]["version"]["package"])

    def test_ready(self) -> None:
        """Nobody waits for a door that does not run; giving up leaves nothing behind."""
        door = Door(start=False)
        self.assertIsNone(door.door.when_ready())
        door.door.service.startService()
        waiting = door.door.when_ready()
        assert waiting is not None
        waiting.addErrback(lambda _: None).cancel()
        self.assertEqual(door.door._wanted, [])
        door.qemu.greet()
        door.qemu.introduce()
        self.assertIsNone(door.door.when_ready())

    def test_commands(self) -> None:
        """C{query-commands} has QEMU's and ours, each once, and is encoded once."""
        door = Door()
        client = door.client()
        client.send({"execute": "query-commands", "id": 1})
        names = [each["name"] for each in client.received()[0]["return"]]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"query-pending", "cancel-command", "qmon-migrate", "qmp_capabilities"}, set(names))
        self.assertLessEqual(set(COMMANDS), set(names))
        one = door.monitor.submit("query-commands", None, object()).result
        self.assertIs(door.monitor.submit("query-commands", None, object()).result, one)
        door.monitor.register_command("more", lambda: None)
        self.assertIn("more", str(door.monitor.submit("query-commands", None, object()).result.value))

    def test_origin(self) -> None:
        """Those that run on QEMU are marked."""
        door = Door()
        infos = self.successResultOf(door.monitor.commands())
        self.assertEqual({infos[name].origin for name in set(COMMANDS) - {"qmp_capabilities"}}, {"qemu"})
        self.assertEqual(infos["qmon-migrate"].origin, "")

    def test_origin_from_afar(self) -> None:
        """A client of the door is told, too, which run on QEMU: so its human console sends lines there."""
        door = Door()
        client, pump = connected_client(door.monitor)
        asked = client.commands()
        pump.flush()
        commands = self.successResultOf(asked)
        self.assertEqual(commands["human-monitor-command"].origin, "qemu")
        self.assertEqual(commands["qmon-migrate"].aliases, ("migrate",))

    def test_wrong_arguments_of_known(self) -> None:
        """What is answered here without QEMU goes to QEMU when it has arguments, for QEMU's own error."""
        door = Door()
        client = door.client()
        for name in ("query-version", "query-commands", "query-qmp-schema"):
            client.send({"execute": name, "arguments": {"x": 1}, "id": 1})
            (request,) = door.qemu.asked()
            self.assertEqual(request["execute"], name)
            door.qemu.answer(request, {})

    def test_schema(self) -> None:
        """The schema is QEMU's as it is, with ours behind it."""
        door = Door()
        client = door.client()
        client.send({"execute": "query-qmp-schema", "id": 1})
        schema = client.received()[0]["return"]
        theirs = make_schema()
        self.assertEqual(schema[: len(theirs)], theirs)
        names = [each["name"] for each in schema]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"query-pending", "qmon-savevm", "QEMU_CONNECTED"}, set(names))
        used = {
            name
            for each in schema
            for name in [each.get("arg-type"), each.get("ret-type"), each.get("element-type")]
            + [member.get("type") for member in each.get("members", ())]
            if name is not None
        }
        self.assertEqual(used - set(names), set())

    def test_help_is_known(self) -> None:
        """QEMU's help is kept: the console asks for it with each connection. Other lines go to QEMU."""
        door = Door()
        client = door.client()
        for line in ("help", "info"):
            client.send({"execute": "human-monitor-command", "arguments": {"command-line": line}, "id": 1})
            self.assertEqual(client.received(), [{"return": "stop|s  -- stop emulation\r\n", "id": 1}])
        self.assertEqual(door.qemu.asked(), [])
        arguments: dict[str, Any]
        for arguments in ({"command-line": "info name"}, {"command-line": "help", "cpu-index": 0}, {"command-line": 5}):
            client.send({"execute": "human-monitor-command", "arguments": arguments, "id": 1})
            (request,) = door.qemu.asked()
            self.assertEqual(request["arguments"], arguments)
            door.qemu.answer(request, "")

    def test_covers_ours(self) -> None:
        """Where QEMU has a command ours steps aside, and is there again when the door is taken out."""

        class Ours(CommandProvider):
            @command
            def quit(self) -> str:
                """ours"""
                return "ours"

        door = Door(start=False)
        door.monitor.register(Ours())
        door.door.service.startService()
        door.qemu.greet()
        door.qemu.introduce()
        self.assertNoResult(door.monitor.execute("quit"))
        self.assertEqual([each["execute"] for each in door.qemu.asked()], ["quit"])
        door.monitor.unregister(door.door)
        self.assertEqual(self.successResultOf(door.monitor.execute("quit")), "ours")
        self.assertIsNone(door.monitor.ready)
        self.assertNotIn("qmon-migrate", self.successResultOf(door.monitor.commands()))

    def test_endpoint_description(self) -> None:
        """An endpoint may be given as its description; nonsense is told at once."""
        self.assertRaises(ValueError, Qemu, "nonsense:x", object())
        self.assertRaises(ValueError, Qemu, "unix", object())


class LifeAndDeathTests(SynchronousTestCase):
    """QEMU that is not there, goes, comes back, stands still."""

    def test_neverThere(self) -> None:
        """Before QEMU's first connection nothing of ours is taken for its answers: not its state, not what it can do."""
        door = Door(connect=False)
        monitor = door.monitor
        for name in ("query-status", "query-name", "query-block", "stop"):
            failure = self.failureResultOf(monitor.execute(name), GenericError)
            self.assertEqual(str(failure.value), "QEMU is not connected")
        self.assertEqual(self.successResultOf(monitor.execute("query-pending")), [])
        door.qemu.greet()
        door.qemu.introduce()
        self.failureResultOf(monitor.execute("nope"), CommandNotFound)
        monitor.unregister(door.door)
        self.assertEqual(self.successResultOf(monitor.execute("query-status"))["status"], "running")
        self.failureResultOf(monitor.execute("nope"), CommandNotFound)

    def test_dies(self) -> None:
        """A hundred pending requests fail, each at its owner, in the moment in which QEMU is found to be gone."""
        door = Door()
        clients = [door.client() for _ in range(20)]
        for client in clients:
            client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        door.qemu.die()
        for client in clients:
            messages = client.received()
            replies = [each for each in messages if "id" in each]
            self.assertEqual(sorted(each["id"] for each in replies), list(range(5)))
            self.assertEqual({each["error"]["class"] for each in replies}, {"GenericError"})
            self.assertEqual([each["event"] for each in messages if "event" in each], ["QEMU_DISCONNECTED"])
            self.assertFalse(client.closed)
        clients[0].send({"execute": "query-status", "id": "new"}, {"execute": "query-pending", "id": "ours"})
        refused, ours = clients[0].received()
        self.assertEqual(refused["error"]["desc"], "QEMU is not connected")
        self.assertEqual(ours["return"], [])

    def test_comes_back(self) -> None:
        """The next QEMU serves the same clients; its commands take the place of the old one's."""
        door = Door()
        client = door.client()
        client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        door.qemu.die()
        door.clock.advance(1)
        door.qemu.greet()
        door.qemu.introduce({"brand-new": (False, False)})
        self.assertEqual(door.event_names(), ["QEMU_DISCONNECTED", "QEMU_CONNECTED"])
        client.received()
        client.send({"execute": "brand-new", "id": 1})
        (request,) = door.qemu.asked()
        self.assertEqual(request["execute"], "brand-new")
        door.qemu.answer(request, 7)
        self.assertEqual(client.received(), [{"return": 7, "id": 1}])

    def test_not_there(self) -> None:
        """A QEMU that is not there at the start is tried again until it is."""
        door = Door(start=False)
        door.endpoint.there = False
        door.door.service.startService()
        self.failureResultOf(door.door.upstream.execute("query-status"), ConnectionClosed)
        door.clock.pump([1.0] * 5)
        door.endpoint.there = True
        door.clock.advance(1.0)
        door.qemu.greet()
        door.qemu.introduce()
        self.assertTrue(door.door.connected)
        self.assertEqual(door.event_names(), ["QEMU_CONNECTED"])

    def test_says_nothing(self) -> None:
        """A QEMU that serves somebody else greets nobody: after a while another attempt is made."""
        door = Door(connect=False)
        door.clock.advance(10.0)
        door.clock.advance(1.0)
        self.assertEqual(len(door.endpoint.connections), 2)
        door.qemu.greet()
        door.qemu.introduce()
        self.assertTrue(door.door.connected)

    def test_does_not_describe(self) -> None:
        """One that greets but never says what it can do is given up after a while."""
        door = Door(connect=False)
        door.qemu.greet()
        door.clock.advance(DESCRIBE_TIMEOUT)
        self.assertTrue(door.qemu.transport.disconnected)
        door.clock.advance(1.0)
        self.assertEqual(len(door.endpoint.connections), 2)

    def test_dies_while_describing(self) -> None:
        """One that dies while it says what it can do counts as a failed attempt."""
        door = Door(connect=False)
        door.qemu.greet()
        door.qemu.die()
        self.assertEqual(door.event_names(), [])
        door.clock.advance(1.0)
        door.qemu.greet()
        door.qemu.introduce()
        self.assertTrue(door.door.connected)

    def test_senseless_schema(self) -> None:
        """A schema that makes no sense is a failed attempt, not the end of the door."""
        door = Door(connect=False)
        door.qemu.greet()
        (request,) = door.qemu.asked()
        door.qemu.answer(request, [{"meta-type": "command"}])
        self.assertTrue(door.qemu.transport.disconnected)
        self.assertFalse(door.door.connected)

    def test_without_schema(self) -> None:
        """A server without a schema has the commands that it lists."""
        door = Door(connect=False)
        door.qemu.greet()
        (request,) = door.qemu.asked()
        door.qemu.say({"id": request["id"], "error": {"class": "CommandNotFound", "desc": "no"}})
        (request,) = door.qemu.asked()
        self.assertEqual(request["execute"], "query-commands")
        door.qemu.answer(request, [{"name": "query-status"}, {"name": "x-old"}])
        self.assertTrue(door.door.connected)
        self.assertNoResult(door.monitor.execute("x-old", {"a": 1}))
        self.assertEqual(door.qemu.asked()[0]["arguments"], {"a": 1})

    def test_stands_still(self) -> None:
        """With a request pending and no sign of life, out of band either, QEMU is given up and tried anew."""
        door = Door()
        client = door.client()
        client.send({"execute": "query-status", "id": 1})
        door.qemu.asked()
        door.clock.advance(HEARTBEAT)
        door.clock.advance(HEARTBEAT)
        self.assertEqual([each.get("exec-oob") for each in door.qemu.asked()], ["query-yank"])
        self.assertTrue(door.door.connected)
        door.clock.advance(HEARTBEAT)
        messages = client.received()
        self.assertEqual([each.get("event") for each in messages], ["QEMU_DISCONNECTED", None])
        self.assertEqual(messages[1]["error"]["desc"], "QEMU does not answer")
        self.assertTrue(door.qemu.transport.disconnected)
        door.clock.advance(1.0)
        self.assertEqual(len(door.endpoint.connections), 2)

    def test_busy(self) -> None:
        """A QEMU whose main loop is busy answers out of band, and is waited for."""
        door = Door()
        done = door.door.upstream.execute("query-status")
        (request,) = door.qemu.asked()
        for _ in range(20):
            door.clock.advance(HEARTBEAT)
            for beat in door.qemu.asked():
                door.qemu.answer(beat, [])
        self.assertNoResult(done)
        door.qemu.answer(request, {})
        self.successResultOf(done)

    def test_idle(self) -> None:
        """Nobody is asked for a sign of life while nothing is pending, or without C{oob}."""
        door = Door()
        door.clock.pump([HEARTBEAT] * 10)
        self.assertEqual(door.qemu.asked(), [])
        door = Door(connect=False)
        door.qemu.greet(oob=False)
        door.qemu.introduce()
        done = door.door.upstream.execute("query-status")
        door.clock.pump([HEARTBEAT] * 10)
        self.assertNoResult(done)
        self.assertEqual(len(door.qemu.asked()), 1)

    def test_stop(self) -> None:
        """The stopped service leaves no connection and no timer."""
        door = Door()
        done = door.door.upstream.execute("query-status")
        stopped = door.door.service.stopService()
        self.assertTrue(door.qemu.transport.disconnecting)
        door.qemu.die()
        self.failureResultOf(done, ConnectionClosed)
        self.successResultOf(stopped)
        self.assertEqual(door.clock.getDelayedCalls(), [])

    def test_without_monitor(self) -> None:
        """A door that is not registered, or no longer, does no harm."""
        door = Door()
        door.monitor.unregister(door.door)
        door.qemu.event("STOP")
        door.qemu.die()
        door.clock.advance(1)
        door.qemu.greet()
        door.qemu.introduce()
        self.assertTrue(door.door.connected)
        self.assertEqual(door.events, [])


def test_merge_keeps_types_apart() -> None:
    """Types that have the same masked name in both schemas are two; builtin types are one."""
    theirs: list[dict[str, Any]] = [
        {"name": "x", "meta-type": "command", "arg-type": "0", "ret-type": "[1]"},
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "1", "meta-type": "enum", "members": [{"name": "a"}], "values": ["a"]},
        {"name": "[1]", "meta-type": "array", "element-type": "1"},
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
    ]
    colour = TypeInfo("enum", "Colour", values=("red",))
    info = CommandInfo(
        "paint",
        parameters=(ParameterInfo("colours", TypeInfo("list", element=colour)), ParameterInfo("text", TypeInfo("str"))),
        returns=TypeInfo("list", element=TypeInfo("list", element=colour)),
    )
    ours = build_schema([("paint", info, False, ())], [("DRY", (ParameterInfo("colour", colour),))])
    merged = merge_schema(theirs, ours)
    assert merged[: len(theirs)] == theirs
    entries = {each["name"]: each for each in merged}
    assert len(entries) == len(merged)
    members = {each["name"]: each["type"] for each in entries[entries["paint"]["arg-type"]]["members"]}
    element = entries[members["colours"]]["element-type"]
    assert entries[element]["values"] == ["red"]
    assert element != "1"
    assert members["text"] == "str"
    inner = entries[entries["paint"]["ret-type"]]["element-type"]
    assert entries[inner]["element-type"] == element
    assert entries[entries["DRY"]["arg-type"]]["members"] == [{"name": "colour", "type": element}]


def test_bare_monitor_without_reactor() -> None:
    """A monitor with a door that was never started answers that QEMU is not connected."""
    monitor = Monitor()
    door = Door(start=False).door
    with pytest.raises(Exception, match="registered already"):
        monitor.register(door)
        monitor.register(door)

"""
The proxy: requests, replies and events are passed on.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.fake_qemu import Proxy
from twisted_qmon.errors import CommandCancelled, ConnectionClosed, GenericError
from twisted_qmon.hmp.console import Person
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.providers.qemu import upstream as _upstream
from twisted_qmon.providers.qemu.upstream import UPSTREAM_IN_FLIGHT


class PassingOnTests(SynchronousTestCase):
    """Requests of clients, QEMU's replies."""

    def setUp(self) -> None:
        self.proxy = Proxy()
        self.qemu = self.proxy.qemu

    def test_interfaces(self) -> None:
        """Proxy and commands provide what they promise."""
        verifyObject(ICommandProvider, self.proxy.provider)
        for each in self.proxy.monitor.registry.active.values():
            verifyObject(ICommand, each)

    def test_raw(self) -> None:
        """A result is passed on as it came, byte by byte."""
        client = self.proxy.client()
        client.send({"execute": "query-status", "id": "mine"})
        (request,) = self.qemu.asked()
        self.assertEqual({**request, "id": 0}, {"execute": "query-status", "id": 0})
        self.qemu.say(b'{"return": {"b": 1.0,  "a": "\\u00E9", "c": 1e5}, "id": %d}' % request["id"])
        self.assertEqual(client.take_bytes(), b'{"return":{"b": 1.0,  "a": "\\u00E9", "c": 1e5},"id":"mine"}\r\n')

    def test_ids(self) -> None:
        """Ids of any kind, or none, come back to whom they belong, whatever others use."""
        ids: list[Any] = [1, 1.5, "1", None, True, [1], {"a": {}}]
        clients = [self.proxy.client() for _ in ids]
        for client, id in zip(clients, ids, strict=True):
            client.send({"execute": "query-status", "id": id})
        bare = self.proxy.client()
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
        client = self.proxy.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        self.qemu.say({"id": request["id"], "error": {"class": "DeviceNotActive", "desc": "No \u00e9 balloon"}})
        error = {"class": "DeviceNotActive", "desc": "No \u00e9 balloon"}
        self.assertEqual(client.received(), [{"id": 1, "error": error}])

    def test_unreadable_reply(self) -> None:
        """A number that is no JSON in QEMU's reply becomes an error of that request."""
        client = self.proxy.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        self.qemu.say(b'{"return": {"x": inf}, "id": %d}' % request["id"])
        (reply,) = client.received()
        self.assertEqual((reply["id"], reply["error"]["class"]), (1, "GenericError"))

    def test_not_utf8(self) -> None:
        """Each request whose reply is not UTF-8 is answered with an error, once; those behind it have their turn."""
        client = self.proxy.client()
        client.send(*({"execute": "query-status", "id": n} for n in range(4)))
        one, two = self.qemu.asked()
        self.qemu.say(b'{"return": "\xe9", "id": %d}' % one["id"])
        self.qemu.say(b'{"id": %d, "error": {"class": "GenericError", "desc": "\xe9"}}' % two["id"])
        three, four = self.qemu.asked()
        self.qemu.answer(three, 3)
        self.qemu.answer(four, 4)
        first, second, *others = client.received()
        for number, reply in enumerate((first, second)):
            self.assertEqual((reply["id"], reply["error"]["class"]), (number, "GenericError"))
            self.assertIn("The server's reply is not UTF-8", reply["error"]["desc"])
            self.assertIn("\\xe9", reply["error"]["desc"])
        self.assertEqual(others, [{"return": 3, "id": 2}, {"return": 4, "id": 3}])
        self.assertTrue(self.proxy.provider.connected)

    def test_not_ascii(self) -> None:
        """Should a server write UTF-8, our clients get ASCII all the same."""
        client = self.proxy.client()
        client.send({"execute": "query-status", "id": 1})
        (request,) = self.qemu.asked()
        self.qemu.say('{"return": "é", "id": %d}'.encode() % request["id"])
        self.assertEqual(client.received(), [{"return": "é", "id": 1}])

    def test_arguments(self) -> None:
        """Arguments go to QEMU unchecked, as our parser understood them."""
        client = self.proxy.client()
        client.send(b"{'execute': 'migrate', 'arguments': {'no\\'such': [1, {'x': null}]}, 'id': 5}")
        (request,) = self.qemu.asked()
        self.assertEqual(request["arguments"], {"no'such": [1, {"x": None}]})

    def test_unknown_command(self) -> None:
        """What QEMU does not have and we don't have is refused here."""
        client = self.proxy.client()
        client.send({"execute": "nope", "id": 1})
        self.assertEqual(client.received()[0]["error"]["desc"], "The command nope has not been found")
        self.assertEqual(self.qemu.asked(), [])

    def test_oob(self) -> None:
        """Out of band stays out of band, past all that waits; QEMU says which commands may."""
        client = self.proxy.client(oob=True)
        client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        client.send({"exec-oob": "migrate-pause", "id": "now"}, {"exec-oob": "query-block", "id": "no"})
        requests = self.qemu.asked()
        self.assertEqual([each for each in requests if "exec-oob" in each], [requests[-1]])
        self.assertEqual(len(requests), UPSTREAM_IN_FLIGHT + 1)
        self.qemu.answer(requests[-1], {})
        answers = {each["id"]: each for each in client.received()}
        self.assertEqual(answers["now"], {"return": {}, "id": "now"})
        self.assertEqual(answers["no"]["error"]["desc"], "The command query-block does not support OOB")

    def test_ours_stand_beside(self) -> None:
        """Commands that QEMU does not have are ours, and are answered without it."""
        client = self.proxy.client()
        client.send({"execute": "query-pending", "id": 1})
        self.assertEqual(client.received(), [{"return": [], "id": 1}])
        self.assertEqual(self.qemu.asked(), [])

    def test_large(self) -> None:
        """A reply of 16 MiB in pieces is passed on."""
        client = self.proxy.client()
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
        self.proxy = Proxy()
        self.qemu = self.proxy.qemu
        self.execute = self.proxy.provider.upstream.execute

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

    def test_two_replies(self) -> None:
        """After two replies that come together the next two requests are one write, ahead of what the callers of the first do."""
        done = [self.execute(f"c{n}") for n in range(5)]
        seen: list[int] = []
        writes: list[bytes] = []
        for each in done[:2]:
            each.addCallback(lambda _: seen.append(len(writes)))
        replies = [{"return": {}, "id": request["id"]} for request in self.qemu.asked()]
        self.patch(self.qemu.transport, "write", writes.append)
        self.qemu.say(replies[0], {"event": "STOP", "id": replies[0]["id"]}, replies[1])
        self.assertEqual(seen, [1, 1])
        (write,) = writes
        self.assertEqual([json.loads(line)["execute"] for line in write.splitlines()], ["c2", "c3"])
        self.assertEqual(self.proxy.event_names(), ["STOP"])
        self.assertEqual(self.proxy.provider.upstream.state[2:], (1, 2))

    def test_two_replies_and_cancelled(self) -> None:
        """A reply that came with the one whose caller cancels its request does not count twice."""
        done = [self.execute(f"c{n}") for n in range(6)]
        done[0].addCallback(lambda _: done[1].cancel())
        replies = [{"return": {}, "id": request["id"]} for request in self.qemu.asked()]
        self.qemu.say(*replies, replies[0])
        self.failureResultOf(done[1], CommandCancelled)
        self.assertEqual([request["execute"] for request in self.qemu.asked()], ["c2", "c3"])
        self.assertEqual(self.proxy.provider.upstream.state[2:], (2, 2))

    def test_closed_between(self) -> None:
        """When the connection ends while the next requests are made, they fail, and nothing is sent any more."""
        done = [self.execute("c0"), self.execute("c1")]
        unsayable: Any = {"x": {1}}
        self.execute("bad", unsayable).addErrback(lambda _: self.qemu.die())
        done.append(self.execute("c3"))
        self.qemu.say(*({"return": {}, "id": request["id"]} for request in self.qemu.asked()))
        for each in done:
            self.failureResultOf(each, ConnectionClosed)
        self.assertEqual(self.qemu.asked(), [])

    def test_reply_without_id(self) -> None:
        """A reply without id, which can only be that to the one request there is, makes room as well."""
        done = self.execute("c0")
        self.qemu.asked()
        self.qemu.say({"error": {"class": "GenericError", "desc": "too long"}})
        self.failureResultOf(done, GenericError)
        self.assertEqual(self.proxy.provider.upstream.state[2:], (0, 0))

    def test_fair(self) -> None:
        """A client with one request waits for one of each other client, not for a thousand of one."""
        a, b, c = Person("a"), Person("b"), Person("c")
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
        self.assertIn("'c0' was cancelled", str(self.failureResultOf(done[0], CommandCancelled).value))
        requests = self.qemu.asked()
        self.assertEqual(len(requests), 2)
        self.qemu.answer(requests[0], {})
        self.assertEqual([each["execute"] for each in self.qemu.asked()], ["c2"])
        self.assertEqual(self.proxy.provider.upstream._in_flight, 2)

    def test_cancel_all(self) -> None:
        """A caller whose requests are all taken back leaves nothing behind."""
        mine = Person("mine")
        done = [self.execute("x", None, mine) for _ in range(5)]
        for each in done:
            each.cancel()
            self.failureResultOf(each, CommandCancelled)
        for request in self.qemu.asked():
            self.qemu.answer(request, {})
        upstream = self.proxy.provider.upstream
        self.assertEqual((upstream._queues, list(upstream._turns), upstream._waiting), ({}, [], 0))
        self.assertEqual(upstream._in_flight, 0)

    def test_cancel_command(self) -> None:
        """C{cancel-command} at the proxy reaches what is still waiting there."""
        client = self.proxy.client(oob=True)
        client.send(*({"execute": "query-status", "id": n} for n in range(4)))
        client.send({"exec-oob": "cancel-command", "arguments": {"id": 3}, "id": "c"})
        answers = {each["id"]: each for each in client.received()}
        self.assertEqual(answers["c"], {"return": {}, "id": "c"})
        self.assertEqual(answers[3]["error"]["desc"], "Command 'query-status' was cancelled")
        self.assertEqual([self.serve_one() for _ in range(3)], ["query-status"] * 3)
        self.assertEqual([each["id"] for each in client.received()], [0, 1, 2])

    def test_caller_leaves(self) -> None:
        """When a client goes, what it had waiting is dropped, and what is sent runs to its end, unheard."""
        client = self.proxy.client()
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
        """Arguments that can't be sent fail their request, sent at once or later, and no other."""
        bad: Any = {"x": {1}}
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
        proxy = Proxy()
        clients = [proxy.client(), proxy.client()]
        for client in clients:
            client.send({"execute": "query-status", "id": 1})
        (one, two) = proxy.qemu.asked()
        proxy.qemu.event("STOP")
        proxy.qemu.event("MIGRATION", {"status": "odd", "more": [1]})
        proxy.qemu.answer(one, {})
        proxy.qemu.answer(two, {})
        for client in clients:
            first, second, reply = client.received()
            self.assertEqual(first, {"event": "STOP", "timestamp": {"seconds": 17, "microseconds": 4}})
            self.assertEqual(second["data"], {"status": "odd", "more": [1]})
            self.assertEqual(reply["id"], 1)

    def test_held_until_described(self) -> None:
        """Events that come before QEMU has said what it can do are delivered afterwards, in order."""
        proxy = Proxy(connect=False)
        client = proxy.client_at_once()
        proxy.clock.advance(2.1)
        client.send({"execute": "qmp_capabilities"})
        client.received()
        proxy.qemu.greet()
        proxy.qemu.event("STOP")
        proxy.qemu.event("MIGRATION", {"status": "setup"})
        self.assertEqual(client.received(), [])
        proxy.qemu.introduce()
        self.assertEqual([each["event"] for each in client.received()], ["QEMU_CONNECTED", "STOP", "MIGRATION"])

    def test_held_is_bounded(self) -> None:
        """Of events that wait, the oldest give way beyond the limit."""
        self.patch(_upstream, "MAX_HELD_EVENTS", 2)
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        for name in ("STOP", "RESUME", "MIGRATION"):
            proxy.qemu.event(name)
        proxy.qemu.introduce()
        self.assertEqual(proxy.event_names(), ["QEMU_CONNECTED", "RESUME", "MIGRATION"])

    def test_not_in_schema(self) -> None:
        """An event that the schema does not have is delivered all the same."""
        proxy = Proxy()
        proxy.qemu.event("SOMETHING_NEW", {"a": 1})
        proxy.qemu.event("SOMETHING_NEW", {"a": 2})
        self.assertEqual([each["data"] for each in proxy.events], [{"a": 1}, {"a": 2}])
        proxy.qemu.die()
        proxy.clock.advance(1)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertNotIn("SOMETHING_NEW", proxy.monitor.events.definitions)

    def test_numbered(self) -> None:
        """QEMU's events have numbers as all others, and say behind which connection to QEMU they happened."""
        proxy = Proxy()
        proxy.qemu.event("STOP")
        client = proxy.client()
        client.send({"execute": "select-events", "arguments": {"numbered": True, "after": 0}, "id": 1})
        reply, *events = client.received()
        self.assertEqual(reply["return"]["lost"], 0)
        proxy.qemu.die()
        proxy.monitor.emit("EVENTS_LOST", {"count": 1})
        proxy.clock.advance(1)
        proxy.qemu.greet()
        proxy.qemu.event("RESUME")
        proxy.qemu.introduce()
        events += client.received()
        self.assertEqual(
            [(each["event"], each["number"], each["upstream"]) for each in events],
            [
                ("QEMU_CONNECTED", 1, 1),
                ("STOP", 2, 1),
                ("QEMU_DISCONNECTED", 3, 1),
                ("EVENTS_LOST", 4, 1),
                ("QEMU_CONNECTED", 5, 2),
                ("RESUME", 6, 2),
            ],
        )

    def test_upstream_of_a_provider(self) -> None:
        """Before the first connection it is number 0; without the provider there is none."""
        proxy = Proxy(connect=False)
        self.assertEqual(proxy.monitor.events.upstream, 0)
        proxy.monitor.unregister(proxy.provider)
        self.assertIsNone(proxy.monitor.events.upstream)

    def test_not_rate_limited(self) -> None:
        """What QEMU sends is not limited a second time."""
        proxy = Proxy()
        for _ in range(5):
            proxy.qemu.event("STOP")
        self.assertEqual(proxy.event_names(), ["STOP"] * 5)

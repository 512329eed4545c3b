"""
A QMP session: negotiation, and the order of requests and replies.
"""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from tests.support.fronted_server import FakeFrontedServer
from tests.support.qmp_session import SessionTests
from twisted_qmon import GenericError
from twisted_qmon.core.builtin import MAX_SHOWN_ID
from twisted_qmon.interfaces import ICaller, ISuspendable


class NegotiationTests(SessionTests):
    """Greeting and capabilities."""

    def test_interfaces(self) -> None:
        """Protocol and session are what they say."""
        client = self.client()
        verifyObject(ISuspendable, client.protocol)
        verifyObject(IHalfCloseableProtocol, client.protocol)
        verifyObject(ICaller, client.protocol.session)

    def test_greeting(self) -> None:
        """The greeting comes first and alone, in QEMU's form."""
        client = self.client(negotiate=False)
        self.assertEqual(set(client.greeting["QMP"]), {"version", "capabilities"})
        self.assertEqual(client.greeting["QMP"]["capabilities"], ["oob"])
        self.assertEqual(client.received(), [])

    def test_gate(self) -> None:
        """Nothing but qmp_capabilities is served before it; a bad one can be tried again."""
        client = self.client(negotiate=False)
        client.send({"execute": "query-name", "id": 1}, {"execute": "nope"})
        desc = "Expecting capabilities negotiation with 'qmp_capabilities'"
        self.assertEqual(
            client.received(),
            [
                {"id": 1, "error": {"class": "CommandNotFound", "desc": desc}},
                {"error": {"class": "CommandNotFound", "desc": desc}},
            ],
        )
        for arguments, words in (
            ({"enable": "oob"}, "Invalid parameter type for 'enable', expected: array"),
            ({"enable": [1]}, "Invalid parameter type for 'enable[0]', expected: string"),
            ({"bogus": 1}, "Parameter 'bogus' is unexpected"),
        ):
            client.send({"execute": "qmp_capabilities", "arguments": arguments})
            self.assertEqual(client.received(), [{"error": {"class": "GenericError", "desc": words}}])
        client.send({"exec-oob": "qmp_capabilities"})
        self.assertEqual(client.received()[0]["error"]["desc"], "QMP input member 'exec-oob' is unexpected")
        client.send({"execute": "qmp_capabilities", "arguments": {"enable": ["oob", "oob"]}, "id": None})
        self.assertEqual(client.received(), [{"return": {}, "id": None}])
        client.send({"execute": "qmp_capabilities"})
        self.assertEqual(
            client.received()[0]["error"],
            {"class": "CommandNotFound", "desc": "Capabilities negotiation is already complete, command ignored"},
        )
        client.send({"execute": "qmp_capabilities", "arguments": {"enable": 1}})
        self.assertEqual(client.received()[0]["error"]["class"], "GenericError")

    def test_pipelined(self) -> None:
        """Negotiation and commands may come in one piece, with no line ends at all."""
        client = self.client(negotiate=False)
        client.send_bytes(b'{"execute":"qmp_capabilities"}{"execute":"query-name"}{"execute":"now","id":1}')
        self.assertEqual(client.received(), [{"return": {}}, {"return": {"name": "m"}}, {"return": 0, "id": 1}])

    def test_eventsWait(self) -> None:
        """No event comes before the answer to the negotiation."""
        client = self.client(negotiate=False)
        self.monitor.emit("HAPPENED", {"n": 1})
        self.assertEqual(client.received(), [])
        client.send({"execute": "qmp_capabilities"})
        self.assertEqual(client.received(), [{"return": {}}])
        self.monitor.emit("HAPPENED", {"n": 2})
        (event,) = client.received()
        self.assertEqual((event["event"], event["data"]), ("HAPPENED", {"n": 2}))

    def test_ready(self) -> None:
        """The greeting waits for a monitor that is not ready, but no longer than two seconds; meanwhile nothing is read."""
        for seconds in (0.5, 2):
            ready: Deferred[None] = Deferred()
            self.monitor.set_upstream(FakeFrontedServer(ready))
            client = self.client(negotiate=False)
            self.assertEqual((client.greeting, client.transport.producerState), (None, "paused"))
            self.clock.advance(seconds)
            if seconds == 0.5:
                ready.callback(None)
            (greeting,) = client.received()
            self.assertIn("QMP", greeting)
            self.assertEqual(client.transport.producerState, "producing")

    def test_negotiationTimeout(self) -> None:
        """Who does not negotiate in time is disconnected, who does is not."""
        silent = self.client(negotiate=False, negotiation_timeout=3)
        self.client(negotiation_timeout=3)
        other = self.client(negotiation_timeout=3)
        self.clock.advance(3)
        self.assertTrue(silent.closed)
        self.assertFalse(other.closed)


class OrderTests(SessionTests):
    """When requests start, and when their replies go out."""

    def test_withIds(self) -> None:
        """Requests with ids run side by side, and are answered as they complete."""
        client = self.client()
        client.send(*self.run_(1, 2, 3))
        self.assertEqual(self.provider.started, [1, 2, 3])
        self.provider.pending[3].callback(3)
        self.provider.pending[1].callback(1)
        self.assertEqual(client.received(), [{"return": 3, "id": 3}, {"return": 1, "id": 1}])

    def test_withoutIds(self) -> None:
        """Of those without an id one runs at a time, so that the replies come in order."""
        client = self.client()
        message = {"execute": "wait", "arguments": {"n": 1}}
        client.send(message, {**message, "arguments": {"n": 2}}, {"execute": "now"})
        self.assertEqual(self.provider.started, [1])
        self.provider.pending[1].callback(1)
        self.assertEqual(self.provider.started, [1, 2])
        self.provider.pending[2].callback(2)
        self.assertEqual([reply["return"] for reply in client.received()], [1, 2, 0])

    def test_strictStart(self) -> None:
        """What is behind the head of the queue waits, even if it could start."""
        client = self.client()
        client.send({"execute": "wait"}, {"execute": "now"}, *self.run_(7, name="now"))
        self.assertEqual(self.provider.started, [0])
        self.provider.pending[0].callback(0)
        self.assertEqual(client.received(), [{"return": 0}, {"return": 0}, {"return": 7, "id": 7}])

    def test_malformedKeepsItsPlace(self) -> None:
        """A malformed message is an in-band request that completes at once: without an id it waits for its turn."""
        client = self.client()
        client.send({"execute": "wait"}, b"{]", [], {"execute": "now", "bogus": 1, "id": 5}, {"id": 6})
        self.assertEqual(client.received(), [])
        self.provider.pending[0].callback(0)
        replies = client.received()
        self.assertEqual(replies[0], {"return": 0})
        self.assertEqual(
            [(reply.get("id"), reply["error"]["desc"]) for reply in replies[1:]],
            [
                (None, "JSON parse error, expecting value"),
                (None, "QMP input must be a JSON object"),
                (5, "QMP input member 'bogus' is unexpected"),
                (6, "QMP input lacks member 'execute'"),
            ],
        )

    def test_severalFaults(self) -> None:
        """Of several faulty members of a message the first one sent is named."""
        client = self.client()
        client.send(
            {"zz": 1, "execute": 1, "aa": 2}, {"execute": 1, "zz": 1}, {"arguments": [], "bogus": 1, "execute": 1}
        )
        self.assertEqual(
            [reply["error"]["desc"] for reply in client.received()],
            [
                "QMP input member 'zz' is unexpected",
                "QMP input member 'execute' must be a string",
                "QMP input member 'arguments' must be an object",
            ],
        )

    def test_outOfBand(self) -> None:
        """exec-oob overtakes everything that waits, where it has been negotiated."""
        client = self.client(oob=True)
        client.send({"execute": "wait"}, {"execute": "now"}, {"exec-oob": "wait-oob", "arguments": {"n": 9}, "id": 9})
        self.assertEqual(self.provider.started, [0, 9])
        self.provider.pending[9].callback(9)
        self.assertEqual(client.received(), [{"return": 9, "id": 9}])
        client.send({"exec-oob": "now", "id": 1}, {"exec-oob": "nope", "id": 2}, {"exec-oob": 3, "id": 3})
        first, second, *_ = client.received()
        self.assertEqual(first["error"]["desc"], "The command now does not support OOB")
        self.assertEqual(second["error"]["class"], "CommandNotFound")

    def test_serial(self) -> None:
        """With one in flight it is QEMU's serial monitor."""
        client = self.client(in_flight=1)
        client.send(*self.run_(1, 2))
        self.assertEqual(self.provider.started, [1])
        self.provider.pending[1].callback(1)
        self.assertEqual(self.provider.started, [1, 2])

    def test_cancelWaiting(self) -> None:
        """A request that waits can be cancelled: with an id it is answered at once, without one in its turn; it never starts."""
        client = self.client(oob=True)
        client.send({"execute": "wait"}, {"execute": "now", "arguments": {"n": 1}}, *self.run_(2, name="now"))
        pending = self.successResultOf(self.monitor.execute("query-pending"))
        self.assertEqual([each["command"] for each in pending], ["wait", "now", "now"])
        client.send({"exec-oob": "cancel-command", "arguments": {"id": 2}, "id": "c"})
        replies = client.received()
        self.assertEqual([reply["id"] for reply in replies], [2, "c"])
        self.successResultOf(self.monitor.execute("cancel-command", {"number": pending[1]["number"]}))
        self.assertEqual(client.received(), [])
        self.provider.pending[0].callback(0)
        first, second = client.received()
        self.assertEqual(first, {"return": 0})
        self.assertEqual(second["error"]["desc"], "Command 'now' was cancelled")
        self.assertEqual(self.provider.started, [0])

    def test_completedFromWithin(self) -> None:
        """A handler that completes another request has that reply before its own."""
        client = self.client()
        client.send(*self.run_(1), {"execute": "fire", "arguments": {"n": 1}, "id": 2}, *self.run_(3, name="now"))
        self.assertEqual([reply["id"] for reply in client.received()], [1, 2, 3])

    def test_eventsAmongReplies(self) -> None:
        """Events and replies of one batch come in the order in which they happened, at every client."""
        client, other = self.client(), self.client()
        client.send(*self.run_(1, name="now"), *self.run_(2, name="tell"), *self.run_(3, name="now"))
        self.assertEqual([m.get("id", m.get("event")) for m in client.received()], [1, "HAPPENED", 2, 3])
        self.assertEqual([m["event"] for m in other.received()], ["HAPPENED"])

    def test_selectedEvents(self) -> None:
        """A client may choose its events; the others get theirs as before."""
        client, other = self.client(), self.client()
        self.assertEqual(client.execute("select-events", {"names": ["SHUTDOWN"]}), {"return": {}})
        self.monitor.emit("HAPPENED", {"n": 1})
        self.monitor.emit("SHUTDOWN", {"guest": False, "reason": "test"})
        self.assertEqual([m["event"] for m in client.received()], ["SHUTDOWN"])
        self.assertEqual([m["event"] for m in other.received()], ["HAPPENED", "SHUTDOWN"])
        client.execute("select-events")
        self.monitor.emit("HAPPENED", {"n": 2})
        self.assertEqual([m["event"] for m in client.received()], ["HAPPENED"])
        refused = client.execute("select-events", {"names": ["NOPE"]})
        self.assertEqual(refused["error"]["desc"], "Event 'NOPE' is not defined")
        self.failureResultOf(self.monitor.execute("select-events"), GenericError)

    def test_idsOfAnyType(self) -> None:
        """An id of any JSON type comes back as it is, duplicate or not."""
        client = self.client()
        ids = [0, -1, 1.5, "x", "\u20ac", None, True, [], {}, {"a": [1, {"b": None}]}, 1 << 63, 1]
        client.send(*({"execute": "now", "id": id} for id in ids), {"execute": "now", "id": 1})
        self.assertEqual([json.dumps(reply["id"]) for reply in client.received()], [json.dumps(id) for id in [*ids, 1]])

    def test_idsOfAnyTypeAlone(self) -> None:
        """So of commands that come one at a time; an infinite number is one that JSON readers take for infinite."""
        client = self.client()
        for id in (b"null", b"true", b"1.5", b'"x"', b"[1,{}]", b'{"a":[]}', b"1e999"):
            client.send(b'{"execute": "now", "id": %b}' % id)
            self.assertEqual(client.take_bytes(), b'{"return":0,"id":%b}\r\n' % id)

    def test_messagesThatAreNoCommands(self) -> None:
        """Each is answered in QEMU's words."""
        client = self.client(oob=True)
        for message, words in (
            (b"[]", "QMP input must be a JSON object"),
            (b'{"execute": 1}', "QMP input member 'execute' must be a string"),
            (b'{"execute": "now", "exec-oob": "now"}', "QMP input member 'exec-oob' clashes with 'execute'"),
            (b'{"execute": "now", "arguments": 1}', "QMP input member 'arguments' must be an object"),
            (b'{"execute": "now", "more": 1}', "QMP input member 'more' is unexpected"),
            (b"{}", "QMP input lacks member 'execute'"),
        ):
            client.send(message)
            self.assertEqual([reply["error"]["desc"] for reply in client.received()], [words])

    def test_idsThatCannotBeListed(self) -> None:
        """An id that no result can hold does not spoil query-pending for everybody: it is left out there."""
        deep = b"[" * 1023 + b"]" * 1023
        client = self.client()
        for n, id in enumerate((b"1e400", deep, b"7")):
            client.send(b'{"execute": "wait", "arguments": {"n": %d}, "id": %s}' % (n, id))
        listed = self.client().execute("query-pending")["return"]
        self.assertEqual([info.get("id", "none") for info in listed], ["none", "none", 7])
        client.send(b'{"execute": "cancel-command", "arguments": {"id": 1e400}, "id": 0}')
        replies = client.take_bytes()
        self.assertEqual((replies.count(b"\n"), b'"id":1e999' in replies), (2, True))

    def test_idsAsLongAsMessages(self) -> None:
        """Of a long id query-pending shows nothing: it is for all clients. It still is the request's id."""
        longest = "x" * (MAX_SHOWN_ID - 2)
        shown = [longest, [longest[:-2]], {longest[:-6]: 1}, [[]] * 340]
        hidden = [longest + "x", "\u00e9" * 200, [longest[:-1]], {longest: 1}, [0] * 100_000, "y" * 5_000_000]
        client = self.client(in_flight=20)
        for n, id in enumerate([*shown, *hidden]):
            client.send({"execute": "wait", "arguments": {"n": n}, "id": id})
        other = self.client()
        listed = other.execute("query-pending")["return"]
        self.assertEqual([info.get("id") for info in listed], [*shown, *[None] * len(hidden)])
        client.send({"execute": "cancel-command", "arguments": {"id": hidden[-1]}, "id": 0})
        cancelled, done = client.received()
        self.assertEqual((cancelled["id"], "error" in cancelled, done), (hidden[-1], True, {"return": {}, "id": 0}))

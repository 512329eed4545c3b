"""
The QMP client against servers that behave, and servers that don't.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.qmp_server import GREETING, ClientCase, FakeEndpoint, line
from twisted_qmon.errors import (
    CommandCancelled,
    CommandError,
    CommandTimedOut,
    ConnectionClosed,
    DeviceNotFound,
    GenericError,
)
from twisted_qmon.hmp.console import Person
from twisted_qmon.interfaces import IMonitor
from twisted_qmon.qmp._client import connection as _clientconnection
from twisted_qmon.qmp._client import session as _clientsession
from twisted_qmon.qmp.client import QMPClient


class ConnectTests(SynchronousTestCase):
    """L{QMPClient.connect}."""

    def test_negotiates(self) -> None:
        """The client waits for the greeting, enables what it knows of what is offered, and fires when that is accepted."""
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=Clock())
        (server,) = endpoint.servers
        self.assertEqual(server.requests(), [])
        server.say(GREETING)
        self.assertEqual(
            server.requests(), [{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}, "id": 0}]
        )
        self.assertNoResult(connecting)
        server.say({"return": {}, "id": 0})
        client = self.successResultOf(connecting)
        self.assertTrue(client.connected)
        self.assertTrue(client.oob)
        self.assertEqual(client.greeting, GREETING["QMP"])
        verifyObject(IMonitor, client)

    def test_no_oob(self) -> None:
        """Without C{oob} in the offer, none is enabled, and C{execute_oob} says so."""
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=Clock())
        (server,) = endpoint.servers
        server.say({"QMP": {"version": {}, "capabilities": []}})
        self.assertEqual(server.requests(), [{"execute": "qmp_capabilities", "id": 0}])
        server.say({"return": {}, "id": 0})
        client = self.successResultOf(connecting)
        error = self.failureResultOf(client.execute_oob("x"), GenericError)
        self.assertIn("out-of-band", str(error.value))
        self.assertEqual(server.requests(), [])

    def test_event_before_negotiation(self) -> None:
        """Events before the greeting and during the negotiation do no harm."""
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=Clock())
        (server,) = endpoint.servers
        event = {"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}
        server.say(event, GREETING, event, {"return": {}, "id": 0})
        self.assertTrue(self.successResultOf(connecting).connected)

    def test_not_qmp(self) -> None:
        """What does not greet as a QMP server is told so, and the connection is closed."""
        for noise in (
            b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ",
            b'{"return": {}}\r\n',
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ):
            endpoint = FakeEndpoint()
            connecting = QMPClient.connect(endpoint, clock=Clock())
            endpoint.servers[0].protocol.dataReceived(noise)
            error = self.failureResultOf(connecting, ConnectionClosed)
            self.assertIn("not a QMP server", str(error.value))
            self.assertTrue(endpoint.servers[0].transport.disconnecting)

    def test_silence(self) -> None:
        """A monitor that serves another client says nothing: that has a limit, and the error gives the likely reason."""
        clock = Clock()
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=clock, negotiation_timeout=3.0)
        clock.advance(2.9)
        self.assertNoResult(connecting)
        clock.advance(0.2)
        error = self.failureResultOf(connecting, ConnectionClosed)
        self.assertIn("one client at a time", str(error.value))
        self.assertIn("not a QMP server", str(error.value))
        self.assertTrue(endpoint.servers[0].transport.disconnecting)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_refused_negotiation(self) -> None:
        """The server's words are in the error when it refuses the negotiation."""
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=Clock())
        endpoint.servers[0].say(GREETING, {"id": 0, "error": {"class": "GenericError", "desc": "not today"}})
        self.assertIn("not today", str(self.failureResultOf(connecting, ConnectionClosed).value))

    def test_lost_during_negotiation(self) -> None:
        """A connection that is lost before it is negotiated fails C{connect}."""
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=Clock())
        endpoint.servers[0].lose(ConnectionDone())
        self.failureResultOf(connecting, ConnectionClosed)

    def test_given_up(self) -> None:
        """Cancelling closes the connection."""
        endpoint = FakeEndpoint()
        clock = Clock()
        connecting = QMPClient.connect(endpoint, clock=clock)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(endpoint.servers[0].transport.disconnecting)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_endpoint_fails(self) -> None:
        """What the endpoint fails with is passed on."""
        self.failureResultOf(QMPClient.connect(FakeEndpoint(refusals=1), clock=Clock()), ConnectionRefusedError)


class ExecuteTests(ClientCase):
    """Requests and replies."""

    def test_execute(self) -> None:
        """A request has the command, the arguments if there are any, and an id; the result comes as plain data."""
        one = self.client.execute("query-status")
        two = self.client.execute("x", {"ä": [1, None, 2.5]})
        self.assertEqual(
            self.server.requests(),
            [{"execute": "query-status", "id": 1}, {"execute": "x", "arguments": {"ä": [1, None, 2.5]}, "id": 2}],
        )
        self.server.say({"return": [], "id": 2}, {"return": {"running": True}, "id": 1})
        self.assertEqual(self.successResultOf(one), {"running": True})
        self.assertEqual(self.successResultOf(two), [])

    def test_ascii(self) -> None:
        """What is sent is pure ASCII, one request in a line."""
        self.client.execute("x", {"a": "ä\n\U0001f600"}).addErrback(lambda _: None)
        data = self.server.transport.value()
        self.assertTrue(data.isascii())
        self.assertEqual(data.count(b"\n"), 1)

    def test_error_classes(self) -> None:
        """The server's error class is kept: a known one as ours, another by its name."""
        known = self.client.execute("a")
        other = self.client.execute("b")
        odd = self.client.execute("c")
        self.server.say(
            {"id": 1, "error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}},
            {"id": 2, "error": {"class": "SomethingNew", "desc": "?"}},
            {"id": 3, "error": "what"},
        )
        self.assertEqual(str(self.failureResultOf(known, DeviceNotFound).value), "Device 'x' not found")
        self.assertEqual(self.failureResultOf(other, CommandError).value.error_class, "SomethingNew")
        self.assertIn("malformed reply", str(self.failureResultOf(odd, GenericError).value))

    def test_oob(self) -> None:
        """C{execute_oob} is C{exec-oob} on the wire."""
        done = self.client.execute_oob("migrate-pause", {"a": 1})
        self.assertEqual(self.server.requests(), [{"exec-oob": "migrate-pause", "arguments": {"a": 1}, "id": 1}])
        self.server.say({"return": {}, "id": 1})
        self.assertEqual(self.successResultOf(done), {})

    def test_unsayable(self) -> None:
        """Arguments that JSON can't say fail the request, and nothing is sent."""
        unsayable: tuple[Any, ...] = ({"a": {1, 2}}, {"a": float("nan")})
        for arguments in unsayable:
            self.failureResultOf(self.client.execute("x", arguments), GenericError)
        self.assertEqual(self.server.requests(), [])
        self.assertEqual(self.client._connection.session.pending, {})  # type: ignore[union-attr]

    def test_too_long(self) -> None:
        """A request beyond the limit fails, and nothing is sent."""
        self.client._connection.session._max_message = 100  # type: ignore[union-attr]
        self.failureResultOf(self.client.execute("x", {"a": "y" * 100}), GenericError)
        self.assertEqual(self.server.requests(), [])

    def test_unknown_ids(self) -> None:
        """Replies to no request are dropped, and those to requests still arrive."""
        done = [self.client.execute("a"), self.client.execute("b")]
        self.server.say(
            {"return": 1, "id": 99},
            {"return": 1, "id": {"x": []}},
            {"return": 1, "id": "1"},
            {"return": 1, "id": True},
            {"return": 1, "id": 1.0},
            {"return": 1},
            {},
            GREETING,
            {"return": "mine", "id": 1},
            {"return": "late", "id": 1},
        )
        self.assertEqual(self.successResultOf(done[0]), "mine")
        self.assertNoResult(done[1])

    def test_reply_without_id(self) -> None:
        """A reply without id belongs to the one request there is, if there is but one: the server could not read it."""
        done = self.client.execute("a")
        self.server.say({"error": {"class": "GenericError", "desc": "JSON token size limit exceeded"}})
        self.assertIn("token size", str(self.failureResultOf(done, GenericError).value))

    def test_garbage(self) -> None:
        """Garbage between replies costs none of them."""
        done = self.client.execute("a")
        self.server.protocol.dataReceived(b"@@@\r\n\xff\xff\r\n[1]\r\n" + line({"return": 5, "id": 1}))
        self.assertEqual(self.successResultOf(done), 5)

    def test_endless_message(self) -> None:
        """A message without end closes the connection with a clear error."""
        self.client._connection.session._reader._max_message = 1000  # type: ignore[union-attr]
        done = self.client.execute("a")
        self.server.protocol.dataReceived(b"x" * 1001)
        self.assertIn("more than 1000 bytes", str(self.failureResultOf(done, ConnectionClosed).value))
        self.assertTrue(self.server.transport.disconnecting)

    def test_lost(self) -> None:
        """A lost connection fails everything that is pending at once, and what comes later too."""
        done = [self.client.execute("a") for _ in range(100)]
        self.server.lose()
        for each in done:
            self.assertIn("lost", str(self.failureResultOf(each, ConnectionClosed).value))
        self.assertFalse(self.client.connected)
        self.failureResultOf(self.client.execute("b"), ConnectionClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_malformed_reply(self) -> None:
        """A reply that has neither result nor error, or an error too deep to show, fails its request and no other."""
        done = [self.client.execute("a"), self.client.execute("b"), self.client.execute("c")]
        deep = b"[" * 990 + b"]" * 990
        self.server.protocol.dataReceived(b'{"id": 1, "error": %b}\r\n' % deep)
        self.server.protocol.dataReceived(b'{"id": 2}\r\n' + line({"return": 3, "id": 3}))
        self.failureResultOf(done[0], GenericError)
        self.assertIn("malformed reply", str(self.failureResultOf(done[1], GenericError).value))
        self.assertEqual(self.successResultOf(done[2]), 3)

    def test_not_utf8(self) -> None:
        """A reply that is not UTF-8 fails its request and no other."""
        done = [self.client.execute("a"), self.client.execute("b")]
        self.server.protocol.dataReceived(b'{"return": "\xe9", "id": 1}\r\n' + line({"return": 2, "id": 2}))
        self.assertIn("is not UTF-8", str(self.failureResultOf(done[0], GenericError).value))
        self.assertEqual(self.successResultOf(done[1]), 2)

    def test_lost_and_cancelled(self) -> None:
        """One who cancels other requests when the first fails gets an outcome for each; so do those behind them."""
        self.client.timeout = 5.0
        done = [self.client.execute("a") for _ in range(4)]

        def cancel(failure: Failure) -> None:
            for each in done[1:3]:
                each.cancel()

        done[0].addErrback(cancel)
        self.server.lose()
        self.failureResultOf(done[1], CommandCancelled)
        self.failureResultOf(done[2], CommandCancelled)
        self.failureResultOf(done[3], ConnectionClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """C{close} fails what is pending, and fires when the connection is closed."""
        done = self.client.execute("a")
        closing = self.client.close()
        self.failureResultOf(done, ConnectionClosed)
        self.assertTrue(self.server.transport.disconnecting)
        self.assertNoResult(closing)
        self.server.lose(ConnectionDone())
        self.successResultOf(closing)
        self.successResultOf(self.client.close())

    def test_close_within_reply(self) -> None:
        """A callback that closes the connection ends the batch: what follows is neither delivered nor an error."""
        first = self.client.execute("a")
        second = self.client.execute("b")
        first.addCallback(lambda _: bool(self.client.close()))
        self.server.say({"return": 1, "id": 1}, {"return": 2, "id": 2})
        self.failureResultOf(second, ConnectionClosed)

    def test_execute_within_reply(self) -> None:
        """A callback may execute the next command."""
        done = self.client.execute("a").addCallback(lambda _: self.client.execute("b"))
        self.server.say({"return": 1, "id": 1})
        self.assertEqual([each["execute"] for each in self.server.requests()], ["a", "b"])
        self.server.say({"return": 2, "id": 2})
        self.assertEqual(self.successResultOf(done), 2)


class CancelTests(ClientCase):
    """Cancelling, timeouts, leaving."""

    def test_cancel(self) -> None:
        """Cancelling fails the Deferred, tells the server out of band, and drops the later reply."""
        done = self.client.execute("a")
        self.server.requests()
        done.cancel()
        self.assertIn("'a' was cancelled", str(self.failureResultOf(done, CommandCancelled).value))
        self.assertEqual(self.server.requests(), [{"exec-oob": "cancel-command", "arguments": {"id": 1}, "id": 2}])
        self.server.say({"return": {}, "id": 2}, {"id": 1, "error": {"class": "GenericError", "desc": "cancelled"}})
        self.assertEqual(self.client._connection.session.pending, {})  # type: ignore[union-attr]
        self.assertEqual(self.client._connection.session._forgotten, {})  # type: ignore[union-attr]

    def test_no_cancel_command(self) -> None:
        """A server without C{cancel-command} is asked once per connection."""
        self.client.execute("a").addErrback(lambda _: None).cancel()
        one = self.client.execute("a")
        self.server.requests()
        one.cancel()
        self.failureResultOf(one, CommandCancelled)
        (cancelling,) = self.server.requests()
        self.server.say({"id": cancelling["id"], "error": {"class": "CommandNotFound", "desc": "no"}})
        two = self.client.execute("a")
        self.server.requests()
        two.cancel()
        self.failureResultOf(two, CommandCancelled)
        self.assertEqual(self.server.requests(), [])

    def test_forgotten_is_bounded(self) -> None:
        """Of dropped requests a limited number is remembered."""
        self.patch(_clientsession, "MAX_FORGOTTEN", 3)
        self.client._cancels = False
        for _ in range(5):
            self.client.execute("a").addErrback(lambda _: None).cancel()
        self.assertEqual(list(self.client._connection.session._forgotten), [3, 4, 5])  # type: ignore[union-attr]

    def test_timeout(self) -> None:
        """A request that is not answered in time fails, and is cancelled at the server."""
        done = self.client.execute("a", timeout=2.0)
        self.server.requests()
        self.clock.advance(1.9)
        self.assertNoResult(done)
        self.clock.advance(0.2)
        self.assertEqual(str(self.failureResultOf(done, CommandTimedOut).value), "Command 'a' timed out after 2 s")
        self.assertEqual([each["exec-oob"] for each in self.server.requests()], ["cancel-command"])

    def test_timer_ends(self) -> None:
        """An answer, a failure, a cancellation or the loss of the connection leaves no timer behind."""
        self.client.timeout = 5.0
        done = [self.client.execute("a") for _ in range(4)]
        self.server.say({"return": 1, "id": 1}, {"id": 2, "error": {"class": "GenericError", "desc": "no"}})
        self.successResultOf(done[0])
        self.failureResultOf(done[1], GenericError)
        self.client._cancels = False
        done[2].cancel()
        self.failureResultOf(done[2], CommandCancelled)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.server.lose()
        self.failureResultOf(done[3], ConnectionClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """What a caller who left had pending does not fire any more; others are not touched."""
        fired: list[Any] = []
        mine = Person("mine")
        self.client.execute("a", caller=mine).addBoth(fired.append)
        other = self.client.execute("b", caller=Person("another"))
        self.client.leave(mine)
        self.server.say({"return": 1, "id": 1}, {"return": 2, "id": 2})
        self.assertEqual(fired, [])
        self.assertEqual(self.successResultOf(other), 2)
        self.client.leave(mine)

    def test_leave_and_cancel(self) -> None:
        """What a caller who left had pending can still be cancelled; no timer is left."""
        mine = Person("mine")
        done = self.client.execute("a", caller=mine, timeout=5.0)
        self.client.leave(mine)
        done.cancel()
        self.failureResultOf(done, CommandCancelled)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_callers_forgotten(self) -> None:
        """Nothing is kept of a caller with nothing pending."""
        done = self.client.execute("a", caller=Person("me"))
        self.server.say({"return": 1, "id": 1})
        self.successResultOf(done)
        self.assertEqual(self.client._by_caller, {})


class BackPressureTests(ClientCase):
    """A server that does not read."""

    def test_waits(self) -> None:
        """While the transport is full requests wait, in order, and can be withdrawn without a word to the server."""
        connection = self.client._connection
        assert connection is not None
        connection.pauseProducing()
        done = [self.client.execute(name) for name in "abc"]
        self.assertEqual(self.server.requests(), [])
        done[1].cancel()
        self.failureResultOf(done[1], CommandCancelled)
        connection.resumeProducing()
        self.assertEqual([each["execute"] for each in self.server.requests()], ["a", "c"])
        self.server.say({"return": "C", "id": 3}, {"return": "A", "id": 1})
        self.assertEqual([self.successResultOf(done[0]), self.successResultOf(done[2])], ["A", "C"])

    def test_limit(self) -> None:
        """How many may wait is limited; one more fails."""
        self.patch(_clientconnection, "MAX_UNSENT", 2)
        connection = self.client._connection
        assert connection is not None
        connection.pauseProducing()
        for name in "ab":
            self.assertNoResult(self.client.execute(name))
        self.failureResultOf(self.client.execute("c"), GenericError)

    def test_close_aborts(self) -> None:
        """Closing does not wait for a server that does not read."""
        connection = self.client._connection
        assert connection is not None
        connection.pauseProducing()
        self.client.close()
        self.assertTrue(self.server.transport.aborted)


class EventTests(ClientCase):
    """Subscriptions."""

    def event(self, name: str, **data: Any) -> dict[str, Any]:
        """An event message."""
        message: dict[str, Any] = {"timestamp": {"seconds": 5, "microseconds": 6}, "event": name}
        return {**message, "data": data} if data else message

    def test_subscribe(self) -> None:
        """Receivers get the events they want as they were sent, in order, until they unsubscribe."""
        everything: list[Any] = []
        some: list[Any] = []
        stop = self.client.subscribe(everything.append)
        self.client.subscribe(some.append, ["STOP"])
        self.server.say(self.event("STOP"), self.event("JOB", id="a"))
        self.assertEqual(everything, [self.event("STOP"), self.event("JOB", id="a")])
        self.assertEqual(some, [self.event("STOP")])
        stop()
        stop()
        self.server.say(self.event("STOP"))
        self.assertEqual(len(everything), 2)
        self.assertEqual(len(some), 2)

    def test_failing_receiver(self) -> None:
        """A receiver that raises is logged, and the others are told."""
        seen: list[Any] = []

        def fail(event: Any) -> None:
            raise ZeroDivisionError

        self.client.subscribe(fail)
        self.client.subscribe(seen.append)
        self.server.say(self.event("STOP"))
        self.assertEqual(len(seen), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unsubscribe_within(self) -> None:
        """One that is unsubscribed by another receiver is not told any more."""
        seen: list[Any] = []
        self.client.subscribe(lambda _: stop())
        stop = self.client.subscribe(seen.append)
        self.server.say(self.event("STOP"))
        self.assertEqual(seen, [])

    def test_malformed(self) -> None:
        """What is no proper event is dropped; a missing timestamp reads as QEMU's unknown one."""
        seen: list[Any] = []
        self.client.subscribe(seen.append)
        self.server.say({"event": 5}, {"event": "A", "data": []}, {"event": "B"})
        self.assertEqual(seen, [{"event": "B", "timestamp": {"seconds": -1, "microseconds": -1}}])

    def test_names_is_no_string(self) -> None:
        """One name alone is a mistake that is told."""
        self.assertRaises(TypeError, self.client.subscribe, print, "STOP")


SCHEMA = [
    {"name": "query-status", "meta-type": "command", "arg-type": "0", "ret-type": "1"},
    {"name": "human-monitor-command", "meta-type": "command", "arg-type": "2", "ret-type": "str"},
    {"name": "0", "meta-type": "object", "members": []},
    {"name": "1", "meta-type": "object", "members": [{"name": "running", "type": "bool"}]},
    {
        "name": "2",
        "meta-type": "object",
        "members": [{"name": "command-line", "type": "str"}, {"name": "cpu-index", "type": "int", "default": None}],
    },
    {"name": "str", "meta-type": "builtin", "json-type": "string"},
    {"name": "int", "meta-type": "builtin", "json-type": "int"},
    {"name": "bool", "meta-type": "builtin", "json-type": "boolean"},
]


class CommandsTests(ClientCase):
    """What a server can do."""

    def test_from_qemu(self) -> None:
        """A server without C{query-command-help} is asked for its schema, once however many ask."""
        wanted = [self.client.commands(), self.client.commands()]
        self.assertEqual([each["execute"] for each in self.server.requests()], ["query-command-help"])
        self.server.say({"id": 1, "error": {"class": "CommandNotFound", "desc": "no"}})
        self.assertEqual([each["execute"] for each in self.server.requests()], ["query-qmp-schema"])
        self.server.say({"return": SCHEMA, "id": 2})
        commands = self.successResultOf(wanted[0])
        self.assertIs(self.successResultOf(wanted[1]), commands)
        self.assertIs(self.successResultOf(self.client.commands()), commands)
        self.assertEqual(sorted(commands), ["human-monitor-command", "query-status"])
        info = commands["human-monitor-command"]
        self.assertEqual(info.origin, "qemu")
        assert info.parameters is not None
        self.assertEqual(
            [(each.name, each.optional) for each in info.parameters], [("command-line", False), ("cpu-index", True)]
        )
        self.assertEqual(self.server.requests(), [])

    def test_fails(self) -> None:
        """Whatever goes wrong fails those who asked, with a L{CommandError}; the next who asks begins anew."""
        wanted = self.client.commands()
        self.server.say({"return": [{"nonsense": 5}], "id": 1})
        self.failureResultOf(wanted, CommandError)
        wanted = self.client.commands()
        self.server.lose()
        self.failureResultOf(wanted, ConnectionClosed)

    def test_cancelled(self) -> None:
        """One who asks and cancels does not spoil it for the others."""
        one, two = self.client.commands(), self.client.commands()
        one.addErrback(lambda _: None)
        one.cancel()
        self.server.say({"id": 1, "error": {"class": "CommandNotFound", "desc": "no"}}, {"return": SCHEMA, "id": 2})
        self.assertEqual(len(self.successResultOf(two)), 2)

    def test_another_server(self) -> None:
        """What was asked of a server that has gone meanwhile is not kept for the next."""
        wanted = self.client.commands()
        self.client._commands.forget()
        self.server.say({"id": 1, "error": {"class": "CommandNotFound", "desc": "no"}}, {"return": SCHEMA[:1], "id": 2})
        commands = self.successResultOf(wanted)
        self.assertEqual(list(commands), ["query-status"])
        again = self.client.commands()
        self.assertNoResult(again)
        again.cancel()
        self.failureResultOf(again, CancelledError)

    def test_another_qemu_behind_the_server(self) -> None:
        """When a proxy says that a QEMU has connected, it is asked anew: it may be another one, or the first."""
        wanted = self.client.commands()
        self.server.say({"return": [{"name": "one"}], "id": 1})
        commands = self.successResultOf(wanted)
        self.assertEqual(list(commands), ["one"])
        self.server.say(
            {"event": "QEMU_CONNECTED", "data": {"version": {}}, "timestamp": {"seconds": 1, "microseconds": 2}}
        )
        wanted = self.client.commands()
        self.server.say({"return": [{"name": "one"}, {"name": "two"}], "id": 2})
        commands = self.successResultOf(wanted)
        self.assertEqual(list(commands), ["one", "two"])

    def test_no_human_monitor(self) -> None:
        """The commands of a server without a human monitor are typed as ours are."""
        wanted = self.client.commands()
        self.server.say({"id": 1, "error": {"class": "CommandNotFound", "desc": "no"}}, {"return": SCHEMA[:1], "id": 2})
        self.assertEqual(self.successResultOf(wanted)["query-status"].origin, "")

    def test_cancelled_by_another(self) -> None:
        """One who asks may cancel another when it is told."""
        one, two, three = self.client.commands(), self.client.commands(), self.client.commands()
        one.addCallback(lambda _: two.cancel())
        self.server.say({"id": 1, "error": {"class": "CommandNotFound", "desc": "no"}}, {"return": SCHEMA, "id": 2})
        self.failureResultOf(two, CancelledError)
        self.assertEqual(len(self.successResultOf(three)), 2)

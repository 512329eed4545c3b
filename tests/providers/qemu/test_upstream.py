"""
The QEMU behind the proxy: it comes, stands still, goes and comes back.
"""

from __future__ import annotations

from errno import EAGAIN, ENOENT
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import VERSION, FakeEndpoint, Proxy, make_schema
from twisted_qmon import Monitor
from twisted_qmon.errors import CommandCancelled, CommandError, CommandNotFound, ConnectionClosed, GenericError
from twisted_qmon.providers.qemu import DESCRIBE_TIMEOUT, Qemu
from twisted_qmon.providers.qemu import provider as _provider
from twisted_qmon.providers.qemu.heartbeat import HEARTBEAT
from twisted_qmon.providers.qemu.upstream import UpstreamConnection
from twisted_qmon.testing import HMPConnection


class LifeAndDeathTests(SynchronousTestCase):
    """QEMU that is not there, goes, comes back, stands still."""

    def test_neverThere(self) -> None:
        """Before QEMU's first connection nothing of ours is taken for its answers: not its state, not what it can do."""
        proxy = Proxy(connect=False)
        monitor = proxy.monitor
        for name in ("query-status", "query-name", "query-block", "stop"):
            failure = self.failureResultOf(monitor.execute(name), GenericError)
            self.assertEqual(str(failure.value), "QEMU is not connected")
        self.assertEqual(self.successResultOf(monitor.execute("query-pending")), [])
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.failureResultOf(monitor.execute("nope"), CommandNotFound)
        monitor.unregister(proxy.provider)
        self.assertEqual(self.successResultOf(monitor.execute("query-status"))["status"], "running")
        self.failureResultOf(monitor.execute("nope"), CommandNotFound)

    def test_dies(self) -> None:
        """A hundred pending requests fail, each at its owner, in the moment in which QEMU is found to be gone."""
        proxy = Proxy()
        clients = [proxy.client() for _ in range(20)]
        for client in clients:
            client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        proxy.qemu.die()
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
        proxy = Proxy()
        client = proxy.client()
        client.send(*({"execute": "query-status", "id": n} for n in range(5)))
        proxy.qemu.die()
        proxy.clock.advance(1)
        proxy.qemu.greet()
        proxy.qemu.introduce({"brand-new": (False, False)})
        self.assertEqual(proxy.event_names(), ["QEMU_DISCONNECTED", "QEMU_CONNECTED"])
        client.received()
        client.send({"execute": "brand-new", "id": 1})
        (request,) = proxy.qemu.asked()
        self.assertEqual(request["execute"], "brand-new")
        proxy.qemu.answer(request, 7)
        self.assertEqual(client.received(), [{"return": 7, "id": 1}])

    def test_not_there(self) -> None:
        """A QEMU that is not there at the start is tried again until it is."""
        proxy = Proxy(start=False)
        proxy.endpoint.there = False
        proxy.provider.service.startService()
        self.failureResultOf(proxy.provider.upstream.execute("query-status"), ConnectionClosed)
        proxy.clock.pump([1.0] * 5)
        proxy.endpoint.there = True
        proxy.clock.advance(1.0)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertTrue(proxy.provider.connected)
        self.assertEqual(proxy.event_names(), ["QEMU_CONNECTED"])

    def test_says_nothing(self) -> None:
        """A QEMU that serves another client does not greet: after a while another attempt is made."""
        proxy = Proxy(connect=False)
        proxy.clock.advance(10.0)
        proxy.clock.advance(1.0)
        self.assertEqual(len(proxy.endpoint.connections), 2)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertTrue(proxy.provider.connected)

    def test_does_not_describe(self) -> None:
        """One that greets but never says what it can do is given up after a while."""
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        proxy.clock.advance(DESCRIBE_TIMEOUT)
        self.assertTrue(proxy.qemu.transport.disconnected)
        proxy.clock.advance(1.0)
        self.assertEqual(len(proxy.endpoint.connections), 2)

    def test_dies_while_describing(self) -> None:
        """One that dies while it says what it can do counts as a failed attempt."""
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        proxy.qemu.die()
        self.assertEqual(proxy.event_names(), [])
        proxy.clock.advance(1.0)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertTrue(proxy.provider.connected)

    def test_senseless_schema(self) -> None:
        """A malformed schema is a failed attempt, not the end of the proxy."""
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        (request,) = proxy.qemu.asked()
        proxy.qemu.answer(request, [{"meta-type": "command"}])
        self.assertTrue(proxy.qemu.transport.disconnected)
        self.assertFalse(proxy.provider.connected)

    def test_dies_at_the_last_question(self) -> None:
        """One that dies at a question whose answer does not matter counts as a failed attempt, too."""
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        (request,) = proxy.qemu.asked()
        proxy.qemu.answer(request, make_schema(without=["human-monitor-command"]))
        self.assertEqual([each["execute"] for each in proxy.qemu.asked()], ["migrate-set-capabilities"])
        proxy.qemu.die()
        self.assertFalse(proxy.provider.connected)
        self.assertEqual(proxy.event_names(), [])
        proxy.clock.advance(1.0)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertTrue(proxy.provider.connected)

    def test_malformed_descriptions(self) -> None:
        """Whatever a server answers when it is asked what it can do, the proxy goes on, and tries again."""
        schemas: list[Any] = [5, "x", None, [1], [{}], [{"name": 5, "meta-type": "command"}], {"name": "x"}, [[]] * 3]
        for schema in schemas:
            proxy = Proxy(connect=False)
            proxy.qemu.greet()
            (request,) = proxy.qemu.asked()
            proxy.qemu.answer(request, schema)
            self.assertTrue(proxy.qemu.transport.disconnected, schema)
            proxy.clock.advance(1.0)
            self.assertEqual(len(proxy.endpoint.connections), 2)

    def test_greeting_without_version(self) -> None:
        """A server whose greeting has no version is asked for it."""
        for version, text in ((VERSION, "7.2.22"), ({"qemu": {"major": 9}, "package": ""}, "9.?.?")):
            observer: Any = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
            proxy = Proxy(connect=False)
            proxy.qemu.say({"QMP": {"capabilities": []}})
            (request,) = proxy.qemu.asked()
            proxy.qemu.answer(request, {})
            (request,) = proxy.qemu.asked()
            self.assertEqual(request["execute"], "query-version")
            proxy.qemu.answer(request, version)
            proxy.qemu.introduce()
            self.assertTrue(proxy.provider.connected)
            self.assertEqual(proxy.monitor.version, version)
            self.assertTrue(formatEvent(observer[-1]).startswith(f"connected to QEMU {text} at "))

    def test_malformed_version(self) -> None:
        """A version that is none is a failed attempt."""
        for version in (5, {}, {"qemu": 7}, [1]):
            proxy = Proxy(connect=False)
            proxy.qemu.say({"QMP": {"capabilities": []}})
            for result in ({}, version):
                (request,) = proxy.qemu.asked()
                proxy.qemu.answer(request, result)
            self.assertTrue(proxy.qemu.transport.disconnected)

    def test_unexpected_error(self) -> None:
        """An error of ours while a connection is made is logged with its traceback, and another attempt is made."""
        proxy = Proxy(connect=False)

        def describe(connection: UpstreamConnection) -> Deferred[None]:
            raise ZeroDivisionError

        self.patch(proxy.provider, "describe", describe)
        proxy.qemu.greet()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        proxy.clock.advance(1.0)
        self.assertEqual(len(proxy.endpoint.connections), 2)

    def test_lost_and_cancelled(self) -> None:
        """One who cancels other requests when the first fails gets an outcome for each, sent or waiting."""
        proxy = Proxy()
        done = [proxy.provider.upstream.execute(f"c{n}") for n in range(6)]

        def cancel(failure: Failure) -> None:
            for each in done[1:5]:
                each.cancel()

        done[0].addErrback(cancel)
        proxy.qemu.die()
        for each in done[1:5]:
            self.failureResultOf(each, CommandCancelled)
        self.failureResultOf(done[5], ConnectionClosed)

    def test_watcher_fails(self) -> None:
        """An error of ours when the connection is lost does not keep those who wait from an answer."""
        proxy = Proxy()
        done = proxy.provider.upstream.execute("query-status")

        def lost(error: CommandError) -> None:
            raise ZeroDivisionError

        self.patch(proxy.provider, "lost", lost)
        self.assertRaises(ZeroDivisionError, proxy.qemu.die)
        self.failureResultOf(done, ConnectionClosed)

    def test_ask(self) -> None:
        """What prepares or watches a connection asks past those who wait; it may give up, and what it can't say fails."""
        proxy = Proxy()
        for _ in range(5):
            proxy.provider.upstream.execute("query-status")
        proxy.qemu.asked()
        connection = proxy.provider.upstream.connection
        assert connection is not None
        asked = connection.ask("query-block")
        (request,) = proxy.qemu.asked()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        proxy.qemu.answer(request, {})
        unsayable: Any = {"x": {1}}
        self.failureResultOf(connection.ask("query-block", unsayable), GenericError)

    def test_global_reactor(self) -> None:
        """Without a reactor it takes the global one."""
        clock = Clock()
        self.patch(_provider, "global_reactor", lambda: clock)
        self.assertIs(Qemu(FakeEndpoint()).upstream.clock, clock)

    def test_without_schema(self) -> None:
        """A server without a schema has the commands that it lists."""
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        (request,) = proxy.qemu.asked()
        proxy.qemu.say({"id": request["id"], "error": {"class": "CommandNotFound", "desc": "no"}})
        (request,) = proxy.qemu.asked()
        self.assertEqual(request["execute"], "query-commands")
        proxy.qemu.answer(request, [{"name": "query-status"}, {"name": "x-old"}])
        self.assertTrue(proxy.provider.connected)
        self.assertNoResult(proxy.monitor.execute("x-old", {"a": 1}))
        self.assertEqual(proxy.qemu.asked()[0]["arguments"], {"a": 1})

    def test_stands_still(self) -> None:
        """With a request pending and no sign of life, out of band either, QEMU is given up and tried anew."""
        proxy = Proxy()
        client = proxy.client()
        client.send({"execute": "query-status", "id": 1})
        proxy.qemu.asked()
        proxy.clock.advance(HEARTBEAT)
        self.assertEqual([each.get("exec-oob") for each in proxy.qemu.asked()], ["query-yank"])
        proxy.clock.advance(HEARTBEAT - 0.1)
        self.assertTrue(proxy.provider.connected)
        proxy.clock.advance(0.1)
        messages = client.received()
        self.assertEqual([each.get("event") for each in messages], ["QEMU_DISCONNECTED", None])
        self.assertEqual(messages[1]["error"]["desc"], "QEMU did not answer for 10 s")
        self.assertTrue(proxy.qemu.transport.disconnected)
        proxy.clock.advance(1.0)
        self.assertEqual(len(proxy.endpoint.connections), 2)

    def test_given_up_in_time(self) -> None:
        """The time that the reason tells is the time since QEMU was last heard or came to owe an answer."""
        for idle in (0.0, 0.1, HEARTBEAT - 0.1, HEARTBEAT, 100.25):
            proxy = Proxy()
            proxy.clock.pump([0.05] * round(idle / 0.05))
            first = proxy.provider.upstream.execute("query-status")
            second = proxy.provider.upstream.execute("query-block")
            proxy.clock.advance(1.5)
            proxy.qemu.answer(proxy.qemu.asked()[0], {})
            self.successResultOf(first)
            proxy.clock.pump([0.1] * 99)
            self.assertNoResult(second)
            # Each look is late by one of these steps at most.
            proxy.clock.pump([0.1] * 4)
            failure = self.failureResultOf(second, ConnectionClosed)
            self.assertEqual(str(failure.value), "QEMU did not answer for 10 s")

    def test_proxy_stood_still(self) -> None:
        """A proxy that stood still itself reads what QEMU has answered meanwhile before it gives it up."""
        proxy = Proxy()
        done = proxy.provider.upstream.execute("query-status")
        (request,) = proxy.qemu.asked()
        proxy.clock.advance(HEARTBEAT)
        # The time of day moves on, and only then the calls that are due are made.
        proxy.clock.rightNow += 20 * HEARTBEAT
        proxy.clock.callLater(0, proxy.qemu.answer, request, {})
        proxy.clock.advance(0)
        self.successResultOf(done)
        self.assertTrue(proxy.provider.connected)

    def test_busy(self) -> None:
        """A QEMU whose main loop is busy answers out of band, and is waited for."""
        proxy = Proxy()
        done = proxy.provider.upstream.execute("query-status")
        (request,) = proxy.qemu.asked()
        for _ in range(20):
            proxy.clock.advance(HEARTBEAT)
            for beat in proxy.qemu.asked():
                proxy.qemu.answer(beat, [])
        self.assertNoResult(done)
        proxy.qemu.answer(request, {})
        self.successResultOf(done)

    def test_idle(self) -> None:
        """QEMU is not asked for a sign of life while nothing is pending, or without C{oob}."""
        proxy = Proxy()
        proxy.clock.pump([HEARTBEAT] * 10)
        self.assertEqual(proxy.qemu.asked(), [])
        proxy = Proxy(connect=False)
        proxy.qemu.greet(oob=False)
        proxy.qemu.introduce()
        done = proxy.provider.upstream.execute("query-status")
        proxy.clock.pump([HEARTBEAT] * 10)
        self.assertNoResult(done)
        self.assertEqual(len(proxy.qemu.asked()), 1)

    def test_stop(self) -> None:
        """The stopped service leaves no connection and no timer."""
        proxy = Proxy()
        done = proxy.provider.upstream.execute("query-status")
        stopped = proxy.provider.service.stopService()
        self.assertTrue(proxy.qemu.transport.disconnecting)
        proxy.qemu.die()
        self.failureResultOf(done, ConnectionClosed)
        self.successResultOf(stopped)
        self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_without_monitor(self) -> None:
        """A proxy that is not registered, or no longer, does no harm."""
        proxy = Proxy()
        proxy.monitor.unregister(proxy.provider)
        proxy.qemu.event("STOP")
        proxy.qemu.die()
        proxy.clock.advance(1)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertTrue(proxy.provider.connected)
        self.assertEqual(proxy.events, [])


class UpstreamLostTests(SynchronousTestCase):
    """What becomes of the clients when QEMU goes: with C{upstream_lost="close"}, the same as at QEMU itself."""

    def setUp(self) -> None:
        self.proxy = Proxy(upstream_lost="close")
        self.machine = self.proxy.client()
        self.person = HMPConnection(self.proxy.monitor)

    def ended(self) -> tuple[bool, bool]:
        """Whether the machine and the person have been disconnected, after the turn of the reactor."""
        self.proxy.clock.advance(0)
        return self.machine.closed, self.person.closed

    def come_back(self) -> None:
        self.proxy.clock.advance(1)
        self.proxy.qemu.greet()
        self.proxy.qemu.introduce()

    def test_dies(self) -> None:
        """Pending requests have their replies first; then comes the end, for machines and people."""
        self.machine.send({"execute": "query-status", "id": 1})
        self.proxy.qemu.die()
        self.assertFalse(self.machine.closed)
        self.assertEqual(self.ended(), (True, True))
        event, reply = self.machine.received()
        self.assertEqual((event["event"], reply["error"]["desc"][:14]), ("QEMU_DISCONNECTED", "The connection"))
        self.assertIn("QEMU disconnected", self.person.output())

    def test_quit(self) -> None:
        """The reply to quit comes first, too."""
        self.machine.send({"execute": "quit", "id": 1})
        (request,) = self.proxy.qemu.asked()
        self.proxy.qemu.event("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
        self.proxy.qemu.answer(request, {})
        self.proxy.qemu.die()
        self.assertEqual(self.ended(), (True, True))
        found = [each.get("event", each.get("return")) for each in self.machine.received()]
        self.assertEqual(found, ["SHUTDOWN", {}, "QEMU_DISCONNECTED"])

    def test_meanwhile(self) -> None:
        """Who connects while there is none stays, until the next one goes."""
        self.proxy.endpoint.there = False
        self.proxy.qemu.die()
        self.ended()
        self.machine = self.proxy.client_at_once()
        self.proxy.clock.pump([1.0] * 5)
        self.assertFalse(self.machine.closed)
        self.proxy.endpoint.there = True
        self.come_back()
        self.assertEqual(self.ended(), (False, True))
        self.proxy.qemu.die()
        self.assertEqual(self.ended(), (True, True))

    def test_before_the_first(self) -> None:
        """Who waits for the first one is not disconnected because it is not there yet."""
        proxy = Proxy(start=False, upstream_lost="close")
        proxy.endpoint.there = False
        client = proxy.client_at_once()
        proxy.provider.service.startService()
        proxy.clock.pump([1.0] * 5)
        self.assertFalse(client.closed)

    def test_stands_still(self) -> None:
        """One that stands still is not gone: its clients stay, and are served when it is back."""
        self.machine.send({"execute": "query-status", "id": 1})
        self.proxy.clock.pump([HEARTBEAT] * 3)
        self.assertTrue(self.proxy.endpoint.connections[0].transport.disconnected)
        self.assertEqual(self.ended(), (False, False))
        self.come_back()
        self.assertEqual(self.ended(), (False, False))

    def test_dies_after_standing_still(self) -> None:
        """One that is gone when it is looked for again is gone; one that takes no connection need not be."""
        for error, gone in (
            (ConnectError(EAGAIN), False),
            (ConnectError(), False),
            (ConnectionRefusedError(), True),
            (ConnectError(ENOENT), True),
        ):
            self.setUp()
            self.machine.send({"execute": "query-status", "id": 1})
            self.proxy.endpoint.there, self.proxy.endpoint.error = False, error
            self.proxy.clock.pump([HEARTBEAT] * 3)
            self.proxy.clock.advance(1)
            self.assertEqual(self.ended(), (gone, gone), error)

    def test_the_proxy_ends(self) -> None:
        """When the proxy itself ends, that is up to its service."""
        self.proxy.monitor.refuse()
        self.proxy.qemu.die()
        self.assertEqual(self.ended(), (False, False))

    def test_without_monitor(self) -> None:
        """A provider that is not registered has no clients."""
        self.proxy.monitor.unregister(self.proxy.provider)
        self.proxy.qemu.die()
        self.assertEqual(self.ended(), (False, False))

    def test_wrong(self) -> None:
        """Anything else is refused."""
        with self.assertRaisesRegex(ValueError, "one of keep, close, not 'restart'"):
            Qemu(FakeEndpoint(), Clock(), upstream_lost="restart")


def test_bare_monitor_without_reactor() -> None:
    """A monitor with a proxy that was never started answers that QEMU is not connected."""
    monitor = Monitor()
    proxy = Proxy(start=False).provider
    with pytest.raises(Exception, match="registered already"):
        monitor.register(proxy)
        monitor.register(proxy)

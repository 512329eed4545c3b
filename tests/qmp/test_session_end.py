"""
How a QMP session ends, and what happens to it from within a command.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.support.fronted_server import FakeFrontedServer
from tests.support.qmp_session import SessionTests
from twisted_qmon import GenericError, QMPFactory
from twisted_qmon.testing import QMPConnection


class EndTests(SessionTests):
    """How connections end."""

    def test_halfClose(self) -> None:
        """After the end of its input a client still gets its replies; then the connection closes."""
        client = self.client()
        client.send(*self.run_(1, 2), {"execute": "wait", "arguments": {"n": 3}}, {"execute": "now"})
        client.half_close()
        self.assertFalse(client.closed)
        for n in (3, 1, 2):
            self.provider.pending[n].callback(n)
        self.assertEqual([reply["return"] for reply in client.received()], [3, 0, 1, 2])
        self.assertTrue(client.closed)
        self.assertEqual(client.factory.connections, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_halfCloseIdle(self) -> None:
        """With nothing pending the connection closes at once."""
        client = self.client()
        client.half_close()
        self.assertTrue(client.closed)

    def test_halfCloseWhileSuspended(self) -> None:
        """What was received before the end of input is served, though the session was suspended."""
        client = self.client()
        client.send(*self.run_(*range(12)))
        client.half_close()
        for n in range(12):
            self.provider.pending[n].callback(n)
        self.assertEqual([reply["id"] for reply in client.received()], list(range(12)))
        self.assertTrue(client.closed)

    def test_replyToNobodyElse(self) -> None:
        """The reply to a client that has gone reaches nobody, its events neither."""
        gone, other = self.client(), self.client()
        gone.send(*self.run_(1))
        gone.lose()
        self.provider.pending[1].callback(1)
        self.monitor.emit("HAPPENED", {"n": 1})
        self.assertEqual([m["event"] for m in other.received()], ["HAPPENED"])
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectionLimit(self) -> None:
        """One connection too many is turned away, and counted; when one leaves there is room again."""
        factory = QMPFactory(self.monitor, max_connections=2)
        first, second, third = (self.client(factory=factory) for _ in range(3))
        self.assertEqual([each.closed for each in (first, second, third)], [False, False, True])
        self.assertEqual(factory.counters.refused, 1)
        first.lose()
        self.assertFalse(self.client(factory=factory).closed)

    def test_idleTimeout(self) -> None:
        """A client that sends nothing is disconnected, one that waits for a reply is not."""
        idle, busy, lively = (self.client(idle_timeout=10) for _ in range(3))
        busy.send(*self.run_(1))
        self.clock.advance(6)
        lively.send(*self.run_(2, name="now"))
        self.clock.advance(5)
        self.assertEqual([each.closed for each in (idle, busy, lively)], [True, False, False])
        self.clock.advance(6)
        self.assertEqual([each.closed for each in (busy, lively)], [False, True])
        self.assertEqual(idle.factory.counters.idle, 1)
        busy.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """Closing a factory ends its connections: those that read get the rest, those that don't are cut off."""
        factory = QMPFactory(self.monitor)
        reads, stuck = self.client(factory=factory), self.client(factory=factory)
        stuck.transport.stop_reading()
        stuck.send({"execute": "big", "arguments": {"size": 1 << 17}})
        done = factory.close(5)
        self.assertTrue(reads.closed)
        self.assertTrue(self.client(factory=factory).refused)
        self.assertNoResult(done)
        self.clock.advance(5)
        self.successResultOf(done)
        self.assertTrue(stuck.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leavesBeforeItIsGreeted(self) -> None:
        """A client that does not wait for a monitor that is not ready is not greeted any more."""
        ready: Deferred[None] = Deferred()
        self.monitor.set_upstream(FakeFrontedServer(ready))
        client = self.client(negotiate=False)
        client.lose()
        ready.callback(None)
        self.assertEqual(client.received(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_inputBehindTheEnd(self) -> None:
        """What comes while a connection is being ended is not served."""
        client = self.client(idle_timeout=5)
        client.transport.stop_reading()
        self.clock.advance(5)
        client.protocol.dataReceived(b'{"execute":"now","id":1}')
        self.assertEqual(self.provider.started, [])

    def test_readsNoMore(self) -> None:
        """A client that has shut down its reading side can't be answered: it is disconnected."""
        client = self.client()
        self.assertEqual(client.protocol.logPrefix(), client.protocol.name)
        client.protocol.writeConnectionLost()
        self.assertTrue(client.closed)

    def test_badLimits(self) -> None:
        """Limits that make no sense are refused."""
        for options in (
            {"in_flight": 0},
            {"max_message": 0},
            {"slow_client": "wait"},
            {"max_connections": 0},
            {"max_queued": -1},
        ):
            with self.assertRaises(ValueError):
                QMPFactory(self.monitor, **options)

    def test_unencodable(self) -> None:
        """A result that the core was told to trust, but that can't be encoded, is still answered, once."""
        client = self.client()
        wait = self.monitor.command("wait")
        assert wait is not None
        wait.finish = lambda result: object()  # type: ignore[method-assign]
        client.send(*self.run_(1))
        self.provider.pending[1].callback(1)
        (reply,) = client.received()
        self.assertEqual((reply["id"], reply["error"]["class"]), (1, "GenericError"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_unencodableError(self) -> None:
        """An error made with something else than words is answered as an error all the same."""
        client = self.client()
        client.send(*self.run_(1))
        self.provider.pending[1].errback(GenericError(ValueError("no words")))  # type: ignore[arg-type]
        (reply,) = client.received()
        self.assertEqual((reply["id"], reply["error"]["class"]), (1, "GenericError"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_unencodableAtOnce(self) -> None:
        """The same of one that is there at once, alone or among others."""
        client = self.client()
        now = self.monitor.command("now")
        assert now is not None
        now.finish = lambda result: object() if result == 2 else result  # type: ignore[method-assign]
        client.send(*self.run_(2, name="now"))
        client.send(*self.run_(1, 2, 3, name="now"))
        replies = client.received()
        self.assertEqual([reply["id"] for reply in replies], [2, 1, 2, 3])
        self.assertEqual([reply["id"] for reply in replies if "error" in reply], [2, 2])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)


class FromWithinTests(SessionTests):
    """A handler that gets back to its own session before it returns."""

    def call(self, what: Any) -> None:
        """Have the command C{within} do that."""

        def within() -> str:
            what()
            return "within"

        self.monitor.register_command("within", within)

    def test_input(self) -> None:
        """What arrives while a lone request is being served is served after it: messages, a piece of one, and what is none."""
        client = self.client()
        more = [
            b'{"execute":"now","id":2}\n',
            b'{"execute":"now","id":3}{"execute":"now","id":4}\n{"exe',
            b'cute":"now"}\n@ ',
        ]

        def feed() -> None:
            for data in more:
                client.protocol.dataReceived(data)

        self.call(feed)
        client.send({"execute": "within", "id": 1})
        *replies, wrong = client.received()
        self.assertEqual([reply.get("id") for reply in replies], [1, 2, 3, 4, None])
        self.assertEqual(replies[0]["return"], "within")
        self.assertIn("JSON parse error", wrong["error"]["desc"])

    def test_loss(self) -> None:
        """It loses its connection: what follows is not served, and what it then begins is left as that of any who has gone."""
        cancelled: list[object] = []

        def vanish() -> Deferred[None]:
            clients[-1].lose()
            return Deferred(cancelled.append)

        self.monitor.register_command("vanish", vanish, on_disconnect="cancel")
        clients: list[QMPConnection] = []
        for ahead in ([], self.run_(1, name="now")):
            clients.append(self.client())
            self.provider.started.clear()
            cancelled.clear()
            clients[-1].send(*ahead, {"execute": "vanish", "id": 2}, *self.run_(3, name="now"))
            self.assertEqual(self.provider.started, [1] * len(ahead))
            self.assertEqual((len(cancelled), len(self.monitor.pending)), (1, 0))

    def test_suspend(self) -> None:
        """It is answered; what follows waits for the resumption."""
        client = self.client()
        self.call(client.protocol.suspend)
        client.send({"execute": "within", "id": 1})
        # A transport may have read more before it heard of the suspension.
        client.protocol.dataReceived(b'{"execute":"now","id":2}\n')
        self.assertEqual([reply["id"] for reply in client.received()], [1])
        self.assertEqual(client.transport.producerState, "paused")
        client.protocol.resume()
        self.assertEqual([reply["id"] for reply in client.received()], [2])

    def test_gone(self) -> None:
        """Its client leaves: nobody is answered, nothing fails."""
        client = self.client()
        self.call(lambda: client.protocol.connectionLost())
        client.send({"execute": "within", "id": 1}, {"execute": "now", "id": 2})
        self.assertEqual(client.received(), [])
        # What came with it, and what comes after it, is not served.
        client.protocol.session.receive(b'{"execute":"now","id":3}')
        self.assertEqual(self.provider.started, [])

    def test_unregistered(self) -> None:
        """Its command is taken out, and completes all the same."""
        client = self.client()
        done: Deferred[int] = Deferred()

        def once() -> Deferred[int]:
            self.monitor.unregister("once")
            return done

        self.monitor.register_command("once", once)
        client.send({"execute": "once", "id": 1})
        done.callback(5)
        self.assertEqual(client.received(), [{"return": 5, "id": 1}])

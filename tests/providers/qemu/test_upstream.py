"""
The QEMU behind the proxy: it comes, stands still, goes and comes back.
"""

from __future__ import annotations

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import Door
from twisted_qmon import Monitor
from twisted_qmon.errors import CommandNotFound, ConnectionClosed, GenericError
from twisted_qmon.providers.qemu import DESCRIBE_TIMEOUT
from twisted_qmon.providers.qemu.upstream import HEARTBEAT


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


def test_bare_monitor_without_reactor() -> None:
    """A monitor with a door that was never started answers that QEMU is not connected."""
    monitor = Monitor()
    door = Door(start=False).door
    with pytest.raises(Exception, match="registered already"):
        monitor.register(door)
        monitor.register(door)

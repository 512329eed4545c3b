"""The fake QEMU: what it says, what it does, and what it can be told to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_qmon import ABSENT, GenericError, QMPClient
from twisted_qmon.conformance.run import recorded_cases
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.testing import (
    Answer,
    Delay,
    Drop,
    Emit,
    Fail,
    FakeQEMU,
    Half,
    QMPConnection,
    Raw,
    Recording,
    Silence,
)
from twisted_qmon.testing import fake_qemu as module

GOLDEN = recorded_cases()
NEGOTIATION: dict[str, Any] = {
    "none": b"",
    "plain": b'{"execute":"qmp_capabilities"}\n',
    "oob": b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}\n',
}


def texts(data: bytes) -> list[str]:
    """Lines, without their ends."""
    return data.decode("ascii").split("\r\n")[:-1]


def in_any_order(line: str) -> str:
    """A reply without the order of members, which in what a client sent is that of QEMU's hash table."""
    return json.dumps(json.loads(line), sort_keys=True) if "inf" not in line else line


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['section']}-{case['name']}"[:60])
def test_golden(case: Any) -> None:
    """What a running QEMU answered to the recorded input, the fake answers."""
    fake = FakeQEMU(clock=Clock(), name="")
    fake.answer("qom-set", {})
    client = fake.connect(negotiate=False)
    client.take_bytes()
    client.send_bytes(NEGOTIATION[case["caps"]])
    client.take_bytes()
    client.send_bytes(case["input"].encode("latin-1"))
    assert [in_any_order(line) for line in texts(client.take_bytes())] == [in_any_order(line) for line in case["out"]]


def test_one_case_byte_for_byte() -> None:
    """Blanks, the order of members, numbers and escapes are QEMU's."""
    client = FakeQEMU(clock=Clock()).connect()
    client.send_bytes('{"execute":"nope","id":["é\\u000b",0.1,1.0,1e400,-1e400,1e300,"1.0, :"]}'.encode())
    assert client.take_bytes() == (
        b'{"id": ["\\u00E9\\u000B", 0.10000000000000001, 1, inf, -inf, 1.0000000000000001e+300, "1.0, :"], '
        b'"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}}\r\n'
    )


class FakeQEMUTests(SynchronousTestCase):
    """A fake in memory, with one client."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fake = FakeQEMU(clock=self.clock)
        self.client = self.fake.connect()

    def names(self) -> list[str]:
        """The events that came."""
        return [message["event"] for message in self.client.received()]

    def test_interfaces(self) -> None:
        """Its commands are like any other's."""
        provider = self.fake.monitor.providers[-1]
        verifyObject(ICommandProvider, provider)
        for command in provider.commands():
            verifyObject(ICommand, command)

    def test_whatItSaysOfItself(self) -> None:
        """Greeting, version, commands and schema are those that were recorded, and it has no command more."""
        self.assertEqual(self.client.greeting, {"QMP": self.fake.recording.greeting})
        for name in ("query-version", "query-commands", "query-qmp-schema", "query-machines"):
            self.assertEqual(self.client.execute(name), self.fake.recording.answers[name])
        self.assertEqual(self.client.execute("query-pending")["error"]["class"], "CommandNotFound")

    def test_machine(self) -> None:
        """It is stopped, continued and reset, with QEMU's events, and sends none when nothing changes."""
        self.assertEqual(self.client.execute("query-status")["return"]["status"], "running")
        for name, events in (
            ("stop", ["STOP"]),
            ("stop", []),
            ("cont", ["RESUME"]),
            ("cont", []),
            ("system_reset", ["RESET"]),
            ("system_powerdown", ["POWERDOWN"]),
        ):
            self.client.send({"execute": name})
            *came, reply = self.client.received()
            self.assertEqual(reply, {"return": {}})
            self.assertEqual([event["event"] for event in came], events)
        self.assertEqual(self.fake.status, "running")
        self.fake.status = "io-error"
        self.assertEqual(
            self.client.execute("query-status"),
            {"return": {"status": "io-error", "singlestep": False, "running": False}},
        )

    def test_paused(self) -> None:
        """As with C{-S} it does not run before C{cont}."""
        client = FakeQEMU(clock=self.clock, paused=True).connect()
        self.assertEqual(client.execute("query-status")["return"]["status"], "prelaunch")
        self.assertIn("prelaunch", client.execute("human-monitor-command", {"command-line": "info status"})["return"])
        client.send({"execute": "cont"})
        self.assertEqual(client.received()[0]["event"], "RESUME")

    def test_quit(self) -> None:
        """C{quit}: the event, the reply, the end; no client is taken any more."""
        self.client.send({"execute": "quit"})
        event, reply = self.client.received()
        self.assertEqual(event["data"], {"guest": False, "reason": "host-qmp-quit"})
        self.assertEqual(reply, {"return": {}})
        self.assertFalse(self.client.closed)
        self.clock.advance(0)
        self.assertTrue(self.client.closed)
        self.assertTrue(self.fake.ended)
        self.assertTrue(self.fake.connect(negotiate=False).refused)

    def test_withoutDevices(self) -> None:
        """What asks for a device that is not there fails with QEMU's class and words."""
        for name, arguments, error in (
            ("set_link", {"name": "x", "up": True}, ("DeviceNotFound", "Device 'x' not found")),
            ("device_del", {"id": "x"}, ("DeviceNotFound", "Device 'x' not found")),
            ("eject", {"device": "x"}, ("DeviceNotFound", "Device 'x' not found")),
            ("eject", {"id": "x"}, ("DeviceNotFound", "Device 'x' not found")),
            ("eject", {}, ("GenericError", "Need exactly one of 'device' and 'id'")),
            ("block-job-cancel", {"device": "x"}, ("DeviceNotActive", "Block job 'x' not found")),
            ("query-balloon", None, ("DeviceNotActive", "No balloon device has been activated")),
            ("job-cancel", {"id": "x"}, ("GenericError", "Job not found")),
            ("query-sgx", None, ("GenericError", "No EPC regions defined, SGX not available")),
            ("blockdev-add", {"driver": "raw", "file": 1},
             ("GenericError", "Invalid parameter type for 'file', expected: BlockdevRef")),
        ):  # fmt: skip
            answer = self.client.execute(name, arguments)
            self.assertEqual(answer, {"error": {"class": error[0], "desc": error[1]}}, name)

    def test_humanLines(self) -> None:
        """The human monitor: what was recorded, what it knows, what a test says, and what it does not know."""
        self.fake.answer_line("info block", "none at all\r\n")
        for line, text in (
            ("info status", "VM status: running\r\n"),
            ("info block", "none at all\r\n"),
            ("info version", self.fake.recording.lines["info version"]),
            ("stop", ""),
            ("info status", "VM status: paused\r\n"),
            ("cont", ""),
            ("", ""),
            ("info pci", ""),
            ("savevm x", ""),
            ("info nope", "unknown command: 'info nope'\r\n"),
            ("nope x", "unknown command: 'nope'\r\n"),
        ):
            self.client.send({"execute": "human-monitor-command", "arguments": {"command-line": line}})
            self.assertEqual(self.client.received()[-1], {"return": text}, line)

    def test_jobs(self) -> None:
        """A job that a test starts is there for a client, with its events."""

        async def work(job: Any) -> None:
            await job.pause_point()

        self.fake.jobs.start("backup", "backup", work)
        self.assertEqual(self.names()[:1], ["JOB_STATUS_CHANGE"])
        (job,) = self.client.execute("query-jobs")["return"]
        self.assertEqual((job["id"], job["type"]), ("backup", "backup"))
        self.fake.stop()

    def test_answers(self) -> None:
        """A result, an error, a function; and back to what it does by itself."""
        self.fake.answer("query-name", {"name": "other"})
        self.assertEqual(self.client.execute("query-name"), {"return": {"name": "other"}})
        self.fake.fail("query-name", "DeviceNotFound", "gone")
        self.assertEqual(self.client.execute("query-name"), {"error": {"class": "DeviceNotFound", "desc": "gone"}})
        self.fake.script("query-name")
        self.assertEqual(self.client.execute("query-name"), {"return": {"name": "guest"}})
        self.fake.handle("migrate", self.migrate)
        self.assertEqual(self.client.execute("migrate", {"uri": "tcp:x:1"}), {"return": {}})
        self.assertEqual(self.client.execute("migrate", {"uri": "no"})["error"]["desc"], "not there")
        self.fake.script("migrate")
        self.assertEqual(self.client.execute("migrate", {"uri": "no"}), {"return": {}})

    def migrate(self, arguments: Any) -> dict[str, Any]:
        if arguments["uri"] == "no":
            raise GenericError("not there")
        return {}

    def test_commandsWithoutAnswer(self) -> None:
        """A command that returns nothing succeeds, or fails if that is wanted; others say how they get an answer."""
        self.assertEqual(self.client.execute("blockdev-del", {"node-name": "x"}), {"return": {}})
        desc = self.client.execute("query-rocker", {"name": "x"})["error"]["desc"]
        self.assertIn("say fake.answer('query-rocker', ...)", desc)
        strict = FakeQEMU(clock=self.clock, strict=True).connect()
        self.assertIn("has no answer", strict.execute("blockdev-del", {"node-name": "x"})["error"]["desc"])

    def test_wrongAnswers(self) -> None:
        """An answer or an event that QEMU could not give is refused when it is said, unless that is wanted."""
        for wrong in (
            lambda: self.fake.answer("query-block", [{"device": 1}]),
            lambda: self.fake.answer("no-such", {}),
            lambda: self.fake.answer("qmp_capabilities", {}),
            lambda: self.fake.once("stop", Emit("NO_SUCH")),
            lambda: self.fake.handle("no-such", self.migrate),
            lambda: self.fake.emit("NO_SUCH"),
            lambda: self.fake.emit("BLOCK_JOB_COMPLETED", {"device": "x"}),
            lambda: FakeQEMU("1.0"),
        ):
            with self.assertRaises(ValueError):
                wrong()
        self.fake.answer("query-block", [{"device": 1}], check=False)
        self.assertEqual(self.client.execute("query-block"), {"return": [{"device": 1}]})
        self.fake.emit("NO_SUCH", {"x": 1}, check=False)
        self.assertEqual(self.names(), ["NO_SUCH"])

    def test_events(self) -> None:
        """An event reaches who has negotiated; those that QEMU limits come once a second."""
        shy = self.fake.connect(negotiate=False)
        self.fake.emit("STOP")
        self.assertEqual(self.names(), ["STOP"])
        self.assertEqual(shy.received(), [])
        for actual in (1, 2, 3):
            self.fake.emit("BALLOON_CHANGE", {"actual": actual})
        self.assertEqual([message["data"] for message in self.client.received()], [{"actual": 1}])
        self.clock.advance(1)
        self.assertEqual([message["data"] for message in self.client.received()], [{"actual": 3}])
        self.fake.stop()

    def test_requests(self) -> None:
        """What came can be looked at: also what was refused, and what does not exist."""
        self.client.execute("query-status")
        self.client.send({"execute": "set_link", "arguments": {"up": True}})
        self.client.send({"execute": "no-such", "id": 5})
        first, second, third = self.fake.requests
        self.assertEqual((first.name, first.arguments, first.id, first.error), ("query-status", {}, "test-1", None))
        self.assertEqual((second.name, second.arguments, second.id), ("set_link", {"up": True}, ABSENT))
        self.assertEqual(str(second.error), "Parameter 'name' is missing")
        self.assertEqual((third.name, str(third.error)), ("no-such", "The command no-such has not been found"))
        self.assertEqual(self.fake.take_requests(), [first, second, third])
        self.assertEqual(self.fake.requests, [])
        with self.assertRaises(TimeoutError):
            self.fake.wait_for("stop", timeout=0)
        self.client.send({"execute": "stop"})
        self.assertEqual(self.fake.wait_for("stop").name, "stop")

    def test_outOfBand(self) -> None:
        """A command that may be executed out of band overtakes one that takes its time."""
        client = self.fake.connect(oob=True)
        self.fake.once("query-block", Delay(1))
        client.send({"execute": "query-block", "id": 1}, {"exec-oob": "query-yank", "id": 2})
        self.assertEqual([reply["id"] for reply in client.received()], [2])
        self.assertTrue(self.fake.requests[-1].oob)
        self.clock.advance(1)
        self.assertEqual([reply["id"] for reply in client.received()], [1])


class ScriptTests(SynchronousTestCase):
    """Steps, one kind after the other."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fake = FakeQEMU(clock=self.clock)
        self.client = self.fake.connect()

    def test_delay(self) -> None:
        """The reply comes late; what comes behind it waits, as on QEMU."""
        self.fake.once("query-block", Delay(2), Answer([]), Delay(1), Emit("STOP"))
        self.client.send({"execute": "query-block", "id": 1}, {"execute": "query-name", "id": 2})
        self.assertEqual(self.client.received(), [])
        self.clock.advance(2)
        self.assertEqual([reply["id"] for reply in self.client.received()], [1, 2])
        self.clock.advance(1)
        self.assertEqual([message["event"] for message in self.client.received()], ["STOP"])

    def test_itsOwnReply(self) -> None:
        """Without a reply the steps end with what the fake does by itself; an error of that is an error."""
        self.fake.once("stop", Delay(1))
        self.fake.once("eject", Delay(1))
        self.client.send({"execute": "stop"}, {"execute": "eject"})
        self.clock.advance(1)
        self.clock.advance(1)
        event, reply, error = self.client.received()
        self.assertEqual((event["event"], reply), ("STOP", {"return": {}}))
        self.assertEqual(error["error"]["desc"], "Need exactly one of 'device' and 'id'")

    def test_inTurn(self) -> None:
        """What is said for once comes in turn, then what is said for good."""
        self.fake.script("query-jobs", Answer([]))
        self.fake.once("query-jobs", Fail("GenericError", "first"))
        self.fake.once("query-jobs", Fail("DeviceNotFound", "second"), Answer([]))
        answers = [self.client.execute("query-jobs") for _ in range(3)]
        self.assertEqual([answer.get("error", {}).get("desc") for answer in answers], ["first", "second", None])

    def test_silence(self) -> None:
        """No reply ever comes, and none to what comes after."""
        self.fake.once("query-block", Silence())
        self.client.send({"execute": "query-block"}, {"execute": "query-name"})
        self.clock.advance(1000)
        self.assertEqual(self.client.received(), [])

    def test_drop(self) -> None:
        """The connection is lost without a reply."""
        self.fake.once("query-block", Drop())
        self.client.send({"execute": "query-block"})
        self.assertEqual(self.client.take_bytes(), b"")
        self.assertTrue(self.client.closed)
        self.assertEqual(self.fake.connect().execute("query-block"), {"return": []})

    def test_half(self) -> None:
        """Half a reply, and the end; what came before it in one piece is answered."""
        self.fake.once("query-block", Half([]))
        self.client.send({"execute": "query-name", "id": 1}, {"execute": "query-block", "id": 2})
        self.assertEqual(self.client.take_bytes(), b'{"return": {"name": "guest"}, "id": 1}\r\n{"return": [')
        self.assertTrue(self.client.closed)

    def test_raw(self) -> None:
        """Any bytes, before the reply or in its place; what follows is answered as ever."""
        self.fake.once("query-block", Raw(b"#1\r\n"))
        self.fake.once("query-block", Raw(b"#2\r\n", reply=True), Answer([]), Emit("STOP"))
        self.client.send(*({"execute": "query-block"} for _ in range(3)))
        self.assertEqual(
            [line for line in texts(self.client.take_bytes()) if "STOP" not in line],
            ["#1", '{"return": []}', "#2", '{"return": []}'],
        )

    def test_clientHasGone(self) -> None:
        """Steps for a client that has gone meanwhile go nowhere."""
        for step in (Raw(b"x"), Half([]), Drop(), Answer([])):
            client = self.fake.connect()
            self.fake.once("query-block", Delay(1), step)
            client.send({"execute": "query-block"})
            client.lose()
            self.clock.advance(1)
            self.assertEqual(client.take_bytes(), b"")

    def test_stop(self) -> None:
        """Nothing goes on after it, and no timer is left."""
        self.fake.once("query-block", Delay(1))
        self.fake.on_connect(Delay(1))
        self.client.send({"execute": "query-block"})
        late = self.fake.connect(negotiate=False)
        self.fake.stop()
        self.fake.stop()
        self.assertTrue(self.client.closed)
        self.assertTrue(late.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connecting(self) -> None:
        """Before the greeting: garbage, delay, half of it, silence, or the end."""
        self.fake.on_connect(Raw(b"hello\r\n"), Delay(1))
        self.fake.on_connect(Half())
        self.fake.on_connect(Silence())
        self.fake.on_connect(Drop())
        late, half, silent, dropped, good = (self.fake_client() for _ in range(5))
        self.assertEqual(late.take_bytes(), b"hello\r\n")
        self.clock.advance(1)
        self.assertTrue(late.take_bytes().startswith(b'{"QMP": '))
        self.assertTrue(half.take_bytes().startswith(b'{"QMP": '))
        self.assertTrue(half.closed)
        self.assertEqual((silent.take_bytes(), silent.closed), (b"", False))
        self.assertEqual((dropped.take_bytes(), dropped.closed), (b"", True))
        self.assertIn(b"\r\n", good.take_bytes())

    def fake_client(self) -> Any:
        from twisted_qmon.testing import Connection

        return Connection(self.fake.factory)

    def test_oneClient(self) -> None:
        """With C{one_client} the next one waits until the one before has gone; one that gives up is passed over."""
        fake = FakeQEMU(clock=self.clock, one_client=True)
        first = fake.connect()
        second, third = (QMPConnection(fake.monitor, negotiate=False, factory=fake.factory) for _ in range(2))
        self.assertEqual((second.greeting, third.greeting, fake.clients), (None, None, 3))
        second.lose()
        self.assertEqual(third.received(), [])
        first.lose()
        self.assertIn("QMP", third.received()[0])
        fake.disconnect()
        self.assertTrue(third.closed)


class TwistedTests(SynchronousTestCase):
    """Clients and endpoints of Twisted."""

    def test_client(self) -> None:
        """This package's client, in memory."""
        fake = FakeQEMU(clock=Clock())
        endpoint = fake.endpoint()
        connecting = QMPClient.connect(endpoint, clock=Clock())
        endpoint.flush()
        client = self.successResultOf(connecting)
        answer = client.execute("query-status")
        endpoint.flush()
        self.assertTrue(self.successResultOf(answer)["running"])

    def test_listen(self) -> None:
        """At an endpoint it listens with a reactor; without a clock of its own it uses the global one."""
        reactor = MemoryReactorClock()
        fake = FakeQEMU()
        self.successResultOf(fake.listen("tcp:4444:interface=127.0.0.1", reactor))
        self.assertEqual(reactor.tcpServers[0][0], 4444)
        self.assertIs(reactor.tcpServers[0][1], fake.factory)
        with self.assertRaises(ValueError):
            fake.listen("tcp:x", reactor)
        self.assertGreater(fake.monitor.clock.seconds(), 0)
        self.assertEqual(list(fake.monitor.clock.getDelayedCalls()), [])

    def test_noThread(self) -> None:
        """Without a thread it has no address, and with a clock of its own it gets no thread."""
        fake = FakeQEMU(clock=Clock())
        with self.assertRaisesRegex(RuntimeError, "start"):
            _ = fake.address
        with self.assertRaisesRegex(RuntimeError, "clock"):
            fake.start()


def test_other_versions() -> None:
    """Newer ones name the elements of lists; without C{query-status} in the schema it has none."""
    recorded = Recording.load("7.2")
    greeting: Any = {"version": {"qemu": {"major": 9, "minor": 0, "micro": 1}, "package": ""}, "capabilities": []}
    schema = [entry for entry in recorded.schema if entry["name"] != "query-status"]
    fake = FakeQEMU(Recording(greeting, {"query-qmp-schema": {"return": schema}}), clock=Clock())
    client = fake.connect(negotiate=False)
    assert client.greeting["QMP"] == greeting
    for version, connection in (("enable[0]", client), ("null", FakeQEMU(clock=Clock()).connect(negotiate=False))):
        connection.send({"execute": "qmp_capabilities", "arguments": {"enable": ["x"]}})
        (reply,) = connection.received()
        assert reply["error"]["desc"] == f"Parameter '{version}' does not accept value 'x'"
    client.send({"execute": "qmp_capabilities"}, {"execute": "query-status"})
    assert client.received()[-1]["error"]["class"] == "CommandNotFound"


def test_requests_are_bounded() -> None:
    """Of very many requests the latest are kept."""
    fake = FakeQEMU(clock=Clock())
    assert fake._requests.maxlen == module.MAX_REQUESTS

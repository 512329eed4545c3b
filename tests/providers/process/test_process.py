"""The commands about this process: L{twisted_qmon.providers.process}."""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import Application, IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_qmon import GenericError, HMPFactory, Monitor
from twisted_qmon.hmp.printers import present
from twisted_qmon.interfaces import ICommandProvider
from twisted_qmon.providers.process import WATCH_PERIOD, Process
from twisted_qmon.providers.process.logs import MAX_NAMESPACE
from twisted_qmon.testing import HMPConnection, connected_client

COMMANDS = {
    "query-process",
    "query-reactor",
    "query-services",
    "service-start",
    "service-stop",
    "query-ports",
    "query-connections",
    "connection-close",
    "query-summary",
    "query-delayed-calls",
    "query-log",
    "query-log-levels",
    "set-log-level",
    "query-stacks",
}


def _run(reactor: Any) -> None:
    """Tell those who wait for the reactor to run that it does."""
    for hook, args, kwargs in reactor.whenRunningHooks:
        hook(*args, **kwargs)
    reactor.whenRunningHooks.clear()


class _Slow(Service):
    """Takes until its Deferred fires to stop."""

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def stopService(self) -> Any:
        super().stopService()
        return self.stopped


class ProcessTests(SynchronousTestCase):
    """A monitor with the provider, on a reactor in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.publisher = LogPublisher()
        self.root = MultiService()
        self.own = self._service("qmon")
        self.web = self._service("web")
        self.slow = self._service(None, _Slow())
        self.root.startService()
        self.monitor = Monitor(clock=self.reactor)
        self.events: list[Any] = []
        self.monitor.subscribe(self.events.append)
        self.process = Process(self.reactor, self.root, own=[self.own], publisher=self.publisher)
        self.monitor.register(self.process)
        _run(self.reactor)

    def _service(self, name: str | None, service: Any = None) -> Any:
        service = Service() if service is None else service
        if name is not None:
            service.setName(name)
        service.setServiceParent(self.root)
        return service

    def execute(self, name: str, **arguments: Any) -> Any:
        """The result, which must be there at once."""
        return self.successResultOf(self.monitor.execute(name, arguments))

    def refused(self, name: str, **arguments: Any) -> str:
        """The words of the error, which must be there at once."""
        return str(self.failureResultOf(self.monitor.execute(name, arguments), GenericError).value)

    def printed(self, name: str, **arguments: Any) -> str:
        """What a person sees."""
        command = self.monitor.command(name)
        assert command is not None
        return present(command.info, self.execute(name, **arguments), arguments)

    def test_provides_its_commands(self) -> None:
        """It is a provider, has these commands, and each says in one line what it does."""
        self.assertTrue(verifyObject(ICommandProvider, self.process))
        commands = {command.name: command for command in self.process.commands()}
        self.assertEqual(set(commands), COMMANDS)
        self.assertEqual([name for name, command in commands.items() if not command.info.help], [])

    def test_each_result_has_a_form_for_people(self) -> None:
        """All that ask have a printer, and it copes with the real result."""
        for name in sorted(COMMANDS):
            if name.startswith("query-"):
                self.assertTrue(self.printed(name))

    def test_the_process(self) -> None:
        """It is this one, and its time goes on with the clock."""
        info = self.execute("query-process")
        self.assertEqual(info["pid"], os.getpid())
        self.reactor.advance(3)
        self.assertAlmostEqual(self.execute("query-process")["uptime"] - info["uptime"], 3, places=3)

    def test_the_reactor(self) -> None:
        """Its class, its latency, what it reads, and what it will call."""
        TCP4ServerEndpoint(self.reactor, 80).listen(Factory())
        self.reactor.callLater(2.3, self.test_the_reactor)
        info = self.execute("query-reactor")
        self.assertEqual(info["class"], "twisted.internet.testing.MemoryReactorClock")
        self.assertEqual(set(info["latency"]), {"last", "mean", "worst", "window", "interval"})
        self.assertEqual((info["reader-count"], info["writer-count"]), (len(info["readers"]), len(info["writers"])))
        calls = {call["what"]: call["when"] for call in info["delayed-calls"]}
        self.assertEqual(calls["tests.providers.process.test_process.ProcessTests.test_the_reactor"], 2.3)
        self.assertEqual(len(calls), info["delayed-call-count"])
        self.assertIn("in 2.3 s  ", self.printed("query-reactor"))

    def test_a_blocking_handler_shows_in_the_latency(self) -> None:
        """
        A command that blocks for a time of the clock is seen as that late, less the interval of the measurement, by who asks
        next.
        """

        def block() -> None:
            self.reactor.rightNow += 0.4

        self.monitor.register_command("block", block)
        self.execute("block")
        self.assertAlmostEqual(self.execute("query-reactor")["latency"]["worst"], 0.35, places=6)
        self.reactor.advance(0)
        self.assertAlmostEqual(self.execute("query-reactor")["latency"]["worst"], 0.35, places=6)

    def test_many_delayed_calls(self) -> None:
        """The count is true, those of one function are a group, and a list that is cut says so."""
        for number in range(2000):
            self.reactor.callLater(10 + number, self.test_many_delayed_calls)
        self.reactor.callLater(5, self.test_the_reactor)
        mine = "tests.providers.process.test_process.ProcessTests.test_many_delayed_calls"
        info = self.execute("query-reactor")
        self.assertEqual((info["delayed-call-count"], len(info["delayed-calls"])), (2003, 1000))
        self.assertEqual(info["delayed-call-groups"][0], {"what": mine, "count": 2000, "when": 10.0})
        self.assertEqual(sum(group["count"] for group in info["delayed-call-groups"]), 2003)
        printed = self.printed("query-reactor")
        self.assertIn("2,003 delayed calls:\n  count  next        what\n", printed)
        self.assertEqual(printed.count("test_many_delayed_calls"), 1)
        self.assertNotIn("more", printed)

        self.assertEqual(len(self.execute("query-delayed-calls")), 2003)
        self.assertEqual(len(self.execute("query-delayed-calls", limit=0, filter="many")), 2000)
        first = self.execute("query-delayed-calls", limit=1, filter="test_process", sort="what")
        self.assertEqual(first, [{"what": mine, "when": 10.0}])
        self.assertEqual(self.printed("query-delayed-calls", filter="nonsense"), "no delayed calls")
        for arguments, hidden in (({}, "1,903"), ({"limit": 3}, "2,000"), ({"filter": "many"}, "1,900")):
            last = self.printed("query-delayed-calls", **arguments).splitlines()[-1]
            self.assertEqual(last, f"... and {hidden} more (limit=0 shows all)")
        self.assertEqual(len(self.printed("query-delayed-calls", limit=0).splitlines()), 1 + 2003)
        groups = self.printed("query-delayed-calls", sort="what").partition("\n\n")[0].splitlines()
        self.assertEqual(groups[:2], ["2,003 delayed calls:", "  count  next        what"])
        self.assertEqual((len(groups), groups[2]), (2 + 4, f"  2,000  in 10.0 s   {mine}"))

    def test_ports_and_connections_of_a_reactor_that_can_not_tell(self) -> None:
        """They are empty lists."""
        self.assertEqual(self.execute("query-ports"), [])
        self.assertEqual(self.execute("query-connections"), [])

    def test_the_stacks(self) -> None:
        """A handler that waits is found, and so is this thread."""
        gate: Deferred[None] = Deferred()

        async def wait_at_the_gate() -> None:
            await gate

        self.monitor.register_command("wait", wait_at_the_gate)
        waiting = self.monitor.execute("wait")
        info = self.execute("query-stacks")
        found = [entry for entry in info["coroutines"] if entry["name"].endswith("wait_at_the_gate")]
        self.assertEqual([entry["count"] for entry in found], [1])
        self.assertEqual(found[0]["stack"][0]["source"], "await gate")
        self.assertEqual(info["threads"][0]["name"], "MainThread")
        gate.callback(None)
        self.successResultOf(waiting)

    # -- services

    def test_the_services(self) -> None:
        """A flat list with exactly these members."""
        plain = "twisted.application.service.Service"
        self.assertEqual(
            self.execute("query-services"),
            [
                {"path": "", "name": "", "class": "twisted.application.service.MultiService", "running": True},
                {"path": "qmon", "name": "qmon", "class": plain, "running": True},
                {"path": "web", "name": "web", "class": plain, "running": True},
                {"path": "2", "name": "", "class": "tests.providers.process.test_process._Slow", "running": True},
            ],
        )

    def test_an_application_is_a_root(self) -> None:
        """What Application() makes, which is no service itself, is taken for the one it has."""
        application = Application("shop")
        self.web.disownServiceParent()
        self.web.setServiceParent(application)
        self.monitor.unregister(self.process)
        self.monitor.register(Process(self.reactor, application, publisher=self.publisher))
        self.assertEqual([info["path"] for info in self.execute("query-services")], ["", "web"])
        self.assertEqual(IService(application).name, "shop")

    def test_without_an_application_the_topmost_parent_is_the_root(self) -> None:
        """Wherever the monitor's own service is put, the whole tree is shown."""
        self.monitor.unregister(self.process)
        self.monitor.register(Process(self.reactor, own=[self.own], publisher=self.publisher))
        self.assertEqual([info["path"] for info in self.execute("query-services")], ["", "qmon", "web", "2"])

    def test_without_services_there_are_none(self) -> None:
        """No application and no service of its own: an empty list, and every path is unknown."""
        self.monitor.unregister(self.process)
        self.monitor.register(Process(self.reactor, publisher=self.publisher))
        self.assertEqual(self.execute("query-services"), [])
        self.assertEqual(self.refused("service-stop", path=""), "Service '' not found")

    def test_stops_and_starts_a_service(self) -> None:
        """And says so in an event each time."""
        self.assertEqual(self.execute("service-stop", path="web"), {})
        self.assertFalse(self.web.running)
        self.assertEqual(self.execute("service-start", path="web"), {})
        self.assertTrue(self.web.running)
        self.assertEqual(
            [event["data"] for event in self.events if event["event"] == "SERVICE_CHANGE"],
            [{"path": "web", "name": "web", "running": False}, {"path": "web", "name": "web", "running": True}],
        )

    def test_completes_when_the_service_has_stopped(self) -> None:
        """A command that takes as long as the service."""
        answer = self.monitor.execute("service-stop", {"path": "2"})
        self.assertNoResult(answer)
        self.slow.stopped.callback(None)
        self.assertEqual(self.successResultOf(answer), {})

    def test_refuses_the_monitors_own(self) -> None:
        """What is or contains the service of the monitor keeps running."""
        for path in ("", "qmon"):
            words = f"Service '{path}' serves this monitor and can't be stopped through it"
            self.assertEqual(self.refused("service-stop", path=path), words)
        self.assertTrue(all(info["running"] for info in self.execute("query-services")))
        self.assertEqual([event for event in self.events if event["event"] == "SERVICE_CHANGE"], [])

    def test_a_service_that_stops_by_itself_is_told(self) -> None:
        """Within a second, as an event."""
        self.web.stopService()
        self.reactor.advance(WATCH_PERIOD)
        self.assertEqual([event["data"] for event in self.events], [{"path": "web", "name": "web", "running": False}])
        self.reactor.advance(WATCH_PERIOD)
        self.assertEqual(len(self.events), 1)

    def test_a_service_that_is_taken_out_is_told(self) -> None:
        """It has stopped, as far as this tree is concerned."""
        self.web.disownServiceParent()
        self.reactor.advance(WATCH_PERIOD)
        self.assertEqual([event["data"] for event in self.events], [{"path": "web", "name": "web", "running": False}])

    # -- the log

    def test_the_log(self) -> None:
        """What is logged is kept, and told as an event with the time at which it was logged."""
        Logger("app", observer=self.publisher).warn("it is {what}", what="late")
        self.reactor.advance(0)
        (kept,) = self.execute("query-log")
        self.assertEqual(
            {**kept, "timestamp": 0},
            {"number": 1, "timestamp": 0, "level": "warn", "namespace": "app", "text": "it is late"},
        )
        (event,) = self.events
        self.assertEqual(event["event"], "LOG")
        self.assertEqual(event["data"], {"level": "warn", "namespace": "app", "text": "it is late"})
        self.assertEqual(event["timestamp"], kept["timestamp"])
        self.assertIn("[app#warn] it is late", self.printed("query-log"))

    def test_a_part_of_the_log(self) -> None:
        """By text; in another order; a person is shown the latest, and told how many there are before them."""
        log = Logger("app", observer=self.publisher)
        for number in range(150):
            log.info("event {number}", number=number)
        log.error("b")
        Logger("aaa", observer=self.publisher).warn("c")

        def texts(**arguments: Any) -> list[str]:
            return [info["text"] for info in self.execute("query-log", **arguments)]

        self.assertEqual(len(texts(limit=0)), 152)
        self.assertEqual(texts(filter="14", limit=2), ["event 148", "event 149"])
        self.assertEqual(texts(limit=3, sort="level"), ["event 149", "c", "b"])
        self.assertEqual(texts(limit=2, sort="namespace"), ["c", "b"])
        lines = self.printed("query-log").splitlines()
        self.assertEqual((lines[0], len(lines)), ("... and 52 before these (limit=0 shows all)", 101))
        self.assertTrue(lines[-1].endswith("[aaa#warn] c"))
        lines = self.printed("query-log", limit=1, level="info", namespace="app", filter="event").splitlines()
        self.assertEqual(lines[0], "... and 149 before these (limit=0 shows all)")
        self.assertEqual(len(self.printed("query-log", limit=0).splitlines()), 152)

    def test_the_level_is_set_at_run_time(self) -> None:
        """By namespace; the levels that hold can be asked for."""
        log = Logger("app.web", observer=self.publisher)
        log.debug("1")
        self.execute("set-log-level", level="debug", namespace="app")
        log.debug("2")
        self.execute("set-log-level", level="critical")
        self.assertEqual([info["text"] for info in self.execute("query-log", namespace="app", limit=10)], ["2"])
        self.assertEqual(
            self.execute("query-log-levels"),
            [{"namespace": "", "level": "critical"}, {"namespace": "app", "level": "debug"}],
        )

    def test_what_is_kept_of_clients_is_bounded(self) -> None:
        """A namespace has at most so many characters."""
        self.execute("set-log-level", level="debug", namespace="x" * MAX_NAMESPACE)
        self.assertEqual(
            self.refused("set-log-level", level="debug", namespace="x" * (MAX_NAMESPACE + 1)),
            "Parameter 'namespace' has more than 200 characters",
        )
        self.assertEqual(len(self.execute("query-log-levels")), 2)

    def test_a_level_that_there_is_not_is_refused(self) -> None:
        """In QEMU's words for a wrong value of an enumeration."""
        self.assertEqual(self.refused("set-log-level", level="loud"), "Parameter 'level' does not accept value 'loud'")

    def test_a_handler_that_fails_at_the_prompt(self) -> None:
        """A person is told the number of the log entry; also over a remote monitor, and where the failure comes later."""
        globalLogPublisher.addObserver(self.publisher)
        self.addCleanup(globalLogPublisher.removeObserver, self.publisher)
        gate: Deferred[None] = Deferred()
        self.monitor.register_command("broken", lambda: 1 / 0)
        self.monitor.register_command("late", lambda: gate)
        person = HMPConnection(self.monitor, prompt="> ")
        error = (
            "Error: Command '{}' failed for a reason that was logged\r\nSee log entry {}: info log level=error\r\n> "
        )
        self.assertEqual(person.type("broken"), error.format("broken", 1))
        Logger("app", observer=self.publisher).error("something else")
        self.assertEqual(person.type("late"), "")
        gate.errback(ZeroDivisionError())
        self.assertEqual(person.output(), error.format("late", 3))
        self.assertIn(" 3 [twisted_qmon.core.", person.type("info log level=error"))

        client, pump = connected_client(self.monitor)
        person = HMPConnection(client, factory=HMPFactory(client, prompt="> "))
        pump.flush()
        person.output()
        person.send_bytes(b"broken\n")
        pump.flush()
        self.assertEqual(person.output(), error.format("broken", 4))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_a_handler_that_fails_without_being_kept(self) -> None:
        """The log is named, without a number: another entry is not taken for it."""
        Logger("twisted_qmon.x", observer=self.publisher).error("something else")
        self.monitor.register_command("broken", lambda: 1 / 0)
        person = HMPConnection(self.monitor, prompt="> ")
        error = "Error: Command 'broken' failed for a reason that was logged\r\n"
        self.assertEqual(person.type("broken"), f"{error}See log: info log level=error\r\n> ")
        self.monitor.unregister(self.process)
        self.assertEqual(person.type("broken"), f"{error}> ")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_a_receiver_that_logs_makes_no_endless_stream(self) -> None:
        """Each LOG event makes somebody log something: that is kept, and not told again."""
        log = Logger("app", observer=self.publisher)
        self.monitor.subscribe(lambda event: log.error("told of {event}", event=event["event"]), ["LOG"])
        log.error("first")
        self.reactor.pump([0.25] * 40)
        self.assertEqual([event["data"]["text"] for event in self.events], ["first"])
        self.assertEqual([info["text"] for info in self.execute("query-log")], ["first", "told of LOG"])

    # -- beginning and end

    def test_leaves_nothing_behind(self) -> None:
        """Unregistered, it has no delayed call and no log observer any more."""
        log = Logger("app", observer=self.publisher)
        log.info("kept")
        self.reactor.advance(0)
        self.monitor.unregister(self.process)
        log.info("not kept")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.monitor.register(self.process)
        self.assertEqual([info["text"] for info in self.execute("query-log")], ["kept"])

    def test_measures_from_when_the_reactor_runs(self) -> None:
        """What passes between registration and then is start-up, and no latency."""
        reactor = MemoryReactorClock()
        process = Process(reactor, publisher=self.publisher)
        monitor = Monitor(clock=reactor)
        monitor.register(process)
        self.assertEqual(reactor.getDelayedCalls(), [])
        reactor.advance(10)
        _run(reactor)
        reactor.advance(0.05)
        info = self.successResultOf(monitor.execute("query-reactor"))
        self.assertLess(info["latency"]["worst"], 0.001)

    def test_its_service_starts_and_stops_it(self) -> None:
        """With a service of its own, being registered is not what starts it."""
        reactor = MemoryReactorClock()
        process = Process(reactor, publisher=self.publisher)
        service = process.service()
        self.assertEqual(service.name, "process")
        monitor = Monitor(clock=reactor)
        monitor.register(process)
        self.assertEqual(reactor.getDelayedCalls(), [])
        for _ in range(2):
            service.startService()
            _run(reactor)
            self.assertEqual(len(reactor.getDelayedCalls()), 2)
            service.stopService()
            self.assertEqual(reactor.getDelayedCalls(), [])

    def test_a_clock_will_do_for_a_reactor(self) -> None:
        """One that is no IReactorCore is taken to be running."""
        clock = Clock()
        Monitor(clock=clock).register(Process(clock, publisher=self.publisher))
        self.assertEqual(len(clock.getDelayedCalls()), 2)

"""The watchdog's thread as a service: L{twisted_qmon.watchdog.service}. The thread is run by the test."""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.defer import fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.descriptors import descriptors
from tests.support.main_reactor import MainReactor
from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.providers.process.stalls import Stalls
from twisted_qmon.service import MonitorService
from twisted_qmon.watchdog import service as module
from twisted_qmon.watchdog.service import THREAD_NAME, Watchdog, unusable

if not sys.platform.startswith("linux"):
    pytest.skip("it needs Linux", allow_module_level=True)


class Thread:
    """A thread that runs when the test says so."""

    made: list[Thread]

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str, daemon: bool) -> None:
        self.options = (name, daemon)
        self.joined = False
        self._run = lambda: target(*args)

    def start(self) -> None:
        Thread.made.append(self)

    def run(self) -> None:
        self._run()

    def join(self) -> None:
        self.joined = True


@implementer(IReactorFromThreads)
class Main(MainReactor, MemoryReactorClock):
    """A main reactor without sockets."""

    def __init__(self) -> None:
        MemoryReactorClock.__init__(self)
        MainReactor.__init__(self)

    def run(self) -> None:
        MainReactor.run(self)
        self.advance(0)


class WatchdogTests(SynchronousTestCase):
    """It starts, stops, and starts again."""

    def setUp(self) -> None:
        Thread.made = []
        self.patch(
            module,
            "threading",
            SimpleNamespace(Thread=Thread, current_thread=lambda: Thread.made[-1]),
        )
        self.main = Main()
        self.monitor = Monitor(clock=self.main)
        self.events = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        self.folder = tempfile.TemporaryDirectory(prefix="qmon-")
        self.addCleanup(self.folder.cleanup)
        gc.collect()
        self.before = descriptors()

    def path(self, name: str) -> str:
        return f"{self.folder.name}/{name}"

    def service(self, **options: Any) -> MonitorService:
        return make_monitor_service(self.main, self.monitor, **options)

    def watchdog(self, service: MonitorService) -> Watchdog:
        found = service.getServiceNamed("watchdog")
        assert isinstance(found, Watchdog)
        return found

    def start(self, service: MonitorService) -> None:
        service.privilegedStartService()
        service.startService()

    def stop(self, service: MonitorService) -> None:
        stopped = service.stopService()
        self.main.run()
        self.assertNoResult(stopped)
        Thread.made[-1].run()
        self.main.run()
        self.successResultOf(stopped)
        self.assertTrue(Thread.made[-1].joined)
        self.assertEqual(descriptors() - self.before, set())

    def log(self) -> list[str]:
        def line(event: LogEvent) -> str:
            return f"{event['log_level'].name}: {(event.get('log_format') or '').format(**event)}"

        return [line(event) for event in self.events]

    def test_byDefault(self) -> None:
        """A thread watches, and serves nothing; twice in a row."""
        service = self.service()
        self.assertIn("query-stalls", self.monitor.registry.active)
        for _ in range(2):
            self.start(service)
            self.assertEqual(Thread.made[-1].options, (THREAD_NAME, True))
            self.watchdog(service).reread()
            self.stop(service)
        self.assertEqual(len(Thread.made), 2)

    def test_off(self) -> None:
        """Switched off there is neither a thread nor the command."""
        service = self.service(stall=None)
        self.assertNotIn("watchdog", service.namedServices)
        self.assertNotIn("query-stalls", self.monitor.registry.active)

    def test_onlyDoors(self) -> None:
        """Without a limit the thread serves, and looks for nothing."""
        service = self.service(stall=None, watchdog=[f"unix:{self.path('qmp')}"])
        self.start(service)
        self.assertTrue(Path(self.path("qmp")).is_socket())
        self.assertNotIn("query-stalls", self.monitor.registry.active)
        self.stop(service)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["qmp.lock"])

    def test_doors(self) -> None:
        """It listens before it changes its user, and answers once the thread runs, by the level of the endpoint."""
        service = self.service(
            watchdog=[f"unix:{self.path('qmp')}:level=observe"], watchdog_hmp=[f"unix:{self.path('hmp')}"]
        )
        service.privilegedStartService()
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(self.path("qmp"))
        client.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-stacks"}{"execute": "query-name"}')
        person = socket.socket(socket.AF_UNIX)
        self.addCleanup(person.close)
        person.connect(self.path("hmp"))
        person.sendall(b"info version\n")
        service.startService()
        watchdog = self.watchdog(service)
        assert watchdog._reactor is not None
        stopped: list[Any] = []
        watchdog._reactor.callLater(0.05, lambda: stopped.append(watchdog.stopService()))
        Thread.made[-1].run()
        self.main.run()
        self.successResultOf(stopped[0])
        answers = client.recv(65536).decode().splitlines()
        self.assertIn("Permission denied: 'query-stacks' needs operate", answers[2])
        self.assertEqual(answers[3], '{"return":{}}')
        self.assertEqual(client.recv(1), b"")
        self.assertIn("(qmon) twisted-qmon", person.recv(65536).decode().replace("0.2.0 (twisted-qmon", "twisted-qmon"))

    def test_cannotListen(self) -> None:
        """An endpoint that can't be listened at ends the start with one line, and leaves nothing open."""
        service = self.service(watchdog=[f"unix:{self.path('missing')}/qmp"])
        with self.assertRaises(SystemExit) as caught:
            service.privilegedStartService()
        self.assertRegex(str(caught.exception), "^twistd qmon: can't listen at unix:.*missing/qmp: No such file")
        self.assertEqual(descriptors() - self.before, set())

    def test_invalid(self) -> None:
        """A description that is not valid is refused when the service is made."""
        with self.assertRaises(ValueError):
            make_monitor_service(self.main, Monitor(clock=self.main), watchdog=["unix"])
        with self.assertRaises(ValueError):
            make_monitor_service(self.main, Monitor(clock=self.main), watchdog_hmp=["unix"])
        with self.assertRaises(ValueError):
            self.service(stall=0.0)

    def test_preparedOnly(self) -> None:
        """One that was never started, because another service failed, gives back what it has."""
        service = self.service(watchdog=[f"unix:{self.path('qmp')}"])
        service.privilegedStartService()
        stopped = service.stopService()
        self.main.run()
        self.successResultOf(stopped)
        self.assertEqual(Thread.made, [])
        self.assertEqual(descriptors() - self.before, set())

    def test_noThread(self) -> None:
        """Where no thread can be started the service goes on without."""

        def start(thread: Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(Thread, "start", start)
        service = self.service()
        self.start(service)
        self.assertIn("warn: there is no watchdog: can't start new thread", self.log())
        self.assertEqual(descriptors() - self.before, set())
        stopped = service.stopService()
        self.main.run()
        self.successResultOf(stopped)

    def test_anotherSystem(self) -> None:
        """Elsewhere than on Linux one line says that there is none, and there is no command; a warning if it was to serve."""
        self.patch(sys, "platform", "darwin")
        self.assertEqual(unusable(), "it needs Linux")
        service = self.service()
        self.assertNotIn("query-stalls", self.monitor.registry.active)
        self.start(service)
        self.assertEqual(
            [line for line in self.log() if "watchdog" in line], ["info: there is no watchdog: it needs Linux"]
        )
        other = make_monitor_service(self.main, Monitor(clock=self.main), watchdog=["tcp:1"])
        other.startService()
        self.assertEqual(
            [line for line in self.log() if "watchdog" in line][1:], ["warn: there is no watchdog: it needs Linux"]
        )
        self.assertEqual(Thread.made, [])

    def test_anotherReactor(self) -> None:
        """A reactor that takes no calls from threads is that of a test: there is no thread, and no word of it."""
        clock = MemoryReactorClock()
        service = make_monitor_service(clock, Monitor(clock=clock))
        self.start(service)
        self.assertEqual(Thread.made, [])
        stopped = service.stopService()
        clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual([line for line in self.log() if "watchdog" in line], [])

    def test_doorThatFails(self) -> None:
        """A door that fails to close is logged, and the thread ends all the same."""
        service = self.service(watchdog=[f"unix:{self.path('qmp')}"])
        self.start(service)
        doors = self.watchdog(service)._doors
        assert doors is not None
        self.patch(doors._doors[0].factory, "close", lambda linger: fail(OSError(5, "can't close")))
        self.stop(service)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_anotherTwisted(self) -> None:
        """A Twisted without the switch that it needs is told apart."""
        self.patch(module, "ReactorBase", object)
        self.assertTrue(hasattr(ReactorBase, "_registerAsIOThread"))
        self.assertIn("this version of Twisted", str(unusable()))

    def test_reread(self) -> None:
        """That the rules were read again, by a command or a signal, goes to the thread, as long as there is one."""
        self.monitor.set_guard(access=Access(parse_rules({"default": "admin", "grant": []}, "rules")))
        service = self.service(watchdog=[f"unix:{self.path('qmp')}"])
        self.start(service)
        watchdog = self.watchdog(service)
        assert watchdog._reactor is not None
        queue = watchdog._reactor.threadCallQueue
        self.monitor.guard.reload()
        self.assertEqual(len(queue), 1)
        service.reread()
        self.assertEqual(len(queue), 3)
        self.stop(service)
        self.monitor.guard.reload()
        self.assertEqual(self.monitor.guard.on_reload, [])

    def test_mtls(self) -> None:
        """With TLS files of its own the service has something to read again."""
        self.assertFalse(self.service().rereads)
        pytest.importorskip("OpenSSL")
        with self.assertRaises(ValueError):
            make_monitor_service(self.main, Monitor(clock=self.main), watchdog=["mtls:1:key=/no:cert=/no:ca=/no"])

    def test_lookThatFails(self) -> None:
        """A look that fails is logged, and there is a next one."""
        service = self.service(stall=0.05)
        self.start(service)
        stalls = next(each for each in self.monitor.providers if isinstance(each, Stalls))
        self.patch(stalls, "limit", None)
        watchdog = self.watchdog(service)
        reactor = watchdog._reactor
        assert reactor is not None
        reactor.callLater(0.01, reactor.stop)
        Thread.made[-1].run()
        self.main.run()
        self.assertEqual(len(reactor.getDelayedCalls()), 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_realThread(self) -> None:
        """No real thread is left by these tests."""
        self.assertNotIn(THREAD_NAME, [thread.name for thread in threading.enumerate()])

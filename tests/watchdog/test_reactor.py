"""The second reactor of a process: L{twisted_qmon.watchdog.reactor}. It runs in the thread of the test, and stops itself."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from tests.support.descriptors import descriptors
from twisted_qmon._transport.endpoints import server_endpoint

if not sys.platform.startswith("linux"):
    pytest.skip("it needs Linux", allow_module_level=True)

from twisted_qmon.watchdog.reactor import WatchdogReactor


class WatchdogReactorTests(SynchronousTestCase):
    """It runs beside another reactor, and leaves nothing behind."""

    def setUp(self) -> None:
        gc.collect()
        self.before = descriptors()
        self.reactor = WatchdogReactor()

    def tearDown(self) -> None:
        self.reactor.close()
        self.assertEqual(descriptors() - self.before, set())

    def log(self) -> EventLoggingObserver:
        observer = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        assert isinstance(observer, EventLoggingObserver)
        return observer

    def test_runs(self) -> None:
        """It runs, stops, gives back what it had, and logs nothing; the reactor's thread and the signals stay what they were."""
        thread, handler = threadable.ioThread, signal.getsignal(signal.SIGTERM)
        seen: list[object] = []
        port = self.reactor.listenTCP(0, Quiet(), interface="127.0.0.1")
        events = self.log()
        self.reactor.be_quiet()
        self.reactor.callWhenRunning(lambda: seen.append(signal.getsignal(signal.SIGTERM)))
        self.reactor.callWhenRunning(self.reactor.stop)
        self.reactor.run_here()
        self.assertEqual((threadable.ioThread, seen), (thread, [handler]))
        self.assertFalse(port.connected)
        self.assertEqual(list(events), [])

    def test_errors(self) -> None:
        """What fails in it is logged, and it goes on."""
        events = self.log()
        poll = self.reactor.doPoll
        outcomes: list[Any] = [OSError(5, "can't poll")]

        def do_poll(timeout: float) -> object:
            if outcomes:
                raise outcomes.pop()
            self.reactor.callLater(0, self.reactor.stop)
            return poll(0)

        self.patch(self.reactor, "doIteration", do_poll)
        self.reactor.run_here()
        self.assertEqual([str(event["log_failure"].value) for event in events], ["[Errno 5] can't poll"])
        self.flushLoggedErrors(OSError)

    def test_wakes(self) -> None:
        """When it has waited it says so, before it reads or calls anything; if that fails it goes on, and logs it."""
        events = self.log()
        seen: list[str] = []

        def woken() -> None:
            seen.append("woken")
            raise ValueError("no")

        def read() -> None:
            seen.append("read")
            self.reactor.stop()

        self.reactor.on_wake = woken
        self.reactor.callLater(0.01, read)
        self.reactor.run_here()
        self.assertEqual(seen[: seen.index("read") + 1][-2:], ["woken", "read"])
        self.assertTrue(events)
        self.assertEqual({str(event["log_failure"].value) for event in events}, {"no"})
        self.flushLoggedErrors(ValueError)

    def test_waits(self) -> None:
        """Without anything to do it waits as long as it is told to, at most, and not for less."""
        woken: list[float] = []
        self.reactor.on_wake = lambda: woken.append(self.reactor.seconds())
        began = self.reactor.seconds()
        self.reactor.callLater(0.05, self.reactor.stop)
        self.reactor.run_here()
        self.assertGreaterEqual(woken[-1] - began, 0.05)
        self.assertLessEqual(len(woken), 5)

    def test_closedTwice(self) -> None:
        """Once closed there is nothing to close; what is called from another thread is not called any more."""
        self.reactor.close()
        self.reactor.callFromThread(self.fail)
        self.reactor.close()


class Quiet(ServerFactory):
    """Says nothing of its own beginning and end."""

    noisy = False


def test_tls(tmp_path: Path) -> None:
    """With TLS time is this reactor's, not the global one's."""
    pytest.importorskip("OpenSSL")
    from tests.support.certificates import Authority

    authority = Authority()
    certified = authority.issue("server", "127.0.0.1")
    for name, content in (("key", certified.key), ("cert", certified.certificate), ("ca", authority.certificate)):
        (tmp_path / f"{name}.pem").write_bytes(content)
    reactor = WatchdogReactor()
    try:
        for description in (
            f"ssl:0:interface=127.0.0.1:certKey={tmp_path}/cert.pem:privateKey={tmp_path}/key.pem",
            f"mtls:0:interface=127.0.0.1:cert={tmp_path}/cert.pem:key={tmp_path}/key.pem:ca={tmp_path}/ca.pem",
        ):
            ports: list[object] = []
            server_endpoint(reactor, description).listen(Quiet()).addCallback(ports.append)
            assert vars(ports[0])["factory"]._clock is reactor
    finally:
        reactor.close()

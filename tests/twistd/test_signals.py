"""
The signals that end the process: the first drains, each further one hurries.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon._twistd.signals import EarlyHangUps, EndSignals, stop_reactor


class Reactor:
    """A reactor that counts how often it was stopped."""

    def __init__(self) -> None:
        self.stopped = 0

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    def stop(self) -> None:
        self.stopped += 1
        if self.stopped > 1:
            raise ReactorNotRunning("Can't stop reactor that isn't running.")


class EndSignalsTests(SynchronousTestCase):
    """With handlers that are kept here, not with the system."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.hurried = 0
        self.handlers: dict[int, Any] = {
            signal.SIGINT: self.reactor_handler,
            signal.SIGTERM: self.reactor_handler,
            signal.SIGHUP: signal.SIG_DFL,
        }
        self.received: list[int] = []
        self.patch(signal, "getsignal", self.handlers.get)
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.signals = EndSignals(self.reactor, self.hurry)

    def reactor_handler(self, number: int, frame: Any) -> None:
        self.received.append(number)

    def hurry(self) -> None:
        self.hurried += 1

    def send(self, number: int) -> None:
        self.handlers[number](number, None)

    def test_first(self) -> None:
        """The first is the reactor's to handle, the second and third hurry, whichever they are."""
        self.signals.install()
        self.send(signal.SIGTERM)
        self.assertEqual((self.received, self.hurried), ([signal.SIGTERM], 0))
        self.send(signal.SIGTERM)
        self.send(signal.SIGINT)
        self.assertEqual((self.received, self.hurried), ([signal.SIGTERM], 2))

    def test_hangUp(self) -> None:
        """SIGHUP stops the reactor, and a second one hurries."""
        self.signals.install()
        self.send(signal.SIGHUP)
        self.assertEqual((self.reactor.stopped, self.hurried), (1, 0))
        self.send(signal.SIGHUP)
        self.assertEqual((self.reactor.stopped, self.hurried), (1, 1))

    def test_stopping(self) -> None:
        """A reactor that is being stopped already is not stopped again."""
        self.reactor.stop()
        stop_reactor(self.reactor)
        self.signals.install()
        self.send(signal.SIGHUP)

    def test_others(self) -> None:
        """A SIGHUP that is ignored, or handled by another part of the process, is left alone; so is what has no handler."""
        self.handlers |= {signal.SIGHUP: signal.SIG_IGN, signal.SIGINT: signal.SIG_IGN}
        self.signals.install()
        self.assertEqual(self.handlers[signal.SIGHUP], signal.SIG_IGN)
        self.assertEqual(self.handlers[signal.SIGINT], signal.SIG_IGN)

    def test_again(self) -> None:
        """A service that is started again does not wrap the handlers again."""
        self.signals.install()
        before = dict(self.handlers)
        self.signals.install()
        self.assertEqual(self.handlers, before)

    def test_hang_up_reads_again(self) -> None:
        """Where there is something to read again, SIGHUP does that, however often it comes; it never ends."""
        reread: list[int] = []
        self.handlers[signal.SIGHUP] = signal.SIG_IGN
        EndSignals(self.reactor, self.hurry, lambda: reread.append(1)).install()
        for _ in range(3):
            self.send(signal.SIGHUP)
        self.assertEqual((len(reread), self.reactor.stopped, self.hurried), (3, 0, 0))
        self.send(signal.SIGTERM)
        self.send(signal.SIGHUP)
        self.assertEqual((len(reread), self.hurried), (4, 0))

    def test_hang_up_before_the_reactor_runs(self) -> None:
        """One that comes early ends nothing on the spot: once the reactor runs, files are read again, or the process ends."""
        reread: list[int] = []
        for reads in (True, False):
            self.handlers[signal.SIGHUP] = signal.SIG_DFL
            early = EarlyHangUps()
            early.begin()
            self.send(signal.SIGHUP)
            self.send(signal.SIGHUP)
            self.assertEqual((reread, self.reactor.stopped), ([1] * (not reads), 0))
            EndSignals(self.reactor, self.hurry, (lambda: reread.append(1)) if reads else None, early).install()
        self.assertEqual((reread, self.reactor.stopped, self.hurried), ([1], 1, 0))

    def test_early_hang_ups_of_others(self) -> None:
        """One that is ignored, or handled by another part of the process, is left alone, before the reactor runs and after."""
        for other in (signal.SIG_IGN, self.reactor_handler):
            self.handlers[signal.SIGHUP] = other
            early = EarlyHangUps()
            early.begin()
            EndSignals(self.reactor, self.hurry, None, early).install()
            self.assertEqual(self.handlers[signal.SIGHUP], other)

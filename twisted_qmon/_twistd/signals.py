"""
The signals that end C{twistd qmon}, or have it read its files again.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["EarlyHangUps", "EndSignals", "Reactor", "stop_reactor"]

_Handler = Callable[[int, "FrameType | None"], object]

_log = Logger()


class Reactor(Protocol):
    """What is used of the reactor: see C{IReactorCore} and C{IReactorFromThreads}."""

    def stop(self) -> object:
        """Stop it."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:
        """Have a function called in its thread."""


def stop_reactor(reactor: Reactor) -> None:
    """Stop the reactor, unless that is being done already."""
    with suppress(ReactorNotRunning):
        reactor.stop()


class EarlyHangUps:
    """
    Each SIGHUP that comes before the reactor runs, and would end the process on the spot.

    :ivar count: how many have come
    """

    def __init__(self) -> None:
        self.count = 0

    def begin(self) -> None:
        """Count them from now on, unless the process ignores them, or another part of it handles them."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class EndSignals:
    """
    SIGINT and SIGTERM drain and end the process, as the reactor's handlers have it. SIGHUP, which would end it on the spot, does
    the same, unless the process ignores it or another part of it handles it. Each further one cuts short what is waited for.

    :param reactor: the reactor
    :param hurry: called in the reactor's thread for each further signal
    :param reread: called in the reactor's thread for SIGHUP, which then never ends the process; C{None}: there is nothing to
        read again
    :param early: has counted those that came before
    """

    def __init__(
        self,
        reactor: Reactor,
        hurry: Callable[[], None],
        reread: Callable[[], None] | None = None,
        early: EarlyHangUps | None = None,
    ) -> None:
        self._reactor = reactor
        self._hurry = hurry
        self._reread = reread
        self._early = early
        self._installed = False
        self._ending = False

    def install(self) -> None:
        """To be called when the reactor runs: it has installed its handlers. Once is enough."""
        if self._installed:
            return
        self._installed = True
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._end, handler))
        hung_up: _Handler | None = None
        if self._reread is not None:
            hung_up = partial(self._read_again, self._reread)
        elif signal.getsignal(signal.SIGHUP) in (signal.SIG_DFL, self._early):
            hung_up = partial(self._end, self._hung_up)
        if hung_up is not None:
            signal.signal(signal.SIGHUP, hung_up)
            if self._early is not None and self._early.count:
                hung_up(signal.SIGHUP, None)

    def _read_again(self, reread: Callable[[], None], number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(reread)

    def _end(self, first: _Handler, number: int, frame: FrameType | None) -> None:
        if self._ending:
            self._reactor.callFromThread(self._further, signal.Signals(number).name)
        else:
            self._ending = True
            first(number, frame)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        def stop() -> None:
            _log.info("Received SIGHUP, shutting down.")
            stop_reactor(self._reactor)

        self._reactor.callFromThread(stop)

    def _further(self, name: str) -> None:
        _log.info("Received {name} again, not waiting any longer.", name=name)
        self._hurry()

"""Commands of every kind, and a person at a monitor that has them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, GenericError, Monitor, Request, command
from twisted_qmon.testing import HMPConnection

__all__ = ["P", "Commands", "ProtocolCase"]

P = "(qmon) "


class Commands(CommandProvider):
    """Commands of every kind; C{ran} is what ran, in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ran: list[str] = []
        self.request: Request | None = None
        self.late: Deferred[Any] | None = None

    @command
    def now(self, text: str) -> str:
        """answer at once"""
        self.ran.append(text)
        return text

    @command
    def soon(self, text: str) -> Deferred[str]:
        """answer at once, through a Deferred"""
        self.ran.append(text)
        return succeed(text)

    @command
    def slow(self, request: Request, text: str, seconds: float = 5.0) -> Deferred[str]:
        """answer later"""
        self.ran.append(text)
        self.request = request
        self.late = Deferred()
        timer = self.clock.callLater(seconds, self.late.callback, text)

        def cancelled(failure: Failure) -> Failure:
            timer.cancel()
            return failure

        return self.late.addErrback(cancelled)

    @command
    def refuse(self, text: str) -> Deferred[str]:
        """fail at submit"""
        self.ran.append(text)
        raise GenericError(f"refused {text}")

    @command
    def fail(self, text: str) -> Deferred[str]:
        """fail later"""
        self.ran.append(text)
        deferred: Deferred[str] = Deferred()
        self.clock.callLater(1, deferred.errback, GenericError(f"failed {text}"))
        return deferred

    @command
    def fail_now(self, text: str) -> Deferred[str]:
        """fail at once, through a Deferred"""
        self.ran.append(text)
        return fail(GenericError(f"failed {text}"))

    @command(timeout=2)
    def never(self, text: str) -> Deferred[str]:
        """time out"""
        self.ran.append(text)
        return Deferred()

    @command
    def give_up(self, request: Request, text: str) -> Deferred[str]:
        """be cancelled"""
        self.ran.append(text)
        self.clock.callLater(1, request.cancel)
        return Deferred()


class ProtocolCase(SynchronousTestCase):
    """Has a monitor with commands, and a person at it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.commands = Commands(self.clock)
        self.monitor.register(self.commands)

    def connect(self, **options: Any) -> HMPConnection:
        return HMPConnection(self.monitor, **options)

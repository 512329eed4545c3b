"""
Clients in memory of one monitor whose commands take as long as the test likes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, Event, Monitor, command
from twisted_qmon.testing import QMPConnection


class Provider(CommandProvider):
    """Commands that take as long as the test likes."""

    events = (
        Event("HAPPENED", n=int),
        Event("LIMITED", n=int, rate_limit=1.0),
    )

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.pending: dict[Any, Deferred[Any]] = {}

    def _wait(self, n: Any) -> Deferred[Any]:
        self.started.append(n)
        self.pending[n] = Deferred()
        return self.pending[n]

    @command
    def wait(self, n: int = 0) -> Deferred[int]:
        """Fires when the test says."""
        return self._wait(n)

    @command(oob=True)
    def wait_oob(self, n: int = 0) -> Deferred[int]:
        """The same, out of band too."""
        return self._wait(n)

    @command
    def now(self, n: int = 0) -> int:
        """At once."""
        self.started.append(n)
        return n

    @command
    def big(self, size: int) -> str:
        """A reply of so many bytes."""
        self.started.append(size)
        return "x" * size

    @command
    def tell(self, n: int) -> int:
        """Emits an event, then returns."""
        assert self.monitor is not None
        self.monitor.emit("HAPPENED", {"n": n})
        return n

    @command
    def fire(self, n: int) -> int:
        """Completes another request from within."""
        self.pending[n].callback(n)
        return n


class SessionTests(SynchronousTestCase):
    """One monitor, a clock that stands still, as many clients as wanted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor("m", clock=self.clock)
        self.provider = Provider()
        self.monitor.register(self.provider)

    def client(self, **options: Any) -> QMPConnection:
        return QMPConnection(self.monitor, **options)

    def run_(self, *ids: Any, name: str = "wait") -> list[Any]:
        """Messages that execute a command with n = id."""
        return [{"execute": name, "arguments": {"n": id}, "id": id} for id in ids]

"""
A fleet in memory: a router, members and callers, with one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support.wamp_router import WampRouter
from twisted_qmon import CommandProvider, Event, Monitor, Request, command
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.fleet.client import FleetClient
from twisted_qmon.fleet.router import Router
from twisted_qmon.fleet.service import MemberService

__all__ = ["URL", "Work", "World", "all_may"]

URL = "ws://127.0.0.1:8080/ws"

_T = TypeVar("_T")


def all_may(level: str = "admin") -> Access:
    """:return: rules that let all callers of a fleet do what a level allows"""
    return Access(parse_rules({"grant": [{"who": ["fleet:*"], "level": level}]}, "rules"))


class Work(CommandProvider):
    """Commands that wait, fail, and say how far they are; and events."""

    events = [Event("TICK", n=int), Event("SECRET", n=int, level="operate"), Event("ODD", check=False)]

    def __init__(self) -> None:
        self.waiting: list[tuple[Request, Deferred[int]]] = []
        self.cancelled = 0

    def _wait(self, request: Request) -> Deferred[int]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        deferred: Deferred[int] = Deferred(cancel)
        self.waiting.append((request, deferred))
        return deferred

    @command(level="observe")
    def wait(self, request: Request) -> Deferred[int]:
        """wait until the test says so"""
        return self._wait(request)

    @command(level="observe", on_disconnect="cancel")
    def wait_for_me(self, request: Request) -> Deferred[int]:
        """the same, as long as the caller is there"""
        return self._wait(request)

    @command(level="observe")
    def text(self, size: int) -> str:
        """a long result"""
        return "x" * size

    @command(level="observe")
    def echo(self, value: Any) -> Any:
        """what it was given"""
        return value

    def finish(self, result: int = 7) -> None:
        """Let the oldest one that waits be done."""
        self.waiting.pop(0)[1].callback(result)


class World:
    """
    All of it.

    :ivar clock: of all
    :ivar router: the router
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.router = WampRouter()
        self.monitors: dict[str, Monitor] = {}
        self.work: dict[str, Work] = {}

    def member(self, name: str = "m1", **keywords: Any) -> MemberService:
        """:return: a member that has joined, if it could"""
        access = keywords.pop("access", all_may())
        monitor = Monitor(name, self.clock, access=access, event_history=keywords.pop("event_history", 1000))
        self.monitors[name], self.work[name] = monitor, Work()
        monitor.register(self.work[name])
        keywords.setdefault("retry_policy", lambda failures: 1.0)
        service = MemberService(self.clock, monitor, Router.parse(URL), name, connect=self.router.connect, **keywords)
        service.startService()
        self.router.pump()
        return service

    def client(self, **keywords: Any) -> FleetClient:
        """:return: a client that has connected"""
        keywords.setdefault("retry_policy", lambda failures: 1.0)
        client = FleetClient(self.clock, URL, connect=self.router.connect, **keywords)
        self.result(client.connect())
        return client

    def advance(self, seconds: float) -> None:
        """Let time go by, and messages arrive."""
        self.clock.advance(seconds)
        self.router.pump()

    def result(self, deferred: Deferred[_T]) -> _T:
        """
        :return: what a Deferred fires with, once all messages have arrived
        :raise Exception: what it fails with
        """
        outcomes: list[Any] = []
        errors: list[Any] = []
        deferred.addCallbacks(outcomes.append, errors.append)
        self.router.pump()
        if errors:
            errors[0].raiseException()
        assert outcomes, "it has not fired"
        value: _T = outcomes[0]
        return value

    def emit(self, name: str, numbers: Sequence[int], event: str = "TICK") -> None:
        """Emit events at a member."""
        for number in numbers:
            self.monitors[name].emit(event, {"n": number})


def recorder(into: list[Any]) -> Callable[..., None]:
    """:return: a receiver that keeps what it is called with"""
    return lambda *values: into.append(values if len(values) > 1 else values[0])

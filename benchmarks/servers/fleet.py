"""
Members of a fleet, and who calls them, beside bare sessions of Autobahn that do the same: C{python -m benchmarks.servers.fleet
URL}, which is told what to do, a line of JSON each, and answers with a line.

 - C{{"do": "join", "kind": "ours" | "bare", "first": n, "count": n}}: so many members join; what that took, and how much memory
   the process has before and after.
 - C{{"do": "call", "kind": ..., "calls": n, "window": n, "to": n}}: calls C{query-status} of that member so often.
 - C{{"do": "list", "kind": ...}}: who is there.
 - C{{"do": "listen"}}: counts the events of all members; C{{"do": "heard"}}: how many there were.
 - C{{"do": "emit"}}: each member of ours that is here emits an event.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from autobahn.twisted.wamp import ApplicationSession
from autobahn.twisted.websocket import WampWebSocketClientFactory
from autobahn.wamp.serializer import CBORSerializer
from autobahn.wamp.types import ComponentConfig, RegisterOptions
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.endpoints import clientFromString
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver

from twisted_qmon import CommandProvider, Event, Monitor
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.fleet.client import FleetClient
from twisted_qmon.fleet.router import Router
from twisted_qmon.fleet.service import MemberService

reactor: Any = global_reactor

#: How many join at a time.
JOINING = 50

#: The realm of the fleet.
REALM = "qmon"

STATUS = {"running": True, "singlestep": False, "status": "running"}


class News(CommandProvider):
    """One event."""

    events = (Event("NEWS", n=int),)


class Bare(ApplicationSession):  # type: ignore[misc]
    """
    A bare session.

    :param name: registers one procedure under it; empty: it calls
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(ComponentConfig(realm=REALM))
        self.name = name
        self.ready: Deferred[Bare] = Deferred()

    async def onJoin(self, details: Any) -> None:
        """It is there."""
        if self.name:
            await self.register(self.execute, f"bare.{self.name}.execute", RegisterOptions(details_arg="details"))
        self.ready.callback(self)

    def execute(self, name: str, arguments: Any, details: Any = None) -> Any:
        """A constant, for who is known."""
        return STATUS if details.caller_authid else None


_SERIALIZER = CBORSerializer()


async def bare(url: str, name: str = "") -> Bare:
    """:return: a bare session that has joined"""
    session = Bare(name)
    factory = WampWebSocketClientFactory(lambda: session, url=url, serializers=[_SERIALIZER], reactor=reactor)
    factory.noisy = False
    await clientFromString(reactor, f"tcp:{factory.host}:{factory.port}").connect(factory)
    return await session.ready


def resident() -> int:
    """:return: bytes of this process that are in memory"""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class Fleet(LineReceiver):
    """Does what it is told, one thing after the other."""

    delimiter = b"\n"

    def __init__(self, url: str) -> None:
        self.url = url
        self.monitors: list[Monitor] = []
        self.kept: list[object] = []
        self.sessions: dict[str, Any] = {}
        self.heard = 0

    def lineReceived(self, line: bytes) -> None:
        """A thing to do."""
        job = json.loads(line)
        does: Callable[[Mapping[str, Any]], Coroutine[Any, Any, Any]] = getattr(self, f"do_{job['do']}")
        Deferred.fromCoroutine(does(job)).addCallbacks(self.answer, lambda f: self.answer({"error": f.getTraceback()}))

    def answer(self, value: Any) -> None:
        """Write what it came to."""
        self.sendLine(json.dumps(value).encode())

    def connectionLost(self, reason: object = None) -> None:
        """No one tells it anything any more."""
        reactor.stop()

    # -- members

    async def do_join(self, job: Mapping[str, Any]) -> Any:
        names = [f"m-{job['first'] + number}" for number in range(job["count"])]
        ours = job["kind"] == "ours"
        rules = parse_rules({"grant": [{"who": ["fleet:*"], "level": "admin"}]}, "rules")
        for name in names if ours else ():
            monitor = Monitor(name, reactor, access=Access(rules))
            monitor.register(News())
            self.monitors.append(monitor)
        before, began = resident(), time.perf_counter()
        gate = DeferredSemaphore(JOINING)
        pairs = zip(names, self.monitors[-len(names) :] if ours else names, strict=True)
        join = self._join_ours if ours else self._join_bare
        await gatherResults(
            [gate.run(lambda n=name, m=monitor: Deferred.fromCoroutine(join(n, m))) for name, monitor in pairs]
        )
        return {"seconds": time.perf_counter() - began, "before": before, "after": resident()}

    async def _join_ours(self, name: str, monitor: Any) -> None:
        service = MemberService(reactor, monitor, Router.parse(self.url), name)
        self.kept.append(service)
        service.startService()
        await service.when_joined()

    async def _join_bare(self, name: str, unused: object) -> None:
        self.kept.append(await bare(self.url, name))

    # -- callers

    async def _session(self, kind: str) -> Any:
        if kind not in self.sessions:
            self.sessions[kind] = (
                await FleetClient(reactor, self.url).connect() if kind == "ours" else await bare(self.url)
            )
        return self.sessions[kind]

    async def do_call(self, job: Mapping[str, Any]) -> Any:
        session = await self._session(job["kind"])
        if job["kind"] == "ours":
            member = session.member(f"m-{job['to']}")

            def call() -> Deferred[Any]:
                return member.execute("query-status")
        else:
            procedure = f"bare.m-{job['to']}.execute"

            def call() -> Deferred[Any]:
                return session.call(procedure, "query-status", {})

        left = job["calls"]

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                assert await call() == STATUS

        cpu, began = time.process_time(), time.perf_counter()
        await gatherResults([Deferred.fromCoroutine(caller()) for _ in range(job["window"])])
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}

    async def do_list(self, job: Mapping[str, Any]) -> Any:
        client = await self._session("ours")
        began = time.perf_counter()
        names = await client.members()
        return {"seconds": time.perf_counter() - began, "members": len(names)}

    # -- events

    async def do_listen(self, job: Mapping[str, Any]) -> Any:
        client = await self._session("ours")

        def happened(publication: object) -> None:
            self.heard += 1

        client.subscribe(happened)
        await client.members()
        return {}

    async def do_heard(self, job: Mapping[str, Any]) -> Any:
        return {"events": self.heard}

    async def do_emit(self, job: Mapping[str, Any]) -> Any:
        began = time.perf_counter()
        for monitor in self.monitors:
            monitor.emit("NEWS", {"n": 1})
        return {"seconds": time.perf_counter() - began}


def main() -> None:
    """Wait for what is to be done."""
    StandardIO(Fleet(sys.argv[1]))
    reactor.run()


if __name__ == "__main__":
    main()

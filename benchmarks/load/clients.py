"""
Clients side by side, each a process of its own, all in front of the same bare server.

As a program (C{python -m benchmarks.load.clients KIND SOCKET}) this is one of those processes: it reads jobs and answers
with figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import Process, serve

_COMMANDS = ("query-version", "query-name", "query-status")


async def _ping_pong(execute: Callable[[str], Awaitable[Any]], seconds: float) -> int:
    done = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await execute(_COMMANDS[done % 3])
        done += 1
    return done


def _answer(done: int, started: float, cpu: float) -> None:
    figures = {"requests": done, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    print(json.dumps(figures), flush=True)


def _run_twisted(execute: Callable[[str], Any], finished: Callable[[], None]) -> Any:
    from twisted.internet.defer import Deferred, gatherResults

    async def gathered(window: int, seconds: float) -> int:
        done = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await gatherResults([execute(_COMMANDS[n % 3]) for n in range(window)])
            done += window
        return done

    async def serve_jobs() -> None:
        for line in sys.stdin:
            job = json.loads(line)
            started, cpu = time.perf_counter(), time.process_time()
            if job["window"] == 1:
                done = await _ping_pong(execute, job["seconds"])
            else:
                done = await gathered(job["window"], job["seconds"])
            _answer(done, started, cpu)
        finished()

    return Deferred.fromCoroutine(serve_jobs())


def _twisted(kind: str, address: str) -> None:
    import msgspec
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import UNIXClientEndpoint
    from twisted.internet.protocol import Factory
    from twisted.protocols.basic import LineOnlyReceiver

    class Minimal(LineOnlyReceiver):
        """The least that could be called a client: no negotiation, no timeouts, no errors, no events."""

        delimiter = b"\n"

        def connectionMade(self) -> None:
            self.number = 0
            self.waiting: dict[int, Deferred[Any]] = {}

        def lineReceived(self, line: bytes) -> None:
            message = msgspec.json.decode(line)
            if "id" in message and message["id"] is not None:
                self.waiting.pop(message["id"]).callback(message["return"])

        def execute(self, name: str) -> Deferred[Any]:
            self.number += 1
            done = self.waiting[self.number] = Deferred()
            self.sendLine(msgspec.json.encode({"execute": name, "id": self.number}))
            return done

    async def run() -> None:
        endpoint = UNIXClientEndpoint(reactor, address)
        if kind == "ours":
            from twisted_qmon import QMPClient

            execute = (await QMPClient.connect(endpoint)).execute
        else:
            execute = (await endpoint.connect(Factory.forProtocol(Minimal))).execute
        print("ready", flush=True)
        await _run_twisted(execute, reactor.stop)  # type: ignore[attr-defined]

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()))  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


async def _qemu_qmp(address: str) -> None:
    import asyncio
    import logging

    from qemu.qmp import QMPClient

    logging.disable(logging.CRITICAL)
    client = QMPClient("benchmark")
    await client.connect(address)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        started, cpu = time.perf_counter(), time.process_time()
        if job["window"] == 1:
            done = await _ping_pong(client.execute, job["seconds"])
        else:
            done = 0
            end = started + job["seconds"]
            while time.perf_counter() < end:
                await asyncio.gather(*(client.execute(_COMMANDS[n % 3]) for n in range(job["window"])))
                done += job["window"]
        _answer(done, started, cpu)
    await client.disconnect()


def _measure(title: str, window: int, goals: dict[str, float], pairs: int, seconds: float) -> Iterable[Row]:
    kinds = {"ours": "ours", "minimal": "minimal Twisted client", "qemu.qmp": "qemu.qmp"}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        address = str(Path(folder) / "qmp.sock")
        server = serve("greeting", address)
        clients: list[Process] = []
        try:
            for kind in kinds:
                clients.append(Process([sys.executable, "-m", "benchmarks.load.clients", kind, address]))
                clients[-1].line()
            found: list[list[dict[str, Any]]] = [[] for _ in clients]
            for turn in range(pairs + 1):
                for n in range(len(clients)):
                    n = (n + turn) % len(clients)
                    found[n].append(clients[n].ask({"window": window, "seconds": seconds}))
            # The first round warms up.
            rates = [[each["requests"] / each["seconds"] for each in mine[1:]] for mine in found]
            for n, (kind, name) in enumerate(kinds.items()):
                yield Row(
                    title,
                    name,
                    rate=median(rates[n]),
                    ratio=paired_ratio(rates[0], rates[n]) if n else None,
                    goal=goals.get(kind),
                    cpu=sum(each["cpu"] for each in found[n]) / sum(each["requests"] for each in found[n]) * 1000,
                    memory=clients[n].peak_memory(),
                )
        finally:
            for each in (*clients, server):
                each.close()


def ping_pong(pairs: int, seconds: float) -> Iterable[Row]:
    """One request after the other."""
    return _measure("client, ping-pong", 1, {"minimal": 0.8}, pairs, seconds)


def gathered(pairs: int, seconds: float) -> Iterable[Row]:
    """64 at once."""
    return _measure("client, 64 gathered", 64, {"qemu.qmp": 4.0}, pairs, seconds)


MEASUREMENTS = {"client": ping_pong, "gathered": gathered}


def main() -> None:
    """Be one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("ours", "minimal", "qemu.qmp"))
    parser.add_argument("socket")
    options = parser.parse_args()
    if options.kind == "qemu.qmp":
        import asyncio

        asyncio.run(_qemu_qmp(options.socket))
    else:
        _twisted(options.kind, options.socket)


if __name__ == "__main__":
    main()

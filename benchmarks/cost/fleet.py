"""
What a fleet costs beside bare sessions of Autobahn at the same router: a call, a command at 500 members, the memory of a member.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import Process
from benchmarks.servers.router import Router, fleet_process, have_router, processor_time, routing

#: How many members there are, where there are many.
MANY = 500

# What a person would write who has nothing but Autobahn: all calls at once, a line for each result.
_BARE = """
import json, sys
from autobahn.twisted.component import Component
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

component = Component(transports=[{"type": "websocket", "url": sys.argv[1], "serializers": ["cbor"]}], realm="qmon")

@component.on_join
async def joined(session, details):
    def show(result, name):
        sys.stdout.write(json.dumps({"member": name, "return": result}) + "\\n")
    names = [f"m-{number}" for number in range(int(sys.argv[2]))]
    calls = [session.call(f"bare.{name}.execute", "query-status", {}).addCallback(show, name) for name in names]
    await gatherResults(calls)
    session.leave()

component.start(reactor).addBoth(lambda _: reactor.stop())
reactor.run()
"""


@contextmanager
def _processes(router: Router, number: int) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        made = [fleet_process(router) for _ in range(number)]
        for each in made:
            stack.callback(each.close)
        yield made


def _join(process: Process, kind: str, first: int, count: int) -> dict[str, Any]:
    answer: dict[str, Any] = process.ask({"do": "join", "kind": kind, "first": first, "count": count})
    return answer


class _Calls:
    """Calls of a member of ours and of a bare one, each from a process of its own."""

    def __init__(self, router: Router, made: list[Process]) -> None:
        ours, bare, calls_ours, calls_bare = made
        self._callers = {"ours": calls_ours, "bare": calls_bare}
        self._pids = {
            "ours": (ours.pid, calls_ours.pid, router.pid),
            "bare": (bare.pid, calls_bare.pid, router.pid),
        }
        _join(ours, "ours", 0, 1)
        _join(bare, "bare", 0, 1)

    def once(self, kind: str, window: int, count: int) -> tuple[float, float]:
        """:return: calls a second, and seconds of processor time of all three processes for each"""
        before = sum(map(processor_time, self._pids[kind]))
        took = self._callers[kind].ask({"do": "call", "kind": kind, "to": 0, "window": window, "calls": count})
        return count / float(took["seconds"]), (sum(map(processor_time, self._pids[kind])) - before) / count


def calls(pairs: int, seconds: float) -> Iterable[Row]:
    """A call through the router, one at a time and 64 at a time: calls a second, and processor time."""
    if not have_router():
        return
    with routing() as router, _processes(router, 4) as made:
        measured = _Calls(router, made)
        for window, title in ((1, "a call through the router"), (64, "a call through the router, 64 at a time")):
            # The kernel counts processor time in hundredths of a second.
            count = max(500, int(seconds * measured.once("bare", window, 500)[0]))
            measured.once("ours", window, count)
            found: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
            for number in range(pairs):
                for kind in ("ours", "bare") if number % 2 else ("bare", "ours"):
                    found[kind].append(measured.once(kind, window, count))
            rates, costs = ({kind: [each[n] for each in found[kind]] for kind in found} for n in (0, 1))
            for kind, name in (("ours", "ours"), ("bare", "bare Autobahn")):
                ratio = paired_ratio(rates["ours"], rates["bare"]) if kind == "bare" else None
                goal = 0.8 if kind == "bare" else None
                yield Row(title, name, rate=median(rates[kind]), ratio=ratio, goal=goal, cpu=median(costs[kind]))
            # Other load of the machine hits who waits for three processes, one after the other, by chance.
            ratio = paired_ratio(costs["bare"], costs["ours"])
            yield Row(title, "bare, processor time", rate=median(costs["bare"]) * 1e6, unit="us", ratio=ratio, goal=0.8)


def _timed(words: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == MANY, done.stderr
    return time.perf_counter() - began


def scatter(pairs: int, seconds: float) -> Iterable[Row]:
    """C{qmon fleet URL '*' exec query-status} over many members, from the start of the program to its end."""
    if not have_router():
        return
    with routing() as router, _processes(router, 4) as made:
        for number, process in enumerate(made):
            _join(process, "ours" if number < 2 else "bare", number % 2 * MANY // 2, MANY // 2)
        programs = {
            "ours": [sys.executable, "-m", "twisted_qmon", "fleet", router.url, "*", "exec", "query-status"],
            "bare": [sys.executable, "-c", _BARE, router.url, str(MANY)],
        }
        took: dict[str, list[float]] = {kind: [_timed(words)] for kind, words in programs.items()}
        for number in range(min(pairs, 11)):
            for kind in ("ours", "bare") if number % 2 else ("bare", "ours"):
                took[kind].append(_timed(programs[kind]))
    title = f"query-status at {MANY} members"
    yield Row(title, "ours", rate=median(took["ours"][1:]) * 1000, unit="ms")
    ratio = paired_ratio(took["ours"][1:], took["bare"][1:])
    yield Row(
        title, "bare Autobahn", rate=median(took["bare"][1:]) * 1000, unit="ms", ratio=ratio, goal=1.5, smaller=True
    )


def memory(pairs: int, seconds: float) -> Iterable[Row]:
    """What a member takes where it is, without its monitor, and what it takes in the router."""
    if not have_router():
        return
    here: dict[str, list[float]] = {"ours": [], "bare": []}
    there: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(3):
        with routing() as router, _processes(router, 2) as made:
            for kind, process in zip(("ours", "bare") if number % 2 else ("bare", "ours"), made, strict=True):
                # What is imported and grown once is not a member's.
                _join(process, kind, 10 * MANY, 50)
                before = router.memory()
                took = _join(process, kind, 0, MANY)
                here[kind].append((took["after"] - took["before"]) / MANY)
                there[kind].append((router.memory() - before) / MANY)
    for title, found in (("memory of a member", here), ("memory of a member in the router", there)):
        yield Row(title, "ours", rate=median(found["ours"]), unit="bytes")
        ratio = paired_ratio(found["ours"], found["bare"])
        yield Row(title, "bare Autobahn", rate=median(found["bare"]), unit="bytes", ratio=ratio, goal=1.3, smaller=True)


MEASUREMENTS: dict[str, Callable[[int, float], Iterable[Row]]] = {
    "fleet-calls": calls,
    "fleet-scatter": scatter,
    "fleet-memory": memory,
}

"""
What the commands that look closer at the process cost while they run: by how much other code is slower meanwhile, and alone

    python -m benchmarks.cost.diagnose [OBJECTS]

A process with OBJECTS (1,000,000) objects more than it needs runs each command once. A probe in its reactor, called as often as
the reactor turns, says for how long it stood still. The slowdowns are ratios of processor time, the best of five, interleaved.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

from twisted.internet import reactor
from twisted.internet.defer import Deferred, setDebugging
from twisted.internet.task import deferLater

from benchmarks.report.stats import Ratio
from benchmarks.report.table import Row
from twisted_qmon import Monitor
from twisted_qmon.providers.diagnose import Diagnose


class Probe:
    """Called in each turn of the reactor: notes the longest time between two calls."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._last = time.perf_counter()
        self._running = True
        reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        now = time.perf_counter()
        self.worst = max(self.worst, now - self._last)
        self._last = now
        if self._running:
            reactor.callLater(0.0005, self._turn)

    def stop(self) -> float:
        """:return: the longest time"""
        self._running = False
        return max(self.worst, time.perf_counter() - self._last)


class Thing:
    """An object as programs have them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pair = (number, self)


def fibonacci(n: int) -> int:
    """Code that does nothing but call."""
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def text_work() -> int:
    """Code as servers have it: strings, dictionaries, calls of the library."""
    import json

    return sum(len(json.dumps({"id": n, "name": f"n{n}", "values": list(range(20))})) for n in range(2000))


def allocate() -> int:
    """Code that allocates and frees."""
    return sum(len([str(n), [n], {n: n}]) for n in range(50_000))


def deferreds() -> int:
    """Code that makes Deferreds."""
    return len([Deferred() for _ in range(300)])


def ratio(function: Callable[[], int], on: Callable[[], object], off: Callable[[], object]) -> float:
    """:return: the processor time of a function between on and off, to that without"""
    best = [1e9, 1e9]
    for _ in range(5):
        for index in (0, 1):
            if index:
                on()
            began = time.process_time()
            function()
            best[index] = min(best[index], time.process_time() - began)
            if index:
                off()
    return best[1] / best[0]


async def measured(monitor: Monitor, name: str, arguments: dict[str, object]) -> object:
    """Run a command, and print its processor time and how long the reactor stood still."""
    await deferLater(reactor, 0.05)
    probe = Probe()
    began, wall = time.process_time(), time.perf_counter()
    result = await monitor.execute(name, arguments)
    cpu, took = time.process_time() - began, time.perf_counter() - wall
    print(
        f"{name} {arguments}: {cpu:.2f} s of a processor in {took:.2f} s; the reactor stood still for {probe.stop() * 1e3:.0f} ms"
    )
    return result


async def main(count: int) -> None:
    """Measure everything."""
    import gc

    monitor = Monitor(clock=reactor)
    monitor.register(Diagnose(reactor))
    things = [Thing(n) for n in range(count // 2)]
    gc.collect()
    began = time.perf_counter()
    number = len(gc.get_objects())
    took = (time.perf_counter() - began) * 1e3
    print(f"{number:,} objects ({len(things):,} of ours with a tuple each); the list of them alone takes {took:.0f} ms")
    for _ in range(2):
        await measured(monitor, "query-objects", {})
    await measured(monitor, "query-tasks", {})
    waiting = [Deferred().addCallback(lambda _: None) for _ in range(50_000)]
    await measured(monitor, "query-tasks", {})
    print(f"  with {len(waiting):,} Deferreds that wait")
    waiting.clear()
    await monitor.execute("memory-trace", {"action": "start"})
    more = [[n] for n in range(count)]
    await measured(monitor, "memory-trace", {"action": "top"})
    info = await measured(monitor, "memory-trace", {"action": "top"})
    blocks = info["blocks"]
    print(f"  with {blocks:,} blocks traced, which occupies {info['overhead'] / blocks:.0f} bytes each")
    await monitor.execute("memory-trace", {"action": "stop"})
    more.clear()
    for row in slowdowns(1, 0):
        print(f"{row.workload}, {row.contender}: {row.rate:.1f} times the processor time")


def slowdowns(pairs: int, seconds: float) -> Iterator[Row]:
    """By how much code is slower that runs while something looks."""
    programs = (("nothing but allocations", allocate), ("strings and JSON", text_work))
    for name, function in programs:
        yield _slower("while memory-trace is on", name, ratio(function, tracemalloc.start, tracemalloc.stop))
    each = ratio(deferreds, lambda: setDebugging(True), lambda: setDebugging(False))
    yield _slower("while task-trace is on", "making a Deferred", each)
    try:
        from pyinstrument import Profiler
    except ImportError:
        return
    for name, function in (("nothing but calls", lambda: fibonacci(20)), ("strings and JSON", text_work)):
        profiler = Profiler(interval=0.001, async_mode="disabled")
        yield _slower("while a profile is made", name, ratio(function, profiler.start, profiler.stop))


def _slower(title: str, name: str, factor: float) -> Row:
    return Row(title, name, rate=factor, unit="times CPU", ratio=Ratio(factor, factor, factor))


MEASUREMENTS = {"diagnose": slowdowns}


if __name__ == "__main__":
    objects = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    done = Deferred.fromCoroutine(main(objects))
    done.addErrback(lambda failure: failure.printTraceback())
    done.addBoth(lambda _: reactor.stop())
    reactor.run()

"""
The contenders of a workload, measured in turn by the load.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load.workloads import Contender, Workload
from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import Process, have, load, serve


def interleave(number: int, pairs: int) -> Iterable[list[int]]:
    """The order of each round: every contender once, and none always first."""
    for turn in range(pairs):
        order = [(turn + n) % number for n in range(number)]
        yield order if turn % 2 else order[::-1]


def measurement(workload: Workload, against: str = "") -> Callable[[int, float], Iterable[Row]]:
    """
    :param against: only contenders with this in their name, besides ours
    :return: what measures a workload
    """
    first, *others = workload.contenders
    contenders = (first, *(each for each in others if against in each.title))

    def rows(pairs: int, seconds: float) -> Iterable[Row]:
        driver = load()
        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                yield from _measure(workload, contenders, driver, Path(folder), pairs, seconds)
        finally:
            driver.close()

    return rows


def _measure(
    workload: Workload, wanted: Iterable[Contender], driver: Process, folder: Path, pairs: int, seconds: float
) -> Iterable[Row]:
    """Start the contenders, measure them in turn, end them."""
    contenders = [each for each in wanted if have(each.server)]
    servers = [serve(each.server, str(folder / f"{n}.sock")) for n, each in enumerate(contenders)]
    try:

        def once(n: int, seconds: float) -> dict[str, Any]:
            job = {
                "seconds": seconds,
                "dialect": contenders[n].dialect,
                "address": str(folder / f"{n}.sock"),
                "process": servers[n].pid,
                **workload.job,
                **contenders[n].job,
            }
            answer: dict[str, Any] = driver.ask(job)
            return answer

        for n in range(len(contenders)):
            once(n, min(seconds, 0.1))
        found: list[list[dict[str, Any]]] = [[] for _ in contenders]
        for order in interleave(len(contenders), min(pairs, workload.most)):
            for n in order:
                found[n].append(once(n, seconds))
        yield from _rows(workload, contenders, found, [each.peak_memory() for each in servers])
    finally:
        for each in servers:
            each.close()


def _rows(
    workload: Workload, contenders: list[Contender], found: list[list[dict[str, Any]]], memory: list[float]
) -> Iterable[Row]:
    rates = [[each["requests"] / each["seconds"] for each in mine] for mine in found]
    for n, contender in enumerate(contenders):
        requests = sum(each["requests"] for each in found[n])
        yield Row(
            workload.title,
            contender.title,
            rate=median(rates[n]),
            ratio=paired_ratio(rates[0], rates[n]) if n else None,
            goal=contender.goal,
            cpu=sum(each["cpu"] for each in found[n]) / requests * 1000,
            memory=memory[n],
        )

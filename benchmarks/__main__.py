"""
Side by side: C{python -m benchmarks} measures everything and prints one table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cost import growth, ssh_echo, startup, terminal
from benchmarks.load import clients
from benchmarks.load.workloads import WORKLOADS, Contender, Workload
from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row, print_header, print_row
from benchmarks.servers.contenders import Process, have, load, serve

#: Measurements in this process, or of whole programs: by name.
OTHERS: dict[str, Callable[[int, float], Iterable[Row]]] = {
    **clients.MEASUREMENTS,
    **growth.MEASUREMENTS,
    **ssh_echo.MEASUREMENTS,
    **startup.MEASUREMENTS,
    **terminal.MEASUREMENTS,
}


def interleave(number: int, pairs: int) -> Iterable[list[int]]:
    """The order of each round: every contender once, and none always first."""
    for turn in range(pairs):
        order = [(turn + n) % number for n in range(number)]
        yield order if turn % 2 else order[::-1]


def measure(
    workload: Workload, driver: Process, folder: Path, pairs: int, seconds: float, against: str
) -> Iterable[Row]:
    """Start the contenders, measure them in turn, end them."""
    first, *others = workload.contenders
    contenders = [first, *(each for each in others if have(each.server) and against in each.title)]
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
        for order in interleave(len(contenders), pairs):
            for n in order:
                found[n].append(once(n, seconds))
        yield from _rows(workload, contenders, found, [each.peak_memory() for each in servers])
    finally:
        for each in servers:
            each.close()
        for path in folder.iterdir():
            path.unlink()


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


def main() -> int:
    """:return: 0, also when a goal is missed: a table is no test"""
    names = [each.name for each in WORKLOADS] + list(OTHERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"all, or some of: {', '.join(names)}")
    parser.add_argument("--pairs", type=int, default=31, help="measurements of each contender (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement (default: %(default)s)")
    parser.add_argument("--against", default="", metavar="TEXT", help="only contenders with this in their name")
    parser.add_argument("--list", action="store_true", help="say which workloads there are")
    options = parser.parse_args()
    if options.list:
        print("\n".join(names))
        return 0
    unknown = set(options.workload) - set(names)
    if unknown or options.pairs < 1:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}" if unknown else "at least one pair")
    wanted = options.workload or names
    print_header()
    driver = load()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for workload in WORKLOADS:
                if workload.name in wanted:
                    for row in measure(workload, driver, Path(folder), options.pairs, options.seconds, options.against):
                        print_row(row)
    finally:
        driver.close()
    for name, rows in OTHERS.items():
        if name in wanted:
            for row in rows(options.pairs, options.seconds):
                print_row(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())

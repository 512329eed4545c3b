"""
A fleet of ten thousand, simulated in a few processes on one machine: joining, listing, one command at all, one event of each::

    python -m benchmarks.cost.fleet_many [--members 10000] [--processes 4]

It says what each took, in seconds and in processor time of the router, and how much memory the router has. It needs a router
(C{QMON_CROSSBAR}), about 500 MiB, and as many open files as members: C{ulimit -n}.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.servers.contenders import ROOT, Process
from benchmarks.servers.router import Router, fleet_process, processor_time, routing

#: Seconds that anything may take.
PATIENCE = 300.0


@contextmanager
def _taking(router: Router, title: str, members: int) -> Iterator[None]:
    """Print what it took."""
    began, cpu = time.perf_counter(), processor_time(router.pid)
    yield
    took, cpu = time.perf_counter() - began, processor_time(router.pid) - cpu
    print(
        f"{title:42}{took:8.2f} s, router: {cpu:6.2f} s of processor time ({cpu / members * 1e6:,.0f} us a member), "
        f"{router.memory() / (1 << 20):,.0f} MiB",
        flush=True,
    )


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {PATIENCE:g} s")
        time.sleep(0.05)


def _all(processes: list[Process], questions: list[dict[str, Any]]) -> list[Any]:
    """Ask all of them at the same time."""
    for process, question in zip(processes, questions, strict=True):
        process.send(question)
    return [process.take() for process in processes]


def run(members: int, number: int) -> None:
    """Measure, and print."""
    with routing() as router, ExitStack() as stack:
        processes = [fleet_process(router) for _ in range(number + 1)]
        for each in processes:
            stack.callback(each.close)
        *hosts, caller = processes
        share = members // number
        members = share * number
        print(f"{members:,} members in {number} processes; the router has {router.memory() / (1 << 20):,.0f} MiB")
        caller.ask({"do": "list"})
        with _taking(router, "joining", members):
            jobs = [{"do": "join", "kind": "ours", "first": n * share, "count": share} for n in range(number)]
            took = _all(hosts, jobs)
        each = sum(one["after"] - one["before"] for one in took) / members
        print(f"{'a member, in its own process':42}{each:8,.0f} bytes, without its monitor")
        with _taking(router, "listing", members):
            found = caller.ask({"do": "list"})["members"]
        assert found == members, found
        words = [sys.executable, "-m", "twisted_qmon", "fleet", router.url, "*", "exec", "query-status"]
        with _taking(router, "qmon fleet URL '*' exec query-status", members):
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.stdout.count('"return"') == members, done.stdout[-300:] + done.stderr
        caller.ask({"do": "listen"})
        with _taking(router, "an event of each, to one who listens", members):
            _all(hosts, [{"do": "emit"}] * number)
            _until(lambda: bool(caller.ask({"do": "heard"})["events"] >= members))
        with _taking(router, "leaving", members):
            for host in hosts:
                host.popen.kill()
                host.popen.wait()
            _until(lambda: bool(caller.ask({"do": "list"})["members"] == 0))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost.fleet_many", description=__doc__)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = options.members + 200
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    run(options.members, options.processes)


if __name__ == "__main__":
    main()

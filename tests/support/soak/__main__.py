"""
Everything switched on, for as long as wanted, and nothing may grow: C{python -m tests.support.soak --minutes 30}.

Clients of every kind live and die for some seconds; then all of them leave, and when nothing goes on any more, each process is
looked at. That is repeated. Memory, descriptors, threads, pending requests and sessions must be flat over the last two thirds of
the time, by regression; and there may be no traceback in a log, no wrong or missing reply, no event missing.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from random import Random

from tests.live.twistd_process import Twistd
from tests.support.soak.figures import Sample, look, trend
from tests.support.soak.lives import LIVES, Broken, follow
from tests.support.soak.stage import Stage

#: Seconds until nothing may go on any more after all clients have left.
SETTLE = 30.0


class Soak:
    """
    One run.

    :param stage: the processes
    :param seed: of what the clients do
    :param workers: how many clients live at a time
    """

    def __init__(self, stage: Stage, seed: int, workers: int) -> None:
        self.stage = stage
        self.seed = seed
        self.workers = workers
        self.lived: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.faults: list[str] = []
        self.samples: dict[str, list[Sample]] = {"monitor": [], "proxy": []}
        self.followed = (0, 0)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, minutes: float, play: float) -> None:
        """Play, and look, until the time is over."""
        follower = threading.Thread(target=self._follow)
        follower.start()
        try:
            number = 0
            while self._minutes() < minutes and len(self.faults) < 10:
                number += 1
                self._play(number, play)
                self._look(self.stage.ours, "monitor", clients=2)
                self._look(self.stage.proxy, "proxy", clients=1)
                if number % 10 == 0:
                    self._print_line(number)
        finally:
            self._ended = True
            follower.join()

    def _minutes(self) -> float:
        return (time.monotonic() - self._began) / 60

    def _follow(self) -> None:
        try:
            self.followed = follow(self.stage, lambda: self._ended)
        except Exception:
            self.faults.append(f"the follower: {traceback.format_exc()}")

    def _play(self, number: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        workers = [
            threading.Thread(target=self._work, args=(Random(f"{self.seed} {number} {n}"), end))
            for n in range(self.workers)
        ]
        for each in workers:
            each.start()
        # Often: what it takes to read another schema is taken once, but some turns later than the first time.
        if number % 2:
            self.stage.restart_qemu()
        for each in workers:
            each.join()
        self.stage.connected()

    def _work(self, choose: Random, end: float) -> None:
        lives, weights = list(LIVES), list(LIVES.values())
        while time.monotonic() < end:
            (life,) = choose.choices(lives, weights)
            try:
                requests = life(self.stage, choose)
            except (Broken, AssertionError, OSError, EOFError, ValueError):
                self.faults.append(f"{life.__name__} after {self._minutes():.2f} min: {traceback.format_exc()}")
                return
            with self._lock:
                self.lived[life.__name__] += 1
                self.requests[life.__name__] += requests
            time.sleep(choose.uniform(0, 0.05))

    def _look(self, process: Twistd, name: str, clients: int) -> None:
        """Wait until nothing goes on, and look."""
        qmp = self.stage.qmp(process)
        try:
            end = time.monotonic() + SETTLE
            while True:
                pending = len(qmp.execute("query-pending"))
                # The web session of a token lasts, whatever becomes of its connections.
                sessions = sum(each["kind"] != "web" for each in qmp.execute("query-connections-monitor"))
                # Its own request is not pending any more where it is answered.
                if (pending, sessions) == (0, clients) or time.monotonic() > end:
                    break
                time.sleep(0.1)
            time.sleep(0.2)
            self.samples[name].append(look(process.popen.pid, self._minutes(), pending, sessions))
        finally:
            qmp.close()

    def _print_line(self, number: int) -> None:
        parts = [
            f"{name}: {each[-1].memory:.1f} MiB, {each[-1].descriptors} descriptors, {each[-1].pending} pending"
            for name, each in self.samples.items()
        ]
        print(f"{self._minutes():6.1f} min, round {number}: {'; '.join(parts)}; {len(self.faults)} faults", flush=True)

    # -- the report

    def report(self) -> bool:
        """Print what was found. :return: whether all is well"""
        print("\n| life | clients | requests |\n| --- | ---: | ---: |")
        for name in sorted(self.lived):
            print(f"| {name} | {self.lived[name]:,} | {self.requests[name]:,} |")
        print(f"| all | {self.lived.total():,} | {self.requests.total():,} |")
        came, lost = self.followed
        print(f"\n{came:,} events were followed by number, none missing but {lost:,} that had left the history\n")
        good = [self._report_trends(name) for name in self.samples]
        for fault in self.faults:
            print(f"FAULT {fault}")
        tracebacks = self.stage.tracebacks()
        print(f"\n{len(tracebacks)} tracebacks in the logs, {len(self.faults)} wrong answers, seed {self.seed}")
        for text in tracebacks[:5]:
            print(text)
        return all(good) and not self.faults and not tracebacks

    def _report_trends(self, process: str) -> bool:
        samples = self.samples[process]
        if len(samples) < 6:
            print(f"{process}: {len(samples)} looks are too few")
            return False
        good = True
        print(f"| {process} | first | 1/3 | last | most | growth in the last 2/3, 95 % | flat |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
        times = [each.minutes for each in samples]
        third = next(n for n, when in enumerate(times) if when >= times[-1] / 3)
        for figure in ("memory", "descriptors", "threads", "pending", "clients"):
            values = [float(getattr(each, figure)) for each in samples]
            found = trend(times, values, memory=figure == "memory")
            flat = found.flat and (figure != "pending" or max(values) == 0)
            good &= flat
            shown = " | ".join(
                f"{value:.1f}".removesuffix(".0") for value in (values[0], values[third], values[-1], max(values))
            )
            print(f"| {figure}{' MiB' if figure == 'memory' else ''} | {shown} | {found} | {'yes' if flat else 'NO'} |")
        share = (samples[-1].cpu - samples[0].cpu) / 60 / (times[-1] - times[0])
        print(f"\n{process}: {len(samples)} looks in {times[-1]:.1f} minutes, {share:.0%} of a processor\n")
        return good

    def write(self, path: Path) -> None:
        """Write all looks as CSV."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["process", *(field.name for field in fields(Sample))])
            for name, samples in self.samples.items():
                for each in samples:
                    writer.writerow([name, *(round(value, 3) for value in asdict(each).values())])


def main() -> int:
    """:return: 0 if nothing grew and nothing went wrong"""
    parser = argparse.ArgumentParser(prog="python -m tests.support.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="of what the clients do (default: the time)")
    parser.add_argument("--clients", type=int, default=6, help="that live at a time (default: %(default)s)")
    parser.add_argument("--play", type=float, default=4.0, help="seconds of each round (default: %(default)s)")
    parser.add_argument("--csv", type=Path, default=None, help="a file for all looks")
    parser.add_argument("--nice", type=int, default=0, help="be so much less important than others")
    parser.add_argument("--fleet", action="store_true", help="behind a router, too: Crossbar.io, $QMON_CROSSBAR")
    options = parser.parse_args()
    os.nice(options.nice)
    # What was started is ended then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with Stage(with_fleet=options.fleet) as stage:
        soak = Soak(stage, seed, options.clients)
        try:
            soak.run(options.minutes, options.play)
        except KeyboardInterrupt:
            print("interrupted")
        finally:
            good = soak.report()
            if options.csv is not None:
                soak.write(options.csv)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

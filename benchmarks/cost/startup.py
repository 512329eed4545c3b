"""
How long C{twistd qmon} takes until it listens, against the least plugin that listens through strports.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT

TRIVIAL = """
from twisted.application.service import ServiceMaker
trivial = ServiceMaker("trivial", "trivial_service", "The least that listens.", "trivial")
"""

TRIVIAL_SERVICE = """
from twisted.application import strports
from twisted.internet.protocol import Factory, Protocol
from twisted.python import usage

class Options(usage.Options):
    optParameters = [["listen", None, "unix:trivial.sock", "where"]]

def makeService(options):
    return strports.service(options["listen"], Factory.forProtocol(Protocol))
"""


def _seconds_to_listen(argv: list[str], address: Path, folder: Path) -> float:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        # Byte code is kept, as it is of an installed package.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
    }
    started = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(address))
                    return time.perf_counter() - started
                except OSError:
                    time.sleep(0.001)
        raise RuntimeError(f"{argv} ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()
        address.unlink(missing_ok=True)


def start(pairs: int, seconds: float) -> Iterable[Row]:
    """Both in turn, each with a warm cache of plugins and byte code."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "twisted" / "plugins").mkdir(parents=True)
        (folder / "twisted" / "plugins" / "trivial_plugin.py").write_text(TRIVIAL)
        (folder / "trivial_service.py").write_text(TRIVIAL_SERVICE)
        address = folder / "it.sock"
        runner = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
        twistd = [sys.executable, "-c", runner, "-n", "--pidfile=", "--logfile=log"]
        commands = (
            ("twistd qmon", [*twistd, "qmon", "--qmp", f"unix:{address}"]),
            ("trivial plugin", [*twistd, "trivial", "--listen", f"unix:{address}:lockfile=0"]),
        )
        times: list[list[float]] = [[], []]
        for turn in range(pairs + 1):
            for n in (0, 1) if turn % 2 else (1, 0):
                taken = _seconds_to_listen(commands[n][1], address, folder)
                if turn:
                    times[n].append(taken)
        for n, (title, _) in enumerate(commands):
            yield Row(
                "start-up until it listens",
                title,
                rate=median(times[n]) * 1000,
                unit="ms",
                ratio=paired_ratio(times[0], times[1]) if n else None,
                goal=1.3 if n else None,
                smaller=True,
            )


MEASUREMENTS: dict[str, Callable[[int, float], Iterable[Row]]] = {"start": start}

"""
A router for what is measured of a fleet: that of the documentation, without tickets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks.servers.contenders import ROOT, Process

__all__ = ["Router", "fleet_process", "have_router", "processor_time", "routing"]

_EXAMPLE = ROOT / "docs" / "examples" / "fleet"


def have_router() -> bool:
    """:return: whether a router can be started here: C{$QMON_CROSSBAR}, or C{crossbar} on the C{PATH}"""
    return shutil.which(os.environ.get("QMON_CROSSBAR") or "crossbar") is not None


class Router:
    """
    :ivar url: where it is
    :ivar pid: of the process that routes
    """

    def __init__(self, url: str, popen: subprocess.Popen[bytes]) -> None:
        self.url = url
        children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()
        [self.pid] = map(int, children)

    def memory(self) -> int:
        """:return: bytes that are in memory"""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096


def processor_time(pid: int) -> float:
    """:return: seconds of processor time that a process has had"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def routing() -> Iterator[Router]:
    """:return: a router, until the end"""
    sys.path.insert(0, str(_EXAMPLE))
    try:
        play = import_module("play")
    finally:
        sys.path.remove(str(_EXAMPLE))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        port = play.free_port()
        play.configure(Path(folder), port, "router-open.yaml")
        popen = play.start_router(Path(folder), port, "router-open.yaml")
        try:
            yield Router(f"ws://127.0.0.1:{port}/ws", popen)
        finally:
            play.stop([popen])


def fleet_process(router: Router) -> Process:
    """:return: a process of L{benchmarks.servers.fleet}"""
    return Process([sys.executable, "-m", "benchmarks.servers.fleet", router.url])

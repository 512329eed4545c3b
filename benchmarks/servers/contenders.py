"""
Who is measured: each a process that is started here, and ended here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
QEMU = "qemu-system-x86_64"


class Process:
    """
    A process that reads lines, answers lines, and ends when its input does.

    :param argv: its command
    """

    def __init__(self, argv: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT, text=True
        )
        self.pid = self.popen.pid

    def line(self) -> str:
        """
        :return: the next line
        :raise RuntimeError: when it ended
        """
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.popen.args} ended with status {self.popen.wait()}")
        return line

    def ask(self, question: Any) -> Any:
        """
        L{send} one JSON value and L{take} one.

        :raise RuntimeError: when it says that something went wrong
        """
        self.send(question)
        return self.take()

    def send(self, question: Any) -> None:
        """Send one JSON value."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(question) + "\n")
        self.popen.stdin.flush()

    def take(self) -> Any:
        """
        Wait for one JSON value.

        :raise RuntimeError: when it says that something went wrong
        """
        answer = json.loads(self.line())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def peak_memory(self) -> float:
        """:return: the most it has had resident, in MiB"""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)", status)
        return int(found.group(1)) / 1024 if found else 0.0

    def close(self) -> None:
        """End it."""
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self.popen.wait(2)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def load() -> Process:
    """Start the load: by file name, so that it can't import what it measures."""
    return Process([sys.executable, "-I", str(ROOT / "benchmarks" / "load" / "load.py")])


def have(server: str) -> bool:
    """:return: whether a server can be started here"""
    if server.startswith("qemu"):
        return shutil.which(QEMU) is not None
    if "--uvloop" in server:
        try:
            import uvloop  # noqa: F401
        except ImportError:
            return False
    return True


def serve(server: str, address: str) -> Process:
    """
    Start a server.

    :param server: C{qemu}, C{qemu-human}, or the arguments of L{benchmarks.servers}
    :return: it listens at the unix socket C{address}
    """
    if server.startswith("qemu"):
        option = "-qmp" if server == "qemu" else "-monitor"
        argv = [
            QEMU,
            "-machine",
            "none",
            "-nodefaults",
            "-display",
            "none",
            option,
            f"unix:{address},server=on,wait=off",
        ]
        process = Process(argv)
        _wait_for(address)
        return process
    kind, *options = server.split()
    process = Process([sys.executable, "-m", "benchmarks.servers", kind, address, *options])
    process.line()
    return process


def _wait_for(address: str) -> None:
    for _ in range(500):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(address)
                return
            except OSError:
                time.sleep(0.01)
    raise RuntimeError(f"nobody listens at {address}")

"""
C{qmon} as a program, and the servers that it is tried with.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.needs import need
from tests.live.real_qemu import RealQemu
from tests.live.twistd_process import PATIENCE, ROOT, Program, Twistd, until

__all__ = ["SERVERS", "COMMAND", "Qmon", "environment", "next_event", "ours", "serving"]

#: The program and the words before its own.
COMMAND = [sys.executable, "-m", "twisted_qmon"]

#: The kinds of servers that C{qmon} is for.
SERVERS = ("ours", "qemu", "proxy", "storage-daemon")


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """:return: a plain environment: no colours asked for or refused, all state below the folder"""
    kept = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "QMON_ADDRESS", "COLUMNS", "LINES")
    }
    state = {
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "state"),
        "HOME": str(folder),
        "TERM": "xterm-256color",
    }
    return {**kept, **state, "LC_ALL": "C.UTF-8", **variables}


class Qmon:
    """
    Runs C{qmon} without a terminal.

    :param folder: where it runs
    :param address: of the server
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """:return: the process, its output in pipes"""
        return subprocess.Popen(
            [*COMMAND, self.address, *words],
            cwd=self.folder,
            env=environment(self.folder),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """:return: its exit status, and what it wrote"""
        process = self.start(*words, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, PATIENCE)
        return process.returncode, out, err

    @staticmethod
    def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Press Ctrl-C. :return: its exit status, and what it wrote"""
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err


@contextmanager
def ours(folder: Path, *arguments: str) -> Iterator[Twistd]:
    """C{twistd qmon} with the test's commands, at C{qmp.sock}."""
    with Twistd(folder, ["--provider", "tests.support.shop.Shop", *arguments]) as twistd:
        until("qmp.sock", (folder / "qmp.sock").exists, twistd)
        twistd.qmp().close()
        yield twistd


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[str]:
    """
    :param kind: one of L{SERVERS}
    :return: the address of a server of that kind
    """
    if kind == "ours":
        with ours(folder):
            yield "./qmp.sock"
    elif kind == "storage-daemon":
        path = folder / "daemon.sock"
        monitor = ["--chardev", f"socket,id=c,path={path},server=on,wait=off", "--monitor", "chardev=c"]
        with Program(folder, [need("qemu-storage-daemon"), *monitor]) as program:
            until("the storage daemon", path.exists, program)
            yield str(path)
    else:
        with RealQemu(folder) as qemu:
            if kind == "qemu":
                yield str(qemu.socket)
                return
            with Twistd(folder, ["--qemu", f"unix:{qemu.socket}"]) as twistd:
                twistd.qmp().close()
                yield "./qmp.sock"


def next_event(process: subprocess.Popen[str], *actions: Callable[[], object]) -> str:
    """
    Do what brings an event, again until the follower is connected.

    :return: the line that it writes
    """
    assert process.stdout is not None
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for action in actions:
            action()
        if select.select([process.stdout], [], [], 0.5)[0]:
            return process.stdout.readline()
    raise AssertionError("no event came")

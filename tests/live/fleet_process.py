"""
A router of our own, as the documentation has it, and members behind it: for live tests of a fleet.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.live.needs import missing
from tests.live.qmon_program import COMMAND, environment
from tests.live.twistd_process import PATIENCE, ROOT, Program, free_port, until

__all__ = ["EXAMPLE", "PATIENCE_MANY", "Caller", "Members", "Router", "crossbar"]

#: Seconds that what many processes do may take: a router starts in three where nothing else runs, in forty where much does.
PATIENCE_MANY = 180.0

#: What the documentation has of routers.
EXAMPLE = ROOT / "docs" / "examples" / "fleet"


def crossbar() -> str:
    """
    :return: the path of the router's program: C{$QMON_CROSSBAR}, else one on the C{PATH}
    :raise unittest.SkipTest: when it is not there and live tests are optional, and where Autobahn does not run
    :raise AssertionError: when it is not there and they are compulsory
    """
    if tuple(sys.version_info) < (3, 11):
        raise unittest.SkipTest("a fleet needs Autobahn, which needs Python 3.11")
    found = shutil.which(os.environ.get("QMON_CROSSBAR") or "crossbar")
    if found is None:
        missing("Crossbar.io (python3 -m venv X && X/bin/pip install crossbar, then QMON_CROSSBAR=X/bin/crossbar)")
    return found


class Router:
    """
    A router in a folder, ended with the C{with} statement. It can be started again at the same port.

    :param folder: where it runs; the files of the example are copied there
    :param config: which of the example's configurations
    :ivar port: of 127.0.0.1
    :ivar url: what members and callers are given
    """

    def __init__(self, folder: Path, config: str = "router.yaml", program: str | None = None) -> None:
        self.program = crossbar() if program is None else program
        self.folder = folder
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        self._config = config
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        text = (folder / config).read_text()
        for port in ("8080", "8443"):
            text = text.replace(f"port: {port}", f"port: {self.port}")
        (folder / config).write_text(text)
        self._tickets = runpy.run_path(str(folder / "fleet_router.py"))["Tickets"](folder / "tickets.toml")
        self.popen: subprocess.Popen[bytes] | None = None

    def ticket(self, name: str, role: str) -> Path:
        """:return: the file of a new ticket"""
        path = self.folder / f"{name}.ticket"
        path.write_text(str(self._tickets.add(name, role)) + "\n")
        return path

    def start(self) -> None:
        """Start it. It takes connections, and the component that authorizes members is there."""
        words = [self.program, "start", "--cbdir", str(self.folder), "--config", self._config, "--loglevel", "info"]
        log = self.folder / "router.log"
        with log.open("wb") as output:
            # In a group of its own: its workers are processes too.
            self.popen = subprocess.Popen(
                words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        popen = self.popen

        def is_ready() -> bool:
            assert popen.poll() is None, log.read_text()[-3000:]
            return "NODE_BOOT_COMPLETE" in log.read_text(errors="replace")

        try:
            until("the router", is_ready, patience=PATIENCE_MANY)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it without a word: C{SIGKILL}."""
        if self.popen is not None:
            os.killpg(self.popen.pid, 9)
            self.popen.wait(PATIENCE)
            self.popen = None

    def __enter__(self) -> Router:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()


class Members(Program):
    """
    A process with members, which do what tests want.

    :param router: theirs; it has made their tickets
    :param names: of the members
    :param local: those that serve QMP at a socket of their own as well
    """

    def __init__(self, router: Router, folder: Path, names: Sequence[str], local: Sequence[str] = ()) -> None:
        folder.mkdir(exist_ok=True)
        words = [sys.executable, "-m", "tests.live.fleet_members", router.url, str(router.folder), *names]
        super().__init__(folder, ["env", f"LOCAL={' '.join(local)}", *words])


class Caller:
    """
    Runs C{qmon fleet URL ...}.

    :param router: the router
    :param folder: where it runs
    :param authid: who calls; the router has made its ticket
    """

    def __init__(self, router: Router, folder: Path, authid: str) -> None:
        self.folder = folder
        self.words = ["fleet", "--authid", authid, "--ticket", str(router.folder / f"{authid}.ticket"), router.url]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """:return: the process, its output in pipes"""
        return subprocess.Popen(
            [*COMMAND, *self.words, *words],
            cwd=self.folder,
            env=environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """:return: its exit status, and what it wrote"""
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE_MANY)
        return process.returncode, out, err

    def names(self) -> list[str]:
        """:return: the members that there are"""
        status, out, err = self("ls", "--table")
        assert status == 0, err
        return out.split()

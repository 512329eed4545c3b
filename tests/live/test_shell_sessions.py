"""
The shell sessions that README and documentation show, in a folder and a terminal of their own.

Each C{console} and C{sh} block is played as a reader would: commands that serve run on in the background until the next
one is started, programs that ask are answered what stands after their prompt, others are run to their end, and what they print
must be what is shown.
Only the installation is spared: the programs of the running environment stand in for those of the reader's.
"""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.support.playing import Block, blocks, matches

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", ROOT / "docs" / "twistd.md"]
SECONDS = 30.0
PROMPT = re.compile(r"(?:^|\n)(\([\w-]+\) )$")
SPARED = re.compile(r"python3 -m venv|\bpip install\b|\bpytest\b")
SERVE = re.compile(r"\btwistd -n\b")


class Shell:
    """A reader's two terminals, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TERM": "dumb",
            "COLUMNS": "200",
            "HOME": str(folder),
        }
        for venv in ("venv", ".venv"):
            (folder / venv).mkdir()
            (folder / venv / "bin").symlink_to(programs)
        self._server: subprocess.Popen[bytes] | None = None

    def run(self, command: str, shown: list[str]) -> None:
        """
        Type a command.

        :param shown: the lines that follow it on the page
        :raise AssertionError: when others are printed
        """
        if SPARED.search(command):
            return
        if SERVE.search(command):
            self._serve(command)
        else:
            need(Path(shlex.split(command)[0]).name)
            transcript = self._converse(command, [m for line in shown if (m := _typed(line)) is not None])
            assert matches(shown, transcript), f"$ {command}\n" + "\n".join(transcript)

    def _serve(self, command: str) -> None:
        self.stop()
        # Any free port will do: this machine is not the reader's.
        command = command.replace("tcp:8080", "tcp:0")
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        end = time.monotonic() + SECONDS
        for name in ("qmp.sock", "hmp.sock"):
            while not self._answers(name):
                assert self._server.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, (self.folder / "log").read_text()
                select.select([], [], [], 0.05)

    def _answers(self, name: str) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            # The folder of a test may be too deep for the address of a socket.
            before = os.open(".", os.O_RDONLY)
            os.chdir(self.folder)
            try:
                return client.connect_ex(name) == 0
            finally:
                os.fchdir(before)
                os.close(before)

    def _converse(self, command: str, typed: list[str]) -> list[str]:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        try:
            screen = _read(master, "")
            for line in typed:
                assert PROMPT.search(screen), f"$ {command} does not ask: {screen!r}"
                os.write(master, line.encode() + b"\n")
                screen = _read(master, screen)
            return PROMPT.sub("", screen).splitlines()
        finally:
            process.kill()
            process.wait()
            os.close(master)

    def stop(self) -> None:
        """End the server. (Not by SIGINT: a shell that runs the tests in the background has it ignored.)"""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                raise
            self._server = None


def _read(master: int, screen: str) -> str:
    """:return: what is on the screen when the program asks again, or has ended"""
    asked = len(screen)
    end = time.monotonic() + SECONDS
    while not PROMPT.search(screen, asked):
        assert select.select([master], [], [], end - time.monotonic())[0], f"no prompt: {screen!r}"
        try:
            screen += os.read(master, 65536).decode().replace("\r\n", "\n").replace("\r", "")
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            break
    return screen


def _typed(line: str) -> str | None:
    match = re.match(r"\([\w-]+\) (.*)", line)
    return match[1] if match else None


def _commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block, each with what it prints."""
    if block.language == "sh":
        for line in block.text.splitlines():
            for command in line.split(" && "):
                yield command, []
    elif block.language == "console":
        assert block.text.startswith("$ "), f"{block}: a session begins with a command"
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, shown


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell, and the end of what it started."""
    shell = Shell(tmp_path)
    yield shell
    shell.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions(page: Path, shell: Shell) -> None:
    """What the page shows of a terminal is what a terminal shows."""
    played = 0
    for block in blocks(page):
        if block.language == "python" and (name := re.match(r"# (\w+\.py)\n", block.text)):
            (shell.folder / name[1]).write_text(block.text)
        for command, shown in _commands(block):
            shell.run(command, shown)
            played += 1
    assert played

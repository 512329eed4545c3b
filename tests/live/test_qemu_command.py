"""C{--qemu-command} with a real QEMU: it is started, ends with this process and this process with it, whatever ends either."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, Twistd, until

pytestmark = pytest.mark.live

QEMU = "qemu-system-x86_64 -M none -nodefaults -display none -name 'with a blank'"


def pid_of(proxy: Twistd) -> int:
    """The process id of its QEMU."""
    text = until("QEMU's start", lambda: proxy.output().partition(", pid ")[2].partition("\n")[0], proxy)
    return int(text)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and that no process has asked about counts as gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ready(proxy: Twistd) -> None:
    """Wait until its QEMU can be spoken to."""
    until("QEMU", lambda: "connected to QEMU" in proxy.output(), proxy)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Twistd]:
    """A process that has started a QEMU."""
    need("qemu-system-x86_64")
    with Twistd(tmp_path, ["--qemu-command", QEMU, "--drain", "2"]) as proxy:
        ready(proxy)
        yield proxy


def test_killed(proxy: Twistd) -> None:
    """The status of a QEMU that a signal ended is 128 and the signal's number."""
    os.kill(pid_of(proxy), signal.SIGKILL)
    assert proxy.popen.wait(PATIENCE) == 128 + signal.SIGKILL


def test_term(proxy: Twistd) -> None:
    """Clients have QEMU's commands. SIGTERM ends both, QEMU by C{quit}."""
    pid = pid_of(proxy)
    assert proxy.qmp().execute("query-name") == {"name": "with a blank"}
    proxy.popen.terminate()
    assert proxy.popen.wait(PATIENCE) == -signal.SIGTERM
    assert not is_there(pid)
    assert "QEMU ended with status 0" in proxy.output()


def test_term_while_stopped(proxy: Twistd) -> None:
    """A QEMU that stands still is ended all the same."""
    pid = pid_of(proxy)
    os.kill(pid, signal.SIGSTOP)
    proxy.popen.terminate()
    proxy.popen.wait(PATIENCE)
    assert not is_there(pid)


def test_not_left_over(proxy: Twistd) -> None:
    """When the process is killed, its QEMU ends."""
    pid = pid_of(proxy)
    proxy.popen.kill()
    proxy.popen.wait(PATIENCE)
    until("QEMU's end", lambda: not is_there(pid))


def test_wrong_option(tmp_path: Path) -> None:
    """What QEMU says of a wrong option is in the log, and its status is that of the process."""
    need("qemu-system-x86_64")
    with Twistd(tmp_path, ["--qemu-command", "qemu-system-x86_64 -nope"]) as proxy:
        assert proxy.popen.wait(PATIENCE) == 1
        assert "invalid option" in proxy.output()

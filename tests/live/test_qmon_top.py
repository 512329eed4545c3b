"""C{qmon top} in a terminal, with every kind of server."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.live.qmon_program import SERVERS, Qmon, ours, serving
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, until
from twisted_qmon.shell.top.screen import PERIOD

pytestmark = pytest.mark.live


@pytest.mark.parametrize("kind", SERVERS)
def test_each_server(kind: str, tmp_path: Path) -> None:
    """It shows what the server has to say, and no more; C{q} leaves, and the terminal is as it was."""
    with serving(kind, tmp_path) as address, Terminal(tmp_path, address, "top") as terminal:
        screen = terminal.shows("PENDING", "EVENTS", "q quit")
        assert ("memory" in screen) == (kind in ("ours", "proxy"))
        assert ("twisted-qmon" if kind == "ours" else "QEMU 7.2") in screen
        terminal.types("q")
        assert terminal.ends() == 0
        assert b"\x1b[?1049l" in terminal.raw


def test_rows_and_keys(tmp_path: Path) -> None:
    """Pending requests have bars; a row is selected and cancelled, rows are sorted and filtered; events appear."""
    with ours(tmp_path) as twistd, Terminal(tmp_path, "./qmp.sock", "top", columns=120) as terminal:
        qmon = Qmon(tmp_path, "./qmp.sock")
        waiting = [qmon.start("exec", "wait", f"seconds:={seconds}") for seconds in (500, 1000)]
        client = twistd.qmp()
        until("both", lambda: len([row for row in client.execute("query-pending") if row["command"] == "wait"]) == 2)
        terminal.shows("PENDING 2", "░", "%")
        terminal.types("s")
        terminal.shows("by name")
        client.execute("sell", {"what": "hats", "number": 3})
        terminal.shows("SALE", "what=hats")
        terminal.types("/hats\r")
        terminal.shows("PENDING 0", "what=hats", "filter 'hats'")
        terminal.types("/\x1b")
        terminal.shows("PENDING 2")
        terminal.types("jc")
        terminal.shows("is cancelled", "PENDING 1")
        assert len([row for row in client.execute("query-pending") if row["command"] == "wait"]) == 1
        terminal.types("p")
        terminal.shows("paused")
        terminal.types("pkc")
        terminal.shows("PENDING 0")
        assert [process.wait(PATIENCE) for process in waiting] == [1, 1]
        for process in waiting:
            process.communicate()
        terminal.types("\x03")
        assert terminal.ends() == 0


def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    """A lost connection is shown, and the screen goes on when the server is back."""
    with ours(tmp_path) as first, Terminal(tmp_path, "./qmp.sock", "top") as terminal:
        terminal.shows("memory")
        first.popen.kill()
        first.popen.wait(PATIENCE)
        terminal.shows("not connected")
        with ours(tmp_path):
            terminal.until("the connection", lambda: "not connected" not in terminal.screen)


def test_stalls(tmp_path: Path) -> None:
    """What kept the reactor from running is shown, with its place; a server without a watchdog has no such pane."""
    with ours(tmp_path, "--stall", "0.2") as twistd, Terminal(tmp_path, "./qmp.sock", "top", columns=140) as terminal:
        terminal.shows("STALLS 0")
        twistd.qmp().execute("block", {"seconds": 0.5})
        terminal.shows("STALLS 1", "block (shop.py:")
    with ours(tmp_path, "--stall", "off"), Terminal(tmp_path, "./qmp.sock", "top") as terminal:
        terminal.shows("memory", "EVENTS")
        assert "STALLS" not in terminal.screen


def test_an_observer(tmp_path: Path) -> None:
    """One who may not see everything has a screen of what it may; nothing is asked again and again that is refused each time."""
    words = ("--qmp", "unix:qmp.sock", "--qmp", "unix:look.sock:level=observe", "--audit", "audit.jsonl")
    with ours(tmp_path, *words), Terminal(tmp_path, "./look.sock", "top") as terminal:
        terminal.shows("memory", "PENDING")
        time.sleep(2 * PERIOD)
        terminal.types("q")
        assert terminal.ends() == 0
    assert "refused" not in (tmp_path / "audit.jsonl").read_text()


def test_a_window_that_is_resized(tmp_path: Path) -> None:
    """The screen has the size of the window."""
    with ours(tmp_path), Terminal(tmp_path, "./qmp.sock", "top") as terminal:
        terminal.shows("memory")
        terminal.resizes(50, 12)
        terminal.until("the last line", lambda: terminal.screen.splitlines()[-1].startswith("up/down select"))
        assert len(terminal.screen.splitlines()) == 12


def test_no_terminal(tmp_path: Path) -> None:
    """Without a terminal it is wrong usage; without a server, no connection."""
    assert Qmon(tmp_path, "./qmp.sock")("top") == (2, "", "qmon: top needs a terminal\n")
    with Terminal(tmp_path, "./qmp.sock", "top") as terminal:
        assert terminal.ends() == 3
    assert not os.path.exists(tmp_path / "qmp.sock")

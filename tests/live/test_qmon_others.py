"""
What a person does with C{qmon}, once more with the servers that are not ours: a plain QEMU, one behind the proxy, and
qemu-storage-daemon. L{tests.live.test_qmon_prompt} has the same for ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.qmon_program import Qmon
from tests.live.real_qemu import RealQemu
from tests.live.served import OTHERS, Served, serve
from tests.live.terminal import Terminal
from tests.live.twistd_process import Twistd

pytestmark = pytest.mark.live

CTRL_C, CTRL_D, CTRL_R, TAB = "\x03", "\x04", "\x12", "\t"

#: A line that all of them answer, and a part of the answer.
LINES = {
    "qemu": ("info status", "VM status: paused"),
    "proxy": ("info status", "VM status: paused"),
    "storage-daemon": ("info version", "micro: 22"),
}

#: Of each kind: a command, a parameter, a value of an enum, a file, an event.
COMPLETIONS = {
    "qemu": (
        ("set_li", "set_link"),
        ("migrate_set_parameter announce-i", "migrate_set_parameter announce-initial"),
        ("set_link e0 of", "set_link e0 off"),
        ("migrate_set_capability zero-b", "migrate_set_capability zero-blocks"),
        ("info block-j", "info block-jobs"),
        ("screendump ./pic", "screendump ./picture"),
        ("events on STO", "events on STOP"),
    ),
    "proxy": (
        ("drive_ba", "drive_backup"),
        ("info log lev", "info log level="),
        ("info log level=deb", "info log level=debug"),
        ("set_link e0 of", "set_link e0 off"),
        ("watch 1 info serv", "watch 1 info services"),
        ("screendump ./pic", "screendump ./picture"),
        ("events on QEMU_C", "events on QEMU_CONNECTED"),
    ),
    "storage-daemon": (
        ("blockdev-cr", "blockdev-create"),
        ("blockdev-add dri", "blockdev-add driver="),
        ("blockdev-add driver=null-c", "blockdev-add driver=null-co"),
        ("blockdev-add driver=file filename=./pic", "blockdev-add driver=file filename=./picture"),
        ("events on JOB_S", "events on JOB_STATUS_CHANGE"),
    ),
}


@pytest.fixture(scope="module", params=OTHERS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of server."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server and C{qmon} run."""
    path = tmp_path_factory.mktemp(kind)
    (path / "picture").touch()
    return path


@pytest.fixture(scope="module")
def server(kind: str, folder: Path) -> Iterator[Served]:
    """One server for all of these tests."""
    with serve(kind, folder) as server:
        yield server


@pytest.fixture
def terminal(server: Served, folder: Path) -> Iterator[Terminal]:
    """A terminal with C{qmon} at that server, at the prompt."""
    with Terminal(folder, server.address) as terminal:
        terminal.prompts()
        yield terminal


def _slow_job(server: Served, name: str) -> None:
    """Begin a job that takes a minute or so."""
    for node in ("from", "to"):
        server.execute("blockdev-add", {"driver": "null-co", "node-name": f"{node}-{name}", "size": 64 << 20})
    devices = {"device": f"from-{name}", "target": f"to-{name}"}
    server.execute("blockdev-backup", {"job-id": name, **devices, "sync": "full", "speed": 1 << 20})


def test_completion(kind: str, terminal: Terminal) -> None:
    """Tab completes a command, a parameter, a value of an enum, a file name, an event's name."""
    for typed, completed in COMPLETIONS[kind]:
        terminal.types(typed + TAB)
        terminal.until(completed, lambda wanted=completed: terminal.line == f"(qmon) {wanted}")  # type: ignore[misc]
        terminal.types(CTRL_C)
        terminal.prompts()


def test_ctrl_c(kind: str, server: Served, terminal: Terminal) -> None:
    """Ctrl-C gives the prompt back although the server does not answer; the late reply is dropped."""
    line, answer = LINES[kind]
    server.freeze()
    try:
        terminal.enters(line)
        terminal.shows("Ctrl-C cancels")
        terminal.types(CTRL_C)
        terminal.shows("cancelled")
        terminal.prompts()
    finally:
        server.thaw()
    before = terminal.raw.count(answer.encode())
    terminal.settles()
    assert terminal.raw.count(answer.encode()) == before
    assert answer in terminal.does(line)


def test_an_event_above_a_line(kind: str, server: Served, terminal: Terminal) -> None:
    """It appears above the line that is being typed, which stays as it is."""
    event = "JOB_STATUS_CHANGE"
    terminal.does(f"events on {event}")
    terminal.types("half a line")
    terminal.prompts("(qmon) half a line")
    _slow_job(server, "above")
    terminal.shows(event, "id=above")
    screen = terminal.prompts("(qmon) half a line")
    assert screen.index("id=above") < screen.rindex("(qmon) half a line")


def test_a_bar_that_moves(server: Served, folder: Path) -> None:
    """C{top} shows how far a job is."""
    _slow_job(server, "slow")
    with Terminal(folder, server.address, "top", columns=120) as terminal:
        seen: set[str] = set()

        def moves() -> bool:
            seen.update(line for line in terminal.screen.splitlines() if line.startswith("slow") and "░" in line)
            return len(seen) >= 3

        terminal.until("a bar that moves", moves)
        terminal.types("q")
        assert terminal.ends() == 0


def test_a_bar_at_the_prompt(tmp_path: Path) -> None:
    """A long command in front of a QEMU shows how far it is, until it is cancelled. (The others begin jobs.)"""
    with serve("proxy", tmp_path) as server, Terminal(tmp_path, server.address) as terminal:
        terminal.prompts()
        terminal.does("migrate_set_parameter max-bandwidth 50000B")
        terminal.enters("migrate exec:cat>/dev/null")
        terminal.shows("qmon-migrate", "░", "%", "Ctrl-C cancels")
        terminal.types(CTRL_C)
        terminal.shows("cancelled")
        terminal.prompts()


def test_a_qemu_that_comes_later(tmp_path: Path) -> None:
    """The proxy may be there before its QEMU: from the moment that this connects, its lines are run and completed."""
    qemu = RealQemu(tmp_path)
    with Twistd(tmp_path, ["--qemu", f"unix:{qemu.socket}"]) as twistd:
        twistd.qmp().close()
        with Terminal(tmp_path, "./qmp.sock") as terminal:
            terminal.prompts()
            assert "QEMU is not connected" in terminal.does("info status")
            with qemu:
                terminal.shows("QEMU 7.2", "connected")
                terminal.prompts()
                assert "VM status: paused" in terminal.does("info status")
                terminal.types("set_li" + TAB)
                terminal.until("the command", lambda: terminal.line == "(qmon) set_link")


def test_a_window_that_is_resized(terminal: Terminal) -> None:
    """A line that is edited stays whole in another window."""
    line = "info status " + "x" * 60
    terminal.types(line)
    terminal.shows(line)
    terminal.resizes(40, 20)
    terminal.settles()
    terminal.until("the line, folded", lambda: line in terminal.screen.replace("\n", ""))


def test_a_long_line(kind: str, terminal: Terminal) -> None:
    """A line of 4,000 characters reaches the server, which has its own opinion of it."""
    terminal.enters("help " + "y" * 3995 if kind != "storage-daemon" else "z" * 4000)
    terminal.until("the prompt", lambda: terminal.line == "(qmon)" and not terminal._read(0.3))
    line, answer = LINES[kind]
    assert answer in terminal.does(line)


def test_history(kind: str, server: Served, folder: Path) -> None:
    """The lines of one start are there at the next one, with the arrow and with Ctrl-R."""
    line, answer = LINES[kind]
    with Terminal(folder, server.address) as terminal:
        terminal.prompts()
        terminal.does(line)
        terminal.does("help info")
        terminal.types(CTRL_D)
        assert terminal.ends() == 0
    with Terminal(folder, server.address) as terminal:
        terminal.prompts()
        terminal.types("\x1b[A")
        terminal.until("the last line", lambda: terminal.line == "(qmon) help info")
        terminal.types(CTRL_C)
        terminal.prompts()
        terminal.types(CTRL_R + line[5:9])
        terminal.shows(line)
        terminal.enters("")
        terminal.shows(answer)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["no-color", "dumb"])
def test_no_colours(server: Served, folder: Path, variables: dict[str, str]) -> None:
    """None with C{NO_COLOR}, and none at a dumb terminal, which gets no control sequence at all."""
    with Terminal(folder, server.address, variables=variables) as terminal:
        terminal.prompts()
        terminal.does("watch")
        assert b"\x1b[31m" not in terminal.raw
        assert (b"\x1b" in terminal.raw) == ("TERM" not in variables)
        terminal.types(CTRL_D)
        assert terminal.ends() in (0, 1)


def test_no_terminal(kind: str, server: Served, folder: Path) -> None:
    """Without a terminal the lines of standard input are run, and nothing else is written."""
    line, answer = LINES[kind]
    status, out, err = Qmon(folder, server.address)(stdin=f"{line}\n{line}\n")
    assert (status, err, out.count(answer)) == (0, "", 2)
    assert "\x1b" not in out


def test_a_server_that_is_killed_and_started_again(kind: str, server: Served, terminal: Terminal) -> None:
    """Its end is said, in colour, and shown in the prompt; its return as well, and the line that was begun can be run."""
    line, answer = LINES[kind]
    terminal.types(line[:8])
    terminal.prompts(f"(qmon) {line[:8]}")
    server.kill()
    terminal.shows("reconnecting")
    assert b"\x1b[31m" in terminal.raw
    terminal.prompts(f"(qmon: not connected) {line[:8]}")
    server.start()
    terminal.shows("connected again")
    terminal.prompts(f"(qmon) {line[:8]}")
    terminal.enters(line[8:])
    terminal.shows(answer)

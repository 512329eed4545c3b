"""The prompt of C{qmon} in a terminal, with every kind of server."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.qmon_program import SERVERS, Qmon, ours, serving
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, Twistd, until

pytestmark = pytest.mark.live

CTRL_C, CTRL_D, CTRL_R, TAB = "\x03", "\x04", "\x12", "\t"


@pytest.fixture
def twistd(tmp_path: Path) -> Iterator[Twistd]:
    """A server of ours."""
    with ours(tmp_path) as twistd:
        yield twistd


@pytest.fixture
def terminal(twistd: Twistd, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal with C{qmon} at that server, at the prompt."""
    with Terminal(tmp_path) as terminal:
        terminal.prompts()
        yield terminal


@pytest.mark.parametrize("kind", SERVERS)
def test_each_server(kind: str, tmp_path: Path) -> None:
    """It greets, runs a human line and a message, completes a command and an C{info} name, and leaves."""
    with serving(kind, tmp_path) as address, Terminal(tmp_path, address) as terminal:
        terminal.prompts()
        assert ("twisted-qmon 0" if kind == "ours" else "QEMU 7.2") in terminal.screen
        terminal.types("info versi" + TAB)
        terminal.shows("(qmon) info version")
        terminal.enters("")
        assert "7" in terminal.prompts() or kind == "ours"
        assert '"package"' in terminal.does('{"execute": "query-version"}')
        assert "frobnicate" in terminal.does("frobnicate").partition("(qmon) frobnicate")[2]
        terminal.types(CTRL_D)
        assert terminal.ends() == 0


def test_completion(terminal: Terminal, tmp_path: Path) -> None:
    """Tab completes a command, a parameter, an enum value with a dash in it, and a file name."""
    (tmp_path / "a file.txt").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    for typed, shown in (
        ("pai", "(qmon) paint"),
        ("paint greeni", "(qmon) paint greenish-blue"),
        ("paint gl", "(qmon) paint glossy="),
        ("paint glossy=of", "(qmon) paint glossy=off"),
        ("info serv", "(qmon) info services"),
        ("load ./fol", "(qmon) load ./folder/"),
        ("load ./folder/i", "(qmon) load ./folder/inside"),
        ("load ./a", '(qmon) load "./a file.txt"'),
        ('{"execute": "pai', '(qmon) {"execute": "paint'),
    ):
        terminal.types(typed + TAB)
        terminal.until(shown, lambda shown=shown: terminal.line == shown)  # type: ignore[misc]
        terminal.types(CTRL_C)
        terminal.prompts()
    terminal.types("paint " + TAB)
    terminal.shows("red", "green", "greenish-blue", "colour=", "coats=")


def test_history(twistd: Twistd, tmp_path: Path) -> None:
    """Lines are there at the next start, found with the arrow and Ctrl-R; the file is private and has no secrets."""
    with Terminal(tmp_path) as terminal:
        terminal.prompts()
        for line in ("info status", "info name", "set_password vnc hunter2", " info version"):
            terminal.does(line)
        terminal.types(CTRL_D)
        assert terminal.ends() == 0
    path = tmp_path / "state" / "qmon" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    kept = path.read_text()
    assert "info name" in kept
    assert "hunter2" not in kept
    assert "info version" not in kept
    with Terminal(tmp_path) as terminal:
        terminal.prompts()
        terminal.types("\x1b[A")
        terminal.until("the last line", lambda: terminal.line == "(qmon) info name")
        terminal.types(CTRL_C)
        terminal.prompts()
        terminal.types(CTRL_R + "stat")
        terminal.shows("info status")
        terminal.enters("")
        terminal.shows("running")


def test_ctrl_c_cancels(twistd: Twistd, terminal: Terminal) -> None:
    """Ctrl-C cancels what is pending: the server has nothing pending, and the prompt is back."""
    client = twistd.qmp()
    terminal.enters("wait")
    until("the command", lambda: [each for each in client.execute("query-pending") if each["command"] == "wait"])
    began = time.monotonic()
    terminal.types(CTRL_C)
    screen = terminal.prompts()
    assert time.monotonic() - began < 10
    assert "Command 'wait' was cancelled" in screen
    assert client.execute("query-pending") == []
    assert "running" in terminal.does("info status")


def test_ctrl_c_cancels_a_message(twistd: Twistd, terminal: Terminal) -> None:
    """So it does with a message as it stands."""
    terminal.enters('{"execute": "wait"}')
    terminal.shows("Ctrl-C cancels")
    terminal.types(CTRL_C)
    terminal.shows("was cancelled")
    terminal.prompts()
    assert twistd.qmp().execute("query-pending") == []


def test_ctrl_c_and_ctrl_d_at_the_prompt(terminal: Terminal) -> None:
    """At an empty prompt Ctrl-C does nothing; a line that was begun is given up; Ctrl-D leaves."""
    terminal.types(CTRL_C)
    terminal.settles()
    assert terminal.line == "(qmon)"
    assert terminal.screen.count("(qmon)") == 1
    terminal.types("half a li" + CTRL_C)
    terminal.prompts()
    terminal.types(CTRL_D)
    assert terminal.ends() == 0


@pytest.mark.parametrize("word", ["exit", "logout", "  exit "])
def test_words_to_leave(terminal: Terminal, word: str) -> None:
    """C{exit} and C{logout} leave; the server goes on."""
    terminal.enters(word)
    assert terminal.ends() == 0


def test_a_bar_that_moves(terminal: Terminal) -> None:
    """What is pending shows how far it is, and disappears when it is done."""
    terminal.enters("wait 3")
    seen: set[str] = set()

    def moves() -> bool:
        seen.update(word for word in terminal.screen.split() if word.startswith("█") and "░" in word)
        return len(seen) >= 3

    terminal.until("a bar that moves", moves)
    assert "%" in terminal.screen
    assert "waited 3 s" in terminal.prompts()
    assert "█" not in terminal.screen


def test_typed_ahead(terminal: Terminal) -> None:
    """What is typed while a command is pending is for the next prompt."""
    terminal.enters("wait 1")
    terminal.shows("Ctrl-C cancels")
    terminal.types("info name\rinfo stat")
    screen = terminal.prompts("(qmon) info stat")
    assert screen.index("waited 1 s") < screen.index("(qmon) info name") < screen.rindex("(qmon) info stat")


def test_an_event_above_a_line(twistd: Twistd, terminal: Terminal) -> None:
    """Events appear above a line that is being typed, which stays as it is, cursor and all; then they can be switched off."""
    client = twistd.qmp()
    terminal.does("events on SALE")
    terminal.types("info status" + "\x1b[D" * 3)
    terminal.shows("(qmon) info status")
    client.execute("sell", {"what": "hats", "number": 7})
    terminal.shows("SALE  what=hats number=7")
    screen = terminal.prompts("(qmon) info status")
    assert screen.index("SALE") < screen.rindex("(qmon) info status")
    terminal.types("X")
    terminal.prompts("(qmon) info staXtus")
    terminal.types("\x7f")
    terminal.enters("")
    terminal.shows("running")
    terminal.does("events off")
    client.execute("sell", {"what": "gloves"})
    terminal.settles()
    assert "gloves" not in terminal.screen


def test_events_that_were_missed(twistd: Twistd, tmp_path: Path, terminal: Terminal) -> None:
    """What happened while the connection was lost is shown when it is back, each event once; that of another process is said."""
    client = twistd.qmp()
    terminal.does("events on SALE")
    [mine] = [each for each in client.execute("query-connections-monitor") if each["last-command"] == "select-events"]
    client.execute("client-disconnect", {"session": mine["session"]})
    for number in (11, 12, 13):
        client.execute("sell", {"what": "hats", "number": number})
    terminal.shows("connected again", "number=13")
    screen = terminal.prompts()
    assert [screen.count(f"number={number}") for number in (11, 12, 13)] == [1, 1, 1]
    twistd.popen.kill()
    twistd.popen.wait(PATIENCE)
    (tmp_path / "qmp.sock").unlink()
    with ours(tmp_path):
        terminal.shows("the server was restarted: events may have been lost")


def test_watch(terminal: Terminal) -> None:
    """C{watch} repeats a line until Ctrl-C."""
    terminal.enters("watch 0.2 paint red")
    terminal.until("three times", lambda: terminal.screen.count("painted red") >= 3)
    terminal.types(CTRL_C)
    terminal.prompts()
    assert "running" in terminal.does("info status")


def _stopped(terminal: Terminal) -> bool:
    if terminal._read(0.3):
        return False
    if not terminal.line.endswith("(qmon)"):
        # The prompt stands behind what was being written, and at the edge of the screen it is cut off: the next one is not.
        terminal.enters("")
        return False
    return True


def test_ctrl_c_while_text_is_written(terminal: Terminal) -> None:
    """Ctrl-C ends a line that is repeated also at a moment at which it prints; at the prompt it ends long output."""
    terminal.enters("watch 0.1 text 100000")
    terminal.until("some of it", lambda: terminal.raw.count(b"x") > 250_000)
    terminal.types(CTRL_C)
    terminal.until("the prompt", lambda: _stopped(terminal))
    terminal.enters("")
    terminal.prompts()
    assert "running" in terminal.does("info status")
    before = terminal.raw.count(b"x")
    terminal.enters("text 20000000")
    terminal.until("some of it", lambda: terminal.raw.count(b"x") > before + 1000)
    terminal.types(CTRL_C)
    terminal.until("the prompt", lambda: _stopped(terminal))
    assert terminal.raw.count(b"x") < before + 10_000_000
    terminal.enters("")
    terminal.prompts()
    assert "running" in terminal.does("info status")


def test_log_follow(twistd: Twistd, terminal: Terminal) -> None:
    """C{log follow} shows what is logged, until Ctrl-C."""
    terminal.enters("log follow")
    twistd.qmp().execute("hostile", {"how": "log"})
    terminal.shows("tests.support.shop", "\\x1b")
    terminal.types(CTRL_C)
    terminal.prompts()


def test_what_was_nearly_typed(terminal: Terminal) -> None:
    """An unknown word gets a suggestion; the beginning of a name is enough behind C{info}."""
    assert "did you mean 'info services'?" in terminal.does("services")
    assert "running" in terminal.does("info stat")


def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """Its end is said and shown in the prompt, above a line that stays; its return as well, and the line can be run."""
    with ours(tmp_path) as first, Terminal(tmp_path) as terminal:
        terminal.prompts()
        terminal.types("info sta")
        first.popen.kill()
        first.popen.wait(PATIENCE)
        terminal.shows("reconnecting")
        terminal.prompts("(qmon: not connected) info sta")
        with ours(tmp_path):
            terminal.shows("connected again")
            terminal.prompts("(qmon) info sta")
            terminal.enters("tus")
            terminal.shows("running")


def test_no_server(tmp_path: Path) -> None:
    """Without a server there is no prompt: one line, status 3."""
    with Terminal(tmp_path, "./none") as terminal:
        assert terminal.ends() == 3
        assert terminal.screen == "qmon: no connection to ./none: No such file or directory"


def test_a_window_that_is_resized(terminal: Terminal) -> None:
    """A line that is edited stays whole in another window."""
    line = "info status " + "x" * 60
    terminal.types(line)
    terminal.shows(line)
    terminal.resizes(40, 20)
    terminal.settles()
    terminal.until("the line, folded", lambda: line in terminal.screen.replace("\n", ""))
    terminal.types(CTRL_C)
    terminal.prompts()


def test_a_long_line(terminal: Terminal) -> None:
    """A line of 4,000 characters is run as it is."""
    terminal.enters("load /" + "y" * 3990 + "z")
    terminal.until("its result", lambda: terminal.raw.count(b"loaded /yyy") == 1 and terminal.line == "(qmon)")
    text = terminal.raw.rpartition(b"loaded ")[2].replace(b"\r\n", b"")
    assert b"y" * 3990 + b"z" in text


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_colours(twistd: Twistd, tmp_path: Path, variables: dict[str, str]) -> None:
    """Colours, unless NO_COLOR is set or the terminal is a dumb one, which gets no control sequence at all."""
    with Terminal(tmp_path, variables=variables) as terminal:
        terminal.prompts()
        terminal.does("frobnicate")
        coloured = b"\x1b[31m" in terminal.raw or b"\x1b[0;31m" in terminal.raw
        assert coloured == (not variables)
        if "TERM" in variables:
            assert b"\x1b" not in terminal.raw
        terminal.types(CTRL_D)
        assert terminal.ends() in (0, 1)


def test_sigterm_restores_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """SIGTERM ends it with the usual status, and the terminal as it was."""
    os.kill(terminal._process.pid, 15)
    assert terminal.ends() == 143


def test_no_terminal(twistd: Twistd, tmp_path: Path) -> None:
    """Without a terminal the lines of standard input are run one after another; errors go to standard error: status 1."""
    qmon = Qmon(tmp_path, "./qmp.sock")
    assert qmon(stdin="paint red\npaint green 2") == (0, "painted red, 1 coats\npainted green, 2 coats\n", "")
    status, out, err = qmon(stdin="frobnicate\r\npaint red\n")
    assert (status, out, err) == (1, "painted red, 1 coats\n", "unknown command: 'frobnicate'\n")
    status, out, err = qmon(stdin="exit\npaint red\n")
    assert (status, out, err) == (0, "", "")


def test_given_lines(twistd: Twistd, tmp_path: Path) -> None:
    """C{-c} runs a line, and may be repeated; a failed command's words are on standard error."""
    qmon = Qmon(tmp_path, "./qmp.sock")
    status, out, err = qmon(
        "-c", "paint red", "-c", "info nothing", "-c", '{"execute": "paint", "arguments": {"colour": "red"}}'
    )
    assert (status, out) == (1, 'painted red, 1 coats\n{\n    "return": "painted red, 1 coats"\n}\n')
    assert err == "unknown command: 'info nothing'\n"
    assert qmon("-c", "hostile raise")[0] == 1
    assert qmon("-c", "a\nb")[0] == 2


def test_given_lines_at_a_qemu(tmp_path: Path) -> None:
    """A line that a QEMU took is done: its errors are text."""
    with serving("qemu", tmp_path) as address:
        status, out, err = Qmon(tmp_path, address)("-c", "info nothing", "-c", "info status")
    assert (status, err) == (0, "")
    assert out.endswith("VM status: paused (prelaunch)\n") or "VM status" in out


def test_lines_are_interrupted(twistd: Twistd, tmp_path: Path) -> None:
    """Ctrl-C cancels the line that runs: nothing is pending at the server, status 130."""
    process = Qmon(tmp_path, "./qmp.sock").start("-c", "wait", "-c", "paint red")
    client = twistd.qmp()
    until("the command", lambda: [each for each in client.execute("query-pending") if each["command"] == "wait"])
    assert Qmon.interrupt(process) == (130, "", "")
    assert client.execute("query-pending") == []


def test_lines_without_a_server(twistd: Twistd, tmp_path: Path) -> None:
    """A server that goes ends the lines: status 3."""
    process = Qmon(tmp_path, "./qmp.sock").start(stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("paint red\n")
    process.stdin.flush()
    assert process.stdout.readline() == "painted red, 1 coats\n"
    twistd.popen.kill()
    twistd.popen.wait(PATIENCE)
    out, err = process.communicate("paint red\npaint red\n", PATIENCE)
    assert (process.returncode, out) == (3, "")
    assert err.startswith("qmon: the ")


def test_without_the_extra(twistd: Twistd, tmp_path: Path) -> None:
    """Where prompt_toolkit is not installed, one line says what to install; lines without a prompt are run all the same."""
    (tmp_path / "prompt_toolkit.py").write_text("raise ModuleNotFoundError('no', name='prompt_toolkit')")
    path = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(__file__).parent.parent.parent)))}
    with Terminal(tmp_path, variables=path) as terminal:
        assert terminal.ends() == 1
        assert terminal.screen == "qmon: prompt and top need prompt_toolkit and rich: pip install 'twisted-qmon[shell]'"
    with Terminal(tmp_path, "./qmp.sock", "-c", "paint red", variables=path) as terminal:
        assert terminal.ends() == 0
        assert terminal.screen == "painted red, 1 coats"

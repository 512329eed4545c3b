"""The parts of the prompt; its whole is tried in tests/live."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.typeahead import clear_typeahead, get_typeahead
from prompt_toolkit.output import DummyOutput
from twisted.internet.task import Clock

from twisted_qmon.errors import CommandNotFound, GenericError
from twisted_qmon.hmp.commands.command_index import make_names
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.qmp.client import EventGap
from twisted_qmon.shell.bar import bar
from twisted_qmon.shell.rows import find_progress
from twisted_qmon.shell.terminal import pending
from twisted_qmon.shell.terminal.completer import LineCompleter, files
from twisted_qmon.shell.terminal.connection import gap_text, retry_policy, server_name
from twisted_qmon.shell.terminal.history import History, has_secret, history_path
from twisted_qmon.shell.terminal.pending import PendingBar
from twisted_qmon.shell.terminal.screen import PERIOD, Screen

COLOUR = TypeInfo("enum", values=("red", "greenish-blue", "\x1b[31m"))
NAMES = make_names(
    {
        info.name: info
        for info in (
            CommandInfo("paint", (ParameterInfo("colour", COLOUR),), help="paint\x1b it"),
            CommandInfo("load", (ParameterInfo("file", TypeInfo("str")),)),
            CommandInfo("query-paint"),
        )
    },
    interactive=True,
)


def _completions(text: str, behind: str = "", names: Any = NAMES) -> list[Completion]:
    async def get_names() -> Any:
        return names

    async def get_events() -> Iterable[str]:
        return {"STOP", "SALE", "S\x1b"}

    async def collect() -> list[Completion]:
        completer = LineCompleter(get_names, get_events)
        document = Document(text + behind, len(text))
        assert list(completer.get_completions(document, CompleteEvent())) == []
        return [each async for each in completer.get_completions_async(document, CompleteEvent())]

    return asyncio.run(collect())


def _completed(text: str, behind: str = "", names: Any = NAMES) -> list[str]:
    return [text[: len(text) + each.start_position] + each.text for each in _completions(text, behind, names)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("pai", ["paint "]),
        ("paint green", ["paint greenish-blue "]),
        ("paint co", ["paint colour="]),
        ("info pa", ["info paint "]),
        ('{"execute": "pa', ['{"execute": "paint']),
        ('{ "exec-oob":"query', ['{ "exec-oob":"query-paint']),
        ('{"execute": "paint", "arguments": {"', []),
        ("paint \x1b", []),
        ("events on S", ["events on SALE ", "events on STOP "]),
        ("events on STOP,SA", ["events on STOP,SALE "]),
        ("events off ", []),
        ("watch 0.5 paint gree", ["watch 0.5 paint greenish-blue "]),
    ],
)
def test_completion(text: str, lines: list[str]) -> None:
    """A line is completed word by word, dashes and all; a message up to its command's name; nothing that is not printable."""
    assert _completed(text) == lines


def test_completion_details() -> None:
    """A blank follows only at the end of the line; help is beside, made printable; before commands are known there is nothing."""
    assert _completed("pai", " red") == ["paint"]
    [found] = _completions("pai")
    assert found.display_meta_text == "paint\\x1b it"
    assert _completed("pai", names=None) == []


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are completed with what is typed of their folder, folders with a slash, hidden ones only when asked for."""
    for name in ("b c", ".hidden", "a\x1b"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [each.text for each in files("b")] == ['"b c"', "bin/"]
    assert [each.text for each in files("./bi")] == ["./bin/"]
    assert [each.text for each in files(".h")] == [".hidden"]
    assert [each.text for each in files("~/bi")] == [f"{tmp_path}/bin/"]
    assert files("/nothing/here") == []
    assert _completed("load ") == ["load file=", 'load "b c"', "load bin/"]


# -- history


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("info status", False),
        ("change ide0 file.iso", False),
        (" info status", True),
        ("set_password vnc x", True),
        ("change vnc password", True),
        ('{"execute": "change-vnc-password", "arguments": {"password": "x"}}', True),
        ("object_add secret,id=s,data=x", True),
        ('{"execute": "block_passwd"}', True),
        ("login token=x", True),
    ],
)
def test_secrets(line: str, secret: bool) -> None:
    """A line with a secret, or with a blank before it, is not kept."""
    assert has_secret(line) == secret


def test_history(tmp_path: Path) -> None:
    """Lines are kept in a private file, secrets and repetitions are not; another start has them, latest first."""
    path = tmp_path / "a" / "history"
    history = History(path)
    for line in ("one", "one", "set_password x", "", "two"):
        history.append_string(line)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(History(path).load_history_strings()) == ["two", "one"]


def test_history_that_cannot_be_kept(tmp_path: Path) -> None:
    """Where the file can't be read or written, the prompt goes on without."""
    (tmp_path / "file").touch()
    history = History(tmp_path / "file" / "history")
    history.append_string("one")
    assert history.get_strings() == ["one"]
    (tmp_path / "folder").mkdir()
    assert list(History(tmp_path / "folder").load_history_strings()) == []


def test_history_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file is where XDG_STATE_HOME says, if that is an absolute path."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_path() == Path("/state/qmon/history")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_path() == tmp_path / ".local/state/qmon/history"


# -- what is pending


@pytest.mark.parametrize(
    ("current", "total", "text"),
    [(0, 4, "...."), (1, 4, "#..."), (4, 4, "####"), (9, 4, "####"), (-1, 4, "...."), (1, 0, "....")],
)
def test_bar(current: int, total: int, text: str) -> None:
    """A bar is filled as far as it is, whatever the server says."""
    assert bar(current, total, 4, plain=True) == text
    assert bar(current, total, 4) == text.replace(".", "░").replace("#", "█")


def test_progress() -> None:
    """Of requests of the same name, the one as old as ours is meant."""
    rows: list[Any] = [
        {"number": 1, "command": "a", "seconds": 50, "progress": {"current": 0, "total": 2}},
        {"number": 2, "command": "a", "seconds": 4.9, "progress": {"current": 1, "total": 2}},
        {"number": 3, "command": "a", "seconds": 5, "abandoned": True, "progress": {"current": 0, "total": 2}},
        {"number": 4, "command": "b", "seconds": 5, "progress": {"current": 0, "total": 2}},
        {"number": 5, "command": "a", "seconds": 5},
    ]
    assert find_progress(rows, "a", 5) == (1, 2)
    assert find_progress(rows, "c", 5) is None


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "SHOW_AFTER", 0.0)
    monkeypatch.setattr(pending, "POLL", 0.001)


@pytest.mark.usefixtures("quickly")
def test_waiting() -> None:
    """The bar shows what the server tells; keys are for the next prompt; Ctrl-C forgets them, and cancels."""
    answers: list[Any] = [
        GenericError("busy"),
        "odd",
        [{"number": 1, "command": "a", "progress": {"current": 1, "total": 4}}],
    ]
    cancelled: list[bool] = []
    shown: list[str] = []

    async def run() -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def execute(name: str) -> Any:
            assert name == "query-pending"
            shown.append("".join(part[1] for part in waiting._text()))
            if not answers:
                if not done.done():
                    input.send_text("x\x03yz")
                raise CommandNotFound("no")
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def cancel() -> None:
            cancelled.append(True)
            asyncio.get_running_loop().call_later(0.05, done.set_result, None)

        with create_pipe_input() as input:
            clear_typeahead(input)
            waiting = PendingBar(execute, lambda: "a", cancel, input, DummyOutput())
            await waiting.wait(done)
            assert [press.data for press in get_typeahead(input)] == ["y", "z"]

    asyncio.run(run())
    assert cancelled == [True]
    assert "25 %" in shown[-1]
    assert shown[0].startswith("a  ")


def test_waiting_for_what_is_done() -> None:
    """What is done already is not waited for."""

    async def run() -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        with create_pipe_input() as input:
            await PendingBar(lambda name: asyncio.sleep(0), lambda: "", lambda: None, input, DummyOutput()).wait(done)

    asyncio.run(run())


# -- the rest


class _StillLoop:
    """A loop whose time is set by the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def time(self) -> float:
        return self.clock.seconds()

    def call_later(self, delay: float, callback: Callable[[], object]) -> object:
        return self.clock.callLater(delay, callback)


def test_screen() -> None:
    """Text appears soon, then no more often than once a period; errors and notes are told apart by colour."""
    written: list[str] = []
    loop = _StillLoop()
    screen = Screen(cast("asyncio.AbstractEventLoop", loop), colour=True, write=written.append)
    screen.text("one\n")
    screen.error("two\n")
    loop.clock.advance(0)
    assert written == ["one\n\x1b[31mtwo\x1b[0m\n"]
    screen.note("three\n")
    loop.clock.advance(PERIOD * 0.9)
    assert len(written) == 1
    loop.clock.advance(PERIOD * 0.2)
    assert written[1:] == ["\x1b[2mthree\x1b[0m\n"]
    screen.note("four\n")
    screen.flush()
    screen.flush()
    assert written[2:] == ["\x1b[2mfour\x1b[0m\n"]


def test_screen_that_is_interrupted() -> None:
    """What Ctrl-C cuts ends its line: what comes next begins on one of its own."""
    written: list[str] = []

    def write(text: str) -> None:
        written.append(text)
        if len(written) == 1:
            raise KeyboardInterrupt

    screen = Screen(cast("asyncio.AbstractEventLoop", _StillLoop()), colour=False, write=write)
    screen.text("much\n")
    screen.flush()
    screen.text("next\n")
    screen.flush()
    assert written == ["much\n", "\n", "next\n"]


def test_plain_screen(capfd: pytest.CaptureFixture[str]) -> None:
    """Without colours there are none; by default it is standard output."""

    async def run() -> None:
        screen = Screen(asyncio.get_running_loop(), colour=False)
        screen.error("two\n")
        screen.flush()

    asyncio.run(run())
    assert capfd.readouterr().out == "two\n"


@pytest.mark.parametrize(
    ("greeting", "name"),
    [
        ({}, "connected"),
        ({"version": 1}, "connected"),
        ({"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}}, "QEMU 7.2.22"),
        ({"version": {"qemu": {"major": 7}}}, "QEMU 7.?.?"),
        ({"version": {"qemu": {"major": 0}, "package": "twisted-qmon 0.2.0"}}, "twisted-qmon 0.2.0"),
    ],
)
def test_server_name(greeting: Any, name: str) -> None:
    """The greeting tells what the server is."""
    assert server_name(greeting) == name


def test_retries_slow_down() -> None:
    """Attempts to reconnect come slower and slower, up to a limit."""
    delays = [retry_policy(n) for n in range(1, 20)]
    assert delays == sorted(delays)
    assert delays[-1] == 3.0


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (EventGap(1200, False), "1,200 events were lost: the server does not keep them any more"),
        (EventGap(0, True), "the server was restarted: events may have been lost"),
    ],
)
def test_gaps(gap: EventGap, text: str) -> None:
    """What is said of events that were lost."""
    assert gap_text(gap) == text

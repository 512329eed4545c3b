"""Lines without a prompt."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.shell.conftest import Qmon, Terminal
from tests.shell.scripted import ScriptedServer
from twisted_qmon.interfaces import IMonitor
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.client import Client, connect
from twisted_qmon.shell.lines.monitor import BlockingMonitor
from twisted_qmon.shell.terminal import start

HELP = {"return": [{"name": "foo", "parameters": [], "help": "", "params": ""}], "id": 2}


class _Stdin(io.TextIOWrapper):
    """Standard input, of a pipe or a terminal."""

    def __init__(self, text: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(text))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def _error(number: int, desc: str = "no") -> Any:
    return {"error": {"class": "GenericError", "desc": desc}, "id": number}


def test_given_lines(qmon: Qmon, server: ScriptedServer) -> None:
    """Each C{-c} is run, also behind one that failed; the status says whether all were done."""
    server.says(HELP, _error(3, "no\x1b"), {"return": "yes\x1b", "id": 4})
    done = qmon("./x", "-c", "foo", "-c", "foo")
    assert (done.status, done.out, done.err) == (1, "yes\\x1b\n", "Error: no\\x1b\n")
    server.says(HELP, {"return": "yes", "id": 3})
    assert qmon("./x", "-c", "foo").status == 0


def test_more_than_a_line(qmon: Qmon) -> None:
    """C{-c} takes one line."""
    assert qmon("./x", "-c", "foo\nfoo").status == 2


def test_typed_lines(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of standard input are run until it ends, or one leaves; line ends of any kind, bytes that are no UTF-8."""
    monkeypatch.setattr(sys, "stdin", _Stdin(b"foo\r\n\n\xff\nexit\nfoo"))
    server.says(HELP, {"return": "yes", "id": 3})
    done = qmon("./x")
    assert (done.status, done.out) == (1, "yes\n")
    assert "\\xff" in done.err


def test_typed_lines_at_a_dumb_terminal(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person at a terminal that can only print has a prompt."""
    monkeypatch.setattr(sys, "stdin", _Stdin(b"foo\n", terminal=True))
    monkeypatch.setenv("TERM", "dumb")
    qmon.terminal = True
    server.says(HELP, {"return": "yes", "id": 3}, ends=False)
    assert qmon("./x").out == "(qmon) yes\n(qmon) "


def test_the_end_of_the_server(qmon: Qmon, server: ScriptedServer) -> None:
    """When the connection is lost no further line is run, and that is said once: status 3."""
    server.says(HELP)
    done = qmon("./x", "-c", "foo", "-c", "foo")
    assert (done.status, done.out, done.err) == (3, "", "qmon: the server closed the connection\n")


def test_an_interrupt(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the lines: status 130, no further line."""
    server.says(HELP)

    def interrupt(self: Client, *unused: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    def start_late(self: Client, name: str, *unused: Any, **more: Any) -> Any:
        if name == "foo":
            interrupt(self)
        return original(self, name, *unused, **more)

    original = Client.run
    monkeypatch.setattr(Client, "run", start_late)
    done = qmon("./x", "-c", "foo", "-c", "foo")
    assert (done.status, done.out, done.err) == (130, "", "")


class _Full(Terminal):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_output_that_cannot_be_written(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the output ends the lines, and is no line's."""
    from twisted_qmon.shell.main import main

    server.says(HELP, {"return": "yes", "id": 3})
    monkeypatch.setattr(sys, "stdout", _Full())
    monkeypatch.setattr(sys, "stderr", err := io.StringIO())
    assert main(["./x", "-c", "foo", "-c", "foo"]) == 1
    assert err.getvalue() == "qmon: cannot write the output: No space left on device\n"


def _note(failure: Failure, names: list[Any]) -> None:
    names.append(type(failure.value).__name__)


def test_the_blocking_monitor(server: ScriptedServer) -> None:
    """It is a monitor whose Deferreds have fired; out of band as well; it follows no events."""
    server.says({"return": 1, "id": 2}, _error(3), {"return": 4, "id": 4})
    with connect(Address("./x", path="./x")) as client:
        monitor = BlockingMonitor(client)
        verifyObject(IMonitor, monitor)
        results: list[Any] = []
        monitor.execute("a").addCallback(results.append)
        monitor.execute("b").addErrback(_note, results)
        monitor.execute_oob("c").addCallback(results.append)
        for _ in range(2):
            monitor.execute("d").addErrback(_note, results)
        assert results == [1, "GenericError", 4, "ConnectionClosed", "ConnectionClosed"]
        monitor.leave(None)
        with pytest.raises(RuntimeError):
            monitor.subscribe(results.append)
    assert server.received()[3] == {"exec-oob": "c", "id": 4}


@pytest.mark.parametrize("name", ["prompt_toolkit", "rich.console", "other"])
def test_without_the_extra(qmon: Qmon, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Where the prompt's libraries are missing, one line says what to install; anything else that is missing is a fault."""

    class Missing:
        def __getattr__(self, attribute: str) -> Any:
            raise ModuleNotFoundError("no", name=name)

    monkeypatch.setattr(sys, "stdin", _Stdin(b"", terminal=True))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "twisted_qmon.shell.terminal.loop", Missing())
    qmon.terminal = True
    if name == "other":
        with pytest.raises(ModuleNotFoundError):
            qmon("./x")
    else:
        done = qmon("./x")
        assert (done.status, done.err) == (1, f"qmon: {start.NEEDS_EXTRA}\n")

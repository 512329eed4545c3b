"""
Fixtures of the tests of C{qmon}.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.shell.scripted import ScriptedServer
from twisted_qmon.shell.main import main


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """The server that every address leads to."""
    scripted = ScriptedServer()
    monkeypatch.setattr("twisted_qmon.shell.client.open_socket", scripted.open)
    yield scripted
    scripted.close()


@dataclass
class Done:
    """How a run of C{qmon} ended."""

    status: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Qmon:
    """
    Runs C{qmon} in this process.

    :ivar terminal: standard output is a terminal
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.terminal = False

    def __call__(self, *words: str) -> Done:
        out, err = Terminal() if self.terminal else io.StringIO(), io.StringIO()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            status = main(words)
        return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture
def qmon(monkeypatch: pytest.MonkeyPatch) -> Qmon:
    """Runs C{qmon}."""
    return Qmon(monkeypatch)

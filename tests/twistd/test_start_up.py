"""
What fails while the process starts, in the foreground and in a daemon.
"""

from __future__ import annotations

import os
import traceback

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from twisted_qmon._twistd.start_up import StartError, StartUp, one_line


@implementer(ILogObserver)
class Lines:
    """The critical lines that are logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"].name == "critical":
            self.lines.append(event["text"])


def test_in_the_foreground() -> None:
    """What fails becomes a SystemExit with one line, which the interpreter prints."""
    with pytest.raises(SystemExit) as caught, StartUp().attempt("web"):
        raise OSError("no\n  port")
    assert caught.value.code == "twistd qmon: web: no port"


def test_in_a_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process than the service was made in, it becomes an exception, and the line is logged, once."""
    start_up, inner = StartUp(), StartUp()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    observer = Lines()
    globalLogPublisher.addObserver(observer)
    try:
        with pytest.raises(StartError) as caught, start_up.attempt("web"):
            raise inner.error("can't listen")
    finally:
        globalLogPublisher.removeObserver(observer)
    assert str(caught.value) == "can't listen"
    assert observer.lines == ["can't listen"]
    # As twistd tells it, within a hundred bytes.
    assert traceback.format_exception_only(caught.value) == ["StartError: can't listen\n"]


def test_an_exit_keeps_its_words() -> None:
    """A SystemExit with a line of its own is not put into another one; an error without words is told by its class."""
    with pytest.raises(SystemExit, match="^mine$"), StartUp().attempt("web"):
        raise SystemExit("mine")
    assert one_line(KeyError()) == "KeyError"

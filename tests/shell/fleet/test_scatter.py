"""One command at many members, and what is shown of it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.shell.conftest import Terminal
from tests.shell.fleet.fakes import FakeFleet
from twisted_qmon.errors import CommandCancelled, CommandNotFound, ConnectionClosed, GenericError
from twisted_qmon.fleet.errors import NoSuchMember
from twisted_qmon.shell.errors import NoConnection
from twisted_qmon.shell.fleet import scatter as scatter_module
from twisted_qmon.shell.fleet.execute import scatter
from twisted_qmon.shell.fleet.report import Report, summary
from twisted_qmon.shell.fleet.scatter import Outcome, Scatter
from twisted_qmon.shell.output import Output


def _scatter(fleet: FakeFleet, clock: Clock, timeout: float = 5.0) -> tuple[Scatter, list[Outcome]]:
    came: list[Outcome] = []
    return Scatter(fleet, clock, fleet.names, "query-status", {"a": 1}, timeout, came.append), came


def test_each_is_called_once() -> None:
    """Each member gets the command and the arguments; the end is when each has answered."""
    fleet = FakeFleet("a", "b")
    fleet.answers = {"a": {"running": True}, "b": CommandNotFound("no")}
    runs, came = _scatter(fleet, Clock())
    done = runs.run()
    assert done.called
    assert fleet.calls == [(name, "execute", "query-status", {"a": 1}) for name in ("a", "b")]
    assert [(each.member, each.result, str(each.error), each.status) for each in came] == [
        ("a", {"running": True}, "None", 0),
        ("b", None, "no", 1),
    ]


def test_each_has_its_own_time() -> None:
    """A member that hangs costs its own time only; its call is cancelled, and it counts as timed out."""
    clock = Clock()
    fleet = FakeFleet("slow", "hangs")
    slow: Deferred[Any] = Deferred()
    fleet.answers = {"slow": slow, "hangs": Deferred()}
    runs, came = _scatter(fleet, clock)
    done = runs.run()
    clock.advance(4)
    slow.callback({})
    assert [(each.member, each.seconds, each.status) for each in came] == [("slow", 4.0, 0)]
    ends: list[object] = []
    done.addCallback(ends.append)
    assert ends == []
    clock.advance(1)
    assert ends == [None]
    assert fleet.cancelled == ["hangs"]
    assert (came[1].member, str(came[1].error), came[1].status) == (
        "hangs",
        "Command 'query-status' timed out after 5 s",
        4,
    )
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(NoSuchMember("x"), 3), (ConnectionClosed("x"), 3), (GenericError("x"), 1), (CommandCancelled("x"), 1)],
)
def test_status(error: Exception, status: int) -> None:
    """A member that is not there any more counts as no connection."""
    fleet = FakeFleet("a")
    fleet.answers = {"a": error}
    runs, came = _scatter(fleet, Clock())
    assert runs.run().called
    assert came[0].status == status


def test_a_fault_is_an_error_of_that_member() -> None:
    """What is no error of a command does not end the others."""
    fleet = FakeFleet("a", "b")
    fleet.answers = {"a": ValueError("odd"), "b": {}}
    runs, came = _scatter(fleet, Clock())
    assert runs.run().called
    assert [str(each.error) for each in came] == ["odd", "None"]


def test_not_all_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many are called at a time, and many that answer at once are no problem."""
    monkeypatch.setattr(scatter_module, "IN_FLIGHT", 2)
    waiting: list[Deferred[Any]] = [Deferred() for _ in range(5)]
    fleet = FakeFleet(*"abcde", *(f"n{number}" for number in range(3000)))
    fleet.answers = dict(zip("abcde", waiting, strict=True))
    runs, came = _scatter(fleet, Clock())
    done = runs.run()
    assert len(fleet.calls) == 2
    waiting[1].callback({})
    assert [call[0] for call in fleet.calls] == ["a", "b", "c"]
    for each in (0, 2, 3, 4):
        waiting[each].callback({})
    assert done.called
    assert len(came) == 3005


def test_giving_up() -> None:
    """Cancelling cancels what is under way; nothing is told of it, and no other is called."""
    fleet = FakeFleet("a", "b")
    fleet.answers = {"a": Deferred(), "b": {}}
    runs, came = _scatter(fleet, Clock())
    done = runs.run()
    failed: list[Failure] = []
    done.addErrback(failed.append)
    done.cancel()
    assert failed[0].check(CancelledError)
    assert fleet.cancelled == ["a"]
    assert [each.member for each in came] == ["b"]


# -- what is shown


class _Screen:
    def __init__(self, *, terminal: bool, as_json: bool | None = None) -> None:
        self.out, self.err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
        self.output = Output(as_json, self.out, self.err)

    def run(self, outcomes: list[Outcome], total: int | None = None, step: float = 1.0) -> Report:
        clock = Clock()
        report = Report(self.output, len(outcomes) if total is None else total, clock.seconds)
        for each in outcomes:
            clock.advance(step)
            report.add(each)
        return report


DONE = Outcome("a", 0.25, {"running": True})
SAME = Outcome("b", 0.5, {"running": True})
FAILED = Outcome("c", 1.0, error=GenericError("no \x1b[31m"))


def test_lines_for_programs() -> None:
    """On a pipe each is a line of JSON as it comes; there is no bar and no table."""
    screen = _Screen(terminal=False)
    report = screen.run([DONE, FAILED])
    assert [json.loads(line) for line in screen.out.getvalue().splitlines()] == [
        {"member": "a", "seconds": 0.25, "return": {"running": True}},
        {"member": "c", "seconds": 1.0, "error": {"class": "GenericError", "desc": "no \x1b[31m"}},
    ]
    shown = screen.out.getvalue()
    report.finish()
    assert (screen.out.getvalue(), screen.err.getvalue(), report.status) == (shown, "", 1)


def test_a_terminal_has_lines_a_bar_and_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each, harmless and no wider than the screen; a bar with what failed; at the end equal outcomes are one row."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    screen = _Screen(terminal=True)
    report = screen.run([DONE, FAILED, SAME], total=4)
    assert screen.out.getvalue() == 'a  {"running": true}\nc  no \\x1b[31m\nb  {"running": true}\n'
    assert "3/4, 1 failed" in screen.err.getvalue()
    report.finish()
    assert screen.err.getvalue().endswith("\r")
    rows = [line.split() for line in screen.out.getvalue().splitlines()[3:] if line.strip()]
    assert rows[0] == ["members", "which", "running", "slowest", "error"]
    assert ["2", "a,", "b", "true", "500.0", "ms"] in [row[:6] for row in rows] or "2" in rows[2]


def test_the_bar_is_not_drawn_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is written it is drawn ten times a second, and when all have come."""
    screen = _Screen(terminal=False, as_json=False)
    screen.output.stderr = Terminal()
    screen.run([DONE] * 30, step=0.01)
    assert screen.output.stderr.getvalue().count("\r") == 4
    assert "30/30" in screen.output.stderr.getvalue()


def test_a_table_on_a_pipe() -> None:
    """With C{--table} there is the table alone."""
    screen = _Screen(terminal=False, as_json=False)
    report = screen.run([DONE, SAME])
    assert screen.out.getvalue() == ""
    report.finish()
    assert [line.split()[0] for line in screen.out.getvalue().splitlines()] == ["members", "2"]


def test_rows_of_the_table() -> None:
    """A row names some members; a result that is nested, or no object, is JSON; a member's own key does not win."""
    many = [Outcome(f"m{number}", 0.001, [1]) for number in range(5)]
    assert summary([Outcome("x", 1.0, {"which": 1, "a": 2}), *many, Outcome("y", 2.0, {"a": {}})]) == [
        {"members": 5, "which": "m0, m1, m2 and 2 more", "result": "[1]", "slowest": "1.0 ms"},
        {"members": 1, "which": "x", "a": 2, "slowest": "1.0 s"},
        {"members": 1, "which": "y", "result": '{"a": {}}', "slowest": "2.0 s"},
    ]


# -- both


def _run(fleet: FakeFleet, pattern: str, screen: _Screen) -> Any:
    return Deferred.fromCoroutine(scatter(fleet, Clock(), screen.output, pattern, "query-status", {}, 5.0))


def test_those_that_match() -> None:
    """Those members are called whose names match; the status is that of the worst."""
    fleet = FakeFleet("web-1", "web-2", "db-1")
    fleet.answers = {"web-2": GenericError("no")}
    screen = _Screen(terminal=False)
    assert _run(fleet, "web-*", screen).result == 1
    assert [call[0] for call in fleet.calls] == ["web-1", "web-2"]


def test_none_matches() -> None:
    """That is said, and is no success."""
    failed: list[Failure] = []
    _run(FakeFleet("a"), "web-*", _Screen(terminal=False)).addErrback(failed.append)
    assert failed[0].check(NoConnection)
    assert "no member matches 'web-*'" in str(failed[0].value)


def test_an_interrupt() -> None:
    """What has come is shown, and the status is that of an interrupt."""
    fleet = FakeFleet("a", "b")
    fleet.answers = {"a": Deferred(), "b": {}}
    screen = _Screen(terminal=False, as_json=False)
    running = _run(fleet, "*", screen)
    running.cancel()
    assert running.result == 130
    assert screen.out.getvalue().splitlines()[1].split()[:2] == ["1", "b"]

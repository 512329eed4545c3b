"""
Jobs: the table that a person sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.job_scenarios import Ours
from tests.support.jobs import at_pause_points, failing, forever, ready
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.jobs.provider import _duration


def test_time_left() -> None:
    """In hours, minutes and seconds, and beyond a hundred days in a word."""
    assert [_duration(seconds) for seconds in (0.4, 59.6, 3600, 359999, 1e8)] == [
        "0:00:00", "0:01:00", "1:00:00", "99:59:59", "months",
    ]  # fmt: skip


def test_typed() -> None:
    """A person types `info jobs`, and the verbs with their ids."""
    ours = Ours()
    ours.monitor.register(HumanMonitorCommand())
    ours.jobs.start("j0", "copy", forever).progress(1, 4)

    def typed(line: str) -> list[str]:
        text: str = ours.call("human-monitor-command", **{"command-line": line})
        return text.splitlines()

    assert typed("info jobs") == [
        "ID  TYPE  STATUS   PROGRESS                      RATE  LEFT",
        "j0  copy  running  [#####---------------]  25 %",
    ]
    assert typed("job-resume j0") == ["Error: Can't resume a job that was not paused"]
    assert typed("job-cancel j0") == []
    ours.clock.advance(0)
    assert typed("info jobs") == ["No jobs"]


def printer_of(ours: Ours) -> Callable[[Any], str]:
    """What makes text of the result of query-jobs."""
    found = ours.monitor.command("query-jobs")
    assert found is not None
    assert found.info.printer is not None
    return found.info.printer


def test_table() -> None:
    """`info jobs`: bar, per cent, rate and time left of those that run; the error of those that failed."""
    ours = Ours()
    printer = printer_of(ours)
    assert printer(ours.call("query-jobs")) == "No jobs"
    broken = ours.jobs.start("broken", "copy", failing, auto_dismiss=False)
    broken.progress(1, 3)
    big = ours.jobs.start("j0", "backup", forever)
    ours.jobs.start("m", "mirror", ready).progress(4, 4)
    ours.jobs.start("unknown", "scan", forever)
    ours.clock.pump([1] * 10)
    big.progress(45_000_000, 100_000_000)
    ours.clock.advance(0)
    assert printer(ours.call("query-jobs")).split("\n") == [
        "ID       TYPE    STATUS     PROGRESS                         RATE     LEFT",
        "unknown  scan    running    [--------------------]            0/s",
        "m        mirror  ready      [####################]  100 %",
        "j0       backup  running    [#########-----------]   45 %  4.5M/s  0:00:12",
        "broken   copy    concluded  [######--------------]   33 %                   error: Device 'x' not found",
    ]


def test_no_rate_while_paused() -> None:
    """A pause does not count, neither while it lasts nor afterwards."""
    ours = Ours()
    printer = printer_of(ours)
    job = ours.jobs.start("j", "copy", at_pause_points)
    ours.clock.pump([0.1] * 100)
    job.progress(100, 1000)
    assert "10/s  0:01:30" in printer(ours.call("query-jobs"))
    ours.call("job-pause", id="j")
    ours.clock.pump([0.1] * 600)
    assert "/s" not in printer(ours.call("query-jobs"))
    ours.call("job-resume", id="j")
    ours.clock.pump([0.1] * 10)
    job.progress(120, 1000)
    assert "20/s  0:00:44" in printer(ours.call("query-jobs"))


def test_table_of_a_remote_monitor() -> None:
    """Jobs that are not ours, or are gone since, have a line all the same."""
    printer = printer_of(Ours())
    info = {"id": "x", "type": "copy", "status": "running", "current-progress": 7, "total-progress": 5}
    assert "[####################]  100 %" in printer([info])

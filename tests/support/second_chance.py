"""
Which tests of a run may be run once more.

A test marked C{live} talks to other programs, in real time, and a busy machine may fail it. C{.ci/run} runs it once more then,
and says so. All else that fails is a fault: so nothing is run again if a unit test failed too, if a module could not be
imported, or if the run was interrupted or did not come to its end.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

__all__ = ["SecondChance"]

_LIVE = ("live", True)


class SecondChance:
    """
    A plugin of pytest: writes the names of the live tests that failed to a file, one a line, if nothing else went wrong.

    :param path: the file; it is not there if nothing failed, or if a second run would hide something
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._live: dict[str, None] = {}
        self._excused = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note in the report what the test is marked with: a worker of pytest-xdist may be the one that runs it."""
        report = yield
        if item.get_closest_marker("live"):
            report.user_properties.append(_LIVE)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test, its preparation or its end is done."""
        if not report.failed:
            return
        if any(tuple(each) == _LIVE for each in report.user_properties):
            self._live[report.nodeid] = None
        else:
            self._excused = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module was imported."""
        if report.failed:
            self._excused = False

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """All is done."""
        if hasattr(session.config, "workerinput"):
            return
        if self._live and self._excused and exitstatus == pytest.ExitCode.TESTS_FAILED:
            self._path.write_text("".join(f"{name}\n" for name in self._live))

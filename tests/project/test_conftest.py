"""
The net under all other tests: it must catch what was left behind, and let pass what was meant.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

def log_one():
    try:
        raise ValueError("in the log")
    except ValueError:
        Logger().failure("while testing")

def test_quiet(): pass
def test_logs(): log_one()
def test_drops(): fail(ValueError("dropped"))

def test_flushes_logged(flush_logged_errors):
    log_one()
    assert len(flush_logged_errors(ValueError)) == 1

def test_flushes_dropped(flush_logged_errors):
    fail(ValueError("dropped"))
    assert len(flush_logged_errors()) == 1

def test_flushes_another(flush_logged_errors):
    log_one()
    assert flush_logged_errors(KeyError) == []

class TrialTests(SynchronousTestCase):
    def test_trial_logs(self): log_one()

    def test_trial_flushes_logged(self):
        log_one()
        assert len(self.flushLoggedErrors(ValueError)) == 1

    def test_trial_drops_in_a_cycle(self):
        "The Deferred dies only when the collector comes by, after the test."
        d = Deferred()
        d.me = d
        d.errback(ValueError())
"""


@pytest.mark.slow
def test_errors_left_behind(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logged failure or a dropped Deferred fails its test, whatever kind of test it is, unless it was flushed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent), prepend=os.pathsep)
    pytester.makeconftest("from tests.conftest import *\nfrom tests.conftest import _logged_errors")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-rA", "-p", "no:cacheprovider")
    bad = {
        line.split("::")[-1].split()[0]
        for line in result.outlines
        if line.startswith(("ERROR", "FAILED")) and "::" in line
    }
    assert bad == {"test_logs", "test_drops", "test_flushes_another", "test_trial_logs", "test_trial_drops_in_a_cycle"}
    result.assert_outcomes(passed=8, failed=1, errors=4)

"""
No test may leave an error behind that nobody looked at.

Twisted reports what goes wrong where nobody can catch it (a failing callback, a Deferred that was dropped with its failure) in
its log. Trial's test cases fail on that; plain pytest functions don't, so the fixture here does it for them.
"""

from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.plugin import IPlugin, getPlugins
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.second_chance import SecondChance

# Where no list of plugins is kept yet, Twisted imports them all to make it, and some of its own import what Python deprecates.
# In which test that would happen depends on which are run.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    list(getPlugins(IPlugin))

# It is for this run, not for one that a test starts.
os.environ.pop("PYTEST_ADDOPTS", None)

# A shell without job control has what it starts in the background ignore SIGINT, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FlushLogged = Callable[..., list[Failure]]


@implementer(ILogObserver)
class _Errors:
    """A log observer that keeps the failures."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.failures.append(failure)

    def flush(self, *kinds: type[BaseException]) -> list[Failure]:
        """
        Forget the failures of these kinds (all, if none is named), and return them.

        A Deferred is found to be dropped only when it is collected, so that comes first.
        """
        gc.collect()
        flushed = [failure for failure in self.failures if not kinds or isinstance(failure.value, kinds)]
        self.failures = [failure for failure in self.failures if failure not in flushed]
        return flushed


@pytest.fixture(autouse=True, scope="module")
def _fresh_heap() -> None:
    """
    Take all that importing and earlier modules made out of the collector's sight: collecting after each test is then a matter of
    microseconds.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logged_errors(request: pytest.FixtureRequest) -> Iterator[_Errors]:
    """Fail a test that leaves a logged failure, or a Deferred with a failure that nobody handled."""
    errors = _Errors()
    globalLogPublisher.addObserver(errors)
    try:
        yield errors
        if isinstance(request.instance, SynchronousTestCase):
            # Trial has looked at what the test logged, and knows what flushLoggedErrors() took. What it does not see is a
            # Deferred that is still to be collected.
            errors.failures.clear()
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(errors)
    if errors.failures:
        report = "\n".join(failure.getTraceback() for failure in errors.failures)
        pytest.fail(f"{len(errors.failures)} logged and not flushed:\n{report}", pytrace=False)


@pytest.fixture
def flush_logged_errors(_logged_errors: _Errors) -> FlushLogged:
    """
    For plain tests what C{flushLoggedErrors} is in trial's: C{flush_logged_errors(ValueError)} forgets the failures of that
    kind that were logged so far, and returns them.
    """
    return _logged_errors.flush


def pytest_configure(config: pytest.Config) -> None:
    """C{QMON_SECOND_CHANCE} names a file: live tests that failed are written to it, if nothing else went wrong."""
    path = os.environ.get("QMON_SECOND_CHANCE")
    if path:
        config.pluginmanager.register(SecondChance(Path(path)))


def pytest_report_header() -> Any:
    """Say which versions are being tested, since the range of supported ones is wide."""
    import msgspec
    import twisted

    return f"twisted {twisted.__version__}, msgspec {msgspec.__version__}"

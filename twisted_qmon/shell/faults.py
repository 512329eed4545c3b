"""
What goes wrong in this program itself.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

__all__ = ["show_faults"]


@implementer(ILogObserver)
class _Faults:
    """Shows failures that are logged, a line each."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self._show(f"{event.get('log_namespace')}: {failure.type.__name__}: {failure.getErrorMessage()}")


def show_faults(show: Callable[[str], object]) -> None:
    """
    Begin to log. Only failures are shown: what a server does is told in other ways.

    :param show: called with a line for each
    """
    globalLogBeginner.beginLoggingTo([_Faults(show)], redirectStandardIO=False, discardBuffer=True)

"""
Where this package's log events go: to Twisted's publisher, or to what the thread that logs has for them.

Twisted's observers run in the thread that logs, and wait where the main one waits: for a disk, a full pipe, a lock. A thread that
must not wait there has its events taken by something else. The loggers of all code that may run in such a thread are made with
C{Logger(observer=publish)}.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

__all__ = ["diverted", "publish"]


class _Here(threading.local):
    """What takes the events of the thread; C{None}: Twisted's publisher."""

    observer: ILogObserver | None = None


_here = _Here()


@provider(ILogObserver)
def publish(event: LogEvent) -> None:
    """Pass on a log event."""
    observer = _here.observer
    if observer is None:
        globalLogPublisher(event)
    else:
        observer(event)


@contextmanager
def diverted(observer: ILogObserver) -> Iterator[None]:
    """
    In here, what this thread logs with this package's loggers goes to an observer.

    :param observer: called in this thread
    """
    _here.observer = observer
    try:
        yield
    finally:
        _here.observer = None

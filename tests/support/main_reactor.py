"""A main reactor that runs when a test says so: as far as other threads know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer
from zope.interface.verify import verifyClass

__all__ = ["MainReactor"]


@implementer(IReactorFromThreads)
class MainReactor:
    """
    Takes calls from threads.

    :ivar from_threads: those that wait until it runs
    """

    def __init__(self) -> None:
        self.from_threads: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """See C{IReactorFromThreads}."""
        assert not kwargs
        self.from_threads.append((callable, args))

    def run(self) -> None:
        """Call what waits now."""
        calls, self.from_threads = self.from_threads, []
        for function, args in calls:
            function(*args)


verifyClass(IReactorFromThreads, MainReactor)

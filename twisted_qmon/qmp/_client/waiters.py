"""
Deferreds of several callers that wait for the same thing.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["Waiters"]

_T = TypeVar("_T")


class Waiters(Generic[_T]):
    """
    Those who wait. Each may cancel its Deferred, also from within the callback of another one.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[_T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[_T]:
        """:return: fires when it is told; see L{tell} and L{fail}"""
        deferred: Deferred[_T] = Deferred(self._discard)
        self._waiting.append(deferred)
        return deferred

    def tell(self, result: _T) -> None:
        """Fire the Deferreds of all who wait at this moment."""
        for deferred in self._take():
            if not deferred.called:
                deferred.callback(result)

    def fail(self, error: Exception) -> None:
        """The same, with an error."""
        for deferred in self._take():
            if not deferred.called:
                deferred.errback(error)

    def _take(self) -> list[Deferred[_T]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _discard(self, deferred: Deferred[_T]) -> None:
        if deferred in self._waiting:
            self._waiting.remove(deferred)

"""
What a session's requests wait in: one queue and one bound for those in band, another for those out of band.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted_qmon.core.request import ABSENT, Request

if TYPE_CHECKING:
    from twisted_qmon.errors import CommandError

__all__ = ["Answer", "RequestQueue"]

# Most sessions never have anybody waiting: they share this one, and L{RequestQueue.wait} makes a queue when one is needed.
_NOBODY: deque[Any] = deque(maxlen=0)


class Answer:
    """Stands in the queue for a message that was answered by looking at it."""

    __slots__ = ("done", "error", "id", "result")

    def __init__(self, error: CommandError, id: Any) -> None:
        self.done = True
        self.id = id
        self.result = None
        self.error = error


class RequestQueue:
    """
    In-band or out-of-band requests.

    :param limit: how many may run at a time
    :ivar running: how many do
    :ivar unnamed: one without an id does, in band
    :ivar waiting: the others, in the order in which they came
    """

    __slots__ = ("limit", "running", "unnamed", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.unnamed = False
        self.waiting: deque[Request | Answer] = _NOBODY

    def wait(self, request: Request | Answer) -> None:
        """Put one at the end of the queue."""
        if self.waiting is _NOBODY:
            self.waiting = deque()
        self.waiting.append(request)

    def may_start(self, id: Any) -> bool:
        """:return: whether the head of the queue, which has this id, may start now"""
        return self.running < self.limit and (id is not ABSENT or not self.unnamed)

    @property
    def exceeded(self) -> bool:
        """More are pending than may run: the session is to be suspended."""
        return self.running + len(self.waiting) > self.limit

"""
What a session's requests wait in: one queue and one bound for those in band, another for those out of band.
"""

from __future__ import annotations

from collections import deque

from twisted_qmon.core.request import ABSENT, Request, RequestId

__all__ = ["RequestQueue"]

# Most sessions never have a request waiting: they share this one, and L{RequestQueue.wait} makes a queue when one is needed.
_EMPTY: deque[Request] = deque(maxlen=0)


class RequestQueue:
    """
    In-band or out-of-band requests.

    :param limit: how many may run at a time
    :ivar running: how many are running
    :ivar unnamed: one without an id is running, in band
    :ivar waiting: the others, in the order in which they came; those that are answered already among them
    """

    __slots__ = ("limit", "running", "unnamed", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.unnamed = False
        self.waiting = _EMPTY

    def has_room(self, id: RequestId) -> bool:
        """:return: whether a request with this id may start if none waits before it"""
        return self.running < self.limit and (id is not ABSENT or not self.unnamed)

    def run(self, request: Request) -> None:
        """A request is running."""
        self.running += 1
        if request.id is ABSENT and not request.oob:
            self.unnamed = True

    def ended(self, request: Request) -> None:
        """A request that was running is answered."""
        self.running -= 1
        if request.id is ABSENT and not request.oob:
            self.unnamed = False

    def wait(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        if self.waiting is _EMPTY:
            self.waiting = deque()
        self.waiting.append(request)

    def next(self) -> Request | None:
        """:return: the head of the queue, which is taken out, if there is one and it may start"""
        if not self.waiting or not self.has_room(self.waiting[0].id):
            return None
        return self.waiting.popleft()

    @property
    def pending(self) -> int:
        """Requests that are running or waiting."""
        return self.running + len(self.waiting)

    @property
    def exceeded(self) -> bool:
        """More are pending than may run: the session is to be suspended."""
        return self.running + len(self.waiting) > self.limit

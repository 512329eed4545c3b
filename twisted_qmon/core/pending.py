"""
The requests of a monitor that are not answered yet, and those whose handlers run on unattended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twisted_qmon.core.request import ABSENT

if TYPE_CHECKING:
    from twisted_qmon.core.request import Request, RequestId
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICaller

__all__ = ["Pending", "same_json"]


class Pending:
    """
    Requests by caller and number. Adding, finding and removing one costs the same however many there are.

    An execution is I{unattended} if the request was answered before its handler was done (it is abandoned), or if its caller has
    left and it runs on (it is detached).

    :param max_unattended: how many unattended executions of one command there may be before L{full} has its name
    :ivar abandoned: by number, the requests that were answered before their handlers were done
    :ivar full: the names of the commands that have as many unattended executions as they may
    :ivar waiters: what waits for the last request to be answered
    """

    def __init__(self, max_unattended: int) -> None:
        self.max_unattended = max_unattended
        self.waiters: list[tuple[Request | None, Deferred[None]]] = []
        self.abandoned: dict[int, Request] = {}
        self.full: set[str] = set()
        self._by_caller: dict[ICaller, dict[int, Request]] = {}
        self._length = 0
        self._unattended: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Request]:
        # Each copied in one step: another thread may look at them.
        requests = [request for mine in list(self._by_caller.values()) for request in list(mine.values())]
        return iter(sorted(requests, key=lambda request: request.number))

    def __len__(self) -> int:
        return self._length

    def add(self, request: Request, now: float) -> None:
        """Remember a request that is not answered yet, and when it came."""
        request.pending = True
        request.created = now
        self._length += 1
        mine = self._by_caller.get(request.caller)
        if mine is None:
            self._by_caller[request.caller] = {request.number: request}
        else:
            mine[request.number] = request

    def remove(self, request: Request) -> None:
        """Forget a request that is about to be answered."""
        request.pending = False
        self._length -= 1
        mine = self._by_caller[request.caller]
        del mine[request.number]
        if not mine:
            del self._by_caller[request.caller]
        if request.detached:
            self._attend(request.name)

    def of(self, caller: ICaller) -> list[Request]:
        """:return: a caller's requests, oldest first"""
        return list(self._by_caller.get(caller, {}).values())

    def by_number(self, number: int) -> Request | None:
        """:return: the request with that number, or C{None}"""
        for mine in self._by_caller.values():
            if number in mine:
                return mine[number]
        return None

    def by_id(self, caller: ICaller, id: RequestId) -> Request | None:
        """:return: the caller's oldest request with that id (the same value of the same JSON type), or C{None}"""
        for request in self._by_caller.get(caller, {}).values():
            if request.id is not ABSENT and id is not ABSENT and same_json(request.id, id):
                return request
        return None

    # -- unattended executions

    def detach(self, request: Request) -> None:
        """The caller of a pending request has left, and it runs on."""
        request.detach()
        self._leave_unattended(request.name)

    def abandon(self, request: Request) -> None:
        """The request was answered while its handler runs on."""
        request.abandoned = True
        self.abandoned[request.number] = request
        self._leave_unattended(request.name)

    def recover(self, request: Request) -> None:
        """The handler of an abandoned request has come to its end."""
        request.abandoned = False
        del self.abandoned[request.number]
        self._attend(request.name)

    def _leave_unattended(self, name: str) -> None:
        self._unattended[name] += 1
        if self._unattended[name] >= self.max_unattended:
            self.full.add(name)

    def _attend(self, name: str) -> None:
        self._unattended[name] -= 1
        if self._unattended[name] < self.max_unattended:
            self.full.discard(name)
        if not self._unattended[name]:
            del self._unattended[name]

    # -- the last one

    def when_empty(self, exclude: Request | None) -> Deferred[None]:
        """:return: fires when no request is left but C{exclude}; at once if so now"""
        deferred: Deferred[None] = Deferred()
        self.waiters.append((exclude, deferred))
        self.tell_waiters()
        return deferred

    def tell_waiters(self) -> None:
        """Fire what L{when_empty} returned, where it is time."""
        for waiter in list(self.waiters):
            exclude, deferred = waiter
            if self._length == 0 or (self._length == 1 and exclude is not None and exclude.pending):
                self.waiters.remove(waiter)
                deferred.callback(None)


def same_json(one: JSON, other: JSON) -> bool:
    """
    Compare two JSON values, their types included: 1 is neither 1.0 nor true. Nesting as deep as the wire allows does no harm.
    """
    stack = [(one, other)]
    while stack:
        a, b = stack.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            stack.extend((value, b[key]) for key, value in a.items())
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True

"""
The requests that a monitor has not answered yet, and those whose handlers are still at it although they were answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from twisted_qmon.core.request import ABSENT

if TYPE_CHECKING:
    from twisted_qmon.core.request import Request

__all__ = ["Pending", "same_json"]


class Pending:
    """
    Requests by caller and number. Adding, finding and removing one costs the same however many there are.

    :ivar abandoned: by number, the requests that were answered before their handlers were done
    :ivar abandoned_by_name: how many of them there are of each command
    :ivar waiters: who waits for the last one to be answered
    """

    def __init__(self) -> None:
        self._by_caller: dict[Any, dict[int, Request]] = {}
        self.waiters: list[tuple[Request | None, Deferred[None]]] = []
        self.abandoned: dict[int, Request] = {}
        self.abandoned_by_name: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Request]:
        requests = [request for mine in self._by_caller.values() for request in mine.values()]
        return iter(sorted(requests, key=lambda request: request.number))

    def __len__(self) -> int:
        return sum(map(len, self._by_caller.values()))

    def holds(self, request: Request) -> bool:
        """:return: whether it is one of those not answered yet"""
        return request._kept

    def add(self, request: Request) -> None:
        """Remember a request."""
        request._kept = True
        mine = self._by_caller.get(request.caller)
        if mine is None:
            self._by_caller[request.caller] = {request.number: request}
        else:
            mine[request.number] = request

    def remove(self, request: Request) -> None:
        """Forget a request that has been answered."""
        request._kept = False
        mine = self._by_caller[request.caller]
        del mine[request.number]
        if not mine:
            del self._by_caller[request.caller]

    def of(self, caller: Any) -> list[Request]:
        """:return: a caller's requests, oldest first"""
        return list(self._by_caller.get(caller, {}).values())

    def by_number(self, number: int) -> Request | None:
        """:return: the request with that number, or C{None}"""
        for mine in self._by_caller.values():
            if number in mine:
                return mine[number]
        return None

    def by_id(self, caller: Any, id: Any) -> Request | None:
        """:return: the caller's oldest request with that id (the same value of the same JSON type), or C{None}"""
        for request in self._by_caller.get(caller, {}).values():
            if request.id is not ABSENT and same_json(request.id, id):
                return request
        return None

    def abandon(self, request: Request) -> None:
        """Count a request that was answered while its handler goes on."""
        self.abandoned[request.number] = request
        self.abandoned_by_name[request.name] += 1

    def recover(self, request: Request) -> None:
        """The handler of an abandoned request has come to its end."""
        del self.abandoned[request.number]
        self.abandoned_by_name[request.name] -= 1
        if not self.abandoned_by_name[request.name]:
            del self.abandoned_by_name[request.name]

    def is_over(self, name: str, limit: int) -> bool:
        """:return: whether the command has as many abandoned executions as it may"""
        return self.abandoned_by_name[name] >= limit

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
            left = len(self)
            if left == 0 or (left == 1 and exclude is not None and self.holds(exclude)):
                self.waiters.remove(waiter)
                deferred.callback(None)


def same_json(one: Any, other: Any) -> bool:
    """
    Compare two JSON values, their types included: 1 is neither 1.0 nor true. Nesting as deep as the wire allows does no harm.
    """
    stack = [(one, other)]
    while stack:
        a, b = stack.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            if a.keys() != b.keys():
                return False
            stack.extend((value, b[key]) for key, value in a.items())
        elif isinstance(a, list):
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True

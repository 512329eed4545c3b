"""
A fleet in memory: one connection to it, whose calls a test answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyClass

from twisted_qmon.errors import CommandCancelled, CommandError, ConnectionClosed
from twisted_qmon.fleet.interfaces import ICallee, IFleet, Publication
from twisted_qmon.info import JSON

__all__ = ["FakeFleet", "event"]


@implementer(IFleet)
class FakeFleet:
    """
    :param names: the members
    :ivar answers: by member, or by member and command: the result, an error to fail with, or a Deferred
    :ivar calls: what was called, oldest first
    :ivar cancelled: the members whose calls were cancelled
    :ivar closed: it was closed
    :ivar after_call: called when it is known what a call is answered with
    """

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.answers: dict[object, object] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled: list[str] = []
        self.closed = False
        self.after_call: Callable[[], object] = lambda: None
        self.receivers: list[tuple[Callable[[Publication], object], str | None]] = []
        self.watchers: list[Callable[[str, bool], object]] = []
        self._lost: list[Deferred[CommandError]] = []

    def announce(self, name: str, callee: ICallee) -> Deferred[Callable[[], Deferred[None]]]:
        """See L{IFleet}."""
        raise NotImplementedError

    def publish(self, publication: Publication, sessions: Sequence[int] | None = None) -> None:
        """All receivers get it."""
        for receiver, name in self.receivers:
            if name in (None, publication.member):
                receiver(publication)

    def call(
        self,
        name: str,
        procedure: str,
        arguments: Sequence[JSON] = (),
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Deferred[JSON]:
        """See L{IFleet}."""
        self.calls.append((name, procedure, *arguments))
        key = arguments[0] if procedure == "execute" else procedure
        answer = self.answers.get((name, key), self.answers.get(key, self.answers.get(name, {})))
        self.after_call()
        if isinstance(answer, Deferred):
            called: Deferred[JSON] = Deferred(lambda _: self._cancel(called, name))
            answer.addCallbacks(lambda result: self._settle(called, result), lambda f: self._settle(called, f))
            return called
        return fail(answer) if isinstance(answer, BaseException) else succeed(answer)  # type: ignore[arg-type]

    def _cancel(self, called: Deferred[JSON], name: str) -> None:
        self.cancelled.append(name)
        called.errback(CommandCancelled("The call was cancelled"))

    def _settle(self, called: Deferred[JSON], result: JSON | Failure) -> None:
        if not called.called:
            called.callback(result)

    def subscribe(
        self, receiver: Callable[[Publication], object], name: str | None = None
    ) -> Deferred[Callable[[], None]]:
        """See L{IFleet}."""
        self.receivers.append((receiver, name))
        return succeed(lambda: self.receivers.remove((receiver, name)))

    def members(self) -> Deferred[list[str]]:
        """See L{IFleet}."""
        return succeed(sorted(self.names))

    def watch(self, receiver: Callable[[str, bool], object]) -> Deferred[Callable[[], None]]:
        """See L{IFleet}."""
        for name in sorted(self.names):
            receiver(name, True)
        self.watchers.append(receiver)
        return succeed(lambda: self.watchers.remove(receiver))

    def on_drain(self, callback: Callable[[bool], object]) -> None:
        """It reads always."""

    def close(self) -> Deferred[None]:
        """See L{IFleet}."""
        self.closed = True
        self.lose(ConnectionClosed("closed"))
        return succeed(None)

    def when_lost(self) -> Deferred[CommandError]:
        """See L{IFleet}."""
        self._lost.append(Deferred())
        return self._lost[-1]

    def lose(self, error: CommandError) -> None:
        """The router goes."""
        lost, self._lost = self._lost, []
        for each in lost:
            each.callback(error)


verifyClass(IFleet, FakeFleet)


def event(member: str, number: int, name: str = "NEWS", monitor: str = "M", after: int | None = None) -> Publication:
    """:return: an event as a member publishes it"""
    message: Mapping[str, JSON] = {
        "event": name,
        "data": {"n": number},
        "timestamp": {"seconds": 1, "microseconds": 0},
        "number": number,
    }
    return Publication(member, monitor, message, number - 1 if after is None else after)

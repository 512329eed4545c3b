"""
What a monitor knows of those who have one token: who they are, what they may do, and the requests that are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon.core.access.caller import SessionCaller
from twisted_qmon.core.access.identity import web_identity
from twisted_qmon.core.access.standing import Standing, standing_of
from twisted_qmon.core.request import Request
from twisted_qmon.info import JSON, Level
from twisted_qmon.web.answers import Refusal, encode_document
from twisted_qmon.web.kept import Kept, describe

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.web.streams import EventStream
    from twisted_qmon.web.tokens import Token

__all__ = ["MAX_PENDING", "SESSION_IDLE", "Caller", "WebSession"]

#: Requests of one token that may be pending at a time.
MAX_PENDING = 100

#: Seconds after which a token that is not used counts as gone: nothing was asked, no event is waited for, no request is kept.
SESSION_IDLE = 60.0

_serial = count(1)


class Caller(SessionCaller):
    """The caller of requests of one connection, or of those that no connection waits for."""

    __slots__ = ()

    kind = "web"


class WebSession:
    """
    One token in use at one endpoint: for the monitor, one client.

    :param monitor: the monitor
    :param clock: of time limits
    :param token: the token
    :param endpoint: what rules know the endpoint by
    :param cap: the most that a client may do there
    :param gone: called when the token is not used any more
    :ivar standing: who it is, and what it may do
    :ivar requests: how many commands it has sent
    :ivar errors: how many of them were answered with an error
    :ivar last_command: the latest; empty if there was none
    :ivar streams: those who wait for events
    """

    _log = Logger()

    def __init__(
        self,
        monitor: Monitor,
        clock: IReactorTime,
        token: Token,
        endpoint: str,
        cap: Level,
        gone: Callable[[WebSession], object],
    ) -> None:
        self.name = f"web-{next(_serial)}"
        self.token = token
        self.standing = Standing(web_identity(token.name), self.name, endpoint, min(token.level, cap))
        self.requests = 0
        self.errors = 0
        self.last_command = ""
        self.streams: set[EventStream] = set()
        self.kept = Kept(clock)
        self._monitor = monitor
        self._clock = clock
        self._cap = cap
        self._gone = gone
        self._waiting = 0
        self._patient = Caller(self.standing, "")
        self.since = self._used = clock.seconds()
        self._ended = False
        self._timer: IDelayedCall = clock.callLater(SESSION_IDLE, self._check_idle)

    # -- the monitor's client

    def describe(self) -> dict[str, JSON]:
        """See L{Client<twisted_qmon.core.guard.Client>}."""
        return {
            "kind": "web",
            "since": self.since,
            "idle": max(0.0, self._clock.seconds() - self._used),
            "events-queued": 0,
            "requests": self.requests,
            "errors": self.errors,
            "last-command": self.last_command,
        }

    def turn_away(self) -> None:
        """The caller may do nothing here any more."""
        self.disconnect()

    def disconnect(self) -> None:
        """End what goes on. The token can be used again, if it is valid."""
        for stream in list(self.streams):
            stream.end()
        self.end()

    def end(self) -> None:
        """The token is not used any more. What it has asked for is cancelled or runs on, as the command says."""
        if self._ended:
            return
        self._ended = True
        if self._timer.active():
            self._timer.cancel()
        self._monitor.leave(self._patient)
        self.kept.clear()
        self._gone(self)

    def change(self, token: Token) -> None:
        """The file of tokens was read again: from now on this is the token."""
        self.token = token
        self.standing.cap = min(token.level, self._cap)
        self._monitor.guard.judge(self.standing)

    def used(self) -> None:
        """Something was asked."""
        self._used = self._clock.seconds()

    def _check_idle(self) -> None:
        left = self._used + SESSION_IDLE - self._clock.seconds()
        if left <= 0 and not self.streams and not self._waiting and not self.kept:
            self.end()
        else:
            self._timer = self._clock.callLater(left if left > 0 else SESSION_IDLE, self._check_idle)

    # -- requests

    def began(self, name: str) -> None:
        """
        Take account of a command.

        :raise Refusal: when there are too many
        """
        if self._waiting + self.kept.pending >= MAX_PENDING:
            raise Refusal(429, f"'{self.token.name}' has {MAX_PENDING} requests pending", {b"Retry-After": b"1"})
        self.requests += 1
        self.last_command = name

    def wait_for(self, request: Request, caller: Caller, done: Callable[[Request], object]) -> Callable[[], None]:
        """
        A connection waits for a request.

        :param done: called with the request when it is settled
        :return: to be called when the connection is gone before that
        """
        self._waiting += 1

        def settled(request: Request) -> None:
            self._waiting -= 1
            self.used()
            done(request)

        def leave() -> None:
            if not request.done:
                self._waiting -= 1
                self._monitor.leave(caller)

        request.notify(settled)
        return leave

    def start(self, name: str, arguments: Mapping[str, JSON] | None) -> Request:
        """
        Start a request that no connection waits for.

        :return: the request. Its outcome is kept for a while, unless it failed at once.
        """
        request = self._monitor.submit(name, arguments, self._patient)
        if request.error is None:
            self.kept.add(request)
            if not request.done:
                request.notify(self._settled)
        return request

    def _settled(self, request: Request) -> None:
        self.used()
        if request.error is not None:
            self.errors += 1
        self.kept.settled(request)

    def documents(self) -> list[JSON]:
        """:return: the requests of this token, pending and kept, without their results; the oldest first"""
        now = self._clock.seconds()
        mine = {request.number: request for request in self._pending()}
        mine.update((number, entry.request) for number, entry in self.kept.items())
        return [describe(mine[number], now) for number in sorted(mine)]

    def document(self, number: int) -> bytes:
        """
        :return: one request, with its result if it has one, encoded
        :raise Refusal: when there is none of that number, or it is another token's
        """
        kept = self.kept.fetch(number)
        return encode_document(describe(self._find(number), self._clock.seconds())) if kept is None else kept

    def cancel(self, number: int) -> bytes:
        """
        Cancel a request that is pending; forget one that is done.

        :return: the request as it is then, encoded
        :raise Refusal: as for L{document}
        """
        request = self._find(number)
        if request.done:
            document = self.document(number)
            self.kept.forget(number)
            return document
        request.cancel()
        if number in self.kept:
            return self.document(number)
        return encode_document(describe(request, self._clock.seconds()))

    def _find(self, number: int) -> Request:
        entry = self.kept.get(number)
        if entry is not None:
            return entry.request
        for request in self._pending():
            if request.number == number:
                return request
        raise Refusal(404, f"There is no request {number} of '{self.token.name}'")

    def _pending(self) -> list[Request]:
        return [each for each in self._monitor.pending if self.standing.owns(standing_of(each.caller))]

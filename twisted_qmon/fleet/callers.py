"""
Who calls a member: for its monitor, each session that a caller has with the router is one client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_qmon.core.access.caller import SessionCaller
from twisted_qmon.core.access.identity import fleet_identity
from twisted_qmon.core.access.standing import Standing, session_name
from twisted_qmon.errors import GenericError
from twisted_qmon.info import JSON, Level

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from twisted_qmon.core.monitor import Monitor

__all__ = ["IDLE", "IN_FLIGHT", "MAX_CALLERS", "MAX_CALLS", "Caller", "CallerSession", "Callers"]

#: Calls of one session that may be under way at a time. More are refused.
IN_FLIGHT = 100

#: Calls of all callers that may be under way at a time. More are refused.
MAX_CALLS = 1000

#: Sessions of callers that are known at a time. The one that has not called for longest is forgotten.
MAX_CALLERS = 1000

#: Seconds after which a session that does not call is forgotten. The router does not tell when one ends.
IDLE = 90.0


class Caller(SessionCaller):
    """The caller of one request. Each has its own, since a caller may leave one request and go on with another."""

    __slots__ = ()

    kind = "fleet"


class CallerSession:
    """
    One session of a caller with the router. To the monitor it is a client.

    :param callers: all of them
    :param number: the session's number
    :param authid: who it is
    :ivar standing: who it is, and what it may do
    :ivar calls: what is under way: the Deferreds of its calls
    """

    def __init__(self, callers: Callers, number: int, authid: str) -> None:
        self.number = number
        self.authid = authid
        self._callers = callers
        cap = Level.ADMIN if callers.monitor.guard.access is not None else Level.NONE
        self.standing = Standing(fleet_identity(authid), session_name("fleet"), callers.endpoint, cap)
        self.calls: set[Deferred[JSON]] = set()
        self.requests = 0
        self.errors = 0
        self.last_command = ""
        self.since = self.used = callers.monitor.clock.seconds()

    def began(self, name: str) -> Caller:
        """
        Take account of a call.

        :return: its caller
        :raise GenericError: when there are too many
        """
        callers = self._callers
        if len(self.calls) >= callers.in_flight:
            raise GenericError(f"'{self.authid}' has {callers.in_flight} calls under way at this member")
        if callers.calls >= callers.max_calls:
            raise GenericError(f"There are {callers.max_calls} calls under way at this member")
        self.requests += 1
        self.last_command = name
        self.used = callers.monitor.clock.seconds()
        return Caller(self.standing, str(self.number))

    def describe(self) -> dict[str, JSON]:
        """See L{Client<twisted_qmon.core.guard.Client>}."""
        return {
            "kind": "fleet",
            "since": self.since,
            "idle": max(0.0, self._callers.monitor.clock.seconds() - self.used),
            "events-queued": 0,
            "requests": self.requests,
            "errors": self.errors,
            "last-command": self.last_command,
        }

    def turn_away(self) -> None:
        """It may do nothing here any more."""
        self.disconnect()

    def disconnect(self) -> None:
        """Forget it, and end what it has under way. If it calls again, it is looked at again."""
        self._callers.forget(self)
        for call in list(self.calls):
            call.cancel()


class Callers:
    """
    The callers of one member.

    :param monitor: the member's monitor
    :param endpoint: what rules know the fleet by: C{"ws:router.example.org"}
    :param in_flight: see L{IN_FLIGHT}
    :param max_calls: see L{MAX_CALLS}
    :param max_callers: see L{MAX_CALLERS}
    :raise ValueError: when a limit is not positive
    :ivar calls: how many calls are under way
    """

    __slots__ = ("_sessions", "_timer", "calls", "endpoint", "in_flight", "max_callers", "max_calls", "monitor")

    def __init__(
        self,
        monitor: Monitor,
        endpoint: str,
        *,
        in_flight: int = IN_FLIGHT,
        max_calls: int = MAX_CALLS,
        max_callers: int = MAX_CALLERS,
    ) -> None:
        if min(in_flight, max_calls, max_callers) < 1:
            raise ValueError("the limits of calls and callers are at least 1")
        self.monitor = monitor
        self.endpoint = endpoint
        self.in_flight = in_flight
        self.max_calls = max_calls
        self.max_callers = max_callers
        self.calls = 0
        self._sessions: dict[int, CallerSession] = {}
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        """:return: how many sessions are known"""
        return len(self._sessions)

    def session(self, number: int, authid: str) -> CallerSession:
        """
        :param number: the number of the session that calls
        :param authid: who it is
        :return: what is known of it
        :raise PermissionDenied: when it may do nothing here
        """
        session = self._sessions.get(number)
        if session is not None and session.authid == authid:
            return session
        # What has this number is of a router before this one.
        replaced = self._oldest() if session is None else session
        session = CallerSession(self, number, authid)
        if not self.monitor.join(session):
            raise session.standing.no_access
        if replaced is not None:
            self.forget(replaced)
        self._sessions[number] = session
        if self._timer is None:
            self._timer = self.monitor.clock.callLater(IDLE, self._check_idle)
        return session

    def _oldest(self) -> CallerSession | None:
        """:return: the session that makes room for another one; C{None}: there is room"""
        if len(self._sessions) < self.max_callers:
            return None
        idle = [each for each in self._sessions.values() if not each.calls]
        if not idle:
            raise GenericError(f"{self.max_callers} callers have calls under way at this member")
        return min(idle, key=lambda each: each.used)

    def forget(self, session: CallerSession) -> None:
        """A session counts as gone."""
        if self._sessions.get(session.number) is session:
            del self._sessions[session.number]
            self.monitor.part(session)

    def clear(self) -> None:
        """All have gone: the connection to the router was lost, and with it all that is known of them."""
        for session in list(self._sessions.values()):
            self.forget(session)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def listeners(self, level: Level) -> list[int]:
        """:return: the numbers of the sessions that may see an event of a level"""
        return [number for number, each in self._sessions.items() if each.standing.verdict.level >= level]

    def _check_idle(self) -> None:
        self._timer = None
        now = self.monitor.clock.seconds()
        for session in list(self._sessions.values()):
            if not session.calls and now - session.used >= IDLE:
                self.forget(session)
        if self._sessions:
            self._timer = self.monitor.clock.callLater(IDLE / 2, self._check_idle)

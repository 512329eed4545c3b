"""
A monitor as a member of a fleet: what it is called with, and by whom; no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._text import printable
from twisted_qmon.core.access.verdict import PermissionDenied
from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.errors import CommandError, CommandNotFound, GenericError, InvalidArguments
from twisted_qmon.fleet.callers import IN_FLIGHT, MAX_CALLERS, MAX_CALLS, Callers, CallerSession
from twisted_qmon.fleet.interfaces import Call, ICallee
from twisted_qmon.info import Level
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qapi.types.plain import is_as_read

if TYPE_CHECKING:
    from twisted_qmon.core.events.history import EventHistory
    from twisted_qmon.core.events.table import EventMessage
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.info import JSON

__all__ = ["MAX_EVENTS", "Member", "wire_event"]

#: Events that are told in one answer. Who wants more asks again.
MAX_EVENTS = 200

#: Bytes of these events, about. One is always told.
MAX_EVENT_BYTES = 1 << 20

_Procedure = Callable[["Member", Call, CallerSession], "Deferred[JSON]"]


def wire_event(message: EventMessage) -> dict[str, JSON]:
    """:return: an event as members tell it: as on the wire, with its number"""
    event: dict[str, JSON] = {**message, "number": message.number}
    if message.upstream is not None:
        event["upstream"] = message.upstream
    return event


@implementer(ICallee)
class Member:
    """
    Serves the calls of a fleet.

    :param monitor: the monitor
    :param endpoint: what rules know the fleet by
    :param in_flight: calls of one caller's session that may be under way at a time
    :param max_calls: calls that may be under way at a time
    :param max_callers: sessions of callers that are known at a time
    :raise ValueError: when a limit is not positive
    :ivar callers: who has called
    """

    __slots__ = ("callers", "monitor")
    _log = Logger()

    def __init__(
        self,
        monitor: Monitor,
        endpoint: str,
        *,
        in_flight: int = IN_FLIGHT,
        max_calls: int = MAX_CALLS,
        max_callers: int = MAX_CALLERS,
    ) -> None:
        self.monitor = monitor
        self.callers = Callers(monitor, endpoint, in_flight=in_flight, max_calls=max_calls, max_callers=max_callers)

    def called(self, call: Call) -> Deferred[JSON]:
        try:
            if not call.authid:
                raise PermissionDenied(
                    "Permission denied: the router does not tell who calls ('disclose' of 'caller' is off)"
                )
            procedure = _PROCEDURES.get(call.procedure)
            if procedure is None:
                raise CommandNotFound(f"A member has no procedure '{printable(call.procedure[:100])}'")
            return procedure(self, call, self.callers.session(call.session, call.authid))
        except CommandError as error:
            return fail(error)
        except Exception:
            self._log.failure("while serving a call of {procedure}", procedure=call.procedure)
            return fail(GenericError("The call failed for a reason that was logged"))

    # -- commands

    def _execute(self, call: Call, session: CallerSession) -> Deferred[JSON]:
        name = call.arguments[0] if call.arguments else None
        arguments = call.arguments[1] if len(call.arguments) > 1 else None
        if type(name) is not str or len(call.arguments) > 2:
            raise InvalidArguments("'execute' takes the name of a command and its arguments")
        if arguments is not None and not is_as_read(arguments):
            raise InvalidArguments("The arguments of a command are an object of plain JSON data")
        return self._run(call, session, name, arguments)

    def _commands(self, call: Call, session: CallerSession) -> Deferred[JSON]:
        return self._run(call, session, "query-command-help", None)

    def _run(
        self, call: Call, session: CallerSession, name: str, arguments: Mapping[str, JSON] | None
    ) -> Deferred[JSON]:
        caller = session.began(name)
        monitor = self.monitor
        if call.progress is None:
            # Most commands are done at once, and need no request.
            served = monitor.serve(name, arguments, caller, ABSENT)
            if type(served) is not Request:
                return succeed(_plain(served))
            request = served
        else:
            request = monitor.submit(name, arguments, caller, progress=call.progress)
        if request.done:
            return _answer(request, session)

        def cancel(deferred: Deferred[JSON]) -> None:
            if call.left:
                self._end(session, deferred)
                monitor.leave(caller)
            else:
                request.cancel()

        def settled(request: Request) -> None:
            self._end(session, deferred)
            outcome = _answer(request, session)
            outcome.addCallbacks(deferred.callback, deferred.errback)

        deferred: Deferred[JSON] = Deferred(cancel)
        session.calls.add(deferred)
        self.callers.calls += 1
        request.notify(settled)
        return deferred

    def _end(self, session: CallerSession, deferred: Deferred[JSON]) -> None:
        session.calls.discard(deferred)
        self.callers.calls -= 1

    # -- events

    def _events(self, call: Call, session: CallerSession) -> Deferred[JSON]:
        session.began("events")
        after = call.arguments[0] if call.arguments else None
        monitor = call.arguments[1] if len(call.arguments) > 1 else None
        if not (after is None or (type(after) is int and after >= 0)) or not (monitor is None or type(monitor) is str):
            raise InvalidArguments("'events' takes a number, or null, and the id of a monitor, or null")
        if len(call.arguments) > 2:
            raise InvalidArguments("'events' takes two arguments")
        if session.standing.verdict.level < Level.OBSERVE:
            raise session.standing.no_access
        history = self.monitor.events.history
        resumed = history.resume(after, monitor)
        events, position = _read(history, resumed.position, session.standing.verdict.level)
        return succeed(
            {
                "monitor": history.id,
                "first": resumed.first,
                "last": resumed.last,
                "lost": resumed.lost,
                "restarted": resumed.restarted,
                "events": events,
                "position": position,
            }
        )


_PROCEDURES: Mapping[str, _Procedure] = {
    "execute": Member._execute,
    "commands": Member._commands,
    "events": Member._events,
}


def _answer(request: Request, session: CallerSession) -> Deferred[JSON]:
    if request.error is not None:
        session.errors += 1
        return fail(request.error)
    return succeed(_plain(request.result))


def _plain(result: JSON | JSONText) -> JSON:
    return cast("JSON", result.value) if isinstance(result, JSONText) else result


def _read(history: EventHistory, position: int, level: Level) -> tuple[Sequence[JSON], int]:
    """:return: events that are kept, and the number up to which they are told"""
    events: list[JSON] = []
    size = 0
    for message in history.after(position, MAX_EVENTS):
        size += message.size
        if events and size > MAX_EVENT_BYTES:
            break
        position = message.number
        if message.level <= level:
            events.append(wire_event(message))
    return events, position

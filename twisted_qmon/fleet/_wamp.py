"""
Autobahn's session, and the names and errors of WAMP: what only C{_connection.py} needs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._text import printable
from twisted_qmon.core.access.verdict import PermissionDenied
from twisted_qmon.errors import CommandCancelled, CommandError, ConnectionClosed, GenericError
from twisted_qmon.fleet._autobahn import (
    ApplicationError,
    ApplicationSession,
    Challenge,
    CloseDetails,
    ComponentConfig,
    IMessage,
    PayloadExceededError,
    SerializationError,
    SessionDetails,
    TransportLost,
    message,
)
from twisted_qmon.fleet.errors import JoinRefused, NameTaken, NoSuchMember

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["ERROR", "LOST", "PREFIX", "Owner", "Session", "Transport", "error_to_wire", "to_command_error"]

#: What all names of a fleet begin with.
PREFIX = "qmon."

#: The error of a command. Its argument is the C{desc}, its keyword C{class} the class.
ERROR = "qmon.error"

#: The reason where there is no other.
LOST = "The connection to the router was lost"

_log = Logger()

#: Each session says itself which realm it wants.
_CONFIG = ComponentConfig(realm="")


class Transport(Protocol):
    """The part of Autobahn's C{ITransport} that is used."""

    def send(self, msg: object) -> None:
        """Encode a message and send it."""

    def isOpen(self) -> bool:
        """:return: whether it can be sent on"""

    def close(self) -> None:
        """Close it in an orderly way."""

    def abort(self) -> None:
        """Close it at once."""


class _Checked:
    """
    Autobahn's transport, with a short answer instead of one that can't be sent. Autobahn's own would repeat what can't be sent,
    which then can't be sent either.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def send(self, msg: object) -> None:
        """Send a message, or an error in the place of an answer."""
        try:
            self._transport.send(msg)
        except TransportLost:
            # What is answered now has no one who waits for it; a request of one's own has.
            if not isinstance(msg, (message.Yield, message.Error, message.Cancel)):
                raise
        except Exception as e:
            # Over RawSocket the errors of the encoder come as they are.
            if not isinstance(msg, (message.Yield, message.Error)):
                raise e if isinstance(e, PayloadExceededError) else SerializationError(str(e)) from e
            if not getattr(msg, "progress", False):
                self._refuse(msg.request, isinstance(e, PayloadExceededError))

    def _refuse(self, request: int, too_large: bool) -> None:
        why = "is larger than the router takes" if too_large else "can't be encoded"
        desc = f"The answer {why}"
        kind = message.Invocation.MESSAGE_TYPE
        self._transport.send(message.Error(kind, request, ERROR, args=[desc], kwargs={"class": "GenericError"}))


class _Gone:
    """In the place of a transport that was lost: Autobahn answers calls all the same."""

    is_closed = True

    def __bool__(self) -> bool:
        return False

    def send(self, msg: object) -> None:
        """Drop it."""


class Owner(Protocol):
    """What has a session, and is told of it."""

    @property
    def reason(self) -> CommandError | None:
        """Why it ends, as far as that is known."""

    def joined(self) -> None:
        """The router has let it in."""

    def refused(self, error: CommandError) -> None:
        """The router has not let it in, or ends it."""

    def lost(self) -> None:
        """The connection is gone."""

    def gone(self, request: int) -> None:
        """The caller of an invocation has gone; it is cancelled right after this."""


class Session(ApplicationSession):
    """
    One session with the router.

    :param owner: is told what becomes of it
    :param realm: the realm to join
    :param authid: who one is; C{None}: the router decides
    :param ticket: what proves it; C{None}: nothing does
    """

    def __init__(self, owner: Owner, realm: str, authid: str | None, ticket: str | None) -> None:
        super().__init__(_CONFIG)
        # Autobahn makes a logger for each session. That of the class will do: there may be thousands of sessions.
        del self.log
        self._owner = owner
        self._wants = realm
        self._name = authid
        self._ticket = ticket
        self._was_in = False

    # -- what Autobahn calls

    def onOpen(self, transport: Transport) -> None:
        """There is a transport."""
        super().onOpen(_Checked(transport))

    def onConnect(self) -> None:
        """Say who one is."""
        methods = ["anonymous"] if self._ticket is None else ["ticket"]
        self.join(self._wants, authmethods=methods, authid=self._name)

    def onChallenge(self, challenge: Challenge) -> str:
        """:return: the ticket"""
        if challenge.method != "ticket" or self._ticket is None:
            raise JoinRefused(f"The router asks for {printable(str(challenge.method))}, not for a ticket")
        return self._ticket

    def onJoin(self, details: SessionDetails) -> None:
        """The router has let it in."""
        self._ticket = None
        # What the router told of itself is not needed any more.
        self._session_details = self._authextra = None
        self._was_in = True
        self._owner.joined()

    def onLeave(self, details: CloseDetails) -> None:
        """The router has not let it in, or ends it; or the connection was lost."""
        self._transport = self._transport or _Gone()  # type: ignore[assignment]
        if details.reason != CloseDetails.REASON_TRANSPORT_LOST:
            self._owner.refused(_refusal(str(details.reason), details.message, self._was_in))
        self._fail_all()
        with suppress(TransportLost):
            self.disconnect()

    def onDisconnect(self) -> None:
        """The connection is gone."""
        self._transport = _Gone()  # type: ignore[assignment]
        self._fail_all()
        self._owner.lost()

    def _fail_all(self) -> None:
        self._errback_outstanding_requests(self._owner.reason or ConnectionClosed(LOST))

    def onUserError(self, fail: Failure, msg: str) -> None:
        """Something was raised: errors of commands and cancelled calls are answered, all else is a fault."""
        if not fail.check(ApplicationError, CancelledError, CommandError):
            _log.failure("while talking to the router: {message}", fail, message=msg)

    def onMessage(self, msg: object) -> None:
        """A message has come."""
        # Not isinstance: it is slow for classes such as Autobahn's.
        if type(msg) is message.Result:
            if msg.request not in self._call_reqs:
                # It has crossed with the cancellation of its call. Autobahn would end the connection.
                return
        elif type(msg) is message.Error:
            if msg.request_type == message.Call.MESSAGE_TYPE and msg.request not in self._call_reqs:
                return
        elif type(msg) is message.Interrupt and msg.mode == message.Cancel.KILLNOWAIT:
            # That is what a router says when the caller has gone. To cancel, Autobahn names no mode.
            self._owner.gone(msg.request)
        super().onMessage(cast("IMessage", msg))

    def _errback_outstanding_requests(self, exc: Exception) -> None:
        """Autobahn's own logs how many there are, and waits for each."""
        pending = (
            self._publish_reqs,
            self._subscribe_reqs,
            self._unsubscribe_reqs,
            self._call_reqs,
            self._register_reqs,
            self._unregister_reqs,
        )
        waiting = [request.on_reply for requests in pending for request in requests.values()]
        for requests in pending:
            requests.clear()
        for on_reply in waiting:
            if not on_reply.called:
                on_reply.errback(Failure(exc))

    def deferred_of(self, request: int) -> object:
        """:return: what a called procedure returned for an invocation, or C{None}"""
        invocation = self._invocations.get(request)
        return None if invocation is None else invocation.on_reply


def _refusal(reason: str, text: str | None, was_in: bool) -> CommandError:
    said = printable(text) if text else "no reason given"
    if was_in:
        return ConnectionClosed(f"The router ended the session: {printable(reason)}")
    return JoinRefused(f"The router refuses the session: {said} ({printable(reason)})")


# -- errors


def error_to_wire(error: CommandError) -> ApplicationError:
    """:return: the error of a command, as WAMP has it"""
    wire = error.to_wire()
    return ApplicationError(ERROR, wire["desc"], **{"class": wire["class"]})


#: Errors of a router by their names, and what they mean for a call of a member.
_ROUTER_ERRORS: dict[str, tuple[type[GenericError], str]] = {
    "wamp.error.no_such_procedure": (NoSuchMember, "There is no member '{name}'"),
    "wamp.error.no_eligible_callee": (NoSuchMember, "There is no member '{name}'"),
    "wamp.error.callee_unregistered": (NoSuchMember, "There is no member '{name}'"),
    "wamp.error.canceled": (ConnectionClosed, "Member '{name}' has gone before it answered"),
    "wamp.error.procedure_already_exists": (NameTaken, "Another member has the name '{name}'"),
    "wamp.error.not_authorized": (PermissionDenied, "The router does not allow that for '{name}': {text}"),
}


def to_command_error(error: object, name: str) -> CommandError:
    """
    :param error: what Autobahn failed with
    :param name: the member that was meant
    :return: the error of a command, or what went wrong on the way
    """
    if isinstance(error, CommandError):
        return error
    if isinstance(error, CancelledError):
        return CommandCancelled("The call was cancelled")
    if isinstance(error, TransportLost):
        return ConnectionClosed("There is no connection to the router")
    if isinstance(error, PayloadExceededError):
        return GenericError("The message is larger than the router takes")
    if isinstance(error, SerializationError):
        return GenericError("The message can't be encoded")
    if not isinstance(error, ApplicationError):
        return GenericError(f"{type(error).__name__}: {printable(str(error))}")
    text = printable(str(error.args[0])) if error.args else ""
    if error.error == ERROR:
        return CommandError.from_wire(str(error.kwargs.get("class", "GenericError")), _first_text(error.args))
    known = _ROUTER_ERRORS.get(error.error)
    if known is None:
        return GenericError(f"The router answers {printable(str(error.error))}: {text}")
    cls, desc = known
    return cls(desc.format(name=name, text=text))


def _first_text(values: tuple[JSON, ...]) -> str:
    return values[0] if values and isinstance(values[0], str) else "The member gives no reason"


#: Calls something when Autobahn's session is made: the factory of a transport takes it.
SessionFactory = Callable[[], Session]

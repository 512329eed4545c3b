"""
The client's side of a QMP conversation: greeting, negotiation, requests and their replies, events. No I/O.

::

    GREETING --QMP--> NEGOTIATING --return of qmp_capabilities--> READY --close--> CLOSED
       |                   |
       +-- anything else --+-- an error --> CLOSED (failed)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from twisted.logger import Logger

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, ConnectionClosed, GenericError
from twisted_qmon.qmp._client.replies import (
    Malformed,
    Message,
    MessageTooLong,
    ReplyReader,
    excerpt,
)
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.qmp.json.writer import encode

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["CLOSED", "GREETING", "MAX_FORGOTTEN", "NEGOTIATING", "READY", "ClientSession", "SessionUser", "error_of"]

GREETING, NEGOTIATING, READY, CLOSED = "greeting", "negotiating", "ready", "closed"

#: Of how many dropped requests it is remembered that a reply is still to come. A reply to an older one is logged as
#: unknown.
MAX_FORGOTTEN = 10_000

#: How many commands' names are kept in their encoded form.
_MAX_PREFIXES = 1000

#: The id of our C{qmp_capabilities}.
_NEGOTIATION = 0

_Owner = TypeVar("_Owner")
_Owner_contra = TypeVar("_Owner_contra", contravariant=True)


class SessionUser(Protocol[_Owner_contra]):
    """What a session tells its connection."""

    def send(self, data: bytes) -> None:
        """Write this to the server."""

    def negotiated(self) -> None:
        """Requests can be made now."""

    def replied(self, owner: _Owner_contra, message: Message) -> None:
        """The reply to the owner's request has come: C{returned} or C{error}."""

    def happened(self, message: Message) -> None:
        """An event has come."""

    def broken(self, error: CommandError) -> None:
        """The server does not speak QMP, or its limits were exceeded. Close the connection."""


class ClientSession(Generic[_Owner]):
    """
    One connection's conversation with a server.

    :param user: is told what comes
    :param oob: enable out-of-band execution where it is offered
    :param raw: leave the results undecoded
    :param max_message: bytes that one message may have, in and out

    :ivar state: L{GREETING}, L{NEGOTIATING}, L{READY} or L{CLOSED}
    :ivar greeting: the C{QMP} member of the greeting
    :ivar oob: out-of-band execution is enabled
    :ivar pending: by id, the owners of the requests that are not answered
    """

    _log = Logger()

    def __init__(
        self, user: SessionUser[_Owner], *, oob: bool = True, raw: bool = False, max_message: int = MAX_MESSAGE
    ) -> None:
        self._user = user
        self._reader = ReplyReader(raw=raw, max_message=max_message)
        self._max_message = max_message
        self._wants_oob = oob
        self._last_id = _NEGOTIATION
        self._forgotten: dict[int, None] = {}
        self._prefixes: dict[str, bytes] = {}
        self.state = GREETING
        self.greeting: Mapping[str, JSON] = {}
        self.oob = False
        self.pending: dict[int, _Owner] = {}

    @property
    def version(self) -> Mapping[str, JSON] | None:
        """What the greeting says of the server's version, in the form of C{query-version}; C{None} if nothing
        sensible."""
        version = self.greeting.get("version")
        return version if isinstance(version, dict) and isinstance(version.get("qemu"), dict) else None

    # -- out

    def request(
        self, owner: _Owner, name: str, arguments: Mapping[str, JSON] | None = None, *, oob: bool = False
    ) -> tuple[int, bytes]:
        """
        Make a request. Its bytes are for the caller to send.

        :param owner: is handed to C{replied} with the reply
        :return: its id, and its bytes
        :raise CommandError: when it can't be made: not in this state, no out-of-band execution here, arguments that
            JSON can't say
        """
        if self.state is not READY:
            raise ConnectionClosed("There is no connection to the monitor")
        if oob and not self.oob:
            raise GenericError("The monitor does not offer out-of-band execution")
        number = self._last_id + 1
        if oob:
            data = b'{"exec-oob": ' + encode(name)
        else:
            data = self._prefixes.get(name) or self._prefix(name)
        if arguments:
            try:
                data += b', "arguments": ' + encode(arguments)
            except (TypeError, ValueError) as e:
                raise GenericError(f"The arguments of '{name}' can't be sent: {e}") from e
        data += b', "id": %d}\n' % number
        if len(data) > self._max_message:
            raise GenericError(f"The arguments of '{name}' are longer than {self._max_message} bytes")
        self._last_id = number
        self.pending[number] = owner
        return number, data

    def _prefix(self, name: str) -> bytes:
        if len(self._prefixes) >= _MAX_PREFIXES:
            self._prefixes.clear()
        prefix = self._prefixes[name] = b'{"execute": ' + encode(name)
        return prefix

    def forget(self, number: int, *, sent: bool = True) -> bool:
        """
        Drop a request.

        :param sent: its reply is still to come, and will be dropped
        :return: whether it was pending
        """
        if self.pending.pop(number, None) is None:
            return False
        if sent:
            if len(self._forgotten) >= MAX_FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]
            self._forgotten[number] = None
        return True

    def close(self) -> list[_Owner]:
        """:return: the owners of all requests that will not be answered any more"""
        self.state = CLOSED
        owners = list(self.pending.values())
        self.pending.clear()
        self._forgotten.clear()
        return owners

    # -- in

    def receive(self, data: bytes) -> None:
        """Take what has arrived: L{read} and L{take}."""
        self.take(self.read(data))

    def read(self, data: bytes) -> list[Message | Malformed]:
        """:return: the messages that are complete with this, for L{take}"""
        try:
            return self._reader.feed(data)
        except MessageTooLong as e:
            self._fail(str(e))
            return []

    def take(self, messages: Iterable[Message | Malformed]) -> None:
        """Tell the connection what has come."""
        pending = self.pending
        replied = self._user.replied
        for message in messages:
            if not isinstance(message, Malformed) and self.state is READY:
                number = message.id
                if type(number) is int and message.event is ABSENT:
                    owner = pending.pop(number, None)
                    if owner is not None:
                        replied(owner, message)
                        continue
            self._take(message)

    def _take(self, message: Message | Malformed) -> None:
        if self.state is CLOSED:
            return
        if isinstance(message, Malformed):
            if self.state is GREETING:
                self._fail(f"This is not a QMP server: {message.desc}")
            else:
                self._log.warn("the server sent a malformed message: {desc}", desc=message.desc)
        elif message.event is not ABSENT:
            if _is_event(message):
                self._user.happened(message)
            else:
                self._log.warn("the server sent a malformed event: {message}", message=excerpt(message))
        elif self.state is GREETING:
            self._take_greeting(message)
        elif self.state is NEGOTIATING and message.id in (_NEGOTIATION, ABSENT):
            self._take_negotiation(message)
        else:
            self._take_stray(message)

    def _take_greeting(self, message: Message) -> None:
        if not isinstance(message.greeting, dict):
            self._fail("This is not a QMP server: it does not begin with a greeting")
            return
        self.greeting = message.greeting
        capabilities = self.greeting.get("capabilities")
        self.oob = self._wants_oob and isinstance(capabilities, list) and "oob" in capabilities
        self.state = NEGOTIATING
        arguments = b', "arguments": {"enable": ["oob"]}' if self.oob else b""
        self._user.send(b'{"execute": "qmp_capabilities"%b, "id": %d}\n' % (arguments, _NEGOTIATION))

    def _take_negotiation(self, message: Message) -> None:
        if message.returned is ABSENT:
            self._fail(f"The server refuses the negotiation: {error_of(message).desc}")
            return
        self.state = READY
        self._user.negotiated()

    def _take_stray(self, message: Message) -> None:
        """A reply with an id that is not pending, or without one; or something else."""
        number = message.id
        if type(number) is int and number in self._forgotten:
            del self._forgotten[number]
        elif number is ABSENT and len(self.pending) == 1 and (message.returned, message.error) != (ABSENT, ABSENT):
            # A server that could not parse a request (its limits are lower than ours) answers without id. If one request
            # is pending, it is that.
            _, owner = self.pending.popitem()
            self._user.replied(owner, message)
        else:
            self._log.warn("dropped a message that answers no request: {message}", message=excerpt(message))

    def _fail(self, desc: str) -> None:
        self.state = CLOSED
        self._user.broken(ConnectionClosed(desc))


def _is_event(message: Message) -> bool:
    members = (message.data, message.timestamp)
    return isinstance(message.event, str) and all(member is ABSENT or isinstance(member, dict) for member in members)


def error_of(message: Message) -> CommandError:
    """:return: the error that a reply without C{return} carries; its class is the server's"""
    error = message.error
    if isinstance(error, dict):
        error_class, desc = error.get("class"), error.get("desc")
        if isinstance(error_class, str) and isinstance(desc, str):
            return CommandError.from_wire(error_class, desc)
    return GenericError(f"The server sent a malformed reply: {excerpt(message)}")

"""
A member of a fleet as a QMP server: what comes from a client is called at the member, what the member answers and publishes goes
to the client. So everything that talks to a QMP server talks to a member.

Each session has a connection to the router of its own, and both end together. A client that reconnects finds the member again, or
learns that it is not there; it asks for the events that it missed by their numbers, as it does elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, ConnectionClosed, GenericError, InvalidArguments
from twisted_qmon.fleet.errors import NoSuchMember
from twisted_qmon.fleet.interfaces import FleetGap, Publication
from twisted_qmon.fleet.positions import Positions
from twisted_qmon.qmp._server.messages import check_message, encode_error, encode_greeting, encode_result, id_of
from twisted_qmon.qmp.json.reader import MessageReader
from twisted_qmon.qmp.json.writer import NEWLINE, encode_line

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.request import RequestId
    from twisted_qmon.fleet.interfaces import IFleet
    from twisted_qmon.info import JSON
    from twisted_qmon.qmp.json.fast import Decoded

__all__ = ["HEARTBEAT", "MAX_QUEUED", "MemberSession"]

#: Seconds between two questions whether the member is there, and has told all its events.
HEARTBEAT = 10.0

#: Bytes of events that wait for a client that does not read. Beyond that it is disconnected: it comes back, and asks for them.
MAX_QUEUED = 16 << 20


@implementer(IPushProducer)
class MemberSession(Protocol):
    """
    One client of a member.

    :param clock: for L{HEARTBEAT}
    :param fleet: connected; it is closed with this session
    :param name: the member's
    :param version: what it says that it is: the C{version} of the greeting
    :ivar reason: why the session has ended; empty if the client has ended it
    """

    def __init__(self, clock: IReactorTime, fleet: IFleet, name: str, version: Mapping[str, JSON]) -> None:
        self.reason = ""
        self._fleet = fleet
        self._name = name
        self._version = version
        self._reader = MessageReader()
        self._pending: dict[str, Deferred[JSON]] = {}
        self._paused = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._names: frozenset[str] | None = None
        self._numbered = False
        # The events that were published while the member is asked for those before them; None: it is not.
        self._held: list[Publication] | None = None
        self._positions = Positions(self._ask, self._show, self._gap)
        self._asking = LoopingCall(self._ask_again)
        self._asking.clock = clock
        self._ended = False

    # -- the connection

    def connectionMade(self) -> None:
        """Greet."""
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self._write(encode_greeting(self._version, ["oob"]))
        self._asking.start(HEARTBEAT, now=False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has gone, or was told to."""
        self._ended = True
        if self._asking.running:
            self._asking.stop()
        self._waiting.clear()
        pending, self._pending = self._pending, {}
        for deferred in pending.values():
            deferred.cancel()
        self._fleet.close()

    def end(self, reason: str) -> None:
        """
        End the session.

        :param reason: why
        """
        if not self._ended:
            self._ended = True
            self.reason = reason
            assert self.transport is not None
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        """The client does not read: events wait."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._paused = False
        while self._waiting and not self._paused:
            line = self._waiting.popleft()
            self._waiting_bytes -= len(line)
            self._write(line)

    def stopProducing(self) -> None:
        """The connection is being closed."""
        self._paused = True

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    # -- commands

    def dataReceived(self, data: bytes) -> None:
        """Take what the client asks."""
        self._reader.feed(data)
        while batch := self._reader.next_batch():
            for message in batch:
                self._take(message)

    def _take(self, message: Decoded) -> None:
        id = id_of(message)
        try:
            name, arguments, _ = check_message(message, True)
            if name == "qmp_capabilities":
                self._answer(id, {})
            elif name == "cancel-command" and "id" in (arguments or {}):
                self._answer(id, self._cancel(arguments or {}))
            elif name == "select-events":
                self._select(id, arguments or {})
            else:
                self._call(id, name, arguments)
        except CommandError as error:
            self._refuse(id, error)

    def _answer(self, id: RequestId, result: JSON) -> None:
        if not self._ended:
            self._write(encode_result(result, id) + NEWLINE)

    def _refuse(self, id: RequestId, error: CommandError) -> None:
        if isinstance(error, (ConnectionClosed, NoSuchMember)):
            # It is not the command that has failed.
            self.end(str(error))
        elif not self._ended:
            self._write(encode_error(error, id) + NEWLINE)

    def _call(self, id: RequestId, name: str, arguments: Mapping[str, JSON] | None) -> None:
        called = self._fleet.call(self._name, "execute", (name, arguments or {}))
        key = _key(id)
        self._pending[key] = called

        def done(result: JSON | Failure) -> None:
            if self._pending.get(key) is called:
                del self._pending[key]
            if isinstance(result, Failure):
                self._refuse(id, _error(result))
            else:
                self._answer(id, result)

        called.addBoth(done)

    def _cancel(self, arguments: Mapping[str, JSON]) -> JSON:
        if len(arguments) != 1:
            raise GenericError("Either 'id' or 'number' must be given")
        called = self._pending.get(_key(arguments["id"]))
        if called is None:
            raise GenericError("There is no such request pending")
        called.cancel()
        return {}

    # -- events

    def published(self, publication: Publication) -> None:
        """An event of the member has come."""
        if self._held is not None:
            self._held.append(publication)
        elif not self._ended:
            self._positions.received(publication)

    def _ask_again(self) -> None:
        """Ask for what was missed: so a member that is gone is noticed, and it knows that this session follows its events."""
        if self._held is None:
            self._positions.fetch(self._name)

    def _ask(self, name: str, after: int | None, monitor: str | None) -> Deferred[JSON]:
        return self._fleet.call(name, "events", (after, monitor)).addErrback(self._not_told)

    def _not_told(self, failure: Failure) -> Failure:
        error = _error(failure)
        if isinstance(error, (ConnectionClosed, NoSuchMember)):
            self.end(str(error))
        return failure

    def _gap(self, gap: FleetGap) -> None:
        # A client that counts its events comes back, and is told how many it has lost.
        if gap.restarted:
            self.end("the member was restarted")
        elif self._numbered:
            self.end("events were lost on the way")

    def _show(self, publication: Publication) -> None:
        message = publication.message
        if self._ended or (self._names is not None and message.get("event") not in self._names):
            return
        line = encode_line(message if self._numbered else {key: message[key] for key in message if key not in _NUMBERS})
        if not self._paused:
            self._write(line)
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes > MAX_QUEUED:
            self._waiting.clear()
            self.end("the events were not read as fast as they came")

    def _select(self, id: RequestId, arguments: Mapping[str, JSON]) -> None:
        names = arguments.get("names")
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise InvalidArguments("Invalid parameter type for 'names', expected: list of strings")
        self._names = None if names is None else frozenset(map(str, names))
        self._numbered = bool(arguments.get("numbered"))
        if not self._numbered:
            self._answer(id, {})
            return
        if self._held is None:
            self._held = []

        def came(reply: JSON) -> None:
            self._resume(id, reply)
            self._release()

        def failed(failure: Failure) -> None:
            self._refuse(id, _error(failure))
            self._release()

        asked = self._fleet.call(self._name, "events", (arguments.get("after"), arguments.get("monitor")))
        asked.addCallback(came).addErrback(failed)

    def _resume(self, id: RequestId, reply: JSON) -> None:
        """Answer with where the events begin, and tell those that were missed."""
        told: Mapping[str, JSON] = reply if isinstance(reply, Mapping) else {}
        events, last, position = told.get("events"), told.get("last"), told.get("position")
        if not (isinstance(events, (list, tuple)) and isinstance(last, int) and isinstance(position, int)):
            raise GenericError(f"Member '{self._name}' does not say which events it has")
        answer = {key: told.get(key) for key in ("monitor", "first", "last", "lost")}
        self._answer(id, {**answer, "restarted": True} if told.get("restarted") else answer)
        monitor = str(told.get("monitor"))
        for message in events:
            if isinstance(message, Mapping):
                self._show(Publication(self._name, monitor, message, 0))
        self._positions.begin(self._name, monitor, position)
        if position < last:
            # It tells only so many at a time.
            self._positions.fetch(self._name)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for publication in held:
            self.published(publication)


#: The members of an event that only those get who asked for numbers.
_NUMBERS = frozenset({"number", "upstream"})


def _key(id: object) -> str:
    """:return: what is the same for two ids that are the same; they may be any JSON"""
    return "" if id is ABSENT else repr(id)


def _error(failure: Failure) -> CommandError:
    """:return: the error of a call; any other failure is a fault of this program, and ends the session as it should"""
    error = failure.value
    return error if isinstance(error, CommandError) else ConnectionClosed(failure.getErrorMessage())

"""
One client's session: negotiation, the order of its requests, the bounds on them, its replies and events. No I/O.

The order. In-band requests wait in one queue and start strictly in the order received. The head starts when fewer than
C{in_flight} are running and, if it has no id, when no other one without an id is running. So a client that sends no ids gets its
replies in order, and one that sends ids gets them as they complete. Out-of-band requests have a queue and a bound of their own.

The session is suspended while more requests than its bounds are running or waiting, while its client does not read, and while
it is held. What has been received but not looked at stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import length_hint
from typing import TYPE_CHECKING, Literal, Protocol

from zope.interface import implementer

from twisted_qmon._transport.write_queue import WriteQueue
from twisted_qmon.core.access.standing import Standing
from twisted_qmon.core.guard import ASKING
from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.errors import CommandError, CommandNotFound
from twisted_qmon.interfaces import ICaller
from twisted_qmon.qapi.signature import compile_signature
from twisted_qmon.qmp._server.descriptors import WaitingDescriptors, close_descriptor
from twisted_qmon.qmp._server.limits import HIGH_WATER, IN_FLIGHT, MAX_OUT_OF_BAND
from twisted_qmon.qmp._server.messages import (
    check_message,
    encode_error,
    encode_event,
    encode_greeting,
    encode_with_number,
    id_of,
)
from twisted_qmon.qmp._server.numbered import NumberedEvents
from twisted_qmon.qmp._server.replies import ReplyBuffer
from twisted_qmon.qmp._server.request_queue import RequestQueue
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.qmp.json.reader import CommandMessage, MessageReader
from twisted_qmon.qmp.json.writer import NEWLINE

if TYPE_CHECKING:
    from twisted_qmon.core.dispatcher import Dispatcher
    from twisted_qmon.core.events import EventMessage, EventTable, Receiver
    from twisted_qmon.core.events.history import Resumed
    from twisted_qmon.info import JSON, Level
    from twisted_qmon.qmp.json.reader import Decoded

__all__ = ["ServedMonitor", "Session"]


def _capabilities(enable: list[Literal["oob"]] | None = None) -> None:
    """The signature of C{qmp_capabilities}."""


_CAPABILITIES = compile_signature(_capabilities)


def _nothing(*_: object) -> None:
    """Takes the place of a callback that is not called any more."""


# Takes the place of the write queue of a session that has been closed.
_CLOSED = WriteQueue(_nothing, limit_exceeded=_nothing, blocked=_nothing, unblocked=_nothing)
_CLOSED.close()


# That of the sessions that have not negotiated C{exec-oob}: nothing is ever in it.
_NO_OUT_OF_BAND = RequestQueue(MAX_OUT_OF_BAND)


class ServedMonitor(Protocol):
    """What a session needs of a monitor."""

    @property
    def version(self) -> Mapping[str, JSON]:
        """What the greeting says."""

    @property
    def dispatcher(self) -> Dispatcher:
        """What the requests are served by."""

    @property
    def events(self) -> EventTable:
        """The events, and the history of the latest."""

    def subscribe(self, receiver: Receiver, names: Iterable[str] | None = None) -> Callable[[], None]:
        """See L{IMonitor.subscribe<twisted_qmon.interfaces.IMonitor>}."""


@implementer(ICaller)
class Session:
    """
    The state of one QMP connection.

    :param monitor: what serves the requests
    :param write_queue: where the bytes go
    :param name: the session's name, for logs and C{query-pending}
    :param standing: who the client is, and what it may do; by default it is part of this program
    :param peer: where the client comes from
    :param changed: called when L{suspended} or L{finished} may have changed because of what was received or has completed
    :param in_flight: in-band requests that may be running or waiting before the session is suspended
    :param max_message: bytes of the longest message
    :ivar negotiated: the client has negotiated its capabilities
    :ivar standing: who the client is, and what it may do
    :ivar requests: how many messages were decoded
    :ivar last_command: the command of the last one
    """

    kind = "qmp"
    # Of the class: nearly all sessions never have any.
    _descriptors: WaitingDescriptors | None = None

    def __init__(
        self,
        monitor: ServedMonitor,
        write_queue: WriteQueue,
        *,
        name: str,
        standing: Standing | None = None,
        peer: str = "",
        changed: Callable[[], None] = lambda: None,
        in_flight: int = IN_FLIGHT,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.name = name
        self.standing = Standing(session=name) if standing is None else standing
        self.peer = peer
        self.requests = 0
        self.last_command = ""
        self.negotiated = False
        self.oob = False
        self._monitor = monitor
        self._dispatcher = monitor.dispatcher
        self._write_queue = write_queue
        self._changed = changed
        self._reader = MessageReader(max_message=max_message, commands=True)
        self._in_band = RequestQueue(in_flight)
        self._out_of_band = _NO_OUT_OF_BAND
        self._batch: Iterator[Decoded] | None = None
        self._out = ReplyBuffer(write_queue)
        self._holds = 0
        self._exceeded = False
        # Nothing waits, and nothing stops it but perhaps the write queue.
        self._clear = True
        self._pumping = False
        self._ended = False
        self._closed = False
        self._unsubscribe: Callable[[], None] | None = None
        self._numbered: NumberedEvents | None = None

    @property
    def identity(self) -> str:
        """The text of the client's identity."""
        return self.standing.identity.text

    @property
    def level(self) -> Level:
        """What the client may do, from now on."""
        return self.standing.level

    @property
    def errors(self) -> int:
        """How many messages were answered with an error."""
        return self._out.errors

    # -- what the protocol tells

    def greet(self) -> None:
        """Send the greeting: the first thing that a client sees."""
        self._write_queue.reply(encode_greeting(self._monitor.version, ["oob"]))

    def turn_away(self, error: CommandError) -> None:
        """Send the line that a client sees who may do nothing, behind what it has been answered."""
        self.flush()
        self._write_queue.reply(encode_error(error, ABSENT) + NEWLINE)

    def flush(self) -> None:
        """Write the replies that are there."""
        if self._out.size:
            self._out.flush()

    def receive(self, data: bytes) -> None:
        """Take bytes, and serve the messages in them as far as the session is not suspended."""
        if self._batch is None:
            messages = self._reader.read(data)
            if len(messages) == 1 and self._serve_alone(messages[0]):
                return
            self._begin_batch(messages)
        else:
            self._reader.feed(data)
        self._pump()

    def receive_descriptor(self, number: int) -> None:
        """Take a file descriptor that came with bytes which L{receive} is given next. It waits for a command that takes one."""
        if self._descriptors is None:
            if self._closed or not self._dispatcher.takes_descriptors:
                close_descriptor(number)
                return
            self._descriptors = WaitingDescriptors()
        self._descriptors.add(number)
        # So each message is looked at more closely than usual.
        self._clear = False

    def hold(self) -> None:
        """Look at no more messages until L{release}. The calls nest."""
        self._holds += 1
        self._clear = False

    def release(self) -> None:
        """Undo one L{hold}, and go on with what had been received if it was the last."""
        self._holds -= 1
        self._pump()

    def unblocked(self) -> None:
        """The client reads again."""
        self._pump()

    def end_of_input(self) -> None:
        """The client sends no more; what is pending is still answered."""
        self._ended = True
        self._pump()

    def select_events(self, names: Collection[str] | None, resumed: Resumed | None = None) -> None:
        """
        Send only these events from now on.

        :param names: their names; C{None}: all
        :param resumed: send them with their numbers, and first those after this position; C{None}: without numbers
        """
        self._end_selection()
        if resumed is not None:
            history = self._monitor.events.history
            self._numbered = NumberedEvents(history, resumed.position, names, self.standing, self._write_queue)
            receive = self._event_with_number
        else:
            receive = self._event_if_permitted if self.standing.guarded else self._event
        self._unsubscribe = self._monitor.subscribe(receive, names)

    def _end_selection(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._numbered is not None:
            self._numbered.end()
            self._numbered = None

    def catch_up(self) -> bool:
        """
        Send the events that the client has missed and asked for, as far as the transport takes them.

        :return: whether there are no more
        """
        if self._numbered is None:
            return True
        if self._out.size:
            # The reply to what it asked goes first.
            self._out.flush()
        return self._numbered.catch_up()

    @property
    def overtaken(self) -> bool:
        """The client reads so slowly that events which it was still to get have left the history."""
        return self._numbered is not None and self._numbered.overtaken

    def close(self) -> None:
        """The client has gone. What it has pending is cancelled or runs on, as each command says."""
        self._closed = True
        self._clear = False
        self._drop_descriptors()
        self._end_selection()
        # A request that runs on keeps its caller, which keeps nothing of what came or was to be sent, nor the connection.
        self._batch = None
        self._reader = MessageReader()
        self._in_band.waiting.clear()
        self._out_of_band.waiting.clear()
        self._out.clear()
        self._out = ReplyBuffer(_CLOSED)
        self._write_queue = _CLOSED
        self._changed = _nothing
        self._dispatcher.leave(self)

    @property
    def suspended(self) -> bool:
        """No more input is looked at for now."""
        return self._exceeded or self._holds > 0 or self._write_queue.blocked

    @property
    def held(self) -> bool:
        """There was a L{hold} without its L{release}."""
        return self._holds > 0

    @property
    def backlog(self) -> bool:
        """There is input that has been decoded but not looked at."""
        return self._batch is not None and length_hint(self._batch) > 0

    @property
    def pending(self) -> int:
        """Requests that are running or waiting."""
        return self._in_band.pending + self._out_of_band.pending

    @property
    def finished(self) -> bool:
        """The client sends no more, and everything has been answered."""
        return self._ended and not self.suspended and not self.backlog and not self.pending

    # -- messages in

    def _pump(self) -> None:
        """Go on with what has been received as far as the session is not suspended, and write the replies."""
        if self._pumping:
            return
        changed = not self._clear or self._ended
        out = self._out
        self._pumping = True
        # Also for one who is not guarded: what it settles or starts may be going on inside another caller's command.
        asking = None if self._dispatcher.guard is None else ASKING.set(self.standing)
        try:
            while (self._clear and not self._write_queue.blocked) or self._may_go_on():
                if self._batch is None and not self._reader.chunk:
                    break
                self._take_messages()
                if out.size >= HIGH_WATER:
                    out.flush()
            else:
                changed = True
            if out.size:
                out.flush(at_once=not self._in_band.running)
        finally:
            self._pumping = False
            if asking is not None:
                ASKING.reset(asking)
        if self._closed:
            # By one of its handlers, which may have begun something since.
            self._dispatcher.leave(self)
        elif changed or self._numbered is not None:
            self.catch_up()
            self._changed()

    def _serve_alone(self, message: Decoded) -> bool:
        """
        Serve a command that came alone, while nothing else is going on. Its client waits for the reply: so there is less around
        it than in L{_pump}, which would do the same.

        :return: whether it was served
        """
        queue = self._in_band
        if (
            type(message) is not CommandMessage
            or not self.negotiated
            or not self._clear
            or self._ended
            or self._pumping
            or queue.running
            or self._write_queue.blocked
        ):
            return False
        self.requests += 1
        self.last_command = message.execute
        dispatcher = self._dispatcher
        asking = None if dispatcher.guard is None else ASKING.set(self.standing)
        self._pumping = True
        try:
            find = dispatcher.finder(self) if self.standing.guarded else dispatcher.find_direct
            answer = dispatcher.serve(message.execute, message.arguments, self, message.id, find)
        finally:
            self._pumping = False
            if asking is not None:
                ASKING.reset(asking)
        if type(answer) is Request:
            self._follow(answer)
        elif self._clear and not self._out.size and not self._reader.chunk:
            self._out.write(answer, message.id)
            return True
        else:
            self._out.result(answer, message.id)
        self._pump()
        return True

    def _begin_batch(self, messages: list[Decoded]) -> None:
        # What is not looked at now is found here.
        self._batch = iter(messages)
        self.requests += len(messages)
        if messages and type(messages[-1]) is CommandMessage:
            self.last_command = messages[-1].execute

    def _may_go_on(self) -> bool:
        """Start what waits and may start. :return: whether messages may be looked at"""
        self._start_waiting()
        self._exceeded = self._in_band.exceeded or self._out_of_band.exceeded
        stopped = self._exceeded or self._holds > 0 or self._closed
        waiting = self._in_band.waiting or self._out_of_band.waiting or self._descriptors
        self._clear = not (stopped or waiting)
        return not stopped and not self._write_queue.blocked

    def _take_messages(self) -> None:
        """Serve, queue or reject the next messages, until one of them suspends the session."""
        if self._batch is None:
            self._begin_batch(self._reader.next_batch())
            assert self._batch is not None
        serve = self._dispatcher.serve
        find = self._dispatcher.finder(self)
        out = self._out
        may_start = self._may_start()
        for message in self._batch:
            if may_start and type(message) is CommandMessage:
                # Nearly all messages are such commands, and most of them are done at once.
                answer = serve(message.execute, message.arguments, self, message.id, find)
                if type(answer) is Request:
                    self._follow(answer)
                    may_start = self._may_start()
                else:
                    out.result(answer, message.id)
            else:
                self._follow(self._make_request(message))
                may_start = self._may_start()
            if not self._clear or out.size >= HIGH_WATER:
                return
        self._batch = None
        if self._descriptors is not None:
            self._pass_over_descriptors(self._descriptors)

    def _may_start(self) -> bool:
        """:return: whether an in-band request may start, whatever its id, without a closer look"""
        queue = self._in_band
        busy = queue.waiting or queue.unnamed or queue.running >= queue.limit
        return self.negotiated and not busy and self._descriptors is None

    def _make_request(self, message: Decoded) -> Request:
        """:return: the request that a message makes: started, prepared to wait for its turn, or answered by looking at it"""
        id = id_of(message)
        descriptors = self._descriptors
        if descriptors is not None:
            descriptors.passed_over = True
        try:
            name, arguments, oob = check_message(message, self.oob)
            if not self.negotiated:
                self._negotiate(name, arguments)
                return self._dispatcher.answered(self, id, {})
        except CommandError as error:
            return self._dispatcher.answered(self, id, error=error)
        descriptor = None
        if descriptors is not None and self._dispatcher.takes_descriptor(name):
            self._descriptors = None
            descriptor = descriptors.take()
        queue = self._out_of_band if oob else self._in_band
        if queue.waiting or not queue.has_room(id):
            return self._dispatcher.prepare(name, arguments, self, id, oob, descriptor)
        return self._dispatcher.submit(name, arguments, self, id, oob, None, descriptor)

    def _pass_over_descriptors(self, waiting: WaitingDescriptors) -> None:
        """What came with descriptors has been looked at. If it was other messages, and whole ones, they are closed."""
        waiting.complete()
        if waiting.passed_over and not self._reader.buffered:
            self._drop_descriptors()

    def _drop_descriptors(self) -> None:
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None

    def _negotiate(self, name: str, arguments: Mapping[str, JSON] | None) -> None:
        if name != "qmp_capabilities":
            raise CommandNotFound("Expecting capabilities negotiation with 'qmp_capabilities'")
        enabled = _CAPABILITIES.bind(arguments or {}).get("enable") or []
        if "oob" in enabled:
            self.oob = True
            self._out_of_band = RequestQueue(MAX_OUT_OF_BAND)
        self.negotiated = True
        self.select_events(None)

    # -- requests

    def _follow(self, request: Request) -> None:
        """Answer a request in its turn: now, or when it is settled. One that is answered already is never overtaken."""
        queue = self._out_of_band if request.oob else self._in_band
        if not request.done:
            request.notify(self._settled)
            if request.started:
                queue.run(request)
                return
        elif not queue.waiting and queue.has_room(request.id):
            self._out.reply(request)
            return
        queue.wait(request)
        self._clear = False

    def _start_waiting(self) -> None:
        for queue in (self._out_of_band, self._in_band):
            while not self._closed and (request := queue.next()) is not None:
                if request.done:
                    self._out.reply(request)
                else:
                    queue.run(request)
                    self._dispatcher.start(request)

    def _settled(self, request: Request) -> None:
        queue = self._out_of_band if request.oob else self._in_band
        if request.started:
            queue.ended(request)
            self._out.reply(request)
        elif request.id is not ABSENT:
            queue.waiting.remove(request)
            self._out.reply(request)
        # One that waits without an id keeps its place: its client counts its replies.
        if not self._pumping:
            self._pump()

    # -- events out

    def _event_if_permitted(self, message: EventMessage) -> None:
        if message.level <= self.standing.verdict.level:
            self._event(message)

    def _event(self, message: EventMessage) -> None:
        data = encode_event(message)
        if self._out.size:
            # Inside a batch: the replies before it go first.
            self._out.flush()
        self._write_queue.event(data, message.limit_key)

    def _event_with_number(self, message: EventMessage) -> None:
        if self._numbered is None or not self._numbered.is_next(message):
            return
        data = message.numbered
        if data is None:
            data = message.numbered = encode_with_number(message)
        if self._out.size:
            self._out.flush()
        # Without a key: none is merged.
        self._write_queue.event(data)

"""
One client's session: negotiation, the order of its requests, the bounds on them, its replies and events. No I/O.

The order. In-band requests wait in one queue and start strictly in the order received. The head starts when fewer than
C{in_flight} are running and, if it has no id, when no other one without an id is running. So a client that sends no ids gets its
replies in order, and one that sends ids gets them as they complete. Out-of-band requests have a queue and a bound of their own.

The session is suspended while more requests than its bounds are running or waiting, while its client does not read, and while
somebody holds it. What has been received but not looked at stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import TYPE_CHECKING, Any, Literal

from zope.interface import implementer

from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.errors import CommandError, CommandNotFound, GenericError
from twisted_qmon.interfaces import ICaller
from twisted_qmon.qapi.signature import compile_signature
from twisted_qmon.qmp._server.messages import check_message, encode_event, encode_greeting, limit_key
from twisted_qmon.qmp._server.queue import Answer, RequestQueue
from twisted_qmon.qmp._server.replies import ReplyBuffer
from twisted_qmon.qmp.json.reader import CommandMessage, Malformed, MessageReader

if TYPE_CHECKING:
    from twisted_qmon._transport.write_queue import WriteQueue

__all__ = ["HIGH_WATER", "IN_FLIGHT", "MAX_MESSAGE", "MAX_OUT_OF_BAND", "Session"]

#: In-band requests that may run at a time, and be pending before the session is suspended. QEMU's QMP_REQ_QUEUE_LEN_MAX.
IN_FLIGHT = 8

#: The same for out-of-band requests.
MAX_OUT_OF_BAND = 8

#: Bytes of the longest message. QEMU's MAX_TOKEN_SIZE.
MAX_MESSAGE = 64 << 20

#: Bytes of replies after which a batch of requests is interrupted to write them.
HIGH_WATER = 1 << 16


def _capabilities(enable: list[Literal["oob"]] | None = None) -> None:
    """The signature of C{qmp_capabilities}."""


_CAPABILITIES = compile_signature(_capabilities)


@implementer(ICaller)
class Session:
    """
    The state of one QMP connection.

    :param monitor: what serves the requests
    :param write_queue: where the bytes go
    :param name: the session's name, for logs and C{query-pending}
    :param peer: where the client comes from
    :param changed: called when L{suspended} or L{finished} may have changed because of what was received or has completed
    :param in_flight: in-band requests that may be running or waiting before the session is suspended
    :param max_message: bytes of the longest message
    :ivar negotiated: the client has negotiated its capabilities
    """

    kind = "qmp"

    def __init__(
        self,
        monitor: Any,
        write_queue: WriteQueue,
        *,
        name: str,
        peer: str = "",
        changed: Callable[[], None] = lambda: None,
        in_flight: int = IN_FLIGHT,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.name = name
        self.peer = peer
        self.negotiated = False
        self.oob = False
        self._monitor = monitor
        self._serve = monitor.serve
        self._write_queue = write_queue
        self._changed = changed
        self._reader = MessageReader(max_message=max_message, commands=True)
        self._in_band = RequestQueue(in_flight)
        self._out_of_band: RequestQueue | None = None
        self._batch: Iterator[Any] | None = None
        self._out = ReplyBuffer(write_queue)
        self._holds = 0
        self._exceeded = False
        self._pumping = False
        self._ended = False
        self._closed = False
        self._unsubscribe: Callable[[], None] | None = None

    # -- what the protocol tells

    def greet(self) -> None:
        """Send the greeting: the first thing that a client sees."""
        self._write_queue.reply(encode_greeting(self._monitor.version, ["oob"]))

    def receive(self, data: bytes) -> None:
        """Take bytes, and serve what they say as far as the session is not suspended."""
        queue = self._in_band
        exceeded = self._exceeded
        if self._batch is not None:
            self._reader.feed(data)
        elif messages := self._reader.take(data):
            if (
                len(messages) > 1
                or queue.running
                or queue.waiting
                or self._out_of_band is not None
                or not self.negotiated
                or exceeded
                or self._holds
                or self._pumping
                or self._closed
                or self._write_queue.blocked
            ):
                self._batch = iter(messages)
            elif self._serve_lone(messages[0]):
                return
        self._pump()
        if exceeded or self._exceeded or self._holds or self._write_queue.blocked:
            self._changed()

    def _serve_lone(self, message: CommandMessage[Any, Any]) -> bool:
        """
        Serve a message that came alone while nothing else is going on: what the pump would do, with less to set up for it.

        :return: whether that was all
        """
        self._pumping = True
        try:
            result = self._serve(message.execute, message.arguments, self, message.id)
        finally:
            self._pumping = False
        if type(result) is Request:
            self._follow(self._in_band, result)
            return False
        self._out.only(result, message.id)
        self._write_queue.push()
        return self._batch is None and not self._reader.chunk

    def hold(self) -> None:
        """Look at no more messages until L{release}. The calls nest."""
        self._holds += 1

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

    def select_events(self, names: Iterable[str] | None) -> None:
        """Send only these events from now on; C{None}: all."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._unsubscribe = self._monitor.subscribe(self._event, names)

    def close(self) -> None:
        """The client has gone. What it has pending is cancelled or runs on, as each command says."""
        self._closed = True
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        # A request that runs on keeps its caller, which need not keep what nobody will read.
        self._batch = None
        self._out.buffer.clear()
        self._in_band.waiting.clear()
        self._monitor.leave(self)

    @property
    def suspended(self) -> bool:
        """No more input is looked at for now."""
        return self._exceeded or self._holds > 0 or self._write_queue.blocked

    @property
    def held(self) -> bool:
        """Somebody holds it."""
        return self._holds > 0

    @property
    def backlog(self) -> bool:
        """There is input that has been decoded but not looked at."""
        return self._batch is not None and length_hint(self._batch) > 0

    @property
    def pending(self) -> int:
        """Requests that are running or waiting."""
        queues = (self._in_band, self._out_of_band)
        return sum(queue.running + len(queue.waiting) for queue in queues if queue is not None)

    @property
    def finished(self) -> bool:
        """The client sends no more, and everything has been answered."""
        return self._ended and not self.suspended and not self.backlog and not self.pending

    # -- the pump: all messages, and all replies, go through here

    def _pump(self) -> None:
        if self._pumping or self._closed:
            return
        self._pumping = True
        serve = self._serve
        queue = self._in_band
        out = self._out
        buffer = out.buffer
        try:
            while True:
                # Exceeded with nothing waiting: what waited has been cancelled.
                if self._exceeded or queue.waiting or self._out_of_band is not None:
                    self._start_waiting()
                if self._exceeded or self._holds or self._write_queue.blocked or self._closed:
                    break
                batch = self._batch
                if batch is None:
                    messages = self._reader.next_batch()
                    if not messages:
                        break
                    # Whoever stops the loop below finds the rest here.
                    self._batch = batch = iter(messages)
                # Nearly all messages are proper commands that are done at once: they are served without leaving this loop.
                for message in batch:
                    if type(message) is not CommandMessage or not self.negotiated:
                        self._serve_unusual(message)
                    elif queue.waiting or queue.running >= queue.limit or (queue.unnamed and message.id is ABSENT):
                        self._wait(queue, message.execute, message.arguments, message.id, False)
                    else:
                        result = serve(message.execute, message.arguments, self, message.id)
                        if type(result) is Request:
                            self._follow(queue, result)
                        else:
                            out.result(result, message.id)
                    if self._exceeded or len(buffer) >= HIGH_WATER or self._holds or self._closed:
                        break
                else:
                    self._batch = None
                if len(buffer) >= HIGH_WATER:
                    out.flush()
            if buffer and not self._closed:
                out.flush()
                if not queue.running and not queue.waiting:
                    self._write_queue.push()
        finally:
            self._pumping = False

    def _serve_unusual(self, message: Any) -> None:
        """What is malformed, out of band, or comes before the negotiation is complete."""
        id = message.get("id", ABSENT) if type(message) is dict else getattr(message, "id", ABSENT)
        try:
            if type(message) is Malformed:
                raise GenericError(message.desc)
            if type(message) is CommandMessage:
                name, arguments, oob = message.execute, message.arguments, False
            else:
                name, arguments, oob = check_message(message, self.oob)
            if not self.negotiated:
                self._negotiate(name, arguments)
                self._out.result({}, id)
                self.select_events(None)
                return
        except CommandError as error:
            self._answer(Answer(error, id))
            return
        if oob and self._out_of_band is None:
            self._out_of_band = RequestQueue(MAX_OUT_OF_BAND)
        queue = self._out_of_band if oob else self._in_band
        assert queue is not None
        if queue.waiting or not queue.may_start(id):
            self._wait(queue, name, arguments, id, oob)
        else:
            self._follow(queue, self._monitor.submit(name, arguments, self, id, oob))

    def _negotiate(self, name: str, arguments: dict[str, Any] | None) -> None:
        if name != "qmp_capabilities":
            raise CommandNotFound("Expecting capabilities negotiation with 'qmp_capabilities'")
        enabled = _CAPABILITIES.bind(arguments or {}).get("enable") or []
        self.oob = "oob" in enabled
        self.negotiated = True

    def _answer(self, answer: Answer) -> None:
        """A message that is answered already is an in-band request that completes at once."""
        queue = self._in_band
        if not queue.waiting and queue.may_start(answer.id):
            self._out.reply(answer)
        else:
            queue.wait(answer)
            self._check()

    def _wait(self, queue: RequestQueue, name: str, arguments: dict[str, Any] | None, id: Any, oob: bool) -> None:
        request = self._monitor.prepare(name, arguments, self, id, oob)
        queue.wait(request)
        if not request.done:
            request.notify(self._settled_while_waiting)
        self._check()

    def _follow(self, queue: RequestQueue, request: Request) -> None:
        if request.done:
            self._out.reply(request)
        else:
            self._run(queue, request)

    def _run(self, queue: RequestQueue, request: Request) -> None:
        queue.running += 1
        if request.id is ABSENT and not request.oob:
            queue.unnamed = True
        request.notify(self._completed)
        if queue.exceeded:
            self._exceeded = True

    def _check(self) -> None:
        self._exceeded = self._in_band.exceeded or (self._out_of_band is not None and self._out_of_band.exceeded)

    def _start_waiting(self) -> None:
        for queue in (self._out_of_band, self._in_band):
            if queue is None:
                continue
            waiting = queue.waiting
            while waiting and not self._closed:
                head = waiting[0]
                if not queue.may_start(head.id):
                    break
                waiting.popleft()
                if not head.done:
                    assert isinstance(head, Request)
                    head._callback = None
                    self._monitor.start(head)
                    if not head.done:
                        self._run(queue, head)
                        continue
                self._out.reply(head)
        self._check()

    # -- replies and events

    def _completed(self, request: Request) -> None:
        queue = self._in_band if not request.oob else self._out_of_band
        assert queue is not None
        queue.running -= 1
        if request.id is ABSENT and not request.oob:
            queue.unnamed = False
        out = self._out
        if request.error is not None or out.buffer or self._pumping:
            out.reply(request)
        else:
            out.only(request.result, request.id)
        if self._exceeded or queue.waiting or self._ended:
            self._go_on()
        elif not self._pumping:
            # Nobody waited for its end but the client.
            if out.buffer:
                out.flush()
            if not queue.running:
                self._write_queue.push()

    def _settled_while_waiting(self, request: Request) -> None:
        # One without an id keeps its place: its client counts its replies.
        if request.id is not ABSENT:
            queue = self._in_band if not request.oob else self._out_of_band
            assert queue is not None
            queue.waiting.remove(request)
            self._check()
            self._out.reply(request)
        self._go_on()

    def _go_on(self) -> None:
        if not self._pumping:
            self._pump()
            self._changed()

    def _event(self, message: Any) -> None:
        data = encode_event(message)
        if self._out.buffer:
            # Inside a batch: the replies before it go first.
            self._out.flush()
        write_queue = self._write_queue
        if not write_queue.blocked:
            write_queue.event(data)
            return
        definition = self._monitor.events.definitions.get(message["event"])
        if definition is None or definition.rate_limit is None:
            write_queue.event(data)
        else:
            write_queue.event(data, lambda: limit_key(message, definition))

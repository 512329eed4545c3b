"""
Events as they happen, for those who follow them: server-sent events.

A client that reads gets each event at once; it is encoded once for all of them. One that does not read has nothing queued for it:
it has a position in the monitor's history, and reads on from there when it can.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from twisted_qmon.qmp.json.writer import encode_message
from twisted_qmon.web.answers import Refusal

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from twisted_qmon.core.events import EventMessage
    from twisted_qmon.core.events.history import EventHistory
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.web.channel import WebRequest
    from twisted_qmon.web.session import WebSession

__all__ = ["HEARTBEAT", "RETRY", "EventStream", "EventStreams", "Wanted"]

#: Seconds after which a line that says nothing goes to each stream: so both ends notice when the other is gone.
HEARTBEAT = 15.0

#: Milliseconds that a browser waits before it connects again.
RETRY = 1000

#: Events that are read from the history at a time.
_BATCH = 100

_POSITION = re.compile(r"(?:([0-9A-Za-z-]{1,64})/)?(\d{1,18})")


class Wanted(NamedTuple):
    """
    What a client asks for.

    :ivar names: the events; C{None}: all
    :ivar after: the number of the last event that it had; C{None}: it wants those that come
    :ivar monitor: the id of the monitor that the number is of; C{None}: it does not say
    """

    names: frozenset[str] | None = None
    after: int | None = None
    monitor: str | None = None

    @classmethod
    def of(cls, names: str | None, position: str | None) -> Wanted:
        """
        :param names: names of events, separated by commas
        :param position: C{MONITOR/NUMBER}, or a number alone
        :raise Refusal: when the position is not valid
        """
        wanted = frozenset(name.strip() for name in names.split(",")) if names else None
        if position is None or not position:
            return cls(wanted)
        match = _POSITION.fullmatch(position)
        if match is None:
            raise Refusal(400, "Last-Event-ID: it must be MONITOR/NUMBER")
        return cls(wanted, int(match[2]), match[1])


class Frame:
    """
    One event as it goes out.

    :ivar plain: its bytes
    :ivar chunk: the same as a chunk of HTTP/1.1
    """

    __slots__ = ("chunk", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self.chunk = b"%x\r\n%b\r\n" % (len(plain), plain)


@implementer(IPushProducer)
class EventStream:
    """
    One client that follows events.

    :param streams: all of them
    :param request: its request; the headers have been set
    :param session: that of its token
    :param wanted: what it asks for
    :ivar write: writes to the connection
    :ivar chunked: what is written has to be in chunks
    :ivar done: fires when the stream was ended from this side; cancelling it says that the connection is gone
    """

    def __init__(self, streams: EventStreams, request: WebRequest, session: WebSession, wanted: Wanted) -> None:
        self.names = wanted.names
        self.standing = session.standing
        self._streams = streams
        self._session = session
        self._request = request
        self._paused = False
        self._position = 0
        self._wanted = wanted
        self.chunked = False
        self.write: Callable[[bytes], object] = request.channel.transport.write
        self.done: Deferred[None] = Deferred(lambda _: self.gone())
        self._ended = False

    def begin(self) -> None:
        """Send what it has missed, then what comes."""
        history = self._streams.history
        resumed = history.resume(self._wanted.after, self._wanted.monitor)
        self._position = resumed.position
        hello = {
            "monitor": history.id,
            "first": resumed.first,
            "last": resumed.last,
            "lost": resumed.lost,
            "restarted": resumed.restarted,
        }
        request = self._request
        request.registerProducer(self, True)
        self._session.streams.add(self)
        # With the first bytes the headers go out, and how the rest is framed is known.
        request.write(b"retry: %d\n" % RETRY + _record(b"resumed", history.id, resumed.position, encode_message(hello)))
        self.chunked = bool(request.chunked)
        self._catch_up()

    def _stopped(self) -> bool:
        return self._paused or self._ended

    def send(self, frame: Frame) -> None:
        """Send an event."""
        self.write(frame.chunk if self.chunked else frame.plain)

    def wants(self, message: EventMessage) -> bool:
        """:return: whether the client asked for the event, and may see it"""
        return message.level <= self.standing.verdict.level and (self.names is None or message["event"] in self.names)

    def _catch_up(self) -> None:
        history = self._streams.history
        while not self._stopped():
            messages = history.after(self._position, _BATCH)
            if not messages:
                self._streams.join(self)
                return
            lost = messages[0].number - self._position - 1
            if lost > 0:
                # While it did not read, they have left the history.
                self._position += lost
                data = encode_message({"lost": lost})
                self.send(Frame(_record(b"lost", history.id, self._position, data)))
            for message in messages:
                if self._stopped():
                    return
                self._position = message.number
                if self.wants(message):
                    self.send(self._streams.frame(message))

    def pauseProducing(self) -> None:
        """The client does not read: it will read on from here."""
        if not self._paused:
            self._paused = True
            if self._streams.part(self):
                self._position = self._streams.delivered

    def resumeProducing(self) -> None:
        """It has read what was sent."""
        if self._paused and not self._ended:
            self._paused = False
            self._catch_up()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.gone()

    def gone(self) -> None:
        """The connection is gone: forget it."""
        self._ended = True
        self._streams.part(self)
        self._session.streams.discard(self)
        self._session.used()

    def end(self) -> None:
        """End the stream from this side."""
        if not self._ended:
            self.gone()
            self._request.unregisterProducer()
            self.done.callback(None)


class EventStreams:
    """
    The clients of one endpoint that follow events.

    :param monitor: whose events
    :ivar delivered: the number of the latest event that has gone to those who read
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._streams: dict[EventStream, None] = {}
        # Those that deliveries go to, made anew after each change: a delivery may be under way in it.
        self._reading: list[EventStream] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._heartbeat: IDelayedCall | None = None
        self._latest: tuple[EventMessage, Frame] | None = None
        self.delivered = 0

    def __len__(self) -> int:
        """:return: how many get each event when it happens"""
        return len(self._streams)

    @property
    def history(self) -> EventHistory:
        """The monitor's history of events."""
        return self._monitor.events.history

    def join(self, stream: EventStream) -> None:
        """A stream has caught up: from now on it gets each event when it happens."""
        self._streams[stream] = None
        self._reading = None
        if self._unsubscribe is None:
            self._unsubscribe = self._monitor.subscribe(self._deliver)
            self._heartbeat = self._monitor.clock.callLater(HEARTBEAT, self._beat)
        self.delivered = self.history.last

    def part(self, stream: EventStream) -> bool:
        """
        A stream does not read, or is gone.

        :return: whether it was one of those that get each event
        """
        if stream not in self._streams:
            return False
        del self._streams[stream]
        self._reading = None
        if not self._streams:
            assert self._unsubscribe is not None
            assert self._heartbeat is not None
            self._unsubscribe()
            self._unsubscribe = None
            self._heartbeat.cancel()
            self._heartbeat = self._latest = None
        return True

    def frame(self, message: EventMessage) -> Frame:
        """:return: an event as it goes out; the same bytes for all"""
        latest = self._latest
        if latest is None or latest[0] is not message:
            # A QMP session may have encoded it already.
            data = encode_message(message) if message.encoded is None else message.encoded.rstrip()
            head = f"id: {self.history.id}/{message.number}\ndata: ".encode("ascii")
            latest = self._latest = (message, Frame(head + data + b"\n\n"))
        return latest[1]

    def _deliver(self, message: EventMessage) -> None:
        streams = self._reading
        if streams is None:
            streams = self._reading = list(self._streams)
        self.delivered = message.number
        frame = self.frame(message)
        chunk, plain, level, name = frame.chunk, frame.plain, message.level, message["event"]
        for stream in streams:
            if level <= stream.standing.verdict.level and (stream.names is None or name in stream.names):
                stream.write(chunk if stream.chunked else plain)

    def _beat(self) -> None:
        self._heartbeat = self._monitor.clock.callLater(HEARTBEAT, self._beat)
        frame = Frame(b":\n\n")
        for stream in list(self._streams):
            stream.send(frame)


def _record(kind: bytes, monitor: str, number: int, data: bytes) -> bytes:
    """An event of this interface, not of the monitor: it has a type, which those of the monitor don't."""
    return b"id: %b/%d\nevent: %b\ndata: %b\n\n" % (monitor.encode("ascii"), number, kind, data)

"""
The connections of a L{FakeQEMU<twisted_qmon.testing.FakeQEMU>}, and the scripts that run on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from twisted_qmon._transport.connection import Outlet, pusher
from twisted_qmon._transport.connections import Refused
from twisted_qmon.errors import CommandError
from twisted_qmon.qmp._server.messages import encode_greeting, encode_result
from twisted_qmon.qmp.json.writer import NEWLINE, to_ascii
from twisted_qmon.qmp.protocol import QMPFactory, QMPProtocol
from twisted_qmon.testing.qemu_form import as_qemu, without_element_names
from twisted_qmon.testing.script import Answer, Delay, Drop, Emit, Fail, Half, Raw, Silence, Step

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall

    from twisted_qmon._transport.connection import ConnectionMixin
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request

__all__ = ["FakeFactory", "FakeProtocol", "Running"]


class FakeProtocol(QMPProtocol):
    """One connection: it writes in QEMU's form, and may be told to do otherwise."""

    factory: FakeFactory
    _greeting_timer: IDelayedCall | None = None
    _steps: Iterator[Step] = iter(())
    _swallowed = 0

    def outlet(self) -> Outlet:
        return self._write_as_qemu, pusher(self.transport), None

    def _write_as_qemu(self, data: bytes) -> None:
        lines = [as_qemu(line) for line in data.split(NEWLINE)]
        if self._swallowed:
            lines = self._without_swallowed(lines)
        if not self.factory.names_elements:
            lines = [without_element_names(line) for line in lines]
        self.transport.write(NEWLINE.join(lines))

    def swallow_reply(self) -> None:
        """Do not send the next reply: something else stands for it."""
        self._swallowed += 1

    def _without_swallowed(self, lines: list[bytes]) -> list[bytes]:
        kept = []
        for line in lines:
            if self._swallowed and line and not line.startswith(b'{"timestamp"'):
                self._swallowed -= 1
            else:
                kept.append(line)
        return kept

    def established(self) -> None:
        waiting = self.factory.turn_of(self)
        if waiting is None:
            self.begin()
        else:
            # Twisted reads on: what comes waits in the session.
            self.suspend()
            waiting.addCallback(self._turn_has_come)

    def _turn_has_come(self, _: object) -> None:
        if not self.ended:
            self.resume()
            self.begin()

    def begin(self) -> None:
        """Take the steps that come before the greeting, then greet."""
        steps = self.factory.on_connect.popleft() if self.factory.on_connect else ()
        self._steps = iter(steps)
        self._go_on()

    def _go_on(self) -> None:
        self._greeting_timer = None
        for step in self._steps:
            if isinstance(step, Delay):
                self._greeting_timer = self.factory.clock.callLater(step.seconds, self._go_on)
                return
            if isinstance(step, Raw):
                self.transport.write(step.data)
            elif isinstance(step, Half):
                self.send_half(self._greeting())
                return
            elif isinstance(step, Drop):
                self.abort()
                return
            elif isinstance(step, Silence):
                return
        self.write_queue.reply(self._greeting())

    def _greeting(self) -> bytes:
        return encode_greeting(self.factory.monitor.version, self.factory.capabilities)

    def connectionLost(self, reason: Any = None) -> None:
        if self._greeting_timer is not None:
            self._greeting_timer.cancel()
            self._greeting_timer = None
        super().connectionLost(reason)

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, behind the replies that are there."""
        self.session.flush()
        self.transport.write(data)

    def send_half(self, line: bytes) -> None:
        """Send half of a line, and end the connection."""
        self.session.flush()
        line = as_qemu(to_ascii(line))
        self.transport.write(line[: len(line) // 2])
        self.finish()


class FakeFactory(QMPFactory):
    """
    Makes the connections. Requests are served one at a time, as QEMU does.

    :param names_elements: errors name the elements of lists
    :param one_client: one connection at a time; others wait for their greeting
    :param capabilities: of the greeting
    :ivar on_connect: the steps before the greeting, for the next connections
    """

    protocol: Any = FakeProtocol

    def __init__(
        self, monitor: Monitor, *, names_elements: bool, one_client: bool, capabilities: Sequence[str]
    ) -> None:
        super().__init__(monitor, in_flight=1)
        self.names_elements = names_elements
        self.capabilities = list(capabilities)
        self.on_connect: deque[tuple[Step, ...]] = deque()
        self._one_client = one_client
        self._served: ConnectionMixin | None = None
        self._waiting: deque[tuple[ConnectionMixin, Deferred[None]]] = deque()
        self._over = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See Twisted. After C{quit} a connection is closed at once."""
        return Refused() if self._over else super().buildProtocol(addr)

    def turn_of(self, connection: ConnectionMixin) -> Deferred[None] | None:
        """:return: C{None} if a connection is served at once; else a Deferred that fires when its turn has come"""
        if not self._one_client:
            return None
        if self._served is None:
            self._served = connection
            return None
        turn: Deferred[None] = Deferred()
        self._waiting.append((connection, turn))
        return turn

    def connection_lost(self, connection: ConnectionMixin) -> None:
        """A connection has ended: the next one that waits has its turn."""
        super().connection_lost(connection)
        if connection is not self._served:
            return
        self._served = None
        while self._waiting and self._served is None:
            waiting, turn = self._waiting.popleft()
            if not waiting.ended:
                self._served = waiting
                turn.callback(None)

    def stop_waiting(self) -> None:
        """None has its turn any more."""
        self._waiting.clear()

    def end(self) -> None:
        """QEMU has ended: close all connections, and take no new ones."""
        self._over = True
        self.stop_waiting()
        for connection in list(self.connections):
            connection.finish()


class _Fake(Protocol):
    """What a running script needs of its fake."""

    factory: FakeFactory
    monitor: Monitor

    def emit(self, name: str, data: Any = None, *, check: bool = True) -> None: ...


class Running:
    """
    A script that runs, for one request.

    :param fake: the fake
    :param request: what it answers
    :param steps: the script
    :param behave: what the fake does by itself
    :param done: called with this when there are no more steps
    """

    def __init__(
        self,
        fake: _Fake,
        request: Request,
        steps: Sequence[Step],
        behave: Callable[[], object],
        done: Callable[[Running], object],
    ) -> None:
        self._fake = fake
        self._request = request
        self._steps = iter(steps)
        self._behave = behave
        self._done = done
        self._reply: Deferred[object] = Deferred()
        self._replied = False
        self._timer: IDelayedCall | None = None

    def start(self) -> Deferred[object]:
        """:return: fires with the result"""
        self._go_on()
        return self._reply

    def stop(self) -> None:
        """Take no further step."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._done(self)

    def _go_on(self) -> None:
        self._timer = None
        for step in self._steps:
            if isinstance(step, Delay):
                self._timer = self._fake.monitor.clock.callLater(step.seconds, self._go_on)
                return
            self._take(step)
        if not self._replied:
            self._reply_with(self._behave)
        self._done(self)

    def _take(self, step: Step) -> None:
        if isinstance(step, Answer):
            self._reply_with(lambda: step.value)
        elif isinstance(step, Fail):
            self._reply_with(lambda: _raise(step))
        elif isinstance(step, Emit):
            self._fake.emit(step.name, step.data, check=False)
        elif isinstance(step, Raw):
            self._send(step)
        else:
            # It gets no reply any more.
            self._replied = True
            self._end(step)

    def _reply_with(self, make: Callable[[], object]) -> None:
        if self._replied:
            return
        self._replied = True
        try:
            result = make()
        except CommandError as error:
            self._reply.errback(error)
        else:
            self._reply.callback(result)

    def _connection(self) -> FakeProtocol | None:
        """:return: where the request came from; C{None}: it has gone"""
        name = self._request.caller.name
        found = next((each for each in self._fake.factory.connections if each.name == name), None)
        return found if isinstance(found, FakeProtocol) else None

    def _send(self, step: Raw) -> None:
        connection = self._connection()
        if connection is not None:
            connection.send_raw(step.data)
            if step.reply and not self._replied:
                connection.swallow_reply()
        if step.reply:
            self._reply_with(lambda: {})

    def _end(self, step: Step) -> None:
        connection = self._connection()
        if connection is None:
            return
        if isinstance(step, Half):
            connection.send_half(encode_result(step.value, self._request.id) + NEWLINE)
        elif isinstance(step, Drop):
            connection.abort()


def _raise(step: Fail) -> object:
    raise CommandError.from_wire(step.error_class, step.desc)

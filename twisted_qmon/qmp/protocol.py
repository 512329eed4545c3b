"""
QMP on a Twisted transport: L{QMPFactory} serves a monitor at any server endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._log_publisher import publish
from twisted_qmon._transport.connection import ConnectionMixin
from twisted_qmon._transport.factory import Limits, MonitorFactory
from twisted_qmon.core.events import EventMessage, wire_timestamp
from twisted_qmon.interfaces import ISuspendable
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.qmp._server.messages import encode_event
from twisted_qmon.qmp._server.session import Session
from twisted_qmon.qmp.json.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from typing_extensions import Unpack

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.errors import CommandError
    from twisted_qmon.info import JSON

__all__ = ["QMPFactory", "QMPProtocol"]


@implementer(ISuspendable, IHalfCloseableProtocol, IHandshakeListener, IFileDescriptorReceiver)
class QMPProtocol(ConnectionMixin, Protocol):
    """
    One QMP connection: moves bytes between the transport and its L{Session}.

    :ivar session: the session, from C{connectionMade} on
    """

    factory: QMPFactory
    session: Session
    _log = Logger(observer=publish)
    _negotiation_timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.begin_connection()
        factory = self.factory
        self.write_queue.lost_message = self._events_lost
        self.session = Session(
            factory.monitor,
            self.write_queue,
            name=self.name,
            standing=self.standing,
            peer=self.peer,
            changed=self._update,
            in_flight=factory.in_flight,
            max_message=factory.max_message,
        )
        if factory.negotiation_timeout is not None:
            self._negotiation_timer = factory.clock.callLater(factory.negotiation_timeout, self._check_negotiation)
        self.establish()

    def established(self) -> None:
        waiting = self.factory.when_ready()
        if waiting is None:
            self.session.greet()
        else:
            self.suspend()
            waiting.addBoth(self._greet_late)

    def deny(self, error: CommandError) -> None:
        self.session.turn_away(error)

    def disconnect(self) -> None:
        self.session.flush()
        super().disconnect()

    def describe(self) -> dict[str, JSON]:
        session = self.session
        return {
            **super().describe(),
            "requests": session.requests,
            "errors": session.errors,
            "last-command": session.last_command,
        }

    def _greet_late(self, outcome: object) -> None:
        # Ready or not: a client that sees no greeting hangs. The greeting then says what is known.
        if not self.ended:
            self.session.greet()
            self.resume()

    def dataReceived(self, data: bytes) -> None:
        if self._finishing:
            return
        self.input_came()
        self.session.receive(data)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        if self._finishing or self.ended:
            super().fileDescriptorReceived(descriptor)
        else:
            self.session.receive_descriptor(descriptor)

    def readConnectionLost(self) -> None:
        self.input_ended()
        self.session.end_of_input()
        self._update()

    def writeConnectionLost(self) -> None:
        """The client reads no more: nothing can be answered."""
        self.abort()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._negotiation_timer is not None:
            self._negotiation_timer.cancel()
            self._negotiation_timer = None
        self.end_connection(reason)
        self.session.close()

    # -- suspension

    def suspend(self) -> None:
        self.session.hold()
        self._update()

    def resume(self) -> None:
        if not self.session.held:
            raise RuntimeError("resume() without suspend()")
        self.session.release()
        self._update()

    def write_blocked(self) -> None:
        self._update()

    def write_unblocked(self) -> None:
        self.session.unblocked()
        self._update()

    def _update(self) -> None:
        """Bring the transport in line with the session: it reads unless the session is suspended."""
        session = self.session
        if session.finished:
            self.finish()
        elif session.suspended is self._reading:
            self.read(not self._reading)

    # -- limits

    @property
    def busy(self) -> bool:
        """Requests are pending."""
        return self.session.pending > 0

    def _check_negotiation(self) -> None:
        self._negotiation_timer = None
        if not self.session.negotiated:
            self.negotiationLimitExceeded()

    def negotiationLimitExceeded(self) -> None:
        """The client has not negotiated within C{negotiation_timeout} seconds: the connection is closed."""
        self._log.info(
            "disconnecting {client} at {peer}: no negotiation within {seconds} s",
            client=self.name,
            peer=self.peer,
            seconds=self.factory.negotiation_timeout,
        )
        self.finish()

    def _events_lost(self, number: int) -> bytes:
        now = wire_timestamp(self.factory.monitor.clock.seconds())
        return encode_event(EventMessage("EVENTS_LOST", now, {"count": number}))

    def write_rest(self) -> bool:
        return self.session.catch_up()

    def queueLimitExceeded(self) -> None:
        """The client does not read its events, or reads them more slowly than they leave the history: it is disconnected."""
        if not self.session.overtaken:
            super().queueLimitExceeded()
            return
        self.factory.counters.slow += 1
        self._log.warn(
            "disconnecting {client} at {peer}: events that it was still to get have left the history",
            client=self.name,
            peer=self.peer,
        )
        self.abort()

    def logPrefix(self) -> str:
        """The name in Twisted's log."""
        return self.name or "QMP"


class QMPFactory(MonitorFactory):
    """
    Serves a monitor's commands to QMP clients: C{endpoint.listen(QMPFactory(monitor))}.

    :param monitor: the L{Monitor<twisted_qmon.Monitor>}
    :param in_flight: in-band requests of one client that run at a time; it is suspended while more are pending. 1 is QEMU's
        own serial monitor.
    :param max_message: bytes of the longest message; a longer one is answered C{JSON token size limit exceeded}
    :param negotiation_timeout: seconds that a client has for C{qmp_capabilities}; C{None}: any number
    :param limits: of each connection, and of all: see L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}
    :raise ValueError: when a limit is out of range
    """

    protocol: Any = QMPProtocol
    kind = "qmp"
    monitor: Monitor

    def __init__(
        self,
        monitor: Monitor,
        *,
        in_flight: int = IN_FLIGHT,
        max_message: int = MAX_MESSAGE,
        negotiation_timeout: float | None = None,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(monitor, **limits)
        if in_flight < 1:
            raise ValueError(f"in_flight is at least 1, not {in_flight}")
        if max_message < 1:
            raise ValueError(f"max_message is at least 1, not {max_message}")
        self.in_flight = in_flight
        self.max_message = max_message
        self.negotiation_timeout = negotiation_timeout

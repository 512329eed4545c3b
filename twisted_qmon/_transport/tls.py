"""
TLS under a connection: when the handshake is complete, where the client's input ends, why a handshake failed.

Twisted puts a layer of its own between the socket and the protocol (C{TLSMemoryBIOProtocol}), for C{ssl:} endpoints as well as
for factories that are wrapped by hand. Two things about it don't suit a server that speaks first and answers late:

 - It connects the protocol before the handshake. What is written then waits, and the protocol is told to pause. A protocol
   that stops reading while it is paused never receives the ClientHello, and the handshake never completes.
 - A client that shuts down its writing side (C{close_notify}) is disconnected at once, its replies are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import alsoProvides

if TYPE_CHECKING:
    from twisted.python.failure import Failure

__all__ = ["TLSLayer", "await_handshake", "loss_reason", "tls_layer", "watch_close_notify"]


class TLSLayer(Protocol):
    """What is used of Twisted's C{TLSMemoryBIOProtocol}. Its C{transport} is what is below it."""

    wrappedProtocol: object
    transport: Any
    disconnecting: bool

    def getHandle(self) -> Any:
        """:return: the C{OpenSSL.SSL.Connection}"""


class HandshakeListener(Protocol):
    """What provides C{IHandshakeListener}."""

    def handshakeCompleted(self) -> None:
        """The TLS handshake is complete."""


def tls_layer(transport: object) -> TLSLayer | None:
    """:return: the C{TLSMemoryBIOProtocol} among the wrappers that make up a transport; C{None}: it is none with TLS"""
    while isinstance(transport, ProtocolWrapper):
        # Each wrapper provides what the innermost transport provides. Only the class of one says what it does itself.
        if ISSLTransport.implementedBy(type(transport)):
            layer: Any = transport
            found: TLSLayer = layer
            return found
        transport = transport.transport
    return None


def await_handshake(layer: TLSLayer, protocol: HandshakeListener) -> None:
    """
    Have C{protocol.handshakeCompleted()} called, whatever wrappers are between it and the TLS layer: those that Twisted ships
    don't pass it on.
    """
    above: Any = layer.wrappedProtocol
    if above is not protocol and not IHandshakeListener.providedBy(above):
        above.handshakeCompleted = protocol.handshakeCompleted
        alsoProvides(above, IHandshakeListener)


def watch_close_notify(layer: TLSLayer, ended: Callable[[], None]) -> None:
    """
    Have C{ended} called, once, when the client says that it sends no more, and keep the connection for what is to be sent to
    it. Once the connection is being closed from this side, the client's C{close_notify} completes that.
    """
    from OpenSSL.SSL import WantReadError, ZeroReturnError

    handle = layer.getHandle()
    receive = handle.recv
    told = False

    def recv(size: int) -> bytes:
        nonlocal told
        try:
            data: bytes = receive(size)
            return data
        except ZeroReturnError:
            if layer.disconnecting:
                raise
            if not told:
                told = True
                # There is nothing to decrypt any more: what a client sent now would pile up.
                layer.transport.pauseProducing()
                ended()
            # What the layer takes for: no data yet.
            raise WantReadError from None

    handle.recv = recv


def loss_reason(reason: Failure) -> str:
    """:return: why a connection was lost, on one line: in OpenSSL's words where it failed"""
    error = reason.value
    entries = next(iter(getattr(error, "args", ())), None)
    if isinstance(entries, list):
        # OpenSSL's error queue: library, function, reason.
        words = [str(entry[-1]) for entry in entries if isinstance(entry, tuple) and entry]
        if words:
            return "; ".join(words)
    if type(error).__name__ == "VerificationError":
        # That of service_identity, which describes itself in Python.
        return "the certificate is for another host"
    return " ".join(reason.getErrorMessage().split()).rstrip(".")

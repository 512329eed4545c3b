"""
Connections to the server that is looked at: bytes out, lines in.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

__all__ = ["MAX_LINE", "Connect", "SocketWire", "Wire"]

#: Bytes of the longest line that is read.
MAX_LINE = 80 << 20

_CHUNK = 1 << 18


class Wire(Protocol):
    """One connection."""

    def send(self, data: bytes) -> None:
        """
        Send bytes.

        :raise TimeoutError: when the server does not take them
        :raise EOFError: when the server has closed the connection
        """

    def line(self, seconds: float | None = None) -> bytes:
        """
        :param seconds: how long to wait; C{None}: as long as the server has for anything
        :return: the next line with its end; at the end of the connection what is left, or nothing
        :raise TimeoutError: when it has not come in time
        """

    def end_input(self) -> None:
        """Send no more, but go on reading."""

    def close(self) -> None:
        """Close it."""


#: Makes a connection.
Connect: TypeAlias = Callable[[], Wire]


class SocketWire:
    """
    A connection over a socket.

    :param connection: connected
    :param patience: seconds that the server has for each line
    """

    def __init__(self, connection: socket.socket, patience: float) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._patience = patience
        self._received = bytearray()
        self._looked = 0
        self._ended = False

    def send(self, data: bytes) -> None:
        """Send bytes: see L{Wire}."""
        view = memoryview(data)
        end = time.monotonic() + self._patience
        while view:
            # A server may wait for its replies to be read before it reads on.
            readable, writable = self._wait(True, end)
            if readable:
                self._receive()
            if writable:
                try:
                    view = view[self._socket.send(view) :]
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    raise EOFError(f"the server has closed the connection: {error.strerror or error}") from None

    def _wait(self, sending: bool, end: float) -> tuple[bool, bool]:
        left = end - time.monotonic()
        wanted = [self._socket]
        reading = [] if self._ended else wanted
        readable, writable, _ = select.select(reading, wanted if sending else [], [], max(0.0, left))
        if not readable and not writable:
            raise TimeoutError
        return bool(readable), bool(writable)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._received += data
        self._ended = not data

    def line(self, seconds: float | None = None) -> bytes:
        """The next line: see L{Wire}."""
        end = time.monotonic() + (self._patience if seconds is None else seconds)
        while True:
            at = self._received.find(b"\n", self._looked)
            if at < 0 and not self._ended and len(self._received) <= MAX_LINE:
                self._looked = len(self._received)
                self._wait(False, end)
                self._receive()
                continue
            size = len(self._received) if at < 0 else at + 1
            line = bytes(self._received[:size])
            del self._received[:size]
            self._looked = 0
            return line

    def end_input(self) -> None:
        """Send no more: see L{Wire}."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

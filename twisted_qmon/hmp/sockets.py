"""
What the human monitor asks of the socket below a transport, where there is one.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios

__all__ = ["receive_urgent_data_inline", "unread_bytes"]


def receive_urgent_data_inline(transport: object) -> None:
    """Some telnet clients send C{IAC DM} as urgent data, which a TCP socket takes out of its place in the stream."""
    handle = _socket_of(transport)
    if handle is not None and handle.family in (socket.AF_INET, socket.AF_INET6):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def unread_bytes(transport: object) -> int:
    """:return: how many bytes have come that the transport has not read; 0 where that can't be told"""
    handle = _socket_of(transport)
    if handle is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(handle, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def _socket_of(transport: object) -> socket.socket | None:
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None

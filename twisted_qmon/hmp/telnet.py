"""
Telnet's negotiation bytes, taken out of what a client sends: they do no harm, and nothing is answered. No I/O.
"""

from __future__ import annotations

__all__ = ["MAX_SUBNEGOTIATION", "TelnetFilter"]

#: Bytes of the longest subnegotiation (RFC 855) that is skipped; a longer one is no telnet.
MAX_SUBNEGOTIATION = 256

_SE, _SB, _WILL, _DONT, _IAC = 240, 250, 251, 254, 255
_WINDOW_SIZE = 31
_LF = 10


class TelnetFilter:
    """
    Takes telnet commands (C{IAC ...}, RFC 854) out of a stream, however it is cut into pieces.

    UTF-8 has no byte 255, so that text passes unchanged. What only begins like telnet passes too: no line may be swallowed.

    :ivar seen: the client speaks telnet
    """

    def __init__(self) -> None:
        self.seen = False
        self._held = b""
        self._after_return = False

    def feed(self, data: bytes) -> bytes:
        """
        :param data: bytes as they came
        :return: those that are no telnet commands. A client that speaks telnet may end its lines with CR NUL: that becomes CR LF.
        """
        if self._held:
            data, self._held = self._held + data, b""
        if _IAC in data:
            data = self._strip(data)
        if self.seen and data:
            data = self._end_lines(data)
        return data

    def _strip(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        at = 0
        while (begin := data.find(_IAC, at)) >= 0:
            parts.append(data[at:begin])
            end = _end_of_command(data, begin)
            if end is None:
                self._held = data[begin:]
                return b"".join(parts)
            if end == begin:
                # No telnet: the byte belongs to the line, which will be refused for it.
                parts.append(data[begin : begin + 1])
                at = begin + 1
            elif data[begin + 1] == _IAC:
                parts.append(b"\xff")
                at = end
            else:
                self.seen = True
                at = end
        parts.append(data[at:])
        return b"".join(parts)

    def _end_lines(self, data: bytes) -> bytes:
        if self._after_return and data[0] == 0:
            data = b"\n" + data[1:]
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\0", b"\r\n")


def _end_of_command(data: bytes, begin: int) -> int | None:
    """Where the command ends that begins with this IAC; C{None}: not here yet; C{begin}: it is none."""
    if len(data) < begin + 2:
        return None
    command = data[begin + 1]
    if _WILL <= command <= _DONT:
        if len(data) < begin + 3:
            return None
        return begin if data[begin + 2] == _LF else begin + 3
    if command == _SB:
        return _end_of_subnegotiation(data, begin)
    return begin + 2 if command >= _SE else begin


def _end_of_subnegotiation(data: bytes, begin: int) -> int | None:
    at = begin + 2
    while at < len(data) and at - begin <= MAX_SUBNEGOTIATION:
        if data[at] == _IAC:
            if at + 1 == len(data):
                return None
            if data[at + 1] == _SE:
                return at + 2
            at += 1
        elif data[at] == _LF and (data[begin + 2] != _WINDOW_SIZE or at - begin > 10):
            # Only the size of a window may well hold a 10; anything else is a line that ends.
            return begin
        at += 1
    return None if at >= len(data) and at - begin <= MAX_SUBNEGOTIATION else begin

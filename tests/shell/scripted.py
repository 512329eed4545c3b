"""
A QMP server whose whole side of the conversation is written before it begins: for the blocking client, without threads.
"""

from __future__ import annotations

import json
import socket
from typing import Any

__all__ = ["GREETING", "ScriptedServer"]

GREETING: dict[str, Any] = {"QMP": {"version": {"qemu": {"major": 1, "minor": 0, "micro": 0}}, "capabilities": ["oob"]}}


class ScriptedServer:
    """
    Hands out sockets in which the server's messages are waiting already. The client's first request, C{qmp_capabilities}, has the
    id 1 and is answered by itself.
    """

    def __init__(self) -> None:
        self._scripts: list[tuple[bytes, bool]] = []
        self._ends: list[socket.socket] = []

    def says(self, *messages: Any, greeting: Any = GREETING, ends: bool = True) -> None:
        """
        Write the script of one more connection.

        :param messages: what it sends after the negotiation: JSON values, or bytes as they are
        :param greeting: what it sends first; bytes are the whole script
        :param ends: it closes the connection behind them
        """
        if isinstance(greeting, bytes):
            data = greeting
        else:
            head = (greeting, {"return": {}, "id": 1})
            data = b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\r\n" for m in (*head, *messages))
        self._scripts.append((data, ends))

    def open(self, *unused: Any) -> socket.socket:
        """What L{open_socket<twisted_qmon.shell.client.open_socket>} is replaced with."""
        data, ends = self._scripts.pop(0)
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) + 4096)
        theirs.sendall(data)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        self._ends.append(theirs)
        return ours

    def received(self) -> list[Any]:
        """:return: what the client of the oldest connection has sent, and closed"""
        end = self._ends.pop(0)
        with end, end.makefile("rb") as reader:
            return [json.loads(line) for line in reader]

    def close(self) -> None:
        """Close what was not looked at."""
        for end in self._ends:
            end.close()

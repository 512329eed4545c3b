"""
The programs of a terminal without one: keys come through a pipe, the screen is a dummy, the server is in this process. What is
written goes to standard output.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_qmon import Monitor, QMPFactory

__all__ = ["Desk", "desk", "until"]


class _Transport(StringTransport):
    """What is written arrives at the other end in the next turn of the loop."""

    protocol: Any
    peer: _Transport
    lost = False

    def write(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.peer.arrives, data)

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def arrives(self, data: bytes) -> None:
        if not self.lost:
            self.protocol.dataReceived(data)

    def loseConnection(self) -> None:
        loop = asyncio.get_running_loop()
        for end in (self, self.peer):
            loop.call_soon(end.ends)

    abortConnection = loseConnection

    def ends(self) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


class Desk:
    """
    A person at a terminal, and a server.

    :ivar monitor: the server's; C{None}: there is none
    :ivar clock: passes only where a test says so
    :ivar keys: what is typed comes through it
    """

    def __init__(self, monitor: Monitor | None, keys: PipeInput) -> None:
        self.monitor = monitor
        self.clock = Clock()
        self.keys = keys
        self._served: list[_Transport] = []

    def connect(self, factory: Any) -> Deferred[IProtocol]:
        """See C{IStreamClientEndpoint}."""
        if self.monitor is None:
            refused: Deferred[IProtocol] = Deferred()
            asyncio.get_running_loop().call_soon(refused.errback, Failure(ConnectionRefusedError()))
            return refused
        ours, theirs = _Transport(), _Transport()
        ours.peer, theirs.peer = theirs, ours
        ours.protocol = factory.buildProtocol(None)
        theirs.protocol = QMPFactory(self.monitor).buildProtocol(None)
        self._served.append(theirs)
        for end in (ours, theirs):
            end.protocol.makeConnection(end)
        return succeed(ours.protocol)

    def hang_up(self) -> None:
        """Let the server end each connection."""
        for end in self._served:
            end.loseConnection()
        self._served.clear()


@contextmanager
def desk(monkeypatch: pytest.MonkeyPatch, monitor: Monitor | None) -> Iterator[Desk]:
    """:return: one; what C{qmon} opens is its"""
    with create_pipe_input() as keys:
        made = Desk(monitor, keys)
        for module in ("terminal.loop", "top.screen"):
            monkeypatch.setattr(f"twisted_qmon.shell.{module}.create_input", lambda stream: keys)
            monkeypatch.setattr(f"twisted_qmon.shell.{module}.show_faults", lambda show: None)
            monkeypatch.setattr(f"twisted_qmon.shell.{module}.Vt100_Output.from_pty", lambda *a, **more: DummyOutput())
        monkeypatch.setattr("twisted_qmon.shell.relay.parse_endpoint", lambda reactor, text: made)
        yield made


async def until(holds: Callable[[], object] | Callable[[], Awaitable[object]], turns: int = 10_000) -> None:
    """
    Let the loop turn until something holds.

    :raise AssertionError: when it does not come to hold
    """
    for _ in range(turns):
        if holds():
            return
        await asyncio.sleep(0.0005)
    raise AssertionError("it does not come to hold")

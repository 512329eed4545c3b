"""
Clients that end in every way, in every state of their session, over real sockets: nothing of them is left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from twisted_qmon import CommandProvider, Event, Monitor, QMPFactory, command

reactor: Any = _reactor

#: Seconds until what has to be noticed must have been: POLLHUP is looked for each second.
PATIENCE = 30.0

STATES = ("greeted", "negotiated", "half a message", "pending", "suspended", "blocked")
TRANSPORTS = ("unix", "tcp")


class Provider(CommandProvider):
    """Commands that never end by themselves, and events."""

    events = (Event("NEWS", text=str),)

    def __init__(self) -> None:
        self.open: list[Deferred[int]] = []

    @command(on_disconnect="cancel")
    def wait(self) -> Deferred[int]:
        """Waits for ever, or for its caller to leave."""
        deferred: Deferred[int] = Deferred()
        self.open.append(deferred)
        return deferred

    @command
    def big(self) -> str:
        """A big reply."""
        return "x" * 1_000_000


def bytes_for(state: str) -> bytes:
    """What a client sends to bring its session into a state."""
    data = b"" if state == "greeted" else b'{"execute":"qmp_capabilities"}\n'
    more = {
        "half a message": b'{"execute":"wa',
        "pending": b'{"execute":"wait","id":1}\n',
        "suspended": b"".join(b'{"execute":"wait","id":%d}\n' % n for n in range(12)),
        "blocked": b'{"execute":"big"}\n' * 3,
    }
    return data + more.get(state, b"")


def reached(state: str, protocol: Any) -> bool:
    """The session is in that state."""
    session = protocol.session
    conditions: dict[str, bool] = {
        "greeted": True,
        "negotiated": session.negotiated,
        "half a message": session.negotiated,
        "pending": session.pending == 1,
        "suspended": session.suspended and session.pending == 9,
        "blocked": protocol.write_queue.blocked,
    }
    return conditions[state]


def read_all(client: socket.socket) -> bytes:
    """What there is to read, without waiting."""
    data = b""
    while True:
        try:
            more = client.recv(1 << 20)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


def sockets() -> int:
    """How many sockets this process has open."""
    folder = "/proc/self/fd"
    links = [os.path.join(folder, name) for name in os.listdir(folder)]
    return sum(os.readlink(link).startswith("socket:") for link in links if os.path.lexists(link))


@pytest.mark.live
class ClientsDieTests(TestCase):
    """One monitor at a unix and a TCP socket."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "qmp.sock")
        self.monitor = Monitor(clock=reactor)
        self.provider = Provider()
        self.monitor.register(self.provider)
        self.factory = QMPFactory(self.monitor, max_queued=2_000_000)
        self.before = sockets()
        self.ports = [
            reactor.listenUNIX(self.path, self.factory, mode=0o600),
            reactor.listenTCP(0, self.factory, interface="127.0.0.1"),
        ]
        self.sockets: list[socket.socket] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for client in self.sockets:
            client.close()
        for port in self.ports:
            await port.stopListening()
        for connection in list(self.factory.connections):
            connection.transport.abortConnection()
        await self.until(lambda: not self.factory.connections)
        self.folder.cleanup()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, but not for ever."""
        end = reactor.seconds() + PATIENCE
        while not condition():
            self.assertLess(reactor.seconds(), end, "it did not come to pass")
            await deferLater(reactor, 0.02)

    def address(self, transport: str) -> Any:
        return self.path if transport == "unix" else ("127.0.0.1", self.ports[1].getHost().port)

    async def connect(self, transport: str, state: str) -> socket.socket:
        client = socket.socket(socket.AF_UNIX if transport == "unix" else socket.AF_INET)
        self.sockets.append(client)
        known = set(self.factory.connections)
        client.connect(self.address(transport))
        client.setblocking(False)
        await self.until(lambda: len(self.factory.connections) > len(known))
        (protocol,) = self.factory.connections - known
        client.sendall(bytes_for(state))
        await self.until(lambda: reached(state, protocol))
        return client

    async def all_states(self) -> list[tuple[str, str, socket.socket]]:
        return [
            (transport, state, await self.connect(transport, state)) for transport in TRANSPORTS for state in STATES
        ]

    async def nothing_left(self) -> None:
        """No session, no request, no descriptor and (trial sees to that) no timer."""
        await self.until(lambda: not self.factory.connections)
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(self.monitor.pending.abandoned, {})
        await self.until(lambda: sockets() == self.before + len(self.ports))

    async def test_close(self) -> None:
        """
        A client that closes is noticed in every state: over unix sockets by looking, over TCP, where a close can't be told from a
        half-close while nothing is read, at the next thing that is written.
        """
        for _, _, client in await self.all_states():
            client.close()
        sessions: set[Any] = self.factory.connections
        await self.until(lambda: all(c.session.suspended or c._half_closed for c in sessions))
        await self.until(lambda: all(c.peer.startswith("127.") for c in self.factory.connections))
        for deferred in list(self.provider.open):
            if not deferred.called:
                deferred.callback(1)
        await self.nothing_left()

    async def test_reset(self) -> None:
        """A reset is noticed in every state."""
        for transport, _, client in await self.all_states():
            if transport == "tcp":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        await self.nothing_left()

    async def test_halfClose(self) -> None:
        """After a half-close what is pending is still answered, and then the connection ends."""
        clients = await self.all_states()
        received = {(transport, state): b"" for transport, state, _ in clients}
        ended = set()
        for _, _, client in clients:
            client.shutdown(socket.SHUT_WR)

        def read() -> bool:
            for deferred in list(self.provider.open):
                if not deferred.called:
                    deferred.callback(1)
            for transport, state, client in clients:
                try:
                    data = client.recv(1 << 20)
                except BlockingIOError:
                    continue
                received[transport, state] += data
                if not data:
                    ended.add((transport, state))
            return len(ended) == len(clients)

        await self.until(read)
        for transport in TRANSPORTS:
            self.assertEqual(received[transport, "pending"].count(b'{"return":1,"id":1}'), 1)
            self.assertEqual(received[transport, "suspended"].count(b'"return":1'), 12)
            self.assertEqual(received[transport, "blocked"].count(b'xxx"}'), 3)
        for _, _, client in clients:
            client.close()
        await self.nothing_left()

    async def spawn(self, transport: str, state: str) -> tuple[subprocess.Popen[bytes], Any]:
        """A client in a process of its own, which reads nothing."""
        known = set(self.factory.connections)
        code = (
            "import socket, sys, time\n"
            "address = sys.argv[1] if sys.argv[2] == '-' else (sys.argv[1], int(sys.argv[2]))\n"
            "client = socket.socket(socket.AF_UNIX if sys.argv[2] == '-' else socket.AF_INET)\n"
            "client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\n"
            "client.connect(address)\n"
            "client.sendall(sys.stdin.buffer.read())\n"
            "time.sleep(60)\n"
        )
        address = self.address(transport)
        arguments = [address, "-"] if transport == "unix" else [address[0], str(address[1])]
        process = subprocess.Popen([sys.executable, "-S", "-c", code, *arguments], stdin=subprocess.PIPE)
        self.processes.append(process)
        assert process.stdin is not None
        process.stdin.write(bytes_for(state))
        process.stdin.close()
        await self.until(lambda: len(self.factory.connections) > len(known))
        (protocol,) = self.factory.connections - known
        await self.until(lambda: reached(state, protocol))
        return process, protocol

    async def test_killed(self) -> None:
        """A client that is killed (kill -9) is noticed in every state."""
        for transport in TRANSPORTS:
            for state in STATES:
                if (transport, state) != ("tcp", "suspended"):
                    await self.spawn(transport, state)
        for process in self.processes:
            process.kill()
            process.wait()
        await self.nothing_left()

    async def test_stopped(self) -> None:
        """A client that is stopped (SIGSTOP) is kept, until more events wait for it than may; the others get theirs."""
        healthy = await self.connect("unix", "negotiated")
        stopped = [await self.spawn(transport, "negotiated") for transport in TRANSPORTS]
        for process, _ in stopped:
            process.send_signal(signal.SIGSTOP)
        received = b""
        sent = 0

        def emit() -> bool:
            nonlocal received, sent
            for _ in range(2):
                self.monitor.emit("NEWS", {"text": "x" * 40_000})
            sent += 2
            received += read_all(healthy)
            return all(protocol.ended for _, protocol in stopped)

        await self.until(emit)
        self.assertEqual(self.factory.counters.slow, 2)

        def all_there() -> bool:
            nonlocal received
            received += read_all(healthy)
            return received.count(b'"NEWS"') == sent

        await self.until(all_there)
        healthy.close()
        for process, _ in stopped:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        await self.nothing_left()

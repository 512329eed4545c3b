"""
What twisted-qmon is measured against: the least that could do the same work with Twisted and msgspec. They look at nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols import amp
from twisted.protocols.basic import LineOnlyReceiver

VERSION = {"qemu": {"major": 0, "minor": 2, "micro": 0}, "package": "twisted-qmon 0.2.0"}
GREETING = b'{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":0},"package":""},"capabilities":[]}}\r\n'
EVENT = (
    b'{"event":"BENCHMARK","timestamp":{"seconds":1700000000,"microseconds":123456},'
    b'"data":{"device":"virtio0","actual":536870912}}\r\n'
)

_decode, _encode = msgspec.json.decode, msgspec.json.encode
_decode_lines, _encode_lines = msgspec.json.Decoder().decode_lines, msgspec.json.Encoder().encode_lines


class Echo(LineOnlyReceiver):
    """The bare echo: a fixed object with the request's id."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 30

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(_encode({"return": VERSION, "id": _decode(line)["id"]}))


class Greeting(Protocol):
    """Greets, and takes messages without line ends, for clients that need that. What it reads at once must be whole."""

    def connectionMade(self) -> None:
        self.transport.write(GREETING)

    def dataReceived(self, data: bytes) -> None:
        replies = [{"return": VERSION, "id": message.get("id")} for message in _decode_lines(data)]
        self.transport.write(_encode_lines(replies))


class Later(Echo):
    """Fires one Deferred for each request, a reactor turn later."""

    def lineReceived(self, line: bytes) -> None:
        done: Deferred[None] = Deferred()
        done.addCallback(self.answer, _decode(line)["id"])
        reactor.callLater(0, done.callback, None)  # type: ignore[attr-defined]

    def answer(self, _: None, id: Any) -> None:
        """Send a reply."""
        self.sendLine(_encode({"return": {}, "id": id}))


class Hold(Later):
    """Fires all of them when it is told to."""

    def connectionMade(self) -> None:
        self.held: list[Deferred[None]] = []

    def lineReceived(self, line: bytes) -> None:
        message = _decode(line)
        if message["execute"] == "hold":
            done: Deferred[None] = Deferred()
            done.addCallback(self.answer, message["id"])
            self.held.append(done)
            return
        held, self.held = self.held, []
        for done in held:
            done.callback(None)
        self.answer(None, message["id"])


class Big(Echo):
    """A big result, encoded each time."""

    results: dict[int, Any] = {}

    def lineReceived(self, line: bytes) -> None:
        message = _decode(line)
        size = message["arguments"]["size"]
        if size not in self.results:
            self.results[size] = [{"name": f"device-{n:06}", "number": n, "enabled": True} for n in range(size // 52)]
        self.sendLine(_encode({"return": self.results[size], "id": message["id"]}))


class Tell(Echo):
    """Writes the same bytes to everybody."""

    everybody: set[Tell] = set()

    def connectionMade(self) -> None:
        self.everybody.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.everybody.discard(self)

    def lineReceived(self, line: bytes) -> None:
        message = _decode(line)
        if message["execute"] == "tell":
            for each in self.everybody:
                each.transport.write(EVENT)
        self.sendLine(_encode({"return": {}, "id": message["id"]}))


class Prompt(LineOnlyReceiver):
    """A line and a prompt for each line."""

    delimiter = b"\n"

    def connectionMade(self) -> None:
        self.transport.write(b"(qmon) ")

    def lineReceived(self, line: bytes) -> None:
        self.transport.write(b"0.2.0 (twisted-qmon 0.2.0)\r\n(qmon) ")


class Query(amp.Command):
    """The same question, in AMP."""

    arguments = [(b"name", amp.Unicode())]
    response = [(b"package", amp.Unicode()), (b"major", amp.Integer()), (b"minor", amp.Integer())]


class AMPServer(amp.AMP):
    """Twisted's own protocol for asynchronous messages."""

    @Query.responder
    def query(self, name: str) -> dict[str, Any]:
        """Answer with the version."""
        return {"package": VERSION["package"], "major": 0, "minor": 2}


_PROTOCOLS: dict[str, Any] = {
    "echo": Echo,
    "greeting": Greeting,
    "later": Later,
    "hold": Hold,
    "big": Big,
    "tell": Tell,
    "prompt": Prompt,
    "amp": AMPServer,
}


def bare(kind: str) -> Factory:
    """:return: a factory of one of the protocols above"""
    factory = Factory.forProtocol(_PROTOCOLS[kind])
    factory.noisy = False
    return factory

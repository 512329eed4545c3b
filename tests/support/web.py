"""
A web interface without sockets: its factory, and connections to it, for tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from twisted_qmon import CommandProvider, Event, Monitor, Request, command
from twisted_qmon.web.factory import WebFactory
from twisted_qmon.web.tokens import Tokens

__all__ = ["ADMIN", "OBSERVER", "OPERATOR", "Answer", "Connection", "Server", "Slow", "write_tokens"]

ADMIN = "admin-admin-admin-admin"
OPERATOR = "operator-operator-operator"
OBSERVER = "observer-observer-observer"

_TOKENS = "".join(
    f'[[token]]\nname = "{name}"\nlevel = "{level}"\ntoken = "{secret}"\n'
    for name, level, secret in (("root", "admin", ADMIN), ("ops", "operate", OPERATOR), ("eye", "observe", OBSERVER))
)


def write_tokens(folder: Path, text: str = _TOKENS, mode: int = 0o600) -> Path:
    """:return: the path of a file of tokens, by default one of each level"""
    path = folder / "tokens.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


class Slow(CommandProvider):
    """
    Commands that are done when the test says so.

    :ivar waiting: what they wait for
    """

    events = (Event("TICK", n=int), Event("SECRET_TICK", n=int, level="operate"))

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.requests: list[Request] = []

    @command
    def slow(self, request: Request) -> Deferred[Any]:
        """take as long as the test likes"""
        self.requests.append(request)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @command(on_disconnect="cancel")
    def slow_with_caller(self) -> Deferred[Any]:
        """the same, as long as its caller is there"""
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @command(level="observe")
    def echo(self, text: str, times: int = 1) -> str:
        """say it again"""
        return text * times

    @command(level="observe")
    def fail(self) -> None:
        """raise something unexpected"""
        raise ZeroDivisionError("as expected")


@dataclass
class Answer:
    """
    One answer.

    :ivar status: its status code
    :ivar headers: by their names in small letters; the last one, where there are several
    :ivar body: what follows them
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def desc(self) -> str:
        """The words of the error in the body."""
        return str(self.json["error"]["desc"])


class Server:
    """
    A monitor with a web interface.

    :param folder: where its file of tokens is made
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.reactor.advance(1_000_000)
        self.monitor = Monitor("test", clock=self.reactor)
        self.slow = Slow()
        self.monitor.register(self.slow)
        self.tokens = Tokens(write_tokens(folder))
        self.factory = WebFactory(self.monitor, self.tokens, **options)
        self.factory.endpoint = "tcp:8080"

    def connect(self, secret: str | None = ADMIN) -> Connection:
        """:return: a connection whose requests show a token"""
        return Connection(self.factory, secret)

    def ask(self, method: str, path: str, body: object = None, *, token: str | None = ADMIN, **headers: str) -> Answer:
        """:return: the answer to one request on a connection of its own"""
        return self.connect(token).ask(method, path, body, **headers)


class Connection:
    """
    One connection.

    :param secret: the token that each request shows
    """

    def __init__(self, factory: WebFactory, secret: str | None = ADMIN) -> None:
        self.secret = secret
        self.transport: Any = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 8080), peerAddress=IPv4Address("TCP", "127.0.0.1", 54321)
        )
        self.channel = factory.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.channel.dataReceived(data)

    def request(self, method: str, path: str, body: object = None, **headers: str) -> None:
        """
        Send a request.

        :param body: bytes as they are; anything else as JSON
        :param headers: names with C{_} for C{-}; an empty one is left out
        """
        lines = {"host": "localhost:8080"}
        if self.secret is not None:
            lines["authorization"] = f"Bearer {self.secret}"
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            lines["content-type"] = "application/json"
            lines["content-length"] = str(len(data))
        lines.update((name.replace("_", "-"), value) for name, value in headers.items())
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data)

    def answers(self) -> list[Answer]:
        """:return: the answers that have come, all of them complete"""
        data: bytes = self.transport.value()
        self.transport.clear()
        found = []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = int(headers["content-length"]) if "content-length" in headers else len(data)
            found.append(Answer(int(first.split()[1]), headers, data[:length]))
            data = data[length:]
        return found

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """:return: the answer to a request"""
        self.request(method, path, body, **headers)
        [answer] = self.answers()
        return answer

    def stream(self) -> str:
        """:return: what has come of a stream of events, without the chunks' lengths"""
        data: bytes = self.transport.value()
        self.transport.clear()
        rest = data.partition(b"\r\n\r\n")[2] if data.startswith(b"HTTP/") else data
        text = b""
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            size = int(length, 16)
            text += rest[:size]
            rest = rest[size + 2 :]
        return text.decode()

    def close(self) -> None:
        """The client is gone."""
        self.channel.connectionLost(Failure(ConnectionDone()))

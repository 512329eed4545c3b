"""The blocking client."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.shell.scripted import GREETING, ScriptedServer
from twisted_qmon.errors import CommandNotFound, DeviceNotFound, GenericError
from twisted_qmon.shell import client as client_module
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.client import Client, connect, open_socket
from twisted_qmon.shell.errors import NoConnection, TimedOut
from twisted_qmon.shell.relay import Relayed

ADDRESS = Address("./x", path="./x")


def test_a_result(server: ScriptedServer) -> None:
    """Capabilities are negotiated, out-of-band execution where it is offered; a request is sent and its result returned."""
    server.says({"return": {"a": [1]}, "id": 2})
    with connect(ADDRESS) as client:
        assert client.greeting == GREETING["QMP"]
        assert client.execute("foo", {"b": 1}) == {"a": [1]}
    assert server.received() == [
        {"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}, "id": 1},
        {"execute": "foo", "arguments": {"b": 1}, "id": 2},
    ]


def test_without_oob(server: ScriptedServer) -> None:
    """A server that does not offer out-of-band execution is not asked for it."""
    server.says(greeting={"QMP": {"version": {}, "capabilities": []}})
    with connect(ADDRESS) as client:
        assert not client.oob
    assert server.received() == [{"execute": "qmp_capabilities", "id": 1}]


def test_an_error_keeps_its_class(server: ScriptedServer) -> None:
    """A class of QEMU's is the exception of that name; any other is kept."""
    server.says(
        {"error": {"class": "DeviceNotFound", "desc": "no x"}, "id": 2},
        {"error": {"class": "Other", "desc": "y"}, "id": 3},
        {"error": "z", "id": 4},
    )
    with connect(ADDRESS) as client:
        with pytest.raises(DeviceNotFound, match="no x"):
            client.execute("a")
        with pytest.raises(Exception, match="y") as caught:
            client.execute("b")
        assert caught.value.error_class == "Other"  # type: ignore[attr-defined]
        with pytest.raises(GenericError, match="malformed reply"):
            client.execute("c")


def test_events_and_other_replies_in_between(server: ScriptedServer) -> None:
    """Events are kept where they are wanted; the reply to a request that was given up is passed over."""
    event = {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}
    server.says(event, {"return": "late", "id": 77}, {"return": "x", "id": 2}, event)
    with connect(ADDRESS, keep_events=True) as client:
        assert client.execute("a") == "x"
        assert [client.next_event(), client.next_event()] == [event, event]
        with pytest.raises(NoConnection, match="the server closed the connection"):
            client.next_event()


def test_events_that_nobody_wants_are_dropped(server: ScriptedServer) -> None:
    """Without a receiver an event is no obstacle."""
    server.says({"event": "STOP"}, {"return": "x", "id": 2})
    with connect(ADDRESS) as client:
        assert client.execute("a") == "x"


def test_messages_of_many_lines(server: ScriptedServer) -> None:
    """A server that spreads its messages over many lines is understood."""
    pretty = [
        json.dumps(m, indent=4).encode() + b"\r\n"
        for m in (GREETING, {"return": {}, "id": 1}, {"return": [1], "id": 2})
    ]
    server.says(greeting=b"".join(pretty))
    with connect(ADDRESS) as client:
        assert client.execute("a") == [1]


def test_a_reply_that_is_not_json(server: ScriptedServer) -> None:
    """QEMU writes a number out of range as C{inf}: that request fails, the next is served."""
    server.says(b'{"return": {"a": inf}, "id": 2}\r\n', {"return": 1, "id": 3})
    with connect(ADDRESS) as client, pytest.raises(GenericError, match="The reply is not JSON"):
        client.execute("a")


def test_a_message_in_pieces(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the bytes are cut, the messages are the same."""
    monkeypatch.setattr(client_module, "_CHUNK", 3)
    server.says(b"\r\n", {"return": "x" * 100, "id": 2})
    with connect(ADDRESS) as client:
        assert client.execute("a") == "x" * 100


@pytest.mark.parametrize("ending", [b"", b"\n{"])
def test_a_message_without_end(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, ending: bytes) -> None:
    """What is held of a message is limited, in one line or in many."""
    monkeypatch.setattr(client_module, "MAX_MESSAGE", 1000)
    server.says(b'{"return": "' + ending + b'"x": "' + b"x" * 2000, ends=False)
    with (
        connect(ADDRESS) as client,
        pytest.raises((NoConnection, GenericError), match=r"more than 1000 bytes|not JSON"),
    ):
        client.execute("a")


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", "does not begin with a greeting|closed"),
        (b'{"hello": 1}\n', "does not begin with a greeting"),
        (b"[]\n", "does not begin with a greeting"),
        (b"", "the server closed the connection"),
        (b'{"QMP": {}}\n{"error": {"class": "GenericError", "desc": "no"}, "id": 1}\n', "refuses the negotiation: no"),
    ],
)
def test_no_qmp_server(server: ScriptedServer, greeting: bytes, reason: str) -> None:
    """A server of another kind is no connection, and the error says why and where."""
    server.says(greeting=greeting)
    with pytest.raises(NoConnection, match=f"no connection to ./x: .*({reason})"):
        connect(ADDRESS)


@pytest.mark.parametrize(("greeting", "reason"), [(b"", "did not greet"), (b'{"QMP": {}}\n', "did not complete")])
def test_a_silent_server(server: ScriptedServer, greeting: bytes, reason: str) -> None:
    """A server that says nothing is given up in time."""
    server.says(greeting=greeting, ends=False)
    with pytest.raises(NoConnection, match=reason):
        connect(ADDRESS, timeout=0.01)


def test_too_late(server: ScriptedServer) -> None:
    """A command that takes too long is cancelled at the server, out of band."""
    server.says({"error": {"class": "GenericError", "desc": "cancelled"}, "id": 3}, ends=False)
    with connect(ADDRESS) as client, pytest.raises(TimedOut, match=r"Command 'a' timed out after 0\.01 s"):
        client.run("a", timeout=0.01)
    assert server.received()[1:] == [
        {"execute": "a", "id": 2},
        {"exec-oob": "cancel-command", "arguments": {"id": 2}, "id": 3},
    ]


def test_interrupted(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is interrupted is cancelled; whatever becomes of that, the interrupt goes on."""
    monkeypatch.setattr(client_module, "CANCEL_TIMEOUT", 0.01)
    server.says(greeting=b'{"QMP": {}}\n{"return": {}, "id": 1}\n', ends=False)

    def interrupt(*unused: Any) -> None:
        raise KeyboardInterrupt

    with connect(ADDRESS) as client:
        monkeypatch.setattr(client, "reply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.run("a")
    assert server.received()[-1] == {"execute": "cancel-command", "arguments": {"id": 2}, "id": 3}


def test_deadline_is_not_the_end(server: ScriptedServer) -> None:
    """What is not there at the deadline can be waited for again; what is there is read, however late."""
    server.says({"return": "x", "id": 2})
    with connect(ADDRESS) as client:
        number = client.send("a")
        assert client.reply(number, time.monotonic() - 1) == "x"
        with pytest.raises(NoConnection):
            client.send("b")
            client.reply(3)


def test_command_not_found(server: ScriptedServer) -> None:
    """The class of an unknown command can be told from others."""
    server.says({"error": {"class": "CommandNotFound", "desc": "no"}, "id": 2})
    with connect(ADDRESS) as client, pytest.raises(CommandNotFound):
        client.execute("a")


class _Reset(socket.socket):
    """A connection that the other end has broken off."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")


def test_a_connection_that_breaks() -> None:
    """While a request is sent, and while a reply is waited for: no connection any more. Behind a relay it is known why."""
    ours, theirs = socket.socketpair()
    theirs.close()
    client = Client(ours)
    with pytest.raises(NoConnection, match="the connection was lost: Broken pipe"):
        client.send("a")
    client.close()
    with Client(_Reset()) as client, pytest.raises(NoConnection, match="the connection was lost: reset by peer"):
        client.read()
    ours, theirs = socket.socketpair()
    relayed = Relayed(fileno=ours.detach())
    relayed.reason = "certificate required"
    theirs.close()
    with Client(relayed) as client, pytest.raises(NoConnection, match="certificate required"):
        client.read()


def test_output_that_nothing_reads(server: ScriptedServer) -> None:
    """Without a reader of the output nothing more is waited for; what has come is read before."""
    server.says({"event": "STOP"}, ends=False)
    reading, writing = os.pipe()
    with connect(ADDRESS, keep_events=True) as client:
        client.output = writing
        assert client.next_event() == {"event": "STOP"}
        with pytest.raises(TimeoutError):
            client.next_event(time.monotonic() + 0.01)
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            client.next_event()
    os.close(writing)


def test_opening_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A path and HOST:PORT are plain sockets, anything else goes through Twisted; a reason is given in a few words."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        open_socket(Address("s", path=str(path)), 1.0).close()
    made: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *address: made.append(address))
    open_socket(Address("h:1", host="h", port=1), 2.0)
    monkeypatch.setattr(
        "twisted_qmon.shell.relay.connect_endpoint", lambda address, timeout: made.append((address.endpoint, timeout))
    )
    open_socket(Address("e", endpoint="e"), 3.0)
    assert made == [(("h", 1), 2.0), ("e", 3.0)]
    with pytest.raises(NoConnection, match="^No such file or directory$"):
        open_socket(Address("n", path=str(tmp_path / "n")), 1.0)

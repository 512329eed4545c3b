"""C{qmon conformance}: its options, its report, its exit status; and the connection over a socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.shell.conftest import Qmon, Terminal
from tests.support.wires import MemoryWire, small_fake
from twisted_qmon.conformance import wire as wire_module
from twisted_qmon.conformance.session import CHECKS
from twisted_qmon.conformance.wire import SocketWire
from twisted_qmon.shell.oneshot import conformance
from twisted_qmon.testing import Fail, Raw, Silence


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every address leads to a fake QEMU in memory. Without the checks that take long."""
    fake = small_fake()
    monkeypatch.setattr(conformance, "_wire", lambda address, patience: MemoryWire(fake))
    for name in list(CHECKS)[3:]:
        monkeypatch.delitem(CHECKS, name)
    return fake


def test_no_difference(qmon: Qmon, fake: Any, tmp_path: Path) -> None:
    """A report in a few lines, the same in XML, and the status 0."""
    path = tmp_path / "report.xml"
    done = qmon("conformance", "./qmp.sock", "--seed", "5", "--count", "10", "--junit", str(path), "--stop")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("7.2.22 Debian")
    assert lines[0].endswith("(compared as qemu), seed 5")
    assert lines[-1].endswith("looked at, no differences")
    assert "random     10 ok" in lines
    assert ElementTree.parse(path).getroot().tag == "testsuites"


def test_differences(qmon: Qmon, monkeypatch: pytest.MonkeyPatch, fake: Any) -> None:
    """What differs is shown, and the status is 1; without a seed there is one."""

    class Wrong(MemoryWire):
        def reply(self, line: bytes) -> bytes:
            return line.replace(b"has not been found", b"\x1b[2Jis not there")

    monkeypatch.setattr(conformance, "_wire", lambda address, patience: Wrong(fake))
    done = qmon("conformance", "--count", "3")
    assert done.status == 1
    assert "expected: " in done.out
    assert "seed " in done.out
    assert "\x1b" not in done.out


def test_as_another_kind(qmon: Qmon, fake: Any) -> None:
    """The kind of server can be said."""
    done = qmon("conformance", "./x", "--as", "strict", "--count", "0")
    assert "(compared as strict)" in done.out


def test_progress(qmon: Qmon, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it is seen how far it is."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    conformance._Progress().tell(conformance_outcome())
    assert "session: 1 looked at, 1 differ" in terminal.getvalue()


def conformance_outcome() -> Any:
    from twisted_qmon.conformance.report import DIFFERS, Outcome

    return Outcome("session", "x", DIFFERS)


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--count", "-1"], 2, "--count"),
        (["--as", "bochs"], 2, "--as"),
        (["--frob"], 2, "unrecognized arguments: --frob"),
        (["nothing"], 2, "'nothing' is not an address"),
        (["./not/there"], 3, "No such file"),
    ],
)
def test_usage(qmon: Qmon, words: list[str], status: int, reason: str) -> None:
    """What is wrong with the words is said, and how it ends."""
    done = qmon("conformance", *words)
    assert done.status == status
    assert reason in done.err
    assert "Traceback" not in done.err


def test_servers_that_can_not_be_compared(qmon: Qmon, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No schema, no answer, no connection, no file for the report: one line each."""
    fake.once("query-qmp-schema", Fail())
    done = qmon("conformance", "./x")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "can't be compared with QEMU: it has no schema" in done.err
    fake.once("query-qmp-schema", Silence())
    done = qmon("conformance", "./x")
    assert (done.status, done.err) == (
        3,
        "qmon: no answer from ./x: it may serve another client (a QEMU monitor has one at a time)\n",
    )
    fake.on_connect(Raw(b"hello\r\n"))
    assert "does not begin with a greeting" in qmon("conformance", "./x").err
    done = qmon("conformance", "./x", "--count", "0", "--junit", "/no/such/folder/x")
    assert (done.status, done.err) == (1, "qmon: cannot write /no/such/folder/x: No such file or directory\n")

    def gone(address: object, patience: float) -> MemoryWire:
        raise EOFError

    monkeypatch.setattr(conformance, "_wire", gone)
    done = qmon("conformance", "./x")
    assert (done.status, done.err) == (3, "qmon: ./x: the server has closed the connection\n")


class Recorded:
    """A client for C{--record}, as far as that needs it."""

    def __init__(self, fake: Any) -> None:
        self._client = fake.connect()
        self.greeting = self._client.greeting["QMP"]
        self.silent = False

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *unused: object) -> None:
        self._client.lose()

    def execute(self, name: str, arguments: Any, *, deadline: float) -> Any:
        from twisted_qmon.errors import CommandError

        if self.silent:
            raise TimeoutError
        self._client.received()
        reply = self._client.execute(name, arguments)
        if "error" in reply:
            raise CommandError.from_wire(reply["error"]["class"], reply["error"]["desc"])
        return reply["return"]


def test_record(qmon: Qmon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server is recorded into a file; what can't be written or does not answer is one line."""
    client = Recorded(small_fake(one_client=False))
    monkeypatch.setattr(conformance, "connect", lambda address: client)
    path = tmp_path / "x.json.gz"
    done = qmon("conformance", "./x", "--record", str(path))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("recorded 7.2.22: ")
    assert path.exists()
    client = Recorded(small_fake(one_client=False))
    assert "cannot write" in qmon("conformance", "./x", "--record", "/no/such/folder/x").err
    client = Recorded(small_fake(one_client=False))
    client.silent = True
    done = qmon("conformance", "./x", "--record", str(path))
    assert (done.status, done.err) == (3, "qmon: no answer to query-qmp-schema within 10 s\n")


class TestSocketWire:
    """The connection over a socket."""

    def pair(self, patience: float = 30) -> tuple[SocketWire, socket.socket]:
        ours, theirs = socket.socketpair()
        return SocketWire(ours, patience), theirs

    def test_lines(self) -> None:
        """Lines come one by one, however they arrive; at the end what is left, then nothing."""
        wire, theirs = self.pair()
        theirs.sendall(b"a\r\nb")
        assert wire.line() == b"a\r\n"
        with pytest.raises(TimeoutError):
            wire.line(0)
        theirs.sendall(b"c\nrest")
        assert wire.line() == b"bc\n"
        theirs.close()
        assert [wire.line(), wire.line()] == [b"rest", b""]
        wire.close()

    def test_a_server_that_does_not_read(self) -> None:
        """What it does not take is given up after a while; one that has gone is known at once."""
        wire, theirs = self.pair(0.05)
        with pytest.raises(TimeoutError):
            wire.send(b"x" * (1 << 24))
        theirs.close()
        with pytest.raises(EOFError, match="closed the connection"):
            wire.send(b"x" * (1 << 24))
        wire.close()

    def test_replies_while_sending(self) -> None:
        """While much is sent, replies are taken."""
        wire, theirs = self.pair()
        theirs.sendall(b"early\n")
        wire.send(b"x")
        wire.send(b"y")
        assert wire.line() == b"early\n"
        wire.end_input()
        assert theirs.recv(10) == b"xy"
        assert theirs.recv(10) == b""
        theirs.close()
        wire.close()

    def test_endless_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line without end is cut off."""
        monkeypatch.setattr(wire_module, "MAX_LINE", 10)
        wire, theirs = self.pair()
        theirs.sendall(b"x" * 20)
        assert wire.line() == b"x" * 20
        theirs.close()
        wire.close()

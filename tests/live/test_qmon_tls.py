"""C{qmon} through TLS: at an C{ssl:} endpoint, and at an C{mtls:} one, which wants a certificate of its clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.qmon_program import Qmon, next_event, ours
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, free_port
from tests.support.certificates import Authority

pytestmark = pytest.mark.live

AUTHORITY = Authority()
OTHER = Authority("another authority")


class _Server:
    """
    C{twistd qmon} with both.

    :ivar ssl: an address that leads to the C{ssl:} one, with the authority that signed its certificate
    :ivar mtls: an address that leads to the C{mtls:} one, with a client's certificate as well
    :ivar stranger: the C{ssl:} one, with another authority
    :ivar nobody: the C{mtls:} one, without a client's certificate
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_port(), free_port()
        self.ssl = f"tls:127.0.0.1:{ports[0]}:trustRoots=trust"
        self.stranger = f"tls:127.0.0.1:{ports[0]}:trustRoots=others"
        self.nobody = f"tls:127.0.0.1:{ports[1]}:trustRoots=trust"
        self.mtls = f"{self.nobody}:certificate=client.pem:privateKey=client.key"
        self.arguments = [
            *("--qmp", "unix:qmp.sock"),
            *("--qmp", f"ssl:{ports[0]}:interface=127.0.0.1:privateKey=server.key:certKey=server.pem"),
            *("--qmp", f"mtls:{ports[1]}:interface=127.0.0.1:key=server.key:cert=server.pem:ca=trust/ca.pem"),
        ]
        for name, authority in (("trust", AUTHORITY), ("others", OTHER)):
            (folder / name).mkdir()
            (folder / name / "ca.pem").write_bytes(authority.certificate)
        for name, addresses in (("server", ("127.0.0.1",)), ("client", ())):
            certified = AUTHORITY.issue(f"the {name}", *addresses)
            (folder / f"{name}.pem").write_bytes(certified.certificate)
            (folder / f"{name}.key").write_bytes(certified.key)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Server]:
    """One for all of these tests."""
    server = _Server(tmp_path_factory.mktemp("tls"))
    with ours(server.folder, *server.arguments):
        yield server


@pytest.mark.parametrize("kind", ["ssl", "mtls"])
def test_commands(server: _Server, kind: str) -> None:
    """They run, also with a result of 20 MB; the certificate is who the client is."""
    qmon = Qmon(server.folder, getattr(server, kind))
    status, out, err = qmon("exec", "query-status")
    assert (status, err, json.loads(out)["running"]) == (0, "", True)
    identity = json.loads(qmon("whoami")[1])["identity"]
    assert identity == "cert:CN=the client" if kind == "mtls" else identity.startswith("tls:127.0.0.1:")
    status, out, _ = qmon("exec", "text", "size:=20000000")
    assert (status, len(json.loads(out))) == (0, 20_000_000)
    assert qmon("exec", "wait", "--timeout", "0.2")[0] == 4


def test_refused(server: _Server) -> None:
    """A server of an authority that is not trusted, and a client without a certificate: one line that says why, status 3."""
    status, out, err = Qmon(server.folder, server.stranger)("exec", "query-status")
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert "certificate verify failed" in err
    status, out, err = Qmon(server.folder, server.nobody)("exec", "query-status")
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert "certificate required" in err
    for address in (server.stranger, server.nobody):
        with Terminal(server.folder, address, columns=300) as terminal:
            assert terminal.ends() == 3
            assert terminal.screen.startswith("qmon: no connection to")
            assert len(terminal.screen.splitlines()) == 1


def test_an_endpoint_that_is_not_valid(server: _Server) -> None:
    """Files that are not there are wrong usage."""
    status, _, err = Qmon(server.folder, f"{server.nobody}:certificate=none.pem:privateKey=none.key")("exec", "x")
    assert status == 2
    assert "is not a valid client endpoint" in err


@pytest.mark.parametrize("kind", ["ssl", "mtls"])
def test_the_prompt(server: _Server, kind: str) -> None:
    """Lines, completion, Ctrl-C on what is pending, long output."""
    with Terminal(server.folder, getattr(server, kind), columns=200) as terminal:
        terminal.prompts()
        terminal.types("paint greeni\t")
        terminal.until("the value", lambda: terminal.line == "(qmon) paint greenish-blue")
        terminal.enters("")
        terminal.shows("painted greenish-blue")
        terminal.enters("wait")
        terminal.shows("Ctrl-C cancels")
        terminal.types("\x03")
        terminal.shows("Command 'wait' was cancelled")
        terminal.prompts()
        terminal.enters("text 1000000")
        terminal.until("all of it", lambda: terminal.raw.count(b"x") >= 990_000 and terminal.line == "(qmon)")
        terminal.types("\x04")
        assert terminal.ends() == 0


def test_top(server: _Server) -> None:
    """The screen is drawn."""
    with Terminal(server.folder, server.mtls, "top") as terminal:
        terminal.shows("memory", "PENDING")
        terminal.types("q")
        assert terminal.ends() == 0


def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """Its end is said, and it is connected to again, by the prompt and by C{events}."""
    server = _Server(tmp_path)
    with ours(tmp_path, *server.arguments) as first, Terminal(tmp_path, server.mtls, columns=200) as terminal:
        terminal.prompts()
        events = Qmon(tmp_path, server.ssl).start("events", "SALE", "--json")
        assert '"hats"' in next_event(events, lambda: first.qmp().execute("sell", {"what": "hats"}))
        first.popen.kill()
        first.popen.wait(PATIENCE)
        (tmp_path / "qmp.sock").unlink()
        terminal.shows("reconnecting")
        terminal.prompts("(qmon: not connected)")
        with ours(tmp_path, *server.arguments) as second:
            terminal.shows("connected again")
            terminal.prompts()
            assert "painted red" in terminal.does("paint red")
            assert '"gloves"' in next_event(events, lambda: second.qmp().execute("sell", {"what": "gloves"}))
            status, _, err = Qmon.interrupt(events)
    assert status == 130
    assert "connected again" in err

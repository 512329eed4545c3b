"""TLS over real sockets: C{ssl:} endpoints of a whole process, a wrapped factory, and TLS clients of several makes."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, Twistd, free_port, until
from tests.support.certificates import Authority, Certified
from twisted_qmon import HMPFactory, Monitor, QMPClient, QMPFactory
from twisted_qmon.errors import CommandError

pytestmark = pytest.mark.live

reactor: Any = _reactor

MIB = 1 << 20

COMMANDS = """
from twisted.internet.defer import Deferred
from twisted_qmon import CommandProvider, command

class Commands(CommandProvider):
    def __init__(self):
        self.served = 0
        self.waiting = []

    @command
    def blob(self, size: int) -> str:
        self.served += 1
        return "x" * size

    @command
    def query_served(self) -> int:
        return self.served

    @command
    def wait(self):
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @command
    def release(self) -> None:
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback("released")
"""

AUTHORITY = Authority()
SERVER = AUTHORITY.issue("server", "localhost", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the certificates and a provider."""
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "ca.pem").write_bytes(AUTHORITY.certificate)
    (tmp_path / "cert.pem").write_bytes(SERVER.certificate)
    (tmp_path / "key.pem").write_bytes(SERVER.key)
    (tmp_path / "commands.py").write_text(COMMANDS)
    return tmp_path


class Server(Twistd):
    """
    C{twistd -n qmon} with an C{ssl:} endpoint for QMP and one for HMP, and a unix socket to look from.

    :ivar ports: those of QMP and HMP
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.ports = {"qmp": free_port(), "hmp": free_port()}
        endpoints = []
        for kind, port in self.ports.items():
            endpoints += [f"--{kind}", f"ssl:{port}:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1"]
        arguments = [
            "--qmp",
            "unix:qmp.sock",
            *endpoints,
            "--provider",
            "commands.Commands",
            "--name",
            "the server",
            *options,
        ]
        super().__init__(folder, arguments, paths=[folder])
        self.look = self.qmp()


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """The server without further options."""
    with Server(folder) as process:
        yield process


def python_client(port: int, certified: Certified | None = None, folder: Path | None = None) -> ssl.SSLSocket:
    """:return: a connection of Python's own client, after the handshake"""
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    if certified is not None:
        assert folder is not None
        file = folder / "client.pem"
        file.write_bytes(certified.certificate + certified.key)
        context.load_cert_chain(file)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname="localhost")


class QMPOverTLS:
    """A blocking QMP client over TLS, negotiated."""

    def __init__(self, port: int) -> None:
        self.socket = python_client(port)
        self.reader = self.socket.makefile("rb")
        self.greeting = json.loads(self.reader.readline())
        self.send({"execute": "qmp_capabilities"})
        self.read()

    def send(self, *messages: Any) -> None:
        self.socket.sendall(b"".join(json.dumps(message).encode() for message in messages))

    def read(self) -> Any:
        return json.loads(self.reader.readline())

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@pytest.fixture
def client(server: Server) -> Iterator[QMPOverTLS]:
    """A client of the server."""
    client = QMPOverTLS(server.ports["qmp"])
    yield client
    client.close()


def test_python_client(server: Server, client: QMPOverTLS) -> None:
    """The greeting comes after the handshake; replies come, large ones too; the human monitor speaks TLS as well."""
    assert "QMP" in client.greeting
    client.send({"execute": "blob", "arguments": {"size": 20 * MIB}}, {"execute": "query-name", "id": 1})
    assert len(client.read()["return"]) == 20 * MIB
    assert client.read()["id"] == 1
    with python_client(server.ports["hmp"]) as person, person.makefile("rwb") as lines:
        assert b"monitor - type 'help'" in lines.readline()
        lines.write(b"info served\n")
        lines.flush()
        assert lines.readline() == b"(qmon) 1\r\n"


def test_late_reader(server: Server, client: QMPOverTLS) -> None:
    """30 replies of 1 MiB for a client that does not read: few are made, and all of them come, in order, once it reads."""
    client.send(*({"execute": "blob", "arguments": {"size": MIB}, "id": n} for n in range(30)))
    until("the first reply is made", lambda: server.look.execute("query-served") > 0)
    time.sleep(1)
    assert server.look.execute("query-served") < 15
    replies = [client.read() for _ in range(30)]
    assert [reply["id"] for reply in replies] == list(range(30))
    assert all(len(reply["return"]) == MIB for reply in replies)


def test_suspension(server: Server, client: QMPOverTLS) -> None:
    """A client that sends more than may be in flight is not read until there is room again."""
    client.send(*({"execute": "wait", "id": n} for n in range(9)))
    until("nine pending", lambda: len(server.look.execute("query-pending")) >= 9)
    client.socket.settimeout(2)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 100 * MIB:
            sent += client.socket.send(b" " * 65536)
    assert sent < 50 * MIB
    client.socket.settimeout(PATIENCE)
    assert server.look.execute("query-status")["running"] is True
    server.look.execute("release")
    server.look.execute("release")
    assert sorted(client.read()["id"] for _ in range(9)) == list(range(9))


def waiting(server: Server) -> int:
    """:return: how many C{wait} commands are pending"""
    return len([info for info in server.look.execute("query-pending") if info["command"] == "wait"])


def answers_after_close_notify(server: Server, kind: str, data: bytes, pending: int) -> bytes:
    """
    Send data, then C{close_notify} while so many commands are pending, and release those.

    :return: what came until the server's own C{close_notify}, which the end of the TCP connection follows
    """
    with socket.create_connection(("127.0.0.1", server.ports[kind]), PATIENCE) as plain:
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
        plain.setblocking(True)
        connection.set_connect_state()
        connection.do_handshake()
        connection.sendall(data)
        until("they are pending", lambda: waiting(server) == pending)
        assert connection.shutdown() is False
        time.sleep(0.2)
        assert waiting(server) == pending
        received = b""
        server.look.execute("release")
        with pytest.raises(SSL.ZeroReturnError):
            while True:
                received += connection.recv(65536)
        assert plain.recv(1) == b""
        return received


def test_half_close(server: Server) -> None:
    """What is pending when the client says C{close_notify} is answered; then the server says the same, and closes."""
    data = b'{"execute":"qmp_capabilities"}{"execute":"wait","id":1}{"execute":"wait","id":2}'
    *_, first, second = answers_after_close_notify(server, "qmp", data, 2).splitlines()
    assert [json.loads(first)["id"], json.loads(second)["id"]] == [1, 2]


def test_half_close_of_a_person(server: Server) -> None:
    """The same at the human monitor: the command that is waited for, and what was typed ahead."""
    received = answers_after_close_notify(server, "hmp", b"wait\ninfo name\n", 1)
    assert 0 < received.find(b"released\r\n") < received.find(b"the server\r\n")


def test_a_person_who_reads_late(server: Server) -> None:
    """30 outputs of 1 MiB for a person who does not read: few are made, all of them come, and typed lines are held meanwhile."""
    with python_client(server.ports["hmp"]) as person, person.makefile("rb") as reader:
        person.sendall(b"blob 1048576\n" * 30 + b"wait\ninfo served\n")
        until("the first output is made", lambda: server.look.execute("query-served") > 0)
        time.sleep(1)
        assert server.look.execute("query-served") < 15
        lines: list[int] = []
        while len(lines) < 30:
            line = reader.readline()
            if line.endswith(b"x\r\n"):
                lines.append(len(line.removeprefix(b"(qmon) ").strip()))
        assert lines == [MIB] * 30
        until("the command is pending", lambda: waiting(server) == 1)
        server.look.execute("release")
        while not reader.readline().endswith(b"30\r\n"):
            pass


def test_socat(server: Server) -> None:
    """C{socat}'s TLS client shuts down at the end of its input, and still gets what is pending."""
    address = f"OPENSSL:localhost:{server.ports['qmp']},cafile={server.folder}/trust/ca.pem,pf=ip4"
    socat = subprocess.Popen(
        [need("socat"), "-t", str(PATIENCE), "-", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert socat.stdin is not None
    socat.stdin.write(b'{"execute":"qmp_capabilities"}{"execute":"wait","id":7}')
    socat.stdin.close()
    socat.stdin = None
    until("it waits", lambda: any(p.get("id") == 7 for p in server.look.execute("query-pending")))
    time.sleep(0.2)
    server.look.execute("release")
    output, _ = socat.communicate(timeout=PATIENCE)
    assert json.loads(output.splitlines()[-1]) == {"return": "released", "id": 7}


def test_openssl_client(server: Server) -> None:
    """C{openssl s_client} verifies the server, and is served."""
    openssl = subprocess.Popen(
        [
            *(need("openssl"), "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"),
            *("-CAfile", str(server.folder / "trust" / "ca.pem"), "-connect", f"127.0.0.1:{server.ports['qmp']}"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert openssl.stdin is not None
    assert openssl.stdout is not None
    try:
        assert "QMP" in json.loads(openssl.stdout.readline())
        openssl.stdin.write(b'{"execute":"qmp_capabilities"}\n{"execute":"query-served"}\n')
        openssl.stdin.flush()
        assert [json.loads(openssl.stdout.readline()) for _ in range(2)] == [{"return": {}}, {"return": 0}]
    finally:
        openssl.kill()
        openssl.communicate()


def closed_by_the_server(port: int) -> bool:
    """:return: whether a connection that says nothing is closed before the client's patience ends"""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as silent:
        try:
            return silent.recv(1) == b""
        except ConnectionResetError:
            return True


def test_silent_handshake(folder: Path) -> None:
    """A client that connects and never begins the handshake does not keep its slot beyond the time for the negotiation."""
    with Server(folder, "--max-connections", "1", "--negotiation-timeout", "1") as process:
        port = process.ports["qmp"]
        assert closed_by_the_server(port)
        with socket.create_connection(("127.0.0.1", port), PATIENCE):
            until("the slot is taken", lambda: closed_by_the_server(port) and "refusing" in process.output(), process)
            until("it is free", lambda: process.output().count("no negotiation within 1.0 s") == 2, process)
        QMPOverTLS(port).close()
        assert "Traceback" not in process.output()


class TwistedTests(TestCase):
    """Factories that the embedding program wraps, and Twisted's own client."""

    timeout = 2 * PATIENCE

    def setUp(self) -> None:
        self.monitor = Monitor("embedded")
        self.monitor.register_command("blob", lambda size: "x" * size, args_type="size:i")

    def serve(self, factory: Any) -> int:
        """Listen with a factory that requires a client certificate. :return: the port"""
        options = SERVER.private().options(AUTHORITY.trust_root())
        wrapped = TLSMemoryBIOFactory(options, False, factory)
        port = reactor.listenTCP(0, wrapped, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.close)
        number: int = port.getHost().port
        return number

    def client(self, port: int, certified: Certified | None) -> Deferred[QMPClient]:
        options = optionsForClientTLS(
            "localhost",
            trustRoot=AUTHORITY.trust_root(),
            clientCertificate=None if certified is None else certified.private(),
        )
        endpoint = wrapClientTLS(options, HostnameEndpoint(reactor, "127.0.0.1", port))
        return QMPClient.connect(endpoint, clock=reactor)

    async def test_with_certificate(self) -> None:
        """A client with a certificate of the authority is served; the server knows the certificate."""
        factory = QMPFactory(self.monitor)
        client = await self.client(self.serve(factory), AUTHORITY.issue("robot"))
        self.assertEqual(await client.execute("query-name"), {"name": "embedded"})
        self.assertEqual(len(await client.execute("blob", {"size": 8 * MIB})), 8 * MIB)
        (connection,) = factory.connections
        certificate = connection.transport.getPeerCertificate().to_cryptography()
        self.assertEqual(certificate.subject.rfc4514_string(), "CN=robot")
        await client.close()

    async def test_without_certificate(self) -> None:
        """One without, or with another authority's, is not; nobody waits for it."""
        factory = QMPFactory(self.monitor)
        port = self.serve(factory)
        for certified in (None, Authority("another").issue("robot")):
            with self.assertRaises(CommandError):
                await self.client(port, certified)
        self.assertEqual(factory.counters.accepted, 2)

    async def test_hmp(self) -> None:
        """The human monitor behind the wrapping factory: with the certificate it serves, without it doesn't."""
        port = self.serve(HMPFactory(self.monitor))
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)

        def ask(certified: Certified | None) -> bytes:
            with python_client(port, certified, folder) as person:
                person.sendall(b"info name\n")
                received = b""
                while b"embedded\r\n" not in received:
                    data = person.recv(65536)
                    if not data:
                        break
                    received += data
                return received

        self.assertIn(b"(qmon) embedded\r\n", await deferToThread(ask, AUTHORITY.issue("person")))
        with self.assertRaises(OSError):
            await deferToThread(ask, None)


def test_client_of_an_endpoint_description(server: Server, folder: Path) -> None:
    """C{tls:} of Twisted's client endpoints, as C{--qemu} takes it, reaches an C{ssl:} one: one process fronts the other."""
    front = folder / "front"
    front.mkdir()
    upstream = f"tls:localhost:{server.ports['qmp']}:trustRoots={folder}/trust"
    with Twistd(front, ["--qmp", "unix:qmp.sock", "--qemu", upstream]) as process:
        client = process.qmp()
        until("the upstream", lambda: "return" in client.answer("query-served"))
        assert len(client.execute("blob", {"size": 3 * MIB})) == 3 * MIB
        process.popen.terminate()
        began = time.monotonic()
        process.ends()
        assert time.monotonic() - began < 5

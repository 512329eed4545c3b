"""
The server endpoint C{mtls:}: its description, its files, and what is wrong with them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface.verify import verifyObject

from tests.support.certificates import Authority, Certified
from twisted_qmon._transport.mtls import MutualTLSEndpoint, TLSFiles, reread_all

AUTHORITY = Authority()
SERVER = AUTHORITY.issue("server", "localhost")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with key, certificate and authority."""
    (tmp_path / "key").write_bytes(SERVER.key)
    (tmp_path / "cert").write_bytes(SERVER.certificate)
    (tmp_path / "ca").write_bytes(AUTHORITY.certificate)
    return tmp_path


def describe(folder: Path, **changes: str) -> str:
    """The description of an endpoint with these files."""
    options = {"interface": "127.0.0.1", **{name: str(folder / name) for name in ("key", "cert", "ca")}, **changes}
    return ":".join(["mtls", "4444", *(f"{name}={value}" for name, value in options.items() if value)])


def accepts(files: TLSFiles, client: Certified | None, authority: Authority = AUTHORITY) -> bool:
    """Whether a client completes the handshake with a server that has these files."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if client is not None:
        private = client.private()
        context.use_certificate(private.original.to_cryptography())
        context.use_privatekey(private.privateKey.original.to_cryptography_key())
    one, other = SSL.Connection(context, None), files.serverConnectionForTLS(None)
    one.set_connect_state()
    other.set_accept_state()
    try:
        for _ in range(5):
            for each, peer in ((one, other), (other, one)):
                with contextlib.suppress(SSL.WantReadError):
                    each.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    peer.bio_write(each.bio_read(65536))
        other.send(b"hello")
        one.bio_write(other.bio_read(65536))
        return bool(one.recv(10) == b"hello")
    except SSL.Error:
        return False


def test_listens_with_tls(folder: Path) -> None:
    """The endpoint that a description names listens at its port and address, and puts TLS in front of the factory."""
    reactor = MemoryReactorClock()
    endpoint = serverFromString(reactor, describe(folder, backlog="7"))
    assert verifyObject(IStreamServerEndpoint, endpoint)
    assert isinstance(endpoint, MutualTLSEndpoint)
    assert verifyObject(IOpenSSLServerConnectionCreator, endpoint.files)
    ports: list[Any] = []
    endpoint.listen(Factory.forProtocol(Protocol)).addCallback(ports.append)
    [(port, factory, backlog, interface)] = reactor.tcpServers
    assert (port, backlog, interface) == (4444, 7, "127.0.0.1")
    assert isinstance(factory.buildProtocol(ports[0].getHost()), TLSMemoryBIOProtocol)


def test_only_clients_of_the_authority(folder: Path) -> None:
    """A client with a certificate of the authority gets in; one without, of another authority, or expired does not."""
    files = TLSFiles(str(folder / "key"), str(folder / "cert"), str(folder / "ca"))
    assert accepts(files, AUTHORITY.issue("alice"))
    assert not accepts(files, None)
    assert not accepts(files, Authority("another").issue("alice"))
    assert not accepts(files, AUTHORITY.issue("alice", expired=True))


def test_old_versions_are_refused(folder: Path) -> None:
    """TLS 1.1 and older are not spoken."""
    context = TLSFiles(str(folder / "key"), str(folder / "cert"), str(folder / "ca"))._context
    for option in (SSL.OP_NO_SSLv3, SSL.OP_NO_TLSv1, SSL.OP_NO_TLSv1_1):
        assert context.set_options(0) & option
    assert not context.set_options(0) & SSL.OP_NO_TLSv1_2


def test_several_authorities_and_a_chain(folder: Path) -> None:
    """The file of authorities may have several, that of the certificate may have those that lead to its authority."""
    other = Authority("another")
    (folder / "ca").write_bytes(AUTHORITY.certificate + b"some words\n" + other.certificate)
    (folder / "cert").write_bytes(SERVER.certificate + AUTHORITY.certificate)
    files = TLSFiles(str(folder / "key"), str(folder / "cert"), str(folder / "ca"))
    assert accepts(files, AUTHORITY.issue("alice"))
    assert accepts(files, other.issue("bob"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": ""}, "mtls: key is missing"),
        ({"cert": ""}, "mtls: cert is missing"),
        ({"ca": ""}, "mtls: ca is missing"),
        ({"colour": "red"}, "mtls: there is no argument 'colour'"),
        ({"backlog": "many"}, "mtls: backlog is a number, not 'many'"),
        ({"key": "/none"}, "mtls: key: /none: No such file or directory"),
        ({"ca": "/dev/zero"}, "mtls: ca: /dev/zero: not a regular file"),
        ({"ca": "{key}"}, "mtls: ca: {key}: there is no certificate in PEM in it"),
        ({"key": "{cert}"}, "mtls: key: {cert}: there is no private key in PEM without a passphrase in it"),
        ({"key": "{other}"}, "mtls: the key in {other} is not that of the certificate in {cert}"),
        ({"cert": "{broken}"}, "mtls: cert: {broken}: a certificate in it can't be read"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, changes: dict[str, str], error: str) -> None:
    """A description that can't be used is refused with one line that names the argument, the file and the reason."""
    (folder / "other").write_bytes(AUTHORITY.issue("other").key)
    (folder / "broken").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    paths = {name: str(folder / name) for name in ("key", "cert", "ca", "other", "broken")}
    changes = {name: value.format(**paths) for name, value in changes.items()}
    with pytest.raises(ValueError) as raised:
        serverFromString(MemoryReactorClock(), describe(folder, **changes))
    assert str(raised.value) == error.format(**paths)


def test_port_is_a_number(folder: Path) -> None:
    """A port that is none, or no number, is refused."""
    for port, error in (("", "port is missing"), ("http", "port is a number, not 'http'")):
        with pytest.raises(ValueError, match=error):
            serverFromString(MemoryReactorClock(), describe(folder).replace("4444", port))


def test_files_are_read_again(folder: Path) -> None:
    """After a new authority was put in place, only its clients get in; a file that is wrong is logged, and changes nothing."""
    endpoint = serverFromString(MemoryReactorClock(), describe(folder))
    assert isinstance(endpoint, MutualTLSEndpoint)
    other = Authority("another")
    (folder / "ca").write_bytes(other.certificate)
    assert accepts(endpoint.files, AUTHORITY.issue("alice"))
    reread_all()
    assert not accepts(endpoint.files, AUTHORITY.issue("alice"))
    assert accepts(endpoint.files, other.issue("bob"))
    (folder / "ca").write_bytes(b"nothing")
    observer = EventLoggingObserver()
    globalLogPublisher.addObserver(observer)
    try:
        reread_all()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [event["reason"] for event in observer] == [f"mtls: ca: {folder}/ca: there is no certificate in PEM in it"]
    assert accepts(endpoint.files, other.issue("bob"))

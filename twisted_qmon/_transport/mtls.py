"""
The server endpoint C{mtls:PORT:interface=HOST:key=FILE:cert=FILE:ca=FILE}: TLS 1.2 up, for clients with a certificate of that
authority only.

Certificates that were revoked are accepted: there is no list of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._log_publisher import publish
from twisted_qmon.core.access.file import read_regular

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP

__all__ = ["MutualTLSEndpoint", "parse", "reread_all"]

_log = Logger(observer=publish)

# Those that are there: who gets the signal to read files again does not hold the endpoints.
_endpoints: WeakSet[MutualTLSEndpoint] = WeakSet()


def parse(
    reactor: Any,
    port: str = "",
    interface: str = "",
    key: str = "",
    cert: str = "",
    ca: str = "",
    backlog: str = "50",
    **unknown: str,
) -> MutualTLSEndpoint:
    """
    :param reactor: the reactor
    :param port: the TCP port
    :param interface: the address to listen at; by default all
    :param key: the file with the server's private key, in PEM
    :param cert: the file with its certificate, in PEM, and those that lead to its authority
    :param ca: the file with the authorities of clients, in PEM
    :param backlog: connections that may wait to be taken
    :return: the endpoint
    :raise ValueError: when an argument is missing, unknown or wrong, or TLS is not installed
    """
    if unknown:
        raise ValueError(f"mtls: there is no argument {min(unknown)!r}")
    for name, value in (("port", port), ("key", key), ("cert", cert), ("ca", ca)):
        if not value:
            raise ValueError(f"mtls: {name} is missing")
    for name, value in (("port", port), ("backlog", backlog)):
        if not (value.isascii() and value.isdecimal()):
            raise ValueError(f"mtls: {name} is a number, not {value!r}")
    return MutualTLSEndpoint(reactor, int(port), interface, int(backlog), TLSFiles(key, cert, ca))


@implementer(IOpenSSLServerConnectionCreator)
class TLSFiles:
    """
    The files of an endpoint, and what they make.

    :param key: the server's private key
    :param cert: its certificate, followed by those that lead to its authority
    :param ca: the authorities of clients
    :raise ValueError: when one of them can't be read, or they don't fit together
    """

    def __init__(self, key: str, cert: str, ca: str) -> None:
        self._key = key
        self._cert = cert
        self._ca = ca
        self._context = self._read()

    def reread(self) -> None:
        """
        Read them again, for the connections that come from now on.

        :raise ValueError: when one of them can't be read, or they don't fit together; those read before stay in use
        """
        self._context = self._read()

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """:return: the TLS state of one connection"""
        from OpenSSL.SSL import Connection

        return Connection(self._context, None)

    def _read(self) -> Any:
        try:
            from OpenSSL import SSL
            from twisted.internet import ssl
        except ImportError as e:
            raise ValueError(f"mtls: TLS is not installed (pip install 'twisted-qmon[tls]'): {e}") from e
        chain = _certificates("cert", self._cert)
        # Without session tickets, which are Twisted's default not to have: the certificate of a resumed session is not
        # verified again.
        options = ssl.CertificateOptions(
            privateKey=_private_key(self._key),
            certificate=chain[0].original,
            extraCertChain=[each.original for each in chain[1:]],
            trustRoot=ssl.trustRootFromCertificates(_certificates("ca", self._ca)),
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        )
        try:
            return options.getContext()
        except SSL.Error as e:
            raise ValueError(f"mtls: the key in {self._key} is not that of the certificate in {self._cert}") from e


def _content(name: str, path: str) -> bytes:
    try:
        return read_regular(path)
    except OSError as e:
        raise ValueError(f"mtls: {name}: {path}: {e.strerror}") from e


def _private_key(path: str) -> Any:
    from OpenSSL import crypto

    content = _content("key", path)
    try:
        # A key with a passphrase would be asked for at the terminal.
        return crypto.load_privatekey(crypto.FILETYPE_PEM, content, b"")
    except (crypto.Error, ValueError, TypeError) as e:
        raise ValueError(f"mtls: key: {path}: there is no private key in PEM without a passphrase in it") from e


def _certificates(name: str, path: str) -> list[Any]:
    from OpenSSL import crypto
    from twisted.internet import ssl

    end = b"-----END CERTIFICATE-----"
    parts = [part + end for part in _content(name, path).split(end)[:-1]]
    try:
        found = [ssl.Certificate.loadPEM(part) for part in parts]
    except (crypto.Error, ValueError) as e:
        raise ValueError(f"mtls: {name}: {path}: a certificate in it can't be read") from e
    if not found:
        raise ValueError(f"mtls: {name}: {path}: there is no certificate in PEM in it")
    return found


@implementer(IStreamServerEndpoint)
class MutualTLSEndpoint:
    """
    Listens for TLS connections of clients that have a certificate.

    :param files: what it needs for TLS
    """

    def __init__(self, reactor: IReactorTCP, port: int, interface: str, backlog: int, files: TLSFiles) -> None:
        self.files = files
        self._reactor = reactor
        self._port = port
        self._interface = interface
        self._backlog = backlog
        _endpoints.add(self)

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """:return: fires with the port"""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        # Its clock is that of the reactor that listens, which need not be the global one.
        clock = self._reactor if IReactorTime.providedBy(self._reactor) else None
        wrapped: Any = TLSMemoryBIOFactory(self.files, False, factory, clock)
        return execute(self._reactor.listenTCP, self._port, wrapped, self._backlog, self._interface)


def reread_all() -> None:
    """Have each endpoint read its files again. What is wrong with one is logged, and it goes on with what it has read before."""
    for endpoint in list(_endpoints):
        try:
            endpoint.files.reread()
        except ValueError as e:
            _log.error("{reason}; what was read before stays in use", reason=str(e))

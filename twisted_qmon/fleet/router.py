"""
Where a router is, and what it is told of who connects.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

__all__ = ["CONNECT_TIMEOUT", "MAX_TICKET", "REALM", "Router", "Secret", "read_ticket"]

#: The realm that a fleet is in by default.
REALM = "qmon"

#: Seconds until an attempt to connect to the router has failed.
CONNECT_TIMEOUT = 10.0

#: Bytes of a file with a ticket, at most.
MAX_TICKET = 4096

# By scheme: whether it is WebSocket (else RawSocket), whether it is TLS, and the port where none is given.
_SCHEMES = {"ws": (True, False, 80), "wss": (True, True, 443), "rs": (False, False, 80), "rss": (False, True, 443)}

_UNIX = "unix:"

#: A ticket, or what has the one that is valid now.
Secret: TypeAlias = "str | Callable[[], str] | None"


@dataclass(frozen=True, slots=True)
class Router:
    """
    A router: where it is, how it is spoken to. Make one with L{parse}.

    :ivar url: as it was given
    :ivar realm: the realm to join
    :ivar websocket: over WebSocket; else over RawSocket
    :ivar secure: over TLS
    :ivar host: its name or address; empty: it is a unix socket
    :ivar port: its port
    :ivar path: the path of the unix socket
    :ivar ca: a file with the certificates (PEM) of whom to trust; C{None}: those that the platform trusts
    """

    url: str
    realm: str = REALM
    websocket: bool = True
    secure: bool = False
    host: str = ""
    port: int = 0
    path: str = ""
    ca: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, realm: str = REALM, ca: str | None = None) -> Router:
        """
        :param url: C{ws://HOST:PORT/PATH}, C{wss://...}, C{rs://HOST:PORT}, C{rss://...} or C{rs://unix:/PATH}
        :param realm: the realm to join
        :param ca: see L{ca}
        :raise ValueError: when the URL, the realm or the file is not valid
        """
        try:
            parts = urlsplit(url)
            port = parts.port if not parts.netloc.startswith(_UNIX) else None
        except ValueError as e:
            raise _invalid(url, str(e)) from e
        if parts.scheme not in _SCHEMES:
            raise _invalid(url, "it begins with ws://, wss://, rs:// or rss://")
        websocket, secure, default_port = _SCHEMES[parts.scheme]
        if not realm or any(c.isspace() or c == "#" for c in realm):
            raise ValueError(f"{realm!r} is not a valid realm")
        if ca is not None:
            if not secure:
                raise ValueError(f"a CA is for wss:// and rss://, not for {url!r}")
            _read_ca(ca)
        if parts.netloc.startswith(_UNIX):
            return cls(url, realm, websocket, secure, path=_unix_path(url, parts))
        if not parts.hostname:
            raise _invalid(url, "there is no host")
        if parts.username is not None or parts.query or parts.fragment:
            raise _invalid(url, "it has no user, no query and no fragment")
        if not websocket and parts.path not in ("", "/"):
            raise _invalid(url, "RawSocket has no path")
        return cls(url, realm, websocket, secure, parts.hostname, port or default_port, ca=ca)

    @property
    def is_private(self) -> bool:
        """What is sent there can't be read on the way: TLS, or this host."""
        return self.secure or not self.host or _is_loopback(self.host)

    def check_ticket(self) -> None:
        """:raise ValueError: when a ticket could be read on its way there"""
        if not self.is_private:
            raise ValueError(
                f"a ticket is not sent to {self.url!r}, where it could be read on the way: use wss:// or rss://"
            )

    def endpoint(self, reactor: IReactorTime) -> IStreamClientEndpoint:
        """
        :return: where to connect to
        :raise ImportError: when it needs TLS, and that is not installed
        :raise ValueError: when the CA's file can't be used any more
        """
        if not self.host:
            return UNIXClientEndpoint(reactor, self.path, timeout=CONNECT_TIMEOUT)
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, self.host, self.port, timeout=CONNECT_TIMEOUT)
        if not self.secure:
            return endpoint
        from twisted.internet.ssl import optionsForClientTLS, platformTrust, trustRootFromCertificates

        trusted = platformTrust() if self.ca is None else trustRootFromCertificates(_read_ca(self.ca))
        return wrapClientTLS(optionsForClientTLS(self.host, trustRoot=trusted), endpoint)


def _invalid(url: str, why: str) -> ValueError:
    return ValueError(f"{url!r} is not a valid URL of a router: {why}")


def _unix_path(url: str, parts: SplitResult) -> str:
    path = (parts.netloc + parts.path)[len(_UNIX) :]
    if parts.scheme != "rs":
        raise _invalid(url, "a unix socket is rs://unix:/PATH")
    if not path.startswith("/") or parts.query or parts.fragment:
        raise _invalid(url, "the path of a unix socket begins with a slash")
    return path


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read_ca(path: str) -> list[object]:
    """:return: the certificates in a file, which are at least one"""
    from twisted.internet.ssl import Certificate

    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as e:
        raise ValueError(f"{path}: {e.strerror}") from e
    end = b"-----END CERTIFICATE-----"
    try:
        found: list[object] = [Certificate.loadPEM(part + end) for part in text.split(end)[:-1]]
    except Exception as e:
        raise ValueError(f"{path}: not a certificate in PEM form") from e
    if not found:
        raise ValueError(f"{path}: there is no certificate in PEM form")
    return found


def read_ticket(path: str | os.PathLike[str]) -> str:
    """
    :param path: a file with one line, the ticket
    :return: the ticket
    :raise ValueError: when it can't be read, or has something else in it
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TICKET + 1)
    except OSError as e:
        raise ValueError(f"{os.fspath(path)}: {e.strerror}") from e
    try:
        ticket = data.decode("utf-8").strip()
    except UnicodeDecodeError as e:
        raise ValueError(f"{os.fspath(path)}: not UTF-8") from e
    if not ticket or len(data) > MAX_TICKET or "\n" in ticket:
        raise ValueError(f"{os.fspath(path)}: a ticket is one line of at most {MAX_TICKET} bytes")
    return ticket

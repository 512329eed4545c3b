"""
Where a server is: what C{qmon} needs to know of that (L{Destination}), and an address as it is typed (L{Address}). No I/O but a
look whether a path exists.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twisted_qmon.shell.errors import UsageError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

__all__ = ["DEFAULT", "VARIABLE", "Address", "Destination", "default_address", "parse_address"]

#: The environment variable that names the server when the command line does not.
VARIABLE = "QMON_ADDRESS"

#: The address when nothing names one.
DEFAULT = "./qmp.sock"

# The types of client endpoints that Twisted itself has. Those of other packages are looked up only when nothing else fits.
_ENDPOINTS = frozenset({"ssl", "tcp", "tls", "unix"})


class Destination(Protocol):
    """A QMP server, wherever it is: all that the commands of C{qmon} know of it before they are connected."""

    @property
    def text(self) -> str:
        """What it is called in messages."""

    def client_endpoint(self, reactor: IReactorTime) -> IStreamClientEndpoint:
        """
        :param reactor: the reactor that will run
        :return: what connects to it, as often as is needed
        :raise UsageError: when there can be no such server
        """


class Address(NamedTuple):
    """
    Where a server is. It is a L{Destination}.

    :ivar text: as it was typed
    :ivar path: of a unix socket; empty for any other
    :ivar host: of a TCP server; empty for any other
    :ivar port: of a TCP server
    :ivar endpoint: the description of any other Twisted client endpoint
    """

    text: str
    path: str = ""
    host: str = ""
    port: int = 0
    endpoint: str = ""

    @property
    def description(self) -> str:
        """The description of a Twisted client endpoint."""
        if self.endpoint:
            return self.endpoint
        if self.path:
            return f"unix:{_escape(self.path)}"
        return f"tcp:{_escape(self.host)}:{self.port}"

    @property
    def is_plain(self) -> bool:
        """A plain socket does: nothing of Twisted is needed to connect."""
        return not self.endpoint

    def client_endpoint(self, reactor: IReactorTime) -> IStreamClientEndpoint:
        """See L{Destination}."""
        from twisted_qmon.shell.relay import parse_endpoint

        return parse_endpoint(reactor, self.description)


def parse_address(text: str, exists: Callable[[str], bool] = os.path.exists) -> Address:
    """
    Read an address. A known endpoint type before the first colon makes it an endpoint; what has a C{/} or exists is the path of a
    socket; everything else is C{HOST:PORT}.

    :param exists: whether there is a file of that name; one that exists is never an endpoint
    :raise UsageError: when it is none of these
    """
    kind, colon, rest = text.partition(":")
    if exists(text):
        return Address(text, path=text)
    if colon and kind in _ENDPOINTS:
        return _endpoint(text, kind, rest)
    if "/" in text:
        return Address(text, path=text)
    found = _host_and_port(text)
    if found is not None:
        return Address(text, host=found[0], port=found[1])
    if colon and kind in _more_endpoints():
        return Address(text, endpoint=text)
    raise UsageError(
        f"{text!r} is not an address: the path of a socket (existing, or with a '/'), HOST:PORT, or a Twisted client endpoint"
    )


def _host_and_port(text: str) -> tuple[str, int] | None:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    return host, int(port)


def _more_endpoints() -> set[str]:
    """The types of endpoints that other packages have installed."""
    from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor
    from twisted.plugin import getPlugins

    return {parser.prefix for parser in getPlugins(IStreamClientEndpointStringParserWithReactor)}


def _endpoint(text: str, kind: str, rest: str) -> Address:
    """An endpoint that needs nothing but a plain socket becomes one."""
    if "\\" not in rest and "=" not in rest:
        if kind == "unix" and rest and ":" not in rest:
            return Address(text, path=rest)
        found = _host_and_port(rest) if kind == "tcp" else None
        if found is not None:
            return Address(text, host=found[0], port=found[1])
    return Address(text, endpoint=text)


def _escape(text: str) -> str:
    return "".join("\\" + c if c in "\\:=" else c for c in text)


def default_address() -> str:
    """:return: the address to use when the command line has none"""
    return os.environ.get(VARIABLE) or DEFAULT

"""
Who is let in: each request is looked at here before its body is read.

A page of another site can have a browser send requests here, with the cookie. It can't make them look as those of our own
page: the browser says where a request comes from (C{Origin}, C{Sec-Fetch-Site}), and for which name it took this address
(C{Host}), which is another's where a name was pointed here (DNS rebinding). So all three are checked, of each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from twisted.web.http_headers import Headers

from twisted_qmon.web.answers import Refusal
from twisted_qmon.web.cookies import Cookies
from twisted_qmon.web.tokens import Token, Tokens

__all__ = ["Admission", "Asked", "Shown"]

_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")

#: The C{Sec-Fetch-Site} of our own page, and of an address that a person has typed.
_OWN = frozenset({"same-origin", "none"})

#: Names of hosts that have been found to be ours, and are remembered.
_REMEMBERED = 64


class Asked(Protocol):
    """What is looked at of a request: its headers, its cookies, and the address that it came in at."""

    requestHeaders: Headers
    received_cookies: dict[bytes, bytes]

    def getHost(self) -> object:
        """:return: the address here, an C{IAddress}"""

    def isSecure(self) -> bool:
        """:return: whether it came over TLS"""


class Shown(NamedTuple):
    """
    What a request has shown.

    :ivar token: the token, itself or by a cookie for it
    :ivar cookie: the cookie; empty if it was the token itself
    """

    token: Token
    cookie: str


class Admission:
    """
    Decides whether a request is served.

    :param tokens: the tokens
    :param hosts: names of this host beside C{localhost} and the address that a request came in at
    :param seconds: the time, in seconds since the epoch
    :ivar cookies: makes the cookies
    """

    def __init__(self, tokens: Tokens, hosts: Iterable[str], seconds: Callable[[], float]) -> None:
        self.cookies = Cookies(tokens, seconds)
        self._tokens = tokens
        self._hosts = {"localhost", *(name.lower() for name in hosts)}
        self._cookie_name = self.cookies.name.encode("ascii")
        self._ours: set[tuple[str, str]] = set()

    def check_site(self, request: Asked, *, first_page: bool = False) -> None:
        """
        Look at where a request comes from.

        :param first_page: it asks for the page itself, which links elsewhere may lead to, and which says nothing of the monitor
        :raise Refusal: when that is another site, or it was meant for another host
        """
        host = _only(request, b"Host")
        if host is None or not self._is_ours(host, request):
            raise Refusal(403, "Host: that is not a name of this server; see --web-host")
        if first_page:
            return
        origin = _only(request, b"Origin")
        scheme = "https" if request.isSecure() else "http"
        if origin is not None and origin.lower() != f"{scheme}://{host.lower()}":
            raise Refusal(403, "Origin: requests from pages of other sites are refused")
        site = _only(request, b"Sec-Fetch-Site")
        if site is not None and site not in _OWN:
            raise Refusal(403, "Sec-Fetch-Site: requests from pages of other sites are refused")

    def _is_ours(self, host: str, request: Asked) -> bool:
        here = str(getattr(request.getHost(), "host", ""))
        if (host, here) in self._ours:
            return True
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").lower()
        if name not in self._hosts and not _same_address(name, here):
            return False
        if len(self._ours) < _REMEMBERED:
            self._ours.add((host, here))
        return True

    def check_token(self, request: Asked) -> Shown:
        """
        Look for a token, or a cookie for one.

        :raise Refusal: when there is none that is valid
        """
        authorization = _only(request, b"Authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            token = self._tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
            if token is not None:
                return Shown(token, "")
            raise Refusal(401, "The token is not valid", {b"WWW-Authenticate": b'Bearer error="invalid_token"'})
        cookie = request.received_cookies.get(self._cookie_name, b"").decode("latin-1")
        token = self.cookies.find(cookie) if cookie else None
        if token is None:
            raise Refusal(
                401, "A token is needed, or a session cookie that is still valid", {b"WWW-Authenticate": b"Bearer"}
            )
        return Shown(token, cookie)


def _only(request: Asked, name: bytes) -> str | None:
    """
    :return: the value of a header, or C{None}
    :raise Refusal: when it comes twice: which of them counts is not for us to guess
    """
    values = request.requestHeaders.getRawHeaders(name)
    if not values:
        return None
    if len(values) > 1:
        raise Refusal(400, f"{name.decode('ascii')}: there must be one only")
    return values[0].decode("latin-1")


def _same_address(name: str, here: str) -> bool:
    try:
        one, other = ip_address(name), ip_address(here)
    except ValueError:
        return False
    # With an address of the loopback interface it is this host that is meant, whatever its family.
    return one == other or (one.is_loopback and other.is_loopback)

"""
The cookie that a browser gets for a token.

It is a random session, when that ends, and the name of its token, signed with a key that only the token's holder could make. So
a restart of the process ends no session, nothing has to be stored, and a token that is taken out of its file takes its sessions
along.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from hashlib import sha256

from twisted_qmon.web.tokens import Token, Tokens

__all__ = ["COOKIE_AGE", "MAX_REVOKED", "Cookies"]

#: Seconds that a session lasts. One that is used is renewed when half of that is over.
COOKIE_AGE = 24 * 3600

#: Sessions that were ended by their users and are remembered until they would have ended by themselves. Of more the oldest are
#: forgotten.
MAX_REVOKED = 10_000

_FORM = re.compile(r"([A-Za-z0-9_-]{22})\.(\d{1,12})\.([A-Za-z0-9._@-]{1,200})\.([0-9a-f]{64})")


class Cookies:
    """
    Makes cookies and looks at them.

    :param tokens: the tokens
    :param seconds: the time, in seconds since the epoch
    :ivar name: the name of the cookie. Browsers send a cookie to all ports of a host, so that it must not be that of another
        monitor's; and it must be the same after a restart.
    """

    def __init__(self, tokens: Tokens, seconds: Callable[[], float]) -> None:
        self._tokens = tokens
        self._seconds = seconds
        self._revoked = tokens.revoked
        self.name = f"qmon-{sha256(tokens.path.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"

    def make(self, token: Token) -> str:
        """:return: the value of a new cookie for a token"""
        end = int(self._seconds()) + COOKIE_AGE
        head = f"{secrets.token_urlsafe(16)}.{end}.{token.name}"
        return f"{head}.{_sign(token, head)}"

    def find(self, value: str) -> Token | None:
        """:return: the token that a cookie was made for; C{None} if it is no cookie of ours, or too old, or revoked"""
        parts = _FORM.fullmatch(value)
        if parts is None:
            return None
        session, end, name, signature = parts.groups()
        token = self._tokens.named(name)
        if token is None or int(end) <= self._seconds() or session in self._revoked:
            return None
        head = value.rpartition(".")[0]
        return token if hmac.compare_digest(_sign(token, head), signature) else None

    def is_old(self, value: str) -> bool:
        """:return: whether a cookie, which L{find} took, should be renewed"""
        return int(value.split(".")[1]) - self._seconds() < COOKIE_AGE / 2

    def revoke(self, value: str) -> None:
        """End the session of a cookie, which L{find} took."""
        self._revoked[value.partition(".")[0]] = None
        while len(self._revoked) > MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]


def _sign(token: Token, head: str) -> str:
    return hmac.new(token.key, head.encode("ascii"), sha256).hexdigest()

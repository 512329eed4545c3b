"""
Tokens: what a client of the HTTP interface shows, and the file that they are in.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from twisted.logger import Logger

from twisted_qmon._transport.unix_port import Owner
from twisted_qmon.core.access.file import load_toml
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.info import Level

__all__ = ["MIN_SECRET", "Token", "Tokens"]

#: Characters of the shortest token. A client that can reach the endpoint may try as many as it likes.
MIN_SECRET = 16

#: Characters of the longest token, and of the longest name of one: both come in a header.
MAX_TEXT = 200

#: The mode of the file of tokens, and of the one with the URL.
MODE = 0o600

# What can stand in a header and in a URL as it is.
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]*")
_NAME = re.compile(r"[A-Za-z0-9._@-]+")

_KEYS = {"name", "level", "token"}

_FIRST = """\
# Who may use the web interface. A token is as good as a password: this file is for its owner only.
[[token]]
name = "admin"
level = "admin"
token = "{secret}"
"""


@dataclass(frozen=True, slots=True)
class Token:
    """
    One token.

    :ivar name: who has it: its identity is C{web:NAME}
    :ivar level: the most that it gives
    :ivar secret: what is shown
    :ivar key: what cookies that were given for it are signed with
    """

    name: str
    level: Level
    secret: str = field(repr=False)
    key: bytes = field(repr=False)


class Tokens:
    """
    The tokens that are valid. A file that is not there is made, with one token of name and level C{admin}.

    :param path: the file's
    :param owner: the ids of the user and the group that get the files that are made here
    :raise AccessError: with one line, when the file can't be made, read or used
    :ivar path: the file's, absolute: the process may change its folder
    :ivar url_path: of the file with the URL to begin with
    :ivar revoked: the sessions that were ended by their users; for L{Cookies<twisted_qmon.web.cookies.Cookies>}, at whatever
        endpoint
    """

    _log = Logger()

    def __init__(self, path: str | os.PathLike[str], owner: Owner | None = None) -> None:
        self.path = os.path.abspath(path)
        self.url_path = f"{self.path}.url"
        self._owner = owner
        self._by_digest: dict[bytes, Token] = {}
        self._by_name: dict[str, Token] = {}
        self._urls: list[str] = []
        self.revoked: dict[str, None] = {}
        if not os.path.lexists(self.path):
            self._write(self.path, _FIRST.format(secret=secrets.token_urlsafe(32)))
        self.reload()

    def reload(self) -> None:
        """
        Read the file again.

        :raise AccessError: with one line, when it can't be read or used; the old tokens stay
        """
        _check_mode(self.path)
        tokens = _parse(load_toml(self.path), self.path)
        self._by_name = {token.name: token for token in tokens}
        # A search among digests takes no longer the more of a guess is right.
        self._by_digest = {_digest(token.secret): token for token in tokens}

    def find(self, secret: str) -> Token | None:
        """:return: the token, if what was shown is one"""
        return self._by_digest.get(_digest(secret))

    def named(self, name: str) -> Token | None:
        """:return: the token of that name, or C{None}"""
        return self._by_name.get(name)

    # -- the URL

    def announce(self, address: str) -> None:
        """
        Tell where the page is: in the file beside that of the tokens, and on standard error if that is a terminal. Never in the
        log, which people see who have no such token.

        :param address: C{http://HOST:PORT}
        """
        token = next(iter(self._by_name.values()))
        url = f"{address}/?token={token.secret}"
        self._urls.append(url)
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"The page is at {url}\n")
            sys.stderr.flush()
        try:
            if os.path.lexists(self.url_path):
                os.unlink(self.url_path)
            self._write(self.url_path, "".join(f"{each}\n" for each in self._urls))
        except (OSError, AccessError) as e:
            self._log.warn("can't write the URL of the page: {reason}", reason=str(e))

    def withdraw(self) -> None:
        """The page is no longer there: remove the file with its URL."""
        if self._urls:
            self._urls.clear()
            try:
                os.unlink(self.url_path)
            except OSError as e:
                self._log.info("can't remove {path}: {reason}", path=self.url_path, reason=e.strerror)

    def _write(self, path: str, text: str) -> None:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        except OSError as e:
            raise AccessError(f"{path}: {e.strerror}") from e
        with open(file, "w", encoding="ascii") as stream:
            # Whatever the umask.
            os.fchmod(file, MODE)
            if self._owner is not None:
                os.fchown(file, *self._owner)
            stream.write(text)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _check_mode(path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as e:
        raise AccessError(f"{path}: {e.strerror}") from e
    if not stat.S_ISREG(status.st_mode):
        raise AccessError(f"{path}: it is not a file")
    if status.st_mode & 0o077:
        raise AccessError(
            f"{path}: others than its owner may use it: its mode must be 600, not {status.st_mode & 0o777:o}"
        )


def _parse(document: Mapping[str, object], path: str) -> list[Token]:
    unknown = sorted(document.keys() - {"token"})
    if unknown:
        raise AccessError(f"{path}: {unknown[0]}: there is no such key")
    entries = document.get("token")
    if not isinstance(entries, list) or not entries:
        raise AccessError(f"{path}: token: there must be at least one [[token]]")
    tokens: list[Token] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: token {number}"
        token = _parse_one(entry, where)
        for other in tokens:
            if other.name == token.name:
                raise AccessError(f"{where}: name: {token.name!r} is given twice")
            if other.secret == token.secret:
                raise AccessError(f"{where}: token: it is that of {other.name!r}")
        tokens.append(token)
    return tokens


def _parse_one(entry: object, where: str) -> Token:
    if not isinstance(entry, Mapping):
        raise AccessError(f"{where}: it must be a table")
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        raise AccessError(f"{where}: {unknown[0]}: there is no such key")
    name, level, secret = (entry.get(key) for key in ("name", "level", "token"))
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_TEXT:
        raise AccessError(f"{where}: name: it must be text of letters, digits and . _ @ -")
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret) or not MIN_SECRET <= len(secret) <= MAX_TEXT:
        raise AccessError(
            f"{where}: token: it must be text of {MIN_SECRET} to {MAX_TEXT} characters: letters, digits and . _ ~ + / = -"
        )
    try:
        known = Level.of(level) if isinstance(level, str) else Level.NONE
    except ValueError:
        known = Level.NONE
    if known is Level.NONE:
        raise AccessError(f"{where}: level: it must be observe, operate or admin, not {level!r}")
    return Token(name, known, secret, sha256(b"twisted-qmon cookie\0" + secret.encode("ascii")).digest())

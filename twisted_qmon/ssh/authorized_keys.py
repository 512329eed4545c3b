"""
Who may log in: a file in the format of OpenSSH's C{authorized_keys} (sshd(8)).

An option of a line that would not be kept to makes the line invalid: it is not used, and that is logged. Forwarding, agents, X11
and C{~/.ssh/rc} are not to be had here, so the options that forbid them have nothing to add.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network

from twisted.conch.ssh.keys import FingerprintFormats, Key
from twisted.logger import Logger

from twisted_qmon._text import printable
from twisted_qmon.core.access.identity import Identity, ssh_identity
from twisted_qmon.ssh.algorithms import LEAST_RSA_BITS
from twisted_qmon.ssh.files import read_file

__all__ = ["MAX_KEYS_FILE", "AuthorizedKey", "AuthorizedKeys", "AuthorizedKeysError", "parse_line"]

#: Bytes of the largest file.
MAX_KEYS_FILE = 1 << 20

_KEY_TYPES = {
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
}

# They forbid what is not there.
_KEPT_TO = {"no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-user-rc"}

# One option: a name, and a value in double quotes, in which a backslash may stand before a quote.
_OPTION = re.compile(r'(?P<name>[A-Za-z0-9-]+)(?:="(?P<value>(?:\\"|[^"])*)")?(?P<end>,|[ \t]+)')

_ADDRESS_PATTERN = re.compile(r"!?[0-9a-fA-F:.*?]+(?:/[0-9]+)?")


class AuthorizedKeysError(ValueError):
    """The file, or a line of it, can't be used. The text is one line."""


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """
    One line of the file.

    :ivar blob: the public key as it goes over the wire
    :ivar identity: who has the key
    :ivar sources: the patterns of C{from=}; empty: from everywhere
    :ivar pty: a terminal may be had
    """

    blob: bytes
    identity: Identity
    sources: tuple[str, ...] = ()
    pty: bool = True

    def admits(self, host: str) -> bool:
        """
        :param host: the address that the client comes from; empty where it has none
        :return: whether it may come from there
        """
        if not self.sources:
            return True
        # As in OpenSSH: one that is negated and matches wins over all others.
        if any(_matches(host, source[1:]) for source in self.sources if source.startswith("!")):
            return False
        return any(_matches(host, source) for source in self.sources if not source.startswith("!"))


def _matches(host: str, source: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if "/" in source:
        network = ip_network(source)
        return network.version == address.version and address in network
    return fnmatchcase(str(address), source.lower())


def parse_line(line: str) -> AuthorizedKey | None:
    """
    :param line: without its end
    :return: the key; C{None}: the line is empty or a comment
    :raise AuthorizedKeysError: when the line can't be used
    """
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    sources: tuple[str, ...] = ()
    pty = True
    if line.split(None, 1)[0] not in _KEY_TYPES:
        options, line = _take_options(line)
        for name, value in options:
            if name == "from" and value:
                sources += _sources(value)
            elif name in ("restrict", "no-pty", "pty") and value is None:
                pty = name == "pty"
            elif name not in _KEPT_TO or value is not None:
                raise AuthorizedKeysError(f"the option {printable(name)!r} is not kept to here")
    return _key(line, sources, pty)


def _take_options(line: str) -> tuple[list[tuple[str, str | None]], str]:
    found: list[tuple[str, str | None]] = []
    at = 0
    while True:
        match = _OPTION.match(line, at)
        if match is None:
            raise AuthorizedKeysError("it has neither a known type of key nor options at its beginning")
        value = match["value"]
        found.append((match["name"].lower(), None if value is None else value.replace('\\"', '"')))
        at = match.end()
        if match["end"] != ",":
            return found, line[at:]


def _sources(value: str) -> tuple[str, ...]:
    sources = tuple(each.strip() for each in value.split(","))
    for source in sources:
        try:
            if not _ADDRESS_PATTERN.fullmatch(source):
                raise ValueError
            if "/" in source:
                ip_network(source.removeprefix("!"))
        except ValueError:
            raise AuthorizedKeysError(
                f"from={printable(source)!r} is not an address, a pattern of one, or a network"
            ) from None
    return sources


def _key(text: str, sources: tuple[str, ...], pty: bool) -> AuthorizedKey:
    kind, _, rest = text.partition(" ")
    encoded, _, comment = rest.strip().partition(" ")
    if kind not in _KEY_TYPES:
        raise AuthorizedKeysError(f"{printable(kind)!r} is not a type of key that is accepted")
    try:
        key = Key.fromString(f"{kind} {encoded}".encode("ascii"), type="public_openssh")
        blob: bytes = key.blob()
        fingerprint: str = key.fingerprint(FingerprintFormats.SHA256_BASE64)
    except Exception as e:
        # conch raises what it likes.
        raise AuthorizedKeysError("the key can't be read") from e
    if key.sshType().decode("ascii") != kind:
        raise AuthorizedKeysError(f"the key is not of the type {kind}")
    if kind == "ssh-rsa" and key.size() < LEAST_RSA_BITS:
        raise AuthorizedKeysError(f"an RSA key needs at least {LEAST_RSA_BITS} bits, it has {key.size()}")
    # ssh-keygen leaves out the padding.
    identity = ssh_identity(f"SHA256:{fingerprint.rstrip('=')}", comment.strip())
    return AuthorizedKey(blob, identity, sources, pty)


class AuthorizedKeys:
    """
    The keys of a file. It is read again when it has changed: that is looked at when a client logs in. A file that can't be read
    lets no client in.

    :param path: of the file
    :raise AuthorizedKeysError: when it can't be read now
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        # It is read again when the process may be in another folder.
        self.path = os.path.abspath(path)
        self._stamp: tuple[int, ...] | None = None
        self._keys: dict[bytes, list[AuthorizedKey]] = {}
        self._fault = ""
        self._read()

    def find(self, blob: bytes, host: str) -> AuthorizedKey | None:
        """
        :param blob: a public key as it goes over the wire
        :param host: the address of the client; empty if it has none
        :return: the first line that lets this key in from there; C{None}: there is none
        """
        self._read_if_changed()
        return next((key for key in self._keys.get(blob, ()) if key.admits(host)), None)

    def reread(self) -> None:
        """Read the file again, whether it seems to have changed or not."""
        self._stamp = None
        self._read_if_changed()

    def _read_if_changed(self) -> None:
        fault = ""
        try:
            status = os.stat(self.path)
            if self._stamp != _stamp(status) or self._fault:
                self._read()
        except OSError as e:
            fault = f"{self.path}: {e.strerror}"
        except AuthorizedKeysError as e:
            fault = str(e)
        if fault:
            self._keys = {}
            self._stamp = None
            if fault != self._fault:
                self._log.error("{reason}; no client can log in over SSH", reason=fault)
        self._fault = fault

    def _read(self) -> None:
        try:
            data, status = read_file(self.path, MAX_KEYS_FILE)
        except OSError as e:
            raise AuthorizedKeysError(f"{self.path}: {e.strerror}") from e
        if status.st_mode & 0o022:
            mode = stat.S_IMODE(status.st_mode)
            raise AuthorizedKeysError(f"{self.path}: others may write to it (its mode is {mode:03o}): chmod go-w")
        keys: dict[bytes, list[AuthorizedKey]] = {}
        for key in self._parse(data):
            keys.setdefault(key.blob, []).append(key)
        self._keys = keys
        self._stamp = _stamp(status)

    def _parse(self, data: bytes) -> Iterator[AuthorizedKey]:
        for number, line in enumerate(data.decode("utf-8", "backslashreplace").splitlines(), 1):
            try:
                key = parse_line(line)
            except AuthorizedKeysError as e:
                self._log.warn(
                    "{path}:{number}: {reason}; the line is not used", path=self.path, number=number, reason=str(e)
                )
            else:
                if key is not None:
                    yield key


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode

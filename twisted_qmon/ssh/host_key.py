"""
The server's own key: read from a file, which is made at the first start.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from tempfile import mkstemp

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key

from twisted_qmon.ssh.files import read_file

__all__ = ["MAX_KEY_FILE", "HostKeyError", "load_host_key"]

#: Bytes of the largest file of a host key.
MAX_KEY_FILE = 1 << 16


class HostKeyError(ValueError):
    """The host key can't be read or made. The text is one line: the file and the reason."""


def load_host_key(path: str) -> Key:
    """
    Read the host key. Where there is no file, one is made that only its owner can read, with a new Ed25519 key.

    :param path: of a private key without a passphrase, as C{ssh-keygen} makes it: Ed25519, ECDSA or RSA
    :return: the private key
    :raise HostKeyError: when it can't be read or made, others may read it, or it is no such key
    """
    try:
        data = _read(path)
        if data is None:
            _make(path)
            data = _read(path)
    except OSError as e:
        raise HostKeyError(f"{path}: {e.strerror}") from e
    try:
        key: Key = Key.fromString(data or b"")
    except Exception as e:
        # conch raises what it likes: of a passphrase, of a format, of what is inside.
        raise HostKeyError(f"{path}: it is not a private key of OpenSSH without a passphrase") from e
    if key.isPublic() or key.type() == "DSA":
        raise HostKeyError(f"{path}: it is not a private key of type Ed25519, ECDSA or RSA")
    return key


def _read(path: str) -> bytes | None:
    """:return: what is in the file; C{None}: there is no file"""
    try:
        data, status = read_file(path, MAX_KEY_FILE)
    except FileNotFoundError:
        return None
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise HostKeyError(f"{path}: others may read it (its mode is {mode:03o}): chmod 600")
    return data


def _make(path: str) -> None:
    """Make the file, whole at once; one that another process has made meanwhile stays."""
    text: bytes = Key(Ed25519PrivateKey.generate()).toString("openssh", subtype="v1")
    # Mode 600 from the beginning.
    descriptor, new = mkstemp(prefix=".ssh-host-key-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        os.unlink(new)

"""
Who is at the other end of a connection, as the kernel or a certificate says.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import Logger

from twisted_qmon.core.access.identity import (
    UNIX,
    Identity,
    certificate_identity,
    tcp_identity,
    tls_identity,
    unix_identity,
)

__all__ = ["forget_names", "identify"]

# Linux's struct ucred: process, user, group.
_CREDENTIALS = struct.Struct("iII")

# Linux's number for it on all architectures but a few old ones; Python has no name for it.
_SO_PEERGROUPS = 59

_log = Logger()


def identify(transport: Any, layer: Any | None) -> Identity:
    """
    :param transport: of a connection that is established, its TLS handshake included. One that knows who is there says so by
        its attribute C{identity}.
    :param layer: the transport's TLS layer, or C{None}
    :return: who is at the other end
    """
    known = getattr(transport, "identity", None)
    if isinstance(known, Identity):
        return known
    identity = None if layer is None else _of_certificate(layer.getPeerCertificate())
    if identity is not None:
        return identity
    address = transport.getPeer()
    if isinstance(address, (IPv4Address, IPv6Address)):
        make = tcp_identity if layer is None else tls_identity
        return make(address.host, address.port)
    return _of_unix_socket(getattr(transport, "getHandle", None))


def _of_certificate(certificate: Any | None) -> Identity | None:
    if certificate is None:
        return None
    try:
        return certificate_identity(certificate.to_cryptography().subject.rfc4514_string())
    except ValueError as e:
        # It was verified, and yet its subject can't be decoded.
        _log.warn("the subject of a client's certificate can't be read: {reason}", reason=str(e))
        return None


def _of_unix_socket(get_handle: Callable[[], Any] | None) -> Identity:
    handle = get_handle() if get_handle is not None else None
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or not isinstance(handle, socket.socket) or handle.family != socket.AF_UNIX:
        return UNIX
    try:
        pid, uid, gid = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    except OSError:
        return UNIX
    gids = [gid, *(each for each in _groups(handle) if each != gid)]
    names = ((each, _group_name(each)) for each in gids)
    user = _user_name(uid)
    return unix_identity(
        uid, pid, gids, {} if user is None else {uid: user}, {each: name for each, name in names if name is not None}
    )


def _groups(handle: socket.socket) -> tuple[int, ...]:
    """:return: the supplementary groups; none where the kernel does not tell, or there are more than 256"""
    if not sys.platform.startswith("linux"):
        return ()
    try:
        data = handle.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:
        return ()
    return struct.unpack(f"{len(data) // 4}I", data)


@lru_cache(maxsize=1024)
def _user_name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


@lru_cache(maxsize=1024)
def _group_name(gid: int) -> str | None:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def forget_names() -> None:
    """Look the names of users and groups up again: they are asked for once."""
    _user_name.cache_clear()
    _group_name.cache_clear()

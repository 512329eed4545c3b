"""
Who is at the other end of a connection, as the kernel or a certificate says.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon._text import printable
from twisted_qmon.core.access.identity import (
    UNIX,
    Identity,
    certificate_identity,
    tcp_identity,
    tls_identity,
    unix_identity,
)
from twisted_qmon.core.access.names import group_name, user_name

__all__ = ["identify"]

# Linux's struct ucred: process, user, group.
_CREDENTIALS = struct.Struct("iII")

# The user of a socket that has no other end.
_NO_USER = 0xFFFFFFFF

# Linux's number for it on all architectures but a few old ones; Python has no name for it.
_SO_PEERGROUPS = 59

_log = Logger(observer=publish)


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
        subject = certificate.to_cryptography().subject.rfc4514_string()
    except Exception as e:
        # It was verified, and yet its subject can't be decoded: cryptography has errors of several kinds for that.
        _log.warn("the subject of a client's certificate can't be read: {reason}", reason=printable(str(e)))
        return None
    # All certificates without a subject would be the same caller.
    return certificate_identity(subject) if subject else None


def _of_unix_socket(get_handle: Callable[[], Any] | None) -> Identity:
    handle = get_handle() if get_handle is not None else None
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or not isinstance(handle, socket.socket) or handle.family != socket.AF_UNIX:
        return UNIX
    try:
        pid, uid, gid = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    except OSError:
        return UNIX
    if uid == _NO_USER:
        return UNIX
    gids = [gid, *(each for each in _groups(handle) if each != gid)]
    names = ((each, group_name(each)) for each in gids)
    user = user_name(uid)
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

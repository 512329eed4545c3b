"""
Who is at the other end, out of what Linux and a certificate say.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from typing import Any
from unittest import mock

import pytest
from cryptography.x509 import InvalidVersion
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from twisted_qmon._transport.peer import identify
from twisted_qmon.core.access.identity import UNIX
from twisted_qmon.core.access.names import forget_names


class Transport:
    """A transport with a peer and, maybe, a socket."""

    def __init__(self, peer: object, handle: object = None) -> None:
        self._peer = peer
        self._handle = handle

    def getPeer(self) -> object:
        """The address."""
        return self._peer

    def getHandle(self) -> object:
        """The socket."""
        return self._handle


class Layer:
    """A TLS layer with the certificate of a client, or none."""

    def __init__(self, subject: str | Exception | None) -> None:
        self._subject = subject

    def getPeerCertificate(self) -> Any:
        """The certificate."""
        if self._subject is None:
            return None
        subject = mock.Mock()
        if isinstance(self._subject, Exception):
            subject.rfc4514_string.side_effect = self._subject
        else:
            subject.rfc4514_string.return_value = self._subject
        return mock.Mock(**{"to_cryptography.return_value.subject": subject})


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system has no SO_PEERCRED")
def test_unix_socket() -> None:
    """Over a unix socket it is the process's user, number and groups, by number and by name."""
    forget_names()
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        identity = identify(Transport(UNIXAddress(None), one), None)
    user = pwd.getpwuid(os.getuid()).pw_name
    assert identity.text == f"uid:{os.getuid()}({user}) pid:{os.getpid()}"
    groups = {os.getgid(), *os.getgroups()}
    assert {attribute for attribute in identity.attributes if attribute.startswith("gid:")} == {
        f"gid:{name}" for gid in groups for name in (gid, grp.getgrgid(gid).gr_name)
    }


def answers(**options: object) -> Any:
    """A unix socket whose kernel answers so."""
    handle = mock.Mock(spec=socket.socket, family=socket.AF_UNIX)
    handle.getsockopt.side_effect = lambda level, option, size: _value(
        options["groups" if option == 59 else "credentials"]
    )
    return handle


def _value(answer: object) -> object:
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_user_and_group_without_a_name() -> None:
    """Numbers that have no name stay numbers."""
    handle = answers(
        credentials=struct.pack("iII", 7, 4_000_000_000, 4_000_000_001), groups=struct.pack("I", 4_000_000_002)
    )
    identity = identify(Transport(UNIXAddress(None), handle), None)
    assert identity.text == "uid:4000000000 pid:7"
    assert identity.attributes == ("uid:4000000000", "gid:4000000001", "gid:4000000002")


def test_kernel_without_peergroups() -> None:
    """Without SO_PEERGROUPS there is the primary group."""
    handle = answers(
        credentials=struct.pack("iII", 7, 4_000_000_000, 4_000_000_001), groups=OSError(92, "no such option")
    )
    assert identify(Transport(UNIXAddress(None), handle), None).attributes == ("uid:4000000000", "gid:4000000001")


@pytest.mark.parametrize(
    "transport",
    [
        Transport(UNIXAddress(None)),
        Transport(UNIXAddress(None), object()),
        Transport(UNIXAddress(None), answers(credentials=OSError(92, "no such option"))),
        Transport(UNIXAddress(None), mock.Mock(spec=socket.socket, family=socket.AF_INET)),
    ],
)
def test_kernel_that_tells_nothing(transport: Transport) -> None:
    """Where the kernel says nothing of the other end, it is somebody on a unix socket, no more."""
    assert identify(transport, None) is UNIX


@pytest.mark.parametrize(
    ("address", "layer", "text"),
    [
        (IPv4Address("TCP", "127.0.0.1", 4444), None, "tcp:127.0.0.1:4444"),
        (IPv6Address("TCP", "::1", 4444), None, "tcp:::1:4444"),
        (IPv4Address("TCP", "127.0.0.1", 4444), Layer(None), "tls:127.0.0.1:4444"),
        (IPv4Address("TCP", "127.0.0.1", 4444), Layer("CN=alice,O=ops"), "cert:CN=alice,O=ops"),
        (IPv4Address("TCP", "127.0.0.1", 4444), Layer(ValueError("not UTF-8")), "tls:127.0.0.1:4444"),
    ],
)
def test_tcp_and_tls(address: object, layer: object, text: str) -> None:
    """Over TCP it is an address, over TLS the subject of the certificate if there is one that can be read."""
    assert identify(Transport(address), layer).text == text


@pytest.mark.parametrize("subject", ["", InvalidVersion("a version that there is not", 7)])
def test_certificate_that_says_nobody(subject: str | Exception) -> None:
    """
    A certificate without a subject, or with one that can't be read for whatever reason, does not make all that have such a
    one the same caller.
    """
    address = IPv4Address("TCP", "127.0.0.1", 4444)
    one = identify(Transport(address), Layer(subject))
    assert one.text == "tls:127.0.0.1:4444"
    assert not one.owns("qmp-1", identify(Transport(address), Layer(subject)), "qmp-2")


def test_socket_without_another_end() -> None:
    """The user that the kernel gives for a socket that is not connected is nobody's number."""
    handle = answers(credentials=struct.pack("iII", 0, 0xFFFFFFFF, 0xFFFFFFFF), groups=b"")
    assert identify(Transport(UNIXAddress(None), handle), None) is UNIX

"""
A client that has logged in, as conch sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.conch.interfaces import IConchUser
from zope.interface import implementer

from twisted_qmon.ssh.channel import SessionChannel

if TYPE_CHECKING:
    from twisted_qmon.ssh.authorized_keys import AuthorizedKey
    from twisted_qmon.ssh.channel import Protocols
    from twisted_qmon.ssh.connection import Connection

__all__ = ["Visitor"]


@implementer(IConchUser)
class Visitor:
    """
    It may have sessions, and nothing else.

    :param key: that it has logged in with
    :param protocols: makes what serves its sessions
    :ivar conn: its connection; conch sets it
    """

    conn: Connection

    def __init__(self, key: AuthorizedKey, protocols: Protocols) -> None:
        self.key = key
        self._protocols = protocols

    def lookupChannel(self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes) -> SessionChannel | None:
        """See C{IConchUser}."""
        if channelType != b"session":
            return None
        return SessionChannel(self.conn, self.key, self._protocols, windowSize, maxPacket)

    def lookupSubsystem(self, subsystem: bytes, data: bytes) -> None:
        """See C{IConchUser}. The channel does it itself."""

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> int:
        """See C{IConchUser}. No port is forwarded; and a client that asks whether the server is there gets an answer."""
        return 0

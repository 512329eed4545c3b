"""
The sessions of one SSH connection.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_RESOURCE_SHORTAGE,
    SSHConnection,
)
from twisted.logger import Logger

from twisted_qmon._text import printable
from twisted_qmon.ssh.log import QuietLogger

if TYPE_CHECKING:
    from twisted_qmon.ssh.channel import SessionChannel
    from twisted_qmon.ssh.transport import ServerTransport

__all__ = ["MAX_SESSIONS", "Connection"]

#: Sessions that a connection may have at a time. As many as with OpenSSH.
MAX_SESSIONS = 10

_own_log = Logger()


class Connection(SSHConnection):
    """conch's connection: with sessions only, so many, and with windows that are kept to."""

    transport: ServerTransport
    channels: dict[int, SessionChannel]
    _log = QuietLogger()

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """See conch. What is about a session that has ended has crossed the end on its way."""
        about_session = MSG_CHANNEL_WINDOW_ADJUST <= messageNum <= MSG_CHANNEL_CLOSE + 3
        if about_session and len(packet) >= 4 and struct.unpack(">L", packet[:4])[0] not in self.channels:
            return
        super().packetReceived(messageNum, packet)

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """See conch. Nothing but sessions is opened, and not more than L{MAX_SESSIONS}."""
        kind, rest = getNS(packet)
        sender, _, largest = struct.unpack(">3L", rest[:12])
        if kind != b"session":
            self._refuse(sender, OPEN_ADMINISTRATIVELY_PROHIBITED, b"there are only sessions")
            _own_log.info(
                "{peer} is refused a channel of type {kind}",
                peer=self.transport.peer,
                kind=printable(kind.decode("latin-1")),
            )
        elif len(self.channels) >= MAX_SESSIONS or not largest:
            self._refuse(sender, OPEN_RESOURCE_SHORTAGE, b"there are as many sessions as there may be")
        else:
            super().ssh_CHANNEL_OPEN(packet)
            self.transport.sessions_changed()

    def _refuse(self, sender: int, reason: int, text: bytes) -> None:
        self.transport.sendPacket(MSG_CHANNEL_OPEN_FAILURE, struct.pack(">2L", sender, reason) + NS(text) + NS(b""))

    def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
        """See conch. The client may send more when the session has taken this, not before."""
        number, size = struct.unpack(">2L", packet[:8])
        channel = self.channels[number]
        if size > channel.localWindowLeft or size > channel.localMaxPacket or size != len(packet) - 8:
            self.sendClose(channel)
            return
        channel.localWindowLeft -= size
        channel.dataReceived(packet[8:])

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        """See conch. Clients have nothing of that kind to send."""
        number, _, size = struct.unpack(">3L", packet[:12])
        channel = self.channels[number]
        if size > channel.localWindowLeft or size > channel.localMaxPacket:
            self.sendClose(channel)
            return
        channel.localWindowLeft -= size
        channel.extReceived(0, packet[12:])

    def channelClosed(self, channel: SessionChannel) -> None:
        """See conch."""
        super().channelClosed(channel)
        self.transport.sessions_changed()

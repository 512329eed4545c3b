"""
The proxy in front of a real QEMU: its commands, its events and its human monitor, for any number of clients and people.

Start with L{Qemu} in C{provider}. It has an C{upstream}, the connection to QEMU: requests in turns, events, and C{heartbeat},
which notices that QEMU stands still. With each connection QEMU is asked for its C{description}, which becomes an C{offer}: QEMU's
C{commands} and C{schema}, and the C{long_commands}, which complete here what takes long on QEMU. To add one of these, see
L{twisted_qmon.providers.qemu.long_commands}.
"""

from __future__ import annotations

from twisted_qmon.providers.qemu.provider import DESCRIBE_TIMEOUT, Qemu

__all__ = ["DESCRIBE_TIMEOUT", "Qemu"]

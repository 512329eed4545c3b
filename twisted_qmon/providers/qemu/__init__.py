"""
A proxy in front of a real QEMU: its commands, its events and its human monitor, for any number of clients and people at once.

Start with L{Qemu}, the provider.
"""

from __future__ import annotations

from twisted_qmon.providers.qemu.provider import DESCRIBE_TIMEOUT, Qemu

__all__ = ["DESCRIBE_TIMEOUT", "Qemu"]

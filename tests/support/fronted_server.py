"""
A server behind a monitor, of which only what the monitor needs is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from twisted_qmon.core.upstream import FrontedServer
from twisted_qmon.errors import CommandError, DeviceNotActive

__all__ = ["FakeFrontedServer"]


class FakeFrontedServer:
    """
    :ivar version: what it says of itself
    :ivar ready: what waits for it; C{None}: it is ready
    """

    def __init__(self, ready: Deferred[None] | None = None) -> None:
        self.ready = ready
        self.version: Mapping[str, Any] | None = None

    def when_ready(self) -> Deferred[None] | None:
        """As L{FrontedServer}."""
        return self.ready

    def not_found(self, name: str) -> CommandError:
        """As L{FrontedServer}."""
        return DeviceNotActive(f"no {name} behind")


_verified: type[FrontedServer] = FakeFrontedServer

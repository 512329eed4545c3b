"""
The options of the proxy in front of a QEMU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._transport.endpoints import client_endpoint
from twisted_qmon.core.upstream import UPSTREAM_LOST
from twisted_qmon.tap.group import OptionGroup
from twisted_qmon.tap.values import choice

if TYPE_CHECKING:
    from twisted_qmon.service import MonitorService


__all__ = ["QemuOptions"]


class QemuOptions(OptionGroup):
    """C{--qemu}, and what belongs to it."""

    optParameters = [
        ["qemu", None, None, "Be a proxy in front of the QEMU whose QMP server is at this client endpoint."],
        ["upstream-lost", None, "keep",
         "When QEMU goes, its clients stay connected (keep) or are disconnected (close).", choice(UPSTREAM_LOST)],
    ]  # fmt: skip

    def check(self) -> None:
        """:raise UsageError: when the address is not valid, or there is none"""
        if self["qemu"] is not None:
            try:
                client_endpoint(None, self["qemu"])
            except ValueError as e:
                raise UsageError(f"--qemu: {e}") from e
        elif self["upstream-lost"] != "keep":
            raise UsageError("--upstream-lost: there is no --qemu")

    @property
    def has_qemu(self) -> bool:
        """The commands are those of a QEMU, its C{quit} too."""
        return self["qemu"] is not None

    def serve(self, service: MonitorService) -> None:
        """Register the commands of the QEMU, and stay connected to it."""
        if not self.has_qemu:
            return
        from twisted_qmon.providers.qemu import Qemu

        upstream = Qemu(self["qemu"], service.reactor, upstream_lost=self["upstream-lost"])
        upstream.service.setServiceParent(service)
        service.monitor.register(upstream)

"""
The options of the proxy in front of a QEMU, or of many.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._transport.endpoints import client_endpoint
from twisted_qmon._twistd.command_line import read_command
from twisted_qmon._twistd.exit_status import end_with
from twisted_qmon._twistd.signals import stop_reactor
from twisted_qmon.core.upstream import UPSTREAM_LOST
from twisted_qmon.tap.group import OptionGroup
from twisted_qmon.tap.values import choice

if TYPE_CHECKING:
    from twisted_qmon.service import MonitorService


__all__ = ["QemuOptions"]


class QemuOptions(OptionGroup):
    """C{--qemu}, C{--qemu-command}, C{--qemu-folder}, and what belongs to them."""

    optParameters = [
        ["qemu", None, None, "Be a proxy in front of the QEMU whose QMP server is at this client endpoint."],
        ["qemu-command", None, None, "Start this QEMU, be a proxy in front of it, and end with it.", read_command],
        ["qemu-folder", None, None, "Be a proxy for each QEMU whose QMP socket is in this folder."],
        ["proxy-folder", None, None, "Where the sockets of these proxies are: NAME.qmp and NAME.hmp for each."],
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
            if self["qemu-command"] is not None:
                raise UsageError("--qemu-command: there is a --qemu already")
        self._check_folders()
        if self["upstream-lost"] != "keep" and not self.has_qemu and self["qemu-folder"] is None:
            raise UsageError("--upstream-lost: there is no QEMU")

    def _check_folders(self) -> None:
        options = ("qemu-folder", "proxy-folder")
        if self["qemu-folder"] is None and self["proxy-folder"] is None:
            return
        for option, other in (options, options[::-1]):
            if self[option] is None:
                raise UsageError(f"--{other}: there is no --{option}")
            if not os.path.isdir(self[option]):
                raise UsageError(f"--{option}: {self[option]!r} is not a folder")
        if self.has_qemu:
            raise UsageError("--qemu-folder: there is a QEMU already")
        source, target = (os.path.realpath(self[option]) for option in options)
        if os.path.commonpath([source, target]) in (source, target):
            raise UsageError(
                f"--proxy-folder: {self['proxy-folder']!r} and --qemu-folder are within each other, or the same"
            )

    @property
    def has_qemu(self) -> bool:
        """The commands are those of a QEMU, its C{quit} too."""
        return self["qemu"] is not None or self["qemu-command"] is not None

    def serve(self, service: MonitorService) -> None:
        """Register the commands of the QEMU, and stay connected to it; or look after a folder of them."""
        if self["qemu-folder"] is not None:
            self._serve_folder(service)
        elif self["qemu-command"] is not None:
            self._serve_command(service)
        elif self["qemu"] is not None:
            from twisted_qmon.providers.qemu import Qemu

            upstream = Qemu(self["qemu"], service.reactor, upstream_lost=self["upstream-lost"])
            upstream.service.setServiceParent(service)
            service.monitor.register(upstream)

    def _serve_command(self, service: MonitorService) -> None:
        from twisted_qmon.providers.qemu.process import QemuCommand

        reactor = service.reactor

        def ended(status: int) -> None:
            end_with(status)
            stop_reactor(reactor)

        command = QemuCommand(
            self["qemu-command"], reactor, patience=self["drain"], ended=ended, upstream_lost=self["upstream-lost"]
        )
        command.setServiceParent(service)
        service.monitor.register(command.provider)
        service.on_hurry.append(command.hurry)

    def _serve_folder(self, service: MonitorService) -> None:
        from twisted_qmon.core.monitor import Monitor
        from twisted_qmon.service.qemu_folder import serve_qemu_folder

        def make_monitor() -> Monitor:
            return Monitor(
                clock=service.reactor,
                timeout=self["timeout"],
                max_abandoned=self["max-abandoned"],
                event_history=self["event-history"],
                event_history_bytes=self["event-history-bytes"],
            )

        serve_qemu_folder(service, self["qemu-folder"], self["proxy-folder"], make_monitor, self["upstream-lost"])

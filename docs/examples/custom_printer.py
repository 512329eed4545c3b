"""
A printer makes the text that a person sees of a command's result. A machine gets the data.

    twistd -n qmon --provider custom_printer.Disks
    socat - UNIX-CONNECT:hmp.sock

    (qmon) info disks
    /     [##########----------]  50 % of 1.8 TiB
"""

import shutil
from dataclasses import dataclass
from typing import Any

from twisted_qmon import CommandProvider, Size, command


@dataclass
class Disk:
    """How full a disk is; in bytes."""

    path: str
    total: Size
    used: Size


class Disks(CommandProvider):
    """
    How full the disks are.

    :param paths: where they are mounted
    """

    def __init__(self, paths: tuple[str, ...] = ("/",)) -> None:
        self._paths = paths

    @command
    def query_disks(self) -> list[Disk]:
        """show how full the disks are"""
        disks = []
        for path in self._paths:
            usage = shutil.disk_usage(path)
            disks.append(Disk(path, usage.total, usage.used))
        return disks

    @query_disks.printer
    def _(disks: list[dict[str, Any]]) -> str:
        # The result as plain JSON data, as on the wire.
        lines = []
        for disk in disks:
            part = disk["used"] / disk["total"] if disk["total"] else 0
            bar = ("#" * round(20 * part)).ljust(20, "-")
            lines.append(f"{disk['path']:5} [{bar}] {part:4.0%} of {disk['total'] / 2**40:.1f} TiB".replace("%", " %"))
        return "\n".join(lines)

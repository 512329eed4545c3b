"""
What the providers of long commands have in common. To add a command, see L{twisted_qmon.providers.qemu.long_commands}.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from twisted_qmon.core.command import CommandProvider

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted_qmon.interfaces import ICommand
    from twisted_qmon.providers.qemu.upstream import Upstream

__all__ = ["LongCommands"]


class LongCommands(CommandProvider):
    """
    Commands that complete what takes long on QEMU.

    :param upstream: the QEMU
    :param available: the names of its commands
    :cvar needs: of each command the commands of QEMU that it uses
    """

    needs: ClassVar[Mapping[str, Collection[str]]]

    def __init__(self, upstream: Upstream, available: Collection[str]) -> None:
        self.upstream = upstream
        self._available = available

    def all_commands(self) -> Iterable[ICommand]:
        """:return: all of them, whatever QEMU has"""
        return super().commands()

    def commands(self) -> Iterable[ICommand]:
        """:return: those for which QEMU has what they need"""
        for command in self.all_commands():
            if all(needed in self._available for needed in self.needs[command.name]):
                command.info = replace(command.info, completes=True)
                yield command

"""
Commands that take long on QEMU, and complete here when they are done: C{qmon-migrate}, C{qmon-savevm}, C{qmon-drive-backup}
and the others.

To add one:

 1. Write a method with C{@command(name="qmon-NAME", aliases=["NAME"], timeout=inf, level=...)} in the module of its subject,
    or in a new one with a subclass of L{LongCommands} that is added to L{long_commands}. The alias is what a person types.
 2. Add a line to the C{needs} of its class: the commands of QEMU that it uses. It is offered in front of a QEMU that has them.
 3. If QEMU makes a job of the work, call L{run_job<twisted_qmon.providers.qemu.long_commands.run_job.run_job>}; else write a
    coroutine that begins and follows it, and have a C{LongOperation} of
    L{twisted_qmon.providers.qemu.long_commands.long_operation} wait for it. Both tell the progress, and call the work off when
    the request is cancelled.
 4. Add a row to C{LEVELS} in C{tests/project/test_levels.py}, and one to the table in C{docs/qemu.md}.
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

__all__ = ["LongCommands", "long_commands"]


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


def long_commands() -> tuple[type[LongCommands], ...]:
    """:return: all providers of them"""
    from twisted_qmon.providers.qemu.long_commands.block_jobs import BlockJobs
    from twisted_qmon.providers.qemu.long_commands.migration import Migration
    from twisted_qmon.providers.qemu.long_commands.snapshots import Snapshots

    return (Migration, Snapshots, BlockJobs)

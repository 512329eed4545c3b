"""
Commands that take long on QEMU, and complete here when they are done: C{qmon-migrate}, C{qmon-savevm}, C{qmon-drive-backup}
and the others.

To add one:

 1. Write a method with C{@command(name="qmon-NAME", aliases=["NAME"], timeout=inf, level=...)} in the module of its subject,
    or in a new one with a subclass of L{LongCommands<twisted_qmon.providers.qemu.long_commands.base.LongCommands>}, which is
    added to L{long_commands}. The alias is what a person types.
 2. Add a line to the C{needs} of its class: the commands of QEMU that it uses. It is offered in front of a QEMU that has them.
 3. If QEMU makes a job of the work, call L{run_job<twisted_qmon.providers.qemu.long_commands.run_job.run_job>}; else write a
    coroutine that begins and follows it, and have a C{LongOperation} of
    L{twisted_qmon.providers.qemu.long_commands.long_operation} wait for it. Both tell the progress, and call the work off when
    the request is cancelled.
 4. Add a row to C{LEVELS} in C{tests/project/test_levels.py}, and one to the table in C{docs/qemu.md}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_qmon.providers.qemu.long_commands.base import LongCommands

__all__ = ["long_commands"]


def long_commands() -> tuple[type[LongCommands], ...]:
    """:return: all providers of them"""
    from twisted_qmon.providers.qemu.long_commands.block_jobs import BlockJobs
    from twisted_qmon.providers.qemu.long_commands.migration import Migration
    from twisted_qmon.providers.qemu.long_commands.snapshots import Snapshots

    return (Migration, Snapshots, BlockJobs)

"""
What the watchdog's doors serve: the commands of a monitor that may run in another thread than the reactor's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.core.monitor import Monitor
from twisted_qmon.errors import CommandNotFound

# The console's modules are imported here, not at the first line that is typed: the main thread may be stuck in an import then.
from twisted_qmon.hmp import console as _console  # noqa: F401
from twisted_qmon.info import ArgsItem, CommandInfo
from twisted_qmon.providers.human import HumanMonitorCommand

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.guard import Client
    from twisted_qmon.core.pending import Pending
    from twisted_qmon.errors import CommandError
    from twisted_qmon.interfaces import ICommand

__all__ = ["WatchdogMonitor"]

# What stands behind the word of a command that is not to be had here is not looked at.
_ANYTHING = (ArgsItem("line", "S", optional=True),)

# Those of every monitor that it does not have: nothing is cancelled from here.
_WITHOUT = ("cancel-command",)


class WatchdogMonitor(Monitor):
    """
    The monitor of the watchdog's thread. It has the main one's commands that are declared C{thread_safe}, as they are when a
    client connects; what every monitor has (C{query-version}, C{query-pending} ...) it answers about the main one. All others get
    an error that says why.

    :param main: the main monitor
    :param clock: the thread's reactor
    """

    def __init__(self, main: Monitor, clock: IReactorTime) -> None:
        self._main = main
        self._seen: dict[str, ICommand] = {}
        self._taken: list[ICommand] = []
        super().__init__(clock=clock, access=main.guard.access, audit=_own_audit(main.guard.audit))
        self.registry.hide(_WITHOUT)
        self.register(HumanMonitorCommand())
        self._own = frozenset(self.registry.active)
        self._infos: dict[str, CommandInfo] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take over what the main monitor has now. Done for each client that connects."""
        self.name = self._main.name
        self.version = self._main.version
        seen = self._main.registry.copy()
        if seen == self._seen:
            return
        self._seen = seen
        self.registry.remove(self._taken)
        others = [command for name, command in seen.items() if name not in self._own]
        self._taken = self.registry.add([command for command in others if command.info.thread_safe], shadow=True)
        there = self.registry.infos()
        self._infos = {name: _stand_in(each.info) for name, each in seen.items() if name not in there}
        self._infos.update(there)

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        """:return: also those that are not to be had here: a person who types one is told why"""
        return succeed(self._infos)

    def join(self, client: Client) -> bool:
        """A client connects."""
        self.refresh()
        return super().join(client)

    def not_found(self, name: str) -> CommandError:
        """:return: the error for a command that is not to be had here, or that there is not"""
        if self._main.registry.find(name) is None:
            return super().not_found(name)
        return CommandNotFound(
            f"The command {name} is not available from the watchdog: only the main thread can run it"
        )

    @property
    def pending(self) -> Pending:
        """The requests of the main monitor that are not answered yet."""
        return self._main.pending

    @property
    def refusing(self) -> bool:
        """The main monitor takes no new requests."""
        return self._main.refusing

    def reread(self) -> None:
        """The access rules have been read again: have a new verdict on each client. And open the audit's file again."""
        self.guard.judge_again()
        if self.guard.audit is not None:
            self.guard.audit.open()

    def close(self) -> None:
        """No client is left."""
        if self.guard.audit is not None:
            self.guard.audit.close()


def _stand_in(info: CommandInfo) -> CommandInfo:
    return CommandInfo(
        info.name,
        items=_ANYTHING,
        aliases=info.aliases,
        help="not available from the watchdog",
        hidden=True,
        level=info.level,
    )


def _own_audit(audit: Audit | None) -> Audit | None:
    """
    :return: one for this thread, which appends to the same file. That of the main thread keeps state between lines, and its file
        may be in the middle of being opened again.
    """
    if audit is None:
        return None
    return Audit(None if audit.file is None else audit.file.path, time.time, required=audit.required)

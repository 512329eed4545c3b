"""
C{quit}: what ends C{twistd qmon}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_qmon.core.command import Command, CommandOptions, CommandProvider
from twisted_qmon.core.request import Request

__all__ = ["Quit"]


class Quit(CommandProvider):
    """
    The command C{quit}.

    :param stop: begins the stop; called with the request of C{quit}, which is not waited for. Returns a Deferred that fires when
        everything is said but the reply to C{quit} itself.
    :param name: the command's name, where C{quit} is another one's
    :param aliases: other names for it in the human monitor
    :param beside: what else runs in this process and ends with it; a person who quits is asked to confirm that
    """

    _log = Logger()

    def __init__(
        self,
        stop: Callable[[Request], Deferred[None]],
        name: str = "quit",
        aliases: Sequence[str] = ("q",),
        *,
        beside: str = "",
    ) -> None:
        self._stop = stop
        # The drain has a limit of its own.
        self._options = CommandOptions(name, aliases=aliases, timeout=inf, level="admin")
        self._confirm = f"this ends '{beside}' as well" if beside else ""

    def commands(self) -> Iterable[Command]:
        """:return: the one command"""
        command = Command(self.quit, self._options)
        command.info = replace(command.info, confirm=self._confirm)
        return [command]

    def quit(self, request: Request) -> Deferred[None]:
        """quit this process"""
        caller = request.caller
        self._log.info(
            "{identity} quits this process, in the session {session}", identity=caller.identity, session=caller.name
        )
        return self._stop(request)

"""
C{quit}: what ends C{twistd qmon}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from twisted.internet.defer import Deferred

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
    """

    def __init__(
        self, stop: Callable[[Request], Deferred[None]], name: str = "quit", aliases: Sequence[str] = ("q",)
    ) -> None:
        self._stop = stop
        # The drain has a limit of its own.
        self._options = CommandOptions(name, aliases=aliases, timeout=inf, level="admin")

    def commands(self) -> Iterable[Any]:
        """:return: the one command"""
        return [Command(self.quit, self._options)]

    def quit(self, request: Request) -> Deferred[None]:
        """quit this process"""
        return self._stop(request)

"""
C{quit}: what ends C{twistd qmon}.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.defer import Deferred

from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.request import Request

__all__ = ["Quit"]


class Quit(CommandProvider):
    """
    The command C{quit}.

    :param stop: begins the stop; called with the request of C{quit}, which is not waited for. Returns a Deferred that fires when
        everything is said but the reply to C{quit} itself.
    """

    def __init__(self, stop: Callable[[Request], Deferred[None]]) -> None:
        self._stop = stop

    # The drain has a limit of its own.
    @command(aliases=["q"], timeout=inf)
    def quit(self, request: Request) -> Deferred[None]:
        """quit this process"""
        return self._stop(request)

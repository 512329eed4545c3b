"""
A client leaves: what becomes of the requests that it has pending.

The protocol's C{connectionLost} closes the session, which unsubscribes from events, forgets what waits in its queues, and calls
L{Dispatcher.leave<twisted_qmon.core.dispatcher.Dispatcher>}, directly or as C{IMonitor.leave}. That comes here. What has not
started is cancelled, and so is each request whose command has C{on_disconnect="cancel"}. The others run on, unattended; their
number is limited (see L{Pending<twisted_qmon.core.pending.Pending>}), and their outcome is logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon._log_publisher import publish

if TYPE_CHECKING:
    from twisted_qmon.core.pending import Pending
    from twisted_qmon.core.request import Request
    from twisted_qmon.errors import CommandError
    from twisted_qmon.interfaces import ICaller, ICommand

__all__ = ["leave", "log_outcome"]

_log = Logger(observer=publish)


def leave(
    caller: ICaller,
    pending: Pending,
    find: Callable[[str], ICommand | None],
    cancel: Callable[[Request], None],
) -> None:
    """
    Cancel a caller's requests, or let them run on without it.

    :param caller: who has left
    :param pending: all requests that are pending
    :param find: finds a command by its name
    :param cancel: cancels a request
    """
    for request in pending.of(caller):
        request.leave()
        command = find(request.name)
        if not request.started or (command is not None and command.on_disconnect == "cancel"):
            cancel(request)
        elif not request.detached:
            pending.detach(request)


def log_outcome(request: Request, error: CommandError | None) -> None:
    """
    Say in the log how a request ended whose caller had left.

    :param error: what it would have been answered with; C{None}: its result
    """
    _log.info(
        "{command}, asked for by {caller} who has left, {outcome}",
        command=request.name,
        caller=request.caller.name,
        outcome="completed" if error is None else f"failed: {error.desc}",
    )

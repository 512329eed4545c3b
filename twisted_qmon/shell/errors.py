"""
How C{qmon} ends. Each error knows its exit status.

::

    0    done
    1    the command failed (L{CommandError<twisted_qmon.errors.CommandError>}, L{Failed})
    2    L{UsageError}
    3    L{NoConnection}
    4    L{TimedOut}
    130  interrupted
"""

from __future__ import annotations

__all__ = ["INTERRUPTED", "Failed", "NoConnection", "ShellError", "TimedOut", "UsageError"]

#: The exit status after Ctrl-C, as a shell has it.
INTERRUPTED = 130


class ShellError(Exception):
    """
    Ends C{qmon} with one line on standard error.

    :cvar status: the exit status
    """

    status = 1


class Failed(ShellError):
    """The command could not be done, for a reason other than the server's answer."""


class UsageError(ShellError):
    """The command line is wrong."""

    status = 2


class NoConnection(ShellError):
    """There is no connection to the server, or it was lost."""

    status = 3


class TimedOut(ShellError):
    """The reply did not come in time."""

    status = 4

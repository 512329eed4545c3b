"""
What a monitor needs of a server that it fronts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from twisted_qmon.errors import CommandError
    from twisted_qmon.info import JSON

__all__ = ["UPSTREAM_LOST", "FrontedServer"]

#: What may become of the clients of a monitor when the server that it fronts goes: they stay connected, or not.
UPSTREAM_LOST = ("keep", "close")


class FrontedServer(Protocol):
    """
    The server behind a monitor. A provider that fronts one passes this to L{Monitor.set_upstream
    <twisted_qmon.core.monitor.Monitor.set_upstream>}, and registers the server's commands and events like any other.
    """

    @property
    def version(self) -> Mapping[str, JSON] | None:
        """What the greeting and C{query-version} say, in the form of C{query-version}; C{None}: the monitor's own version."""

    def when_ready(self) -> Deferred[None] | None:
        """
        :return: C{None} when clients can be served, or when waiting is of no use; else a Deferred that fires when they can. It
            may be cancelled.
        """

    def not_found(self, name: str) -> CommandError:
        """
        :param name: the name of a command that is not registered
        :return: the error that it is answered with
        """

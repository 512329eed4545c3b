"""
A server behind a blocking connection as an L{IMonitor}: what C{execute} returns has fired already, so that no reactor is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_qmon.errors import CommandCancelled, CommandError, ConnectionClosed
from twisted_qmon.info import CommandInfo
from twisted_qmon.interfaces import IMonitor
from twisted_qmon.qmp._client.commands import RemoteCommands
from twisted_qmon.shell.client import Client
from twisted_qmon.shell.errors import NoConnection

__all__ = ["BlockingMonitor"]


@implementer(IMonitor)
class BlockingMonitor:
    """
    Executes commands one after another.

    :param client: connected; it keeps events if there are to be any
    :ivar over: why no further line can be run: there is no connection any more, or an interrupt; C{None}: one can
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._commands = RemoteCommands(self.execute)
        self.over: NoConnection | KeyboardInterrupt | None = None

    def execute(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: Any = None,
    ) -> Deferred[Any]:
        """See L{IMonitor.execute}."""
        return self._run(name, arguments, oob=False)

    def execute_oob(self, name: str, arguments: Mapping[str, Any] | None = None) -> Deferred[Any]:
        """L{execute}, out of band."""
        return self._run(name, arguments, oob=True)

    def _run(self, name: str, arguments: Mapping[str, Any] | None, *, oob: bool) -> Deferred[Any]:
        if self.over is not None:
            return fail(ConnectionClosed("There is no connection to the monitor"))
        try:
            return succeed(self._client.run(name, arguments, oob=oob))
        except CommandError as error:
            return fail(error)
        except NoConnection as error:
            self.over = error
            return fail(ConnectionClosed("The connection to the monitor was lost"))
        except KeyboardInterrupt as interrupt:
            # A Deferred would keep it as any other failure.
            self.over = interrupt
            return fail(CommandCancelled(f"Command '{name}' was cancelled"))

    def leave(self, caller: Any) -> None:
        """Nothing is pending."""

    def subscribe(
        self, receiver: Callable[[Mapping[str, Any]], None], names: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """:raise RuntimeError: always: events have no one to deliver them while a line is waited for"""
        raise RuntimeError("events can't be followed without a reactor")

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        """See L{IMonitor.commands}."""
        return self._commands.get()

"""
What a server can do, as a client learns it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from twisted_qmon.errors import CommandNotFound, GenericError
from twisted_qmon.info import UPSTREAM
from twisted_qmon.qapi.schema import commands_from_schema, info_from_json

if TYPE_CHECKING:
    from twisted_qmon.info import CommandInfo

__all__ = ["RemoteCommands"]


class RemoteCommands:
    """
    The commands of the server that one is connected to, asked for when first wanted.

    :param execute: executes a command on it
    """

    def __init__(self, execute: Callable[[str], Deferred[Any]]) -> None:
        self._execute = execute
        self._known: dict[str, CommandInfo] | None = None
        self._wanted: list[Deferred[dict[str, CommandInfo]]] = []
        self._forgets = 0

    def forget(self) -> None:
        """It is another server now, or none."""
        self._known = None
        self._forgets += 1

    def get(self) -> Deferred[dict[str, CommandInfo]]:
        """:return: fires with the commands by name, at once if they are known; fails with C{CommandError}"""
        if self._known is not None:
            return succeed(self._known)
        wanted: Deferred[dict[str, CommandInfo]] = Deferred(self._wanted.remove)
        self._wanted.append(wanted)
        if len(self._wanted) == 1:
            Deferred.fromCoroutine(self._fetch()).addBoth(self._tell)
        return wanted

    async def _fetch(self) -> dict[str, CommandInfo]:
        forgets = self._forgets
        try:
            described = await self._execute("query-command-help")
        except CommandNotFound:
            commands = _from_schema(await self._execute("query-qmp-schema"))
        else:
            commands = _from_help(described)
        if self._forgets == forgets:
            self._known = commands
        return commands

    def _tell(self, outcome: Any) -> None:
        wanted, self._wanted = self._wanted, []
        for deferred in wanted:
            deferred.callback(outcome)


def _from_help(described: Any) -> dict[str, CommandInfo]:
    """Of a server like ours, which describes its commands as people need them."""
    try:
        return {info.name: info for info in map(info_from_json, described)}
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise _senseless(e) from e


def _from_schema(schema: Any) -> dict[str, CommandInfo]:
    """Of any other server."""
    try:
        commands = commands_from_schema(schema)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise _senseless(e) from e
    if "human-monitor-command" not in commands:
        return commands
    # A real QEMU: its own human monitor knows these best.
    return {name: replace(info, origin=UPSTREAM) for name, info in commands.items()}


def _senseless(error: Exception) -> GenericError:
    return GenericError(f"The server's description of its commands makes no sense: {error!r}")

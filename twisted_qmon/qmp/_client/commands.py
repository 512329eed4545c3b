"""
What a server can do, as a client learns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from twisted_qmon.errors import CommandNotFound, GenericError
from twisted_qmon.info import UPSTREAM
from twisted_qmon.qapi.schema import commands_from_schema, info_from_json
from twisted_qmon.qmp._client.waiters import Waiters

if TYPE_CHECKING:
    from twisted_qmon.info import CommandInfo

__all__ = ["HMC", "UNEXPECTED", "RemoteCommands", "read_schema"]

#: The command that runs a line of QEMU's own human monitor.
HMC = "human-monitor-command"

#: What reading data that has another form than it should may raise.
UNEXPECTED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


class RemoteCommands:
    """
    The commands of the server that one is connected to, asked for when first wanted.

    :param execute: executes a command on it
    """

    def __init__(self, execute: Callable[[str], Deferred[Any]]) -> None:
        self._execute = execute
        self._known: dict[str, CommandInfo] | None = None
        self._wanted: Waiters[dict[str, CommandInfo]] = Waiters()
        self._fetching = False
        self._forgets = 0

    def forget(self) -> None:
        """It is another server now, or none."""
        self._known = None
        self._forgets += 1

    def get(self) -> Deferred[dict[str, CommandInfo]]:
        """:return: fires with the commands by name, at once if they are known; fails with C{CommandError}"""
        if self._known is not None:
            return succeed(self._known)
        wanted = self._wanted.wait()
        if not self._fetching:
            self._fetching = True
            Deferred.fromCoroutine(self._tell_all())
        return wanted

    async def _tell_all(self) -> None:
        forgets = self._forgets
        try:
            commands = await self._fetch()
        except Exception as error:
            self._fetching = False
            self._wanted.fail(error)
        else:
            self._fetching = False
            if self._forgets == forgets:
                self._known = commands
            self._wanted.tell(commands)

    async def _fetch(self) -> dict[str, CommandInfo]:
        try:
            described = await self._execute("query-command-help")
        except CommandNotFound:
            return _from_schema(await self._execute("query-qmp-schema"))
        return _from_help(described)


def _from_help(described: Sequence[Mapping[str, Any]]) -> dict[str, CommandInfo]:
    """Of a server like ours, which describes its commands as people need them."""
    try:
        return {info.name: info for info in map(info_from_json, described)}
    except UNEXPECTED as e:
        raise _malformed(e) from e


def _from_schema(schema: Sequence[Mapping[str, Any]]) -> dict[str, CommandInfo]:
    """Of any other server."""
    commands = read_schema(schema)
    if HMC not in commands:
        return commands
    # A real QEMU: its own human monitor knows these best.
    return {name: replace(info, origin=UPSTREAM) for name, info in commands.items()}


def read_schema(schema: Sequence[Mapping[str, Any]]) -> dict[str, CommandInfo]:
    """
    :param schema: what a server answered to C{query-qmp-schema}
    :return: its commands by name
    :raise GenericError: when it is no schema
    """
    try:
        return commands_from_schema(schema)
    except UNEXPECTED as e:
        raise _malformed(e) from e


def _malformed(error: Exception) -> GenericError:
    return GenericError(f"The server's description of its commands is malformed: {error!r:.200}")

"""
What a QEMU says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from twisted_qmon.errors import CommandError, CommandNotFound, GenericError
from twisted_qmon.info import UPSTREAM, CommandInfo, Level
from twisted_qmon.providers.qemu.levels import command_level, line_need
from twisted_qmon.qmp._client.commands import HMC, UNEXPECTED, read_schema

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.providers.qemu.upstream import UpstreamConnection
    from twisted_qmon.qapi.types.json_text import JSONText

__all__ = ["Description", "describe"]

#: The lines of QEMU's human monitor whose output does not change: the console asks for them with each connection.
_HELP_LINES = ("help", "info")


@dataclass(slots=True)
class Description:
    """
    What a QEMU has.

    :ivar version: in the form of C{query-version}
    :ivar schema: the entries of C{query-qmp-schema}; empty if it has no such command
    :ivar infos: its commands by name
    :ivar oob: those of them that may be executed out of band
    :ivar events: the names of its events
    :ivar help: what its human monitor prints for the lines whose output does not change
    """

    version: Mapping[str, Any]
    schema: list[dict[str, Any]] = field(default_factory=list)
    infos: dict[str, CommandInfo] = field(default_factory=dict)
    oob: frozenset[str] = frozenset()
    events: tuple[str, ...] = ()
    help: dict[str, JSONText] = field(default_factory=dict)

    @property
    def version_text(self) -> str:
        """The version as people write it: C{7.2.22}."""
        numbers = self.version["qemu"]
        return ".".join(str(numbers.get(part, "?")) for part in ("major", "minor", "micro"))


async def describe(connection: UpstreamConnection) -> Description:
    """
    Ask a QEMU for all that is needed to stand for it; and have it send events about migrations.

    :raise CommandError: when it does not answer, or with something else
    """
    try:
        description = Description(await _version(connection))
        await _learn_commands(connection, description)
    except UNEXPECTED as e:
        raise GenericError(f"QEMU's description of its commands is malformed: {e!r:.200}") from e
    if "migrate-set-capabilities" in description.infos:
        capabilities: list[JSON] = [{"capability": "events", "state": True}]
        # Refused while a migration is running: then it is set already, or the end of a migration is found by polling.
        with suppress(CommandError):
            await connection.ask("migrate-set-capabilities", {"capabilities": capabilities})
    if HMC in description.infos:
        for line in _HELP_LINES:
            description.help[line] = await connection.ask(HMC, {"command-line": line})
    return description


def _of_upstream(info: CommandInfo) -> CommandInfo:
    if info.name == HMC:
        # What it needs depends on the line.
        return replace(info, origin=UPSTREAM, level=Level.OBSERVE, line_need=line_need)
    return replace(info, origin=UPSTREAM, level=command_level(info.name))


async def _version(connection: UpstreamConnection) -> Mapping[str, Any]:
    version: Any = connection.session.version
    if version is None:
        version = (await connection.ask("query-version")).value
        if not isinstance(version["qemu"], dict):
            raise TypeError(version)
    return dict(version)


async def _learn_commands(connection: UpstreamConnection, description: Description) -> None:
    try:
        schema = (await connection.ask("query-qmp-schema")).value
    except CommandNotFound:
        # Older than 2.5, or a server that is not quite a QEMU.
        names = [entry["name"] for entry in (await connection.ask("query-commands")).value]
        infos = {name: CommandInfo(name, parameters=None) for name in names}
    else:
        infos = read_schema(schema)
        names = [entry["name"] for entry in schema]
        description.schema = schema
        description.oob = frozenset(entry["name"] for entry in schema if entry.get("allow-oob") is True)
        description.events = tuple(entry["name"] for entry in schema if entry["meta-type"] == "event")
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is not a string")
    description.infos = {name: _of_upstream(info) for name, info in infos.items()}

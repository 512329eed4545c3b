"""
What a QEMU says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from twisted_qmon.core.events import Event
from twisted_qmon.errors import CommandError, CommandNotFound, GenericError
from twisted_qmon.info import UPSTREAM, CommandInfo, Level
from twisted_qmon.providers.qemu.levels import command_level, line_need
from twisted_qmon.qapi.types.json_text import JSONText, shared_text
from twisted_qmon.qmp._client.commands import HMC, UNEXPECTED, read_schema

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.providers.qemu.upstream import UpstreamConnection

__all__ = ["Description", "Offered", "describe", "offered_by", "version_text"]

#: The lines of QEMU's human monitor whose output does not change: the console asks for them with each connection.
_HELP_LINES = ("help", "info")


class Offered:
    """
    The commands and events of one version of QEMU. All QEMUs of that version share it: see L{offered_by}.

    :param schema: the answer to C{query-qmp-schema}, as it came; C{None}: it has no such command
    :param infos: its commands by name
    :param oob: those of them that may be executed out of band
    :param events: its events
    """

    __slots__ = ("__weakref__", "_schema", "events", "infos", "oob")

    def __init__(
        self,
        schema: JSONText | None,
        infos: Mapping[str, CommandInfo],
        oob: frozenset[str] = frozenset(),
        events: Sequence[Event] = (),
    ) -> None:
        self._schema = schema
        self.infos = infos
        self.oob = oob
        self.events = events

    @property
    def has_schema(self) -> bool:
        """It can say what its types are."""
        return self._schema is not None

    @property
    def schema(self) -> list[dict[str, Any]]:
        """The entries of its schema, decoded anew each time: they are ten times as big as the text, and seldom needed."""
        return [] if self._schema is None else self._schema.value


#: By the text of their schema, what those QEMUs offer that are connected.
_known: WeakValueDictionary[bytes, Offered] = WeakValueDictionary()


def offered_by(schema: JSONText) -> Offered:
    """
    :param schema: the answer to C{query-qmp-schema}
    :return: what it describes, the same object for the same text
    :raise Exception: one of L{UNEXPECTED<twisted_qmon.qmp._client.commands.UNEXPECTED>}, when it is no schema
    """
    known = _known.get(schema.text)
    if known is None:
        entries = schema.value
        _require_names(entry["name"] for entry in entries)
        known = _known[schema.text] = Offered(
            schema,
            {name: _of_upstream(info) for name, info in read_schema(entries).items()},
            frozenset(entry["name"] for entry in entries if entry.get("allow-oob") is True),
            [Event(entry["name"], check=False) for entry in entries if entry["meta-type"] == "event"],
        )
    return known


@dataclass(slots=True)
class Description:
    """
    What a QEMU has.

    :ivar version: in the form of C{query-version}
    :ivar offered: its commands and events
    :ivar help: what its human monitor prints for the lines whose output does not change
    """

    version: Mapping[str, Any]
    offered: Offered
    help: dict[str, JSONText] = field(default_factory=dict)

    @property
    def infos(self) -> Mapping[str, CommandInfo]:
        """Its commands by name."""
        return self.offered.infos


def version_text(version: Mapping[str, JSON]) -> str:
    """
    :param version: in the form of C{query-version}
    :return: as people write it: C{7.2.22}
    """
    numbers = version.get("qemu")
    if not isinstance(numbers, dict):
        return ""
    return ".".join(str(numbers.get(part, "?")) for part in ("major", "minor", "micro"))


async def describe(connection: UpstreamConnection) -> Description:
    """
    Ask a QEMU for all that is needed to stand for it; and have it send events about migrations.

    :raise CommandError: when it does not answer, or with something else
    """
    try:
        description = Description(await _version(connection), await _offered(connection))
    except UNEXPECTED as e:
        raise GenericError(f"QEMU's description of its commands is malformed: {e!r:.200}") from e
    if "migrate-set-capabilities" in description.infos:
        capabilities: list[JSON] = [{"capability": "events", "state": True}]
        # Refused while a migration is running: then it is set already, or the end of a migration is found by polling.
        with suppress(CommandError):
            await connection.ask("migrate-set-capabilities", {"capabilities": capabilities})
    if HMC in description.infos:
        for line in _HELP_LINES:
            description.help[line] = shared_text(await connection.ask(HMC, {"command-line": line}))
    return description


def _of_upstream(info: CommandInfo) -> CommandInfo:
    if info.name == HMC:
        # What it needs depends on the line.
        return replace(info, origin=UPSTREAM, level=Level.OBSERVE, line_need=line_need)
    return replace(info, origin=UPSTREAM, level=command_level(info.name))


def _require_names(names: Iterable[object]) -> None:
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is not a string")


async def _version(connection: UpstreamConnection) -> Mapping[str, Any]:
    version: Any = connection.session.version
    if version is None:
        version = (await connection.ask("query-version")).value
        if not isinstance(version["qemu"], dict):
            raise TypeError(version)
    return dict(version)


async def _offered(connection: UpstreamConnection) -> Offered:
    try:
        return offered_by(await connection.ask("query-qmp-schema"))
    except CommandNotFound:
        # Older than 2.5, or a server that is not quite a QEMU.
        names = [entry["name"] for entry in (await connection.ask("query-commands")).value]
    _require_names(names)
    return Offered(None, {name: _of_upstream(CommandInfo(name, parameters=None)) for name in names})

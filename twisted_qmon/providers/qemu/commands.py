"""
What a QEMU says of itself, and the commands and events that follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from twisted_qmon.core.events import Event
from twisted_qmon.errors import CommandError, CommandNotFound, GenericError
from twisted_qmon.info import UPSTREAM, CommandInfo
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qapi.schema import build_schema, commands_from_schema

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.info import JSON
    from twisted_qmon.providers.qemu.upstream import Upstream, UpstreamConnection

__all__ = ["HMC", "Description", "UpstreamCommands", "describe", "merge_schema"]

#: The command that runs a line of QEMU's own human monitor.
HMC = "human-monitor-command"

#: The lines of QEMU's human monitor whose output does not change: the console asks for them with each connection.
_HELP_LINES = ("help", "info")


@dataclass(slots=True)
class Description:
    """
    What a QEMU has.

    :ivar version: in the form of C{query-version}
    :ivar schema: the entries of C{query-qmp-schema}; empty if it has no such command
    :ivar infos: its commands
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


async def describe(connection: UpstreamConnection) -> Description:
    """
    Ask a QEMU for all that is needed to stand for it; and have it tell what happens to migrations.

    :raise CommandError: when it does not say
    """
    version = connection.session.version
    if version is None:
        version = (await connection.ask("query-version")).value
    description = Description(version)
    try:
        description.schema = (await connection.ask("query-qmp-schema")).value
    except CommandNotFound:
        # Older than 2.5, or something that is not quite a QEMU.
        names = (await connection.ask("query-commands")).value
        description.infos = {
            entry["name"]: CommandInfo(entry["name"], parameters=None, origin=UPSTREAM) for entry in names
        }
    else:
        _read_schema(description)
    if "migrate-set-capabilities" in description.infos:
        capabilities: list[JSON] = [{"capability": "events", "state": True}]
        # Refused while a migration is running; then it is set already, or L{Migration} has to poll.
        with suppress(CommandError):
            await connection.ask("migrate-set-capabilities", {"capabilities": capabilities})
    if HMC in description.infos:
        for line in _HELP_LINES:
            description.help[line] = await connection.ask(HMC, {"command-line": line})
    return description


def _read_schema(description: Description) -> None:
    try:
        infos = commands_from_schema(description.schema)
        description.infos = {name: replace(info, origin=UPSTREAM) for name, info in infos.items()}
        description.oob = frozenset(entry["name"] for entry in description.schema if entry.get("allow-oob") is True)
        description.events = tuple(entry["name"] for entry in description.schema if entry["meta-type"] == "event")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise GenericError(f"QEMU's schema makes no sense: {e!r}") from e


@implementer(ICommand)
class UpstreamCommand:
    """
    One of QEMU's commands. Its arguments are QEMU's to check, its result is passed on as it came.

    When its caller leaves, what is not sent yet is dropped and what is sent runs to its end, unheard: as on QEMU.
    """

    __slots__ = ("_execute", "info", "name", "on_disconnect", "oob", "timeout")

    def __init__(self, upstream: Upstream, info: CommandInfo, oob: bool) -> None:
        self._execute = upstream.execute
        self.name = info.name
        self.info = info
        self.oob = oob
        self.timeout: float | None = None
        self.on_disconnect = "cancel"

    def invoke(self, request: Any, arguments: dict[str, Any] | None) -> Any:
        return self._execute(self.name, arguments, request.caller, request.oob)

    def finish(self, result: Any) -> Any:
        return result


class KnownCommand(UpstreamCommand):
    """
    One whose answer is known here, for some arguments: it comes at once, whatever QEMU is busy with.

    :param answer: called with the arguments; returns the result, or C{None} where QEMU has to be asked
    """

    __slots__ = ("_answer",)

    def __init__(
        self,
        upstream: Upstream,
        info: CommandInfo,
        oob: bool,
        answer: Callable[[dict[str, Any] | None], JSONText | None],
    ) -> None:
        super().__init__(upstream, info, oob)
        self._answer = answer

    def invoke(self, request: Any, arguments: dict[str, Any] | None) -> Any:
        known = self._answer(arguments)
        return super().invoke(request, arguments) if known is None else known


@implementer(ICommandProvider)
class UpstreamCommands:
    """
    The commands and events of one QEMU, as a provider that covers ours of the same names.

    :param description: what it has
    :param monitor: the monitor they are registered with, for what is answered with its commands too
    """

    def __init__(self, upstream: Upstream, description: Description, monitor: Monitor) -> None:
        self._monitor = monitor
        self._description = description
        self._version = JSONText.of(description.version)
        self._merged: dict[str, tuple[Any, JSONText]] = {}
        self._more_events: list[Event] = []
        self.events: Sequence[Event] = [Event(name, check=False) for name in description.events]
        answers: dict[str, Callable[[dict[str, Any] | None], JSONText | None]] = {
            "query-version": lambda arguments: None if arguments else self._version,
            "query-commands": lambda arguments: None if arguments else self._commands(),
            HMC: self._help,
        }
        if description.schema:
            answers["query-qmp-schema"] = lambda arguments: None if arguments else self._schema()
        self._commands_list = [
            KnownCommand(upstream, info, name in description.oob, answers[name])
            if name in answers
            else UpstreamCommand(upstream, info, name in description.oob)
            for name, info in description.infos.items()
            # Each session negotiates with us.
            if name != "qmp_capabilities"
        ]

    def commands(self) -> Iterable[Any]:
        """:return: one for each of QEMU's"""
        return self._commands_list

    def define_event(self, name: str) -> None:
        """Define an event that happens although the schema does not have it."""
        event = Event(name, check=False)
        self._monitor.events.define([event])
        self._more_events.append(event)

    def forget_events(self) -> None:
        """Undo all L{define_event}."""
        self._monitor.events.remove(self._more_events)
        self._more_events.clear()

    def _help(self, arguments: dict[str, Any] | None) -> JSONText | None:
        if arguments is None or arguments.keys() != {"command-line"}:
            return None
        line = arguments["command-line"]
        return self._description.help.get(line) if isinstance(line, str) else None

    def _ours(self) -> list[Any]:
        active = self._monitor.registry.active.values()
        return [command for command in active if not isinstance(command, UpstreamCommand)]

    def _once(self, name: str, make: Callable[[], Any]) -> JSONText:
        """Encoded once, as long as the monitor's commands stay the same."""
        key = self._monitor.registry.infos()
        known = self._merged.get(name)
        if known is None or known[0] is not key:
            known = self._merged[name] = (key, JSONText.of(make()))
        return known[1]

    def _commands(self) -> JSONText:
        def make() -> list[dict[str, str]]:
            theirs = self._description.infos
            ours = [command.name for command in self._ours() if command.name not in theirs]
            return [{"name": name} for name in [*reversed(ours), *reversed(theirs)]]

        return self._once("commands", make)

    def _schema(self) -> JSONText:
        def make() -> list[dict[str, Any]]:
            theirs = set(self._description.events)
            ours = build_schema(
                [
                    (command.name, command.info, command.oob, ())
                    for command in self._ours()
                    if command.name not in self._description.infos
                ],
                [
                    (name, event.members)
                    for name, event in self._monitor.events.definitions.items()
                    if name not in theirs
                ],
            )
            return merge_schema(self._description.schema, ours)

        return self._once("schema", make)


_ARRAY = re.compile(r"(\[*)([^\[\]]*)(\]*)")


def merge_schema(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Put two schemas together. Types without names are numbered in each: ours get numbers that QEMU's don't have.

    :param theirs: QEMU's, which stays as it is
    :param ours: commands and events of other names, and their types
    """
    taken = {entry["name"] for entry in theirs}
    numbers = [int(name) for name in taken if name.isdecimal()]
    first_free = max(numbers, default=-1) + 1
    named = {entry["name"] for entry in ours if entry["meta-type"] in ("object", "enum", "alternate")}

    def rename(name: str) -> str:
        match = _ARRAY.fullmatch(name)
        if match is None or match[2] not in named:
            return name
        inner = str(int(match[2]) + first_free) if match[2].isdecimal() else f"{match[2]}-{first_free}"
        return f"{match[1]}{inner}{match[3]}"

    merged = list(theirs)
    for entry in ours:
        if entry["meta-type"] in ("command", "event"):
            entry = {**entry}
        else:
            name = rename(entry["name"])
            if name in taken:
                # A builtin type, or an array of one.
                continue
            entry = {**entry, "name": name}
        for key in ("arg-type", "ret-type", "element-type"):
            if key in entry:
                entry[key] = rename(entry[key])
        for key in ("members", "variants"):
            if key in entry:
                entry[key] = [
                    {**member, "type": rename(member["type"])} if "type" in member else member for member in entry[key]
                ]
        merged.append(entry)
    return merged

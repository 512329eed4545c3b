"""
C{qmon ADDRESS commands | schema NAME | whoami}: what the server can do, and as whom it knows the caller.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from twisted_qmon._text import columns
from twisted_qmon.errors import CommandNotFound
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.client import Client, connect
from twisted_qmon.shell.errors import Failed
from twisted_qmon.shell.oneshot.schema import Entries, Entry, read_schema
from twisted_qmon.shell.options import Parser, add_format
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted_qmon.info import JSON, CommandInfo, ParameterInfo, TypeInfo

__all__ = ["entries_of", "outline", "run_commands", "run_schema", "run_whoami"]


def run_commands(address: Destination, words: list[str]) -> int:
    """List the commands that a server has."""
    parser = Parser("commands", "List the commands of the server.")
    parser.add_argument(
        "pattern", metavar="PATTERN", nargs="?", default="", help="a part of the name, or a pattern with * and ?"
    )
    add_format(parser)
    options = parser.parse_args(words)
    with connect(address) as client:
        infos = _commands(client)
    found = [
        info
        for info in sorted(infos.values(), key=lambda info: info.name)
        if not info.hidden and _matches(info.name, options.pattern)
    ]
    output = Output(options.as_json)
    if output.as_json:
        output.rows([{"name": info.name, "params": info.params, "help": info.help} for info in found])
    else:
        rows = [(f"{info.name} {info.params}".rstrip(), info.help) for info in found]
        output.write("".join(f"{line}\n" for line in columns([("command", "help"), *rows], (False, False))))
    return 0


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if any(c in pattern for c in "*?[") else pattern in name


def _commands(client: Client) -> dict[str, CommandInfo]:
    from twisted_qmon.qapi.schema import commands_from_schema, info_from_json

    try:
        described: Any = client.execute("query-command-help")
    except CommandNotFound:
        return commands_from_schema(read_schema(client))
    return {info.name: info for info in map(info_from_json, described)}


def run_schema(address: Destination, words: list[str]) -> int:
    """Show what a command takes and returns, or what an event has."""
    parser = Parser("schema", "Show the arguments and the result of a command, or the data of an event.")
    parser.add_argument("name", metavar="NAME", help="of a command or an event")
    add_format(parser)
    options = parser.parse_args(words)
    with connect(address) as client:
        schema = read_schema(client)
    found = entries_of(schema, options.name)
    if not found:
        names = [entry["name"] for entry in schema if entry.get("meta-type") in ("command", "event")]
        close = difflib.get_close_matches(options.name, names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise Failed(f"the server has no command or event {options.name!r}{hint}")
    output = Output(options.as_json)
    output.result(found if output.as_json else outline(found))
    return 0


def entries_of(schema: Iterable[Entry], name: str) -> Entries:
    """
    :param schema: what C{query-qmp-schema} gave
    :param name: of a command or an event
    :return: its entry, and those of all types that it refers to; empty if there is none
    """
    commands: dict[str, Entry] = {}
    types: dict[str, Entry] = {}
    for entry in schema:
        (commands if entry.get("meta-type") in ("command", "event") else types)[entry["name"]] = entry
    if name not in commands:
        return []
    found = {"": commands[name]}
    waiting = [commands[name]]
    while waiting:
        for reference in _references(waiting.pop()):
            if reference in types and reference not in found:
                found[reference] = types[reference]
                waiting.append(types[reference])
    return list(found.values())


def _references(entry: Entry) -> Iterable[str]:
    for key in ("arg-type", "ret-type", "element-type"):
        if key in entry:
            yield entry[key]
    if entry.get("meta-type") in ("object", "alternate"):
        for member in (*entry.get("members", ()), *entry.get("variants", ())):
            yield member["type"]


def outline(entries: Entries) -> dict[str, JSON]:
    """
    :param entries: of a command or an event, as L{entries_of} returns them
    :return: the same for a person: types in the place where they are used
    """
    from twisted_qmon.qapi.schema import commands_from_schema

    entry, *types = entries
    # To the reader of schemas an event is a command without a result.
    [info] = commands_from_schema([{"ret-type": "", **entry, "meta-type": "command"}, *types]).values()
    is_event = entry["meta-type"] == "event"
    shown: dict[str, JSON] = {str(entry["meta-type"]): entry["name"]}
    for key in ("allow-oob", "features"):
        if entry.get(key):
            shown[key] = entry[key]
    if info.boxed is not None:
        shown["arguments"] = _type(info.boxed, ())
    else:
        shown["data" if is_event else "arguments"] = _members(info.parameters, ())
    if info.returns is not None and not is_event:
        shown["returns"] = _type(info.returns, ())
    return shown


def _type(kind: TypeInfo, outer: tuple[TypeInfo, ...]) -> JSON:
    if kind in outer:
        return "(as above)"
    inner = (*outer, kind)
    if kind.kind == "enum":
        return "|".join(kind.values)
    if kind.kind == "list":
        element = _type(kind.element, inner) if kind.element is not None else "any"
        return f"[{element}]" if isinstance(element, str) else {"list of": element}
    if kind.kind == "alternate":
        return {f"or {number}": _type(option, inner) for number, option in enumerate(kind.options, 1)}
    if kind.kind != "object":
        return kind.kind
    if kind.tag:
        return {
            f"{kind.tag}={option.members and _case(option, kind.tag)}": _members(option.members, inner)
            for option in kind.options
        }
    return _members(kind.members, inner)


def _case(option: TypeInfo, tag: str) -> str:
    return next("|".join(member.type.values) for member in option.members or () if member.name == tag)


def _members(members: tuple[ParameterInfo, ...] | None, outer: tuple[TypeInfo, ...]) -> dict[str, JSON]:
    return {
        f"{member.name}{' (optional)' if member.optional else ''}": _type(member.type, outer)
        for member in members or ()
    }


def run_whoami(address: Destination, words: list[str]) -> int:
    """Show the identity and the level that the server gives the caller."""
    parser = Parser("whoami", "Show as whom the server knows this caller, and what it may do.")
    add_format(parser)
    options = parser.parse_args(words)
    with connect(address) as client:
        Output(options.as_json).result(client.run("query-whoami"))
    return 0

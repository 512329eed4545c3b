"""
Commands described in JSON: what C{query-command-help} answers, written and read.

::

    {"name": "balloon", "parameters": [{"name": "value", "type": {"kind": "size"}}], "args-type": "value:M",
     "params": "value", "help": "...", "returns": {"kind": "object", "members": []}}

Members that say nothing (no help, no aliases...) are left out; C{parameters} is left out where any are taken. A type that was
described already, in the same command, is an object or alternate with its name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import JSON, CommandInfo, Level, ParameterInfo, TypeInfo, default_level
from twisted_qmon.qapi.args_type import parse_args_type

__all__ = ["info_from_json", "info_to_json"]

#: Kinds that a reference can stand for.
_NAMED = ("object", "alternate")

_Known = dict[tuple[str, str], TypeInfo]

#: A description that came from elsewhere: nothing is known of it.
_Described: TypeAlias = Mapping[str, Any]


def info_to_json(info: CommandInfo) -> dict[str, JSON]:
    """:return: the command's description as plain JSON data"""
    known: _Known = {}
    described: dict[str, JSON] = {"name": info.name}
    if info.parameters is not None:
        described["parameters"] = [_write_member(member, known) for member in info.parameters]
    if info.args_type is not None:
        described["args-type"] = info.args_type
    for key in ("params", "help", "doc", "origin", "confirm", "hidden", "completes"):
        if value := getattr(info, key):
            described[key] = value
    if info.printer is not None or info.printed:
        described["printer"] = True
    if info.aliases:
        described["aliases"] = list(info.aliases)
    level = info.need.level
    if level is not default_level(info.name):
        described["level"] = str(level)
    if info.boxed is not None:
        described["boxed"] = _write_type(info.boxed, known)
    if info.returns is not None:
        described["returns"] = _write_type(info.returns, known)
    return described


def _write_member(member: ParameterInfo, known: _Known) -> dict[str, JSON]:
    described: dict[str, JSON] = {"name": member.name, "type": _write_type(member.type, known)}
    if member.optional:
        described["optional"] = True
    return described


def _write_type(info: TypeInfo, known: _Known) -> dict[str, JSON]:
    described: dict[str, JSON] = {"kind": info.kind}
    if info.name:
        described["name"] = info.name
        if info.kind in _NAMED:
            key = (info.kind, info.name)
            if known.get(key) is info:
                return described
            known[key] = info
    if info.values:
        described["values"] = list(info.values)
    if info.element is not None:
        described["element"] = _write_type(info.element, known)
    if info.members is not None:
        described["members"] = [_write_member(member, known) for member in info.members]
    if info.options:
        described["options"] = [_write_type(option, known) for option in info.options]
    if info.tag:
        described["tag"] = info.tag
    return described


def info_from_json(described: _Described) -> CommandInfo:
    """
    :param described: what L{info_to_json} made, perhaps elsewhere and of another version: what is not understood is passed over
    :raise ValueError: when it is not even nearly such a description
    """
    known: _Known = {}
    try:
        parameters = None
        if "parameters" in described:
            parameters = tuple(_read_member(member, known) for member in described["parameters"])
        args_type = described.get("args-type")
        items = None
        if args_type is not None:
            try:
                items = parse_args_type(args_type)
            except RegistrationError:
                args_type = None  # of a version that knows more letters: the parameters tell enough
        boxed = described.get("boxed")
        boxed = None if boxed is None else _read_type(boxed, known)
        returns = described.get("returns")
        return CommandInfo(
            name=str(described["name"]),
            parameters=parameters,
            args_type=args_type,
            items=items,
            params=str(described.get("params", "")),
            help=str(described.get("help", "")),
            aliases=tuple(str(alias) for alias in described.get("aliases", ())),
            hidden=described.get("hidden") is True,
            confirm=str(described.get("confirm", "")),
            doc=str(described.get("doc", "")),
            returns=None if returns is None else _read_type(returns, known),
            boxed=boxed,
            origin=str(described.get("origin", "")),
            completes=described.get("completes") is True,
            level=_read_level(described),
            printed=described.get("printer") is True,
        )
    except (AttributeError, KeyError, TypeError, RecursionError) as e:
        raise ValueError(f"not the description of a command: {type(e).__name__} {e}") from e


def _read_level(described: _Described) -> Level | None:
    # Of a version that knows more levels: the default does as well, for who may run it is for its server to say.
    with suppress(ValueError):
        return Level.of(described.get("level", ""))
    return None


def _read_member(described: _Described, known: _Known) -> ParameterInfo:
    return ParameterInfo(
        str(described["name"]), _read_type(described["type"], known), described.get("optional") is True
    )


def _read_type(described: _Described, known: _Known) -> TypeInfo:
    kind, name = str(described["kind"]), str(described.get("name", ""))
    if kind in _NAMED and name:
        key = (kind, name)
        if not described.keys() & {"members", "options", "element"} and key in known:
            return known[key]
        info = known[key] = TypeInfo(kind, name)
    else:
        info = TypeInfo(kind, name)
    info.values = tuple(str(value) for value in described.get("values", ()))
    if "element" in described:
        info.element = _read_type(described["element"], known)
    if "members" in described:
        info.members = tuple(_read_member(member, known) for member in described["members"])
    info.options = tuple(_read_type(option, known) for option in described.get("options", ()))
    info.tag = str(described.get("tag", ""))
    return info

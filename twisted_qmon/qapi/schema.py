"""
C{query-qmp-schema} out of commands and events, in QEMU's format; and commands back out of a schema.

Types of ours have no names that a client should rely on, so they are masked with numbers as in QEMU: C{"0"} is the
object without members, the others are numbered by first use. What QAPI has no type for is shown as what comes nearest: an
object with any members (C{dict}, or the arguments of a command that takes any) as C{"0"}, every integer as C{int}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from twisted_qmon.info import JSON, CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.qapi.describe import info_from_json, info_to_json
from twisted_qmon.qapi.types.unions import all_members

__all__ = ["build_schema", "commands_from_schema", "info_from_json", "info_to_json"]

_JSON_TYPES = {"str": "string", "int": "int", "number": "number", "bool": "boolean", "null": "null", "any": "value"}
_EMPTY = TypeInfo("object", members=())


class _Typed(Protocol):
    """What has a command's types: L{CommandInfo} has, and so has a signature."""

    @property
    def parameters(self) -> tuple[ParameterInfo, ...] | None: ...
    @property
    def returns(self) -> TypeInfo | None: ...
    @property
    def boxed(self) -> TypeInfo | None: ...


def build_schema(
    commands: Iterable[tuple[str, _Typed, bool, Iterable[str]]],
    events: Iterable[tuple[str, Sequence[ParameterInfo]]],
) -> list[dict[str, JSON]]:
    """
    Describe commands and events.

    :param commands: name, parameters and result, whether it may be executed out of band, features
    :param events: name and members
    :return: the entries of C{query-qmp-schema}: commands, events, then the types that they use, breadth first
    """
    types = _Types()
    entries: list[dict[str, JSON]] = []
    for name, typed, oob, features in commands:
        entry: dict[str, JSON] = {
            "name": name,
            "meta-type": "command",
            "arg-type": types.use(typed.boxed) if typed.boxed else types.use_members(typed.parameters),
            "ret-type": types.use(typed.returns or TypeInfo("any")),
        }
        if oob:
            entry["allow-oob"] = True
        if features := list(features):
            entry["features"] = features
        entries.append(entry)
    for name, members in events:
        entries.append({"name": name, "meta-type": "event", "arg-type": types.use_members(tuple(members))})
    return entries + types.entries()


class _Types:
    """The types in use: equal ones are one, and each has its name."""

    def __init__(self) -> None:
        self._used: list[TypeInfo] = []
        self._names: dict[int, str] = {}
        self._alike: dict[tuple[object, ...], list[TypeInfo]] = {}
        self._number = 0
        self.use(_EMPTY)

    def use_members(self, members: tuple[ParameterInfo, ...] | None) -> str:
        return self.use(TypeInfo("object", members=members))

    def use(self, info: TypeInfo) -> str:
        """:return: the type's name; from now on it is one of the entries"""
        info = self._canonical(_plain(info))
        name = self._names.get(id(info))
        if name is None:
            self._used.append(info)
            if info.kind in _JSON_TYPES:
                name = info.kind
            elif info.kind == "list":
                name = f"[{self.use(info.element or TypeInfo('any'))}]"
            else:
                name = str(self._number)
                self._number += 1
            self._names[id(info)] = name
        return name

    def _canonical(self, info: TypeInfo) -> TypeInfo:
        candidates = self._alike.setdefault(_outline(info), [])
        for other in candidates:
            if _same(info, other, set()):
                return other
        candidates.append(info)
        return info

    def entries(self) -> list[dict[str, JSON]]:
        """:return: the entries of the types; describing one may use more, which come after it"""
        entries = []
        done = 0
        while done < len(self._used):
            info = self._used[done]
            done += 1
            entries.append({"name": self._names[id(info)], **self._describe(info)})
        return entries

    def _describe(self, info: TypeInfo) -> dict[str, JSON]:
        if info.kind in _JSON_TYPES:
            return {"meta-type": "builtin", "json-type": _JSON_TYPES[info.kind]}
        if info.kind == "list":
            return {"meta-type": "array", "element-type": self.use(info.element or TypeInfo("any"))}
        if info.kind == "enum":
            # The second form is older, and clients still read it.
            return {
                "meta-type": "enum",
                "members": [{"name": value} for value in info.values],
                "values": list(info.values),
            }
        if info.kind == "alternate":
            return {"meta-type": "alternate", "members": [{"type": self.use(option)} for option in info.options]}
        entry: dict[str, JSON] = {
            "meta-type": "object",
            "members": [self._member(member) for member in info.members or ()],
        }
        if info.tag:
            entry["tag"] = info.tag
            entry["variants"] = [{"case": case, "type": self.use(rest)} for case, rest in _variants(info)]
        return entry

    def _member(self, member: ParameterInfo) -> dict[str, JSON]:
        entry: dict[str, JSON] = {"name": member.name, "type": self.use(member.type)}
        if member.optional:
            entry["default"] = None
        return entry


def _plain(info: TypeInfo) -> TypeInfo:
    """The type as QAPI has it: integers without width, objects with any members without any."""
    if info.kind in ("int", "size"):
        return TypeInfo("int")
    if info.kind == "object" and not info.members and not info.tag:
        return _EMPTY
    return info


def _variants(info: TypeInfo) -> list[tuple[str, TypeInfo]]:
    """The values of a flat union's tag, each with the members that are its variant's own."""
    common = {member.name for member in info.members or ()}
    variants: list[tuple[str, TypeInfo]] = []
    for option in info.options:
        members = option.members or ()
        rest = TypeInfo("object", option.name, members=tuple(m for m in members if m.name not in common))
        tag = next(member for member in members if member.name == info.tag)
        variants.extend((value, rest) for value in tag.type.values)
    return variants


def _outline(info: TypeInfo) -> tuple[object, ...]:
    members = None if info.members is None else tuple((member.name, member.optional) for member in info.members)
    return info.kind, info.name, info.values, info.tag, members, len(info.options)


def _same(one: TypeInfo, other: TypeInfo, assumed: set[tuple[int, int]]) -> bool:
    """Whether two types, which may refer to themselves, have no difference: those under comparison are taken to be equal."""
    one, other = _plain(one), _plain(other)
    pair = (id(one), id(other))
    if one is other or pair in assumed:
        return True
    if _outline(one) != _outline(other):
        return False
    assumed.add(pair)
    if not all(_same(a.type, b.type, assumed) for a, b in zip(one.members or (), other.members or (), strict=True)):
        return False
    if not all(_same(a, b, assumed) for a, b in zip(one.options, other.options, strict=True)):
        return False
    if one.element is None or other.element is None:
        return one.element is other.element
    return _same(one.element, other.element, assumed)


# -- the way back

#: An entry of a schema that came from elsewhere: nothing is known of it.
_Entry: TypeAlias = Mapping[str, Any]


def commands_from_schema(schema: Iterable[_Entry]) -> dict[str, CommandInfo]:
    """
    What a client can know of a server's commands when the schema is all there is.

    Of a command whose arguments are a flat union, the members of all variants are parameters, those of one variant
    only as optional ones. A type that the schema does not have is taken for any.

    :param schema: what C{query-qmp-schema} gave
    :return: by name, in the order of the schema
    """
    entries = {entry["name"]: entry for entry in schema if isinstance(entry.get("name"), str)}
    reader = _SchemaReader({name: entry for name, entry in entries.items() if entry.get("meta-type") in _TYPES})
    commands = {}
    for entry in schema:
        if entry.get("meta-type") == "command":
            parameters, open_end = reader.parameters(str(entry.get("arg-type")))
            shown = [p.name for p in parameters if not p.optional]
            shown += ["[...]"] if open_end else [f"[{p.name}]" for p in parameters if p.optional]
            commands[entry["name"]] = CommandInfo(
                name=entry["name"],
                parameters=parameters,
                boxed=reader.type(str(entry.get("arg-type"))) if open_end else None,
                params=" ".join(shown),
                returns=reader.type(str(entry.get("ret-type"))),
            )
    return commands


_TYPES = frozenset({"builtin", "enum", "array", "object", "alternate"})
_KINDS = {json_type: kind for kind, json_type in _JSON_TYPES.items()}


class _SchemaReader:
    """Makes type descriptions of a schema's entries, one of each."""

    def __init__(self, entries: Mapping[str, _Entry]) -> None:
        self._entries = entries
        self._types: dict[str, TypeInfo] = {}

    def type(self, name: str) -> TypeInfo:
        """:return: the type of that name"""
        if name not in self._types:
            entry = self._entries.get(name, {"meta-type": "builtin", "json-type": "value"})
            kind = str(entry["meta-type"])
            if kind == "builtin":
                kind = _KINDS.get(entry.get("json-type", ""), "any")
            elif kind == "array":
                kind = "list"
            # Before it is filled: types refer to themselves.
            info = self._types[name] = TypeInfo(kind, "" if kind in _JSON_TYPES or kind == "list" else name)
            self._fill(info, entry)
        return self._types[name]

    def _fill(self, info: TypeInfo, entry: _Entry) -> None:
        if info.kind == "enum":
            members = entry.get("members")
            info.values = tuple(m["name"] for m in members) if members else tuple(entry.get("values", ()))
        elif info.kind == "list":
            info.element = self.type(entry["element-type"])
        elif info.kind == "alternate":
            info.options = tuple(self.type(member["type"]) for member in entry["members"])
        elif info.kind == "object":
            info.members = tuple(
                ParameterInfo(member["name"], self.type(member["type"]), "default" in member)
                for member in entry["members"]
            )
            if "tag" in entry:
                info.tag = entry["tag"]
                info.options = tuple(self._variant(info, variant) for variant in entry.get("variants", ()))

    def _variant(self, union: TypeInfo, variant: _Entry) -> TypeInfo:
        own = TypeInfo("object", variant["type"])
        tag = TypeInfo("enum", values=(variant["case"],))
        common = tuple(
            ParameterInfo(member.name, tag) if member.name == union.tag else member for member in union.members or ()
        )
        own.members = common + (self.type(variant["type"]).members or ())
        return own

    def parameters(self, name: str) -> tuple[tuple[ParameterInfo, ...], bool]:
        """:return: the arguments of that type; and whether there are more than those of the type itself, by variant"""
        info = self.type(name)
        return all_members(info), bool(info.options)

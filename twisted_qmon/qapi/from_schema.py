"""
Types out of a QMP schema: what a server that is elsewhere, or was recorded, takes and gives.

A schema does not say everything. The names of its types are masked, and each of its integers is C{int}. What is known beyond it
is a L{SchemaDetails}. Without that an integer is any of 64 bits, and an alternate has the name that the schema has for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from twisted_qmon.info import JSON, TypeInfo
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.containers import ListType
from twisted_qmon.qapi.types.errors import ArgumentError
from twisted_qmon.qapi.types.marks import Width
from twisted_qmon.qapi.types.objects import DictType, Member
from twisted_qmon.qapi.types.plain import INT_LOW, UINT_HIGH
from twisted_qmon.qapi.types.scalars import (
    AnyType,
    BoolType,
    EnumType,
    IntType,
    NullType,
    NumberType,
    StrType,
)
from twisted_qmon.qapi.types.unions import AlternateType

__all__ = ["SchemaDetails", "SchemaTypes", "UnsignedType"]

_Entry: TypeAlias = Mapping[str, JSON]


@dataclass
class SchemaDetails:
    """
    What a server's error texts show, and its schema does not.

    :ivar unsigned: members that are unsigned integers: C{"TYPE.MEMBER"}, in the schema's names; C{"[TYPE]"}: the elements of such
        lists
    :ivar alternates: the real names of alternates, by the schema's
    :ivar complete: all other integers are known to be signed
    :ivar open: commands that take arguments which the schema does not have
    """

    unsigned: frozenset[str] = frozenset()
    alternates: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False
    open: frozenset[str] = frozenset({"device_add"})


class UnsignedType(Type):
    """
    An unsigned integer as QEMU reads it: a negative one is taken, and wraps around.
    """

    kinds = frozenset({"integer"})
    info = TypeInfo("int", "uint64")

    def decode(self, value: JSON) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and INT_LOW <= value <= UINT_HIGH:
            return value
        raise ArgumentError("Parameter '", "' expects uint64")


class OpenType(DictType):
    """An object whose members are those that are declared, and any others."""

    def _decode_other(self, name: str, value: JSON, found: dict[str, object]) -> None:
        found[name] = value


class UnionType(Type):
    """
    A flat union, which is read as QEMU reads it: first the members that all variants have, in their order, then those of the
    variant that the tag says.

    :param name: the schema's name for it
    """

    kinds = frozenset({"object"})

    def __init__(self, name: str) -> None:
        self.info = TypeInfo("object", name)
        self._tag = ""
        self._common = DictType(dict)
        self._variants: dict[str, DictType] = {}

    def complete(self, tag: str, common: Sequence[Member], variants: Mapping[str, Sequence[Member]]) -> None:
        """
        Set the members.

        :param tag: the member that says which variant it is
        :param common: the members that all have
        :param variants: the further members, by the value of the tag
        """
        self._tag = tag
        self._common.complete(common)
        for case, members in variants.items():
            variant = self._variants[case] = DictType(dict)
            variant.complete([*common, *members])

    def decode(self, value: JSON) -> object:
        tag = value.get(self._tag) if isinstance(value, Mapping) else None
        return (self._variants.get(tag, self._common) if isinstance(tag, str) else self._common).decode(value)


_BUILTIN = {"string": StrType, "number": NumberType, "boolean": BoolType, "null": NullType, "value": AnyType}
_NOTHING: _Entry = {"meta-type": "object", "members": []}
_ANY: _Entry = {"meta-type": "builtin", "json-type": "value"}


class SchemaTypes:
    """
    The types of a schema, each made when it is first asked for.

    :param entries: what C{query-qmp-schema} gave
    :param details: what is known beyond it
    :ivar commands: its commands by name
    :ivar events: its events by name
    """

    def __init__(self, entries: Iterable[_Entry], details: SchemaDetails | None = None) -> None:
        self.details = SchemaDetails() if details is None else details
        self.commands: dict[str, _Entry] = {}
        self.events: dict[str, _Entry] = {}
        self._entries: dict[str, _Entry] = {}
        for entry in entries:
            kind = entry.get("meta-type")
            where = self.commands if kind == "command" else self.events if kind == "event" else self._entries
            where[str(entry["name"])] = entry
        self._types: dict[str, Type] = {}
        self._unsigned = UnsignedType()
        self._open: dict[str, Type] = {}

    def arguments(self, command: str) -> Type:
        """
        :return: the type of a command's arguments
        :raise KeyError: when there is no such command
        """
        name = str(self.commands[command]["arg-type"])
        if command not in self.details.open:
            return self.type(name)
        if command not in self._open:
            made = self._open[command] = OpenType(dict)
            made.complete(self._members(name))
        return self._open[command]

    def result(self, command: str) -> Type:
        """
        :return: the type of what a command returns
        :raise KeyError: when there is no such command
        """
        return self.type(str(self.commands[command]["ret-type"]))

    def data(self, event: str) -> Type:
        """
        :return: the type of an event's data
        :raise KeyError: when there is no such event
        """
        return self.type(str(self.events[event]["arg-type"]))

    def entry(self, name: str) -> _Entry:
        """:return: the schema's entry of a type; that of C{any} for one that it does not have"""
        return self._entries.get(name, _ANY)

    def type(self, name: str) -> Type:
        """:return: the type of that name; any value for one that the schema does not have"""
        known = self._types.get(name)
        return self._make(name, self.entry(name)) if known is None else known

    def _make(self, name: str, entry: _Entry) -> Type:
        kind = entry["meta-type"]
        made: Type
        if kind == "builtin":
            made = self._builtin(str(entry.get("json-type")))
        elif kind == "enum":
            made = EnumType({value: value for value in _values(entry)})
        elif kind == "array":
            element = str(entry["element-type"])
            unsigned = f"[{element}]" in self.details.unsigned or name in self.details.unsigned
            made = ListType(self._unsigned if unsigned else self.type(element))
        elif kind == "alternate":
            options = [self.type(str(member["type"])) for member in _list(entry, "members")]
            made = AlternateType(options, self.details.alternates.get(name, name), name)
        else:
            return self._object(name, entry)
        # An alternate or a list that contains itself does so within an object, and is known by then.
        return self._types.setdefault(name, made)

    def _builtin(self, json_type: str) -> Type:
        if json_type == "int":
            # Which width it has is not said.
            return IntType() if self.details.complete else IntType(Width("int", INT_LOW, UINT_HIGH))
        return _BUILTIN.get(json_type, AnyType)()

    def _object(self, name: str, entry: _Entry) -> Type:
        if "tag" not in entry:
            # Before its members, which may be of its own type.
            made = self._types[name] = DictType(dict)
            made.complete(self._members(name))
            return made
        union = self._types[name] = UnionType(name)
        variants = {str(each["case"]): self._members(str(each["type"])) for each in _list(entry, "variants")}
        union.complete(str(entry["tag"]), self._members(name), variants)
        return union

    def _members(self, name: str) -> list[Member]:
        entry = self._entries.get(name, _NOTHING)
        return [self._member(name, member) for member in _list(entry, "members")]

    def _member(self, owner: str, member: _Entry) -> Member:
        name = str(member["name"])
        unsigned = f"{owner}.{name}" in self.details.unsigned
        return Member(
            name, name, self._unsigned if unsigned else self.type(str(member["type"])), optional="default" in member
        )


def _list(entry: _Entry, name: str) -> Sequence[_Entry]:
    return cast("Sequence[_Entry]", entry.get(name, ()))


def _values(entry: _Entry) -> list[str]:
    members = _list(entry, "members")
    return [str(member["name"]) for member in members] if members else [str(v) for v in _list(entry, "values")]

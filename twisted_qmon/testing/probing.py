"""
Requests that a server refuses, made out of its schema; and what their errors tell that the schema does not: which integers are
unsigned, and the names of alternates.

Each request has one thing wrong, as far inside as it takes to reach a member, and valid arguments before it. QEMU reads arguments
before it executes anything: so each is refused, and nothing happens.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from twisted_qmon.qapi.from_schema import SchemaDetails, SchemaTypes

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["MAX_DEPTH", "Refused", "probe_details", "refused_requests"]

#: How deep a value may be that is made to stand before what is looked at.
MAX_DEPTH = 6

#: Executes a command with arguments that will be refused, and gives the text of the error; empty if there was none.
Refuse: TypeAlias = "Callable[[str, Mapping[str, JSON]], str]"

#: Puts a value where a type is reached, and gives the arguments around it.
_Around: TypeAlias = "Callable[[JSON], Mapping[str, JSON]]"

_UNSIGNED = re.compile(r"' expects uint64$")
_EXPECTED = re.compile(r"', expected: (\w+)$")

# A value of each JSON type, to find one that a type does not take.
_OF_KIND: Mapping[str, JSON] = {
    "boolean": True,
    "array": [],
    "null": None,
    "integer": 1,
    "number": 1.5,
    "string": "no-such-value",
    "object": {},
}

_NESTED = frozenset({"object", "alternate", "array"})


@dataclass(frozen=True)
class Refused:
    """
    A request that is refused.

    :ivar command: the command
    :ivar what: what is wrong: the type of the schema that it is, or C{"TYPE.MEMBER"}
    :ivar kind: the JSON type of a builtin type (C{"int"}), else the meta-type, of what has a wrong value; empty for other faults
    :ivar arguments: the arguments
    """

    command: str
    what: str
    kind: str
    arguments: Mapping[str, JSON]


class _Walk:
    """The types that can be reached through arguments, each looked at once, the nearest first."""

    def __init__(self, types: SchemaTypes) -> None:
        self._types = types
        self._seen: set[str] = set()
        self._waiting: deque[tuple[str, str, _Around]] = deque()

    def requests(self) -> Iterator[Refused]:
        """:return: all requests"""
        for name, entry in self._types.commands.items():
            if name in self._types.details.open or name == "qmp_capabilities":
                continue
            # Each command by itself: its own arguments are looked at, whatever has the same type.
            yield from self._object(name, str(entry["arg-type"]), _as_arguments, nested=False)
        while self._waiting:
            command, name, around = self._waiting.popleft()
            kind = self._types.entry(name)["meta-type"]
            if kind == "object":
                yield from self._object(command, name, around, nested=True)
            elif kind == "alternate":
                yield from self._alternate(command, name, around)
            else:
                element = str(self._types.entry(name)["element-type"])
                yield from self._member(command, name, element, _in_list(around))

    def _reach(self, command: str, name: str, around: _Around) -> None:
        if name not in self._seen and self._types.entry(name)["meta-type"] in _NESTED:
            self._seen.add(name)
            self._waiting.append((command, name, around))

    def _object(self, command: str, name: str, around: _Around, *, nested: bool) -> Iterator[Refused]:
        entry = self._types.entry(name)
        before: dict[str, JSON] = {}
        yield from self._members(command, name, before, around)
        for variant in _list(entry, "variants"):
            # Those of the variant come after the common ones.
            with_tag = {**before, str(entry["tag"]): variant["case"]}
            yield from self._members(command, str(variant["type"]), with_tag, around)
        if any("default" not in member for member in _list(entry, "members")):
            yield Refused(command, name, "", around({}))
        # An object without members may be one that takes any.
        if nested and _list(entry, "members") and "tag" not in entry:
            with suppress(_Unknown):
                valid = cast("Mapping[str, JSON]", self._valid(name, 0))
                yield Refused(command, name, "", around({**valid, "no-such-member": 1}))

    def _members(self, command: str, owner: str, before: dict[str, JSON], around: _Around) -> Iterator[Refused]:
        """
        Look at the members of a type, or of a variant.

        :param before: what is read before them; the required ones are added
        """
        for member in _list(self._types.entry(owner), "members"):
            name, type_ = str(member["name"]), str(member["type"])
            if name not in before:
                yield from self._member(command, f"{owner}.{name}", type_, _behind(dict(before), name, around))
            if "default" not in member and name not in before:
                try:
                    before[name] = self._valid(type_, 0)
                except _Unknown:
                    return

    def _member(self, command: str, full: str, name: str, around: _Around) -> Iterator[Refused]:
        entry = self._types.entry(name)
        kind = str(entry.get("json-type", entry["meta-type"]))
        if kind != "alternate":
            wrong = self._wrong(name)
            if wrong is not None:
                yield Refused(command, full, kind, around(wrong[0]))
            if kind == "enum":
                yield Refused(command, full, kind, around("no-such-value"))
        self._reach(command, name, around)

    def _wrong(self, name: str) -> list[JSON] | None:
        """:return: a value that is not of a type, in a list; C{None}: there is none"""
        kinds = self._types.type(name).kinds
        if "string" not in kinds:
            return ["x"]
        return next(([value] for kind, value in _OF_KIND.items() if kind not in kinds), None)

    def _alternate(self, command: str, name: str, around: _Around) -> Iterator[Refused]:
        wrong = self._wrong(name)
        if wrong is not None:
            yield Refused(command, name, "alternate", around(wrong[0]))
        for option in _list(self._types.entry(name), "members"):
            self._reach(command, str(option["type"]), around)

    def _valid(self, name: str, depth: int) -> JSON:
        """
        :return: a value of a type, as small as can be
        :raise _Unknown: when none is found
        """
        entry = self._types.entry(name)
        kind = entry["meta-type"]
        if depth > MAX_DEPTH:
            raise _Unknown
        if kind == "builtin":
            return _SMALL.get(str(entry["json-type"]))
        if kind == "enum":
            return self._types.type(name).info.values[0]
        if kind == "array":
            return []
        if kind == "alternate":
            return self._option(entry, depth)
        value: dict[str, JSON] = {}
        for member in _list(entry, "members"):
            if "default" not in member:
                value[str(member["name"])] = self._valid(str(member["type"]), depth + 1)
        for variant in _list(entry, "variants"):
            if variant["case"] == value.get(str(entry["tag"])):
                rest = self._valid(str(variant["type"]), depth + 1)
                value.update(cast("Mapping[str, JSON]", rest))
        return value

    def _option(self, entry: Mapping[str, JSON], depth: int) -> JSON:
        for option in _list(entry, "members"):
            with suppress(_Unknown):
                return self._valid(str(option["type"]), depth + 1)
        raise _Unknown


def _as_arguments(value: JSON) -> Mapping[str, JSON]:
    return cast("Mapping[str, JSON]", value)


def _in_list(around: _Around) -> _Around:
    return lambda value: around([value])


def _behind(before: dict[str, JSON], name: str, around: _Around) -> _Around:
    """:return: puts a value where a member of that name is, behind other members"""
    return lambda value: around({**before, name: value})


class _Unknown(Exception):
    """No small value is of this type."""


_SMALL: Mapping[str, JSON] = {"string": "x", "int": 0, "number": 0, "boolean": False, "null": None, "value": 0}


def _list(entry: Mapping[str, JSON], name: str) -> Sequence[Mapping[str, JSON]]:
    return cast("Sequence[Mapping[str, JSON]]", entry.get(name, ()))


def refused_requests(types: SchemaTypes) -> Iterator[Refused]:
    """
    :param types: of a server's schema
    :return: requests that the server refuses because of their arguments: something of a wrong type for each argument of each
        command and each member of the types in them, required members that are missing, and members that there are not
    """
    return _Walk(types).requests()


def probe_details(schema: Sequence[Mapping[str, JSON]], refuse: Refuse) -> SchemaDetails:
    """
    :param schema: what the server answered to C{query-qmp-schema}
    :param refuse: executes a command there with arguments that it will refuse, and gives the text of the error
    :return: what is known beyond the schema
    """
    unsigned: set[str] = set()
    alternates: dict[str, str] = {}
    for request in refused_requests(SchemaTypes(schema)):
        if request.kind == "int" and request.what not in unsigned:
            if _UNSIGNED.search(refuse(request.command, request.arguments)):
                unsigned.add(request.what)
        elif request.kind == "alternate":
            found = _EXPECTED.search(refuse(request.command, request.arguments))
            if found is not None:
                alternates[request.what] = found[1]
    return SchemaDetails(frozenset(unsigned), alternates, complete=True)

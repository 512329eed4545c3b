"""
Finds out what a server's error texts show and its schema does not: which integers are unsigned, and the names of alternates.

Each request has one argument of a wrong type, as far inside as it takes to reach a member, and valid ones before it. QEMU reads
arguments before it executes anything: so each is refused, and nothing happens.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from twisted_qmon.qapi.from_schema import SchemaDetails, SchemaTypes

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["probe_details"]

#: Executes a command with arguments that will be refused, and gives the text of the error; empty if there was none.
Refuse: TypeAlias = "Callable[[str, Mapping[str, JSON]], str]"

#: Puts a value where a type is reached, and gives the arguments around it.
_Around: TypeAlias = "Callable[[JSON], Mapping[str, JSON]]"

_UNSIGNED = re.compile(r"' expects uint64$")
_EXPECTED = re.compile(r"', expected: (\w+)$")

# A value of each JSON type, to find one that an alternate does not take.
_OF_KIND: Mapping[str, JSON] = {"boolean": True, "array": [], "null": None, "integer": 1, "number": 1.5, "string": ""}


class _Prober:
    """The types that can be reached through arguments, each looked at once."""

    def __init__(self, types: SchemaTypes, refuse: Refuse) -> None:
        self._types = types
        self._refuse = refuse
        self._seen: set[str] = set()
        self._waiting: deque[tuple[str, str, _Around]] = deque()
        self.unsigned: set[str] = set()
        self.alternates: dict[str, str] = {}

    def run(self) -> None:
        """Look at everything, nearest first."""
        for name, entry in self._types.commands.items():
            if name not in self._types.details.open:
                self._reach(name, str(entry["arg-type"]), lambda value: cast("Mapping[str, JSON]", value))
        while self._waiting:
            command, name, around = self._waiting.popleft()
            kind = self._types.entry(name)["meta-type"]
            if kind == "object":
                self._object(command, name, around)
            elif kind == "alternate":
                self._alternate(command, name, around)
            else:
                self._array(command, name, around)

    def _reach(self, command: str, name: str, around: _Around) -> None:
        if name not in self._seen and self._types.entry(name)["meta-type"] in ("object", "alternate", "array"):
            self._seen.add(name)
            self._waiting.append((command, name, around))

    def _object(self, command: str, name: str, around: _Around) -> None:
        entry = self._types.entry(name)
        before: dict[str, JSON] = {}
        self._members(command, name, before, around)
        tag = entry.get("tag")
        for variant in _list(entry, "variants"):
            with_tag = {**before, str(tag): variant["case"]}
            # Those of the variant come after the common ones.
            self._members(command, str(variant["type"]), with_tag, around)

    def _members(self, command: str, owner: str, before: dict[str, JSON], around: _Around) -> None:
        """
        Look at the members of a type, or of a variant.

        :param before: what is read before them; the required ones are added
        """
        for member in _list(self._types.entry(owner), "members"):
            name, type_ = str(member["name"]), str(member["type"])

            self._member(command, f"{owner}.{name}", type_, _behind(dict(before), name, around))
            if "default" not in member:
                try:
                    before[name] = self._valid(type_, 0)
                except _Unknown:
                    return

    def _member(self, command: str, full: str, name: str, around: _Around) -> None:
        if self._types.entry(name).get("json-type") == "int":
            if _UNSIGNED.search(self._refuse(command, around("x"))):
                self.unsigned.add(full)
        else:
            self._reach(command, name, around)

    def _array(self, command: str, name: str, around: _Around) -> None:
        element = str(self._types.entry(name)["element-type"])
        self._member(command, name, element, lambda value: around([value]))

    def _alternate(self, command: str, name: str, around: _Around) -> None:
        taken = self._types.type(name).kinds
        for kind, value in _OF_KIND.items():
            if kind not in taken:
                found = _EXPECTED.search(self._refuse(command, around(value)))
                if found:
                    self.alternates[name] = found[1]
                break
        for option in _list(self._types.entry(name), "members"):
            self._reach(command, str(option["type"]), around)

    def _valid(self, name: str, depth: int) -> JSON:
        """:return: a value of a type, as small as can be"""
        entry = self._types.entry(name)
        kind = entry["meta-type"]
        if depth > 6:
            raise _Unknown
        if kind == "builtin":
            return _SMALL.get(str(entry["json-type"]))
        if kind == "enum":
            return str(_list(entry, "members")[0]["name"])
        if kind == "array":
            return []
        if kind == "alternate":
            return next(self._options(entry, depth))
        value: dict[str, JSON] = {}
        for member in _list(entry, "members"):
            if "default" not in member:
                value[str(member["name"])] = self._valid(str(member["type"]), depth + 1)
        if "tag" in entry:
            self._add_variant(value, entry, depth)
        return value

    def _add_variant(self, value: dict[str, JSON], entry: Mapping[str, JSON], depth: int) -> None:
        for variant in _list(entry, "variants"):
            if variant["case"] == value.get(str(entry["tag"])):
                rest = self._valid(str(variant["type"]), depth + 1)
                value.update(cast("Mapping[str, JSON]", rest))

    def _options(self, entry: Mapping[str, JSON], depth: int) -> Iterator[JSON]:
        for option in _list(entry, "members"):
            try:
                yield self._valid(str(option["type"]), depth + 1)
            except _Unknown:
                continue
        raise _Unknown


def _behind(before: dict[str, JSON], name: str, around: _Around) -> _Around:
    """:return: puts a value where a member of that name is, behind other members"""
    return lambda value: around({**before, name: value})


class _Unknown(Exception):
    """No small value is of this type."""


_SMALL: Mapping[str, JSON] = {"string": "x", "int": 0, "number": 0, "boolean": False, "null": None, "value": 0}


def _list(entry: Mapping[str, JSON], name: str) -> Sequence[Mapping[str, JSON]]:
    return cast("Sequence[Mapping[str, JSON]]", entry.get(name, ()))


def probe_details(schema: Sequence[Mapping[str, JSON]], refuse: Refuse) -> SchemaDetails:
    """
    :param schema: what the server answered to C{query-qmp-schema}
    :param refuse: executes a command there with arguments that it will refuse, and gives the text of the error
    :return: what is known beyond the schema
    """
    prober = _Prober(SchemaTypes(schema), refuse)
    prober.run()
    return SchemaDetails(frozenset(prober.unsigned), prober.alternates)

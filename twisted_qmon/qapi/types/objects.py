"""
Objects: several named members on the wire; in Python an instance of a class, a dictionary, or the arguments of a handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import JSON, ParameterInfo, TypeInfo
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.errors import ArgumentError, ResultError
from twisted_qmon.qapi.types.fast import Build, In, InStruct, Keywords, Out, out_struct

__all__ = ["ArgumentsType", "DictType", "Member", "ObjectType"]


class Member(msgspec.Struct, eq=False):
    """
    One member of an object, or one argument of a command.

    :ivar name: in Python
    :ivar wire: on the wire
    :ivar type: its type
    :ivar optional: it may be absent
    :ivar default: what stands for it in Python when it is absent; C{UNSET}: nothing does, it is left out
    :ivar default_factory: makes what stands for it, instead
    :ivar skip_none: C{None} in Python says that it is absent
    :ivar keyword: the constructor's or handler's name for it; empty: C{name}
    :ivar by_name: it can only be given by that name, not by its place
    """

    name: str
    wire: str
    type: Type
    optional: bool = False
    default: object = UNSET
    default_factory: Callable[[], object] | None = None
    skip_none: bool = False
    keyword: str = ""
    by_name: bool = False

    def __post_init__(self) -> None:
        self.keyword = self.keyword or self.name

    @property
    def info(self) -> ParameterInfo:
        """The member as plain data."""
        return ParameterInfo(self.wire, self.type.info, self.optional)

    @property
    def left_out(self) -> bool:
        """Nothing stands for it when it is absent."""
        return self.optional and self.default is UNSET and self.default_factory is None

    def absent(self) -> object:
        """:return: what stands for it when it is absent; C{UNSET}: nothing"""
        return self.default if self.default_factory is None else self.default_factory()


# A member on the way out: its name and that of the wire, C{encode} of its type, C{skip_none}, C{optional}.
_Row: TypeAlias = "tuple[str, str, Callable[[object], JSON], bool, bool]"

# What tells whether a member passes as it is: its name on the wire, C{passing} and C{passes} of its type, C{optional}.
_Pass: TypeAlias = "tuple[str, type | None, Callable[[Any], bool] | None, bool]"


class ObjectType(Type):
    """
    Objects that are instances of a class.

    It is complete when its members are known, which may be of this very type.

    :param cls: the class
    :ivar members: in declared order
    """

    kinds = frozenset({"object"})

    def __init__(self, cls: type) -> None:
        self.info = TypeInfo("object", cls.__name__)
        self.members: tuple[Member, ...] = ()
        self._class = cls
        self._wires: frozenset[str] = frozenset()
        self._rows: list[_Row] = []
        self._fast_in: In | None = None
        self._fast_out: Out | None = None
        self._knows_fast_out = False

    def complete(self, members: Sequence[Member]) -> None:
        """
        Set the members.

        :raise RegistrationError: when two have one name on the wire
        """
        self.members = tuple(members)
        self._wires = frozenset(member.wire for member in members)
        if len(self._wires) < len(members):
            names = ", ".join(member.wire for member in members)
            raise RegistrationError(f"two members have one name on the wire: {names}")
        self._rows = [(m.name, m.wire, m.type.encode, m.skip_none, m.optional) for m in members]
        self.info.members = tuple(member.info for member in members)

    # -- in

    def decode(self, value: JSON) -> object:
        return self._make(self._decode_members(value))

    def _make(self, found: Keywords) -> object:
        try:
            return self._class(**found)
        except ValueError as e:
            raise ArgumentError.refused(str(e)) from e

    def _decode_members(self, value: JSON) -> Keywords:
        """
        :return: the members' values, by the names for the constructor
        :raise ArgumentError: for the first member, in declared order, that is missing or wrong; then for the first one sent that
            is not declared
        """
        if not isinstance(value, Mapping):
            raise ArgumentError.kind("object")
        found: Keywords = {}
        for member in self.members:
            wire = member.wire
            if wire in value:
                try:
                    found[member.keyword] = member.type.decode(value[wire])
                except ArgumentError as e:
                    e.path.append(wire)
                    raise
            elif not member.optional:
                raise ArgumentError.missing(wire)
            elif not member.left_out:
                found[member.keyword] = member.absent()
        for name in value:
            if name not in self._wires:
                self._decode_other(name, value[name], found)
        return found

    def _decode_other(self, name: str, value: JSON, found: Keywords) -> None:
        raise ArgumentError.unexpected(name)

    def fast_in(self) -> In:
        if self._fast_in is None:
            # For members of this very type, which are met while the struct is made.
            self._fast_in = In(Any, self.decode)
            try:
                struct = InStruct(self.members)
            except (TypeError, ValueError):
                return self._fast_in
            self._fast_in = In(struct.struct, self._builder(struct))
        return self._fast_in

    def _builder(self, struct: InStruct) -> Build:
        make, values, keywords = self._class, struct.values, struct.keywords
        if any(member.by_name or member.left_out for member in self.members):
            return lambda made: make(**keywords(made))
        return lambda made: make(*values(made))

    # -- out

    def encode(self, value: object) -> JSON:
        if type(value) is not self._class and not isinstance(value, self._class):
            raise ResultError(f"expected a {self._class.__name__}, not {type(value).__name__}")
        result: dict[str, JSON] = {}
        wire = ""
        try:
            for name, wire, encode, skip_none, _ in self._rows:
                item = getattr(value, name)
                if item is not None or not skip_none:
                    result[wire] = encode(item)
        except ResultError as e:
            e.path.append(wire)
            raise
        except AttributeError:
            return self._encode_what_is_there(value)
        return result

    def _encode_what_is_there(self, value: object) -> JSON:
        """What C{encode} does, for an object that lacks an attribute."""
        for member in self.members:
            if not member.optional and not hasattr(value, member.name):
                raise ResultError("is missing", member.wire)
        rest = ObjectType(self._class)
        rest.complete([member for member in self.members if hasattr(value, member.name)])
        return rest.encode(value)

    def fast_out(self) -> Out | None:
        if not self._knows_fast_out:
            # While it is being made there is none, so there is none for what nests within itself.
            self._knows_fast_out = True
            self._fast_out = self._make_fast_out()
        return self._fast_out

    def _make_fast_out(self) -> Out | None:
        if issubclass(self._class, _BUILTIN) or hasattr(self._class, "__getitem__"):
            return None  # msgspec would take it for what it derives from
        return out_struct(self._class, self.members)


# What msgspec looks at before it looks for attributes.
_BUILTIN = (str, int, float, bytes, bytearray, list, tuple, dict, set, frozenset, Enum)


class DictType(ObjectType):
    """
    Objects that are dictionaries: a C{TypedDict}, or the data of an event. On the way out their members have the names that they
    have in Python or those of the wire.
    """

    passing: type | None = dict
    _passes: list[_Pass]

    def complete(self, members: Sequence[Member]) -> None:
        super().complete(members)
        self._passes = [(m.wire, m.type.passing, m.type.passes, m.optional) for m in members]
        if any(m.type.passing is None for m in members):
            self.passing = None

    def passes(self, value: Mapping[str, Any]) -> bool:
        """:return: whether the members are there, by their names on the wire, no others are, and all are plain data"""
        known = 0
        for wire, passing, passes, optional in self._passes:
            if wire in value:
                item = value[wire]
                if type(item) is not passing or (passes is not None and not passes(item)):
                    return False
                known += 1
            elif not optional:
                return False
        return known == len(value)

    def _make(self, found: Keywords) -> object:
        return found

    def _builder(self, struct: InStruct) -> Build:
        return struct.keywords

    def encode(self, value: object) -> Mapping[str, JSON]:
        if type(value) is not dict and not isinstance(value, Mapping):
            raise ResultError(f"expected a dict, not {type(value).__name__}")
        if type(value) is self.passing and self.passes(value):
            return value
        return self._encode_each(value)

    def _encode_each(self, value: Mapping[str, Any]) -> Mapping[str, JSON]:
        result: dict[str, JSON] = {}
        known = 0
        same = type(value) is dict
        for name, wire, encode, skip_none, optional in self._rows:
            if wire in value:
                item = value[wire]
            elif name in value:
                item = value[name]
                same = False
            elif optional:
                continue
            else:
                raise ResultError("is missing", wire)
            known += 1
            if item is None and skip_none:
                same = False
                continue
            try:
                result[wire] = given = encode(item)
            except ResultError as e:
                e.path.append(wire)
                raise
            same = same and given is item
        if known != len(value):
            raise self._surplus(value)
        return value if same else result

    def _surplus(self, value: Mapping[str, object]) -> ResultError:
        for member in self.members:
            if member.name != member.wire and member.name in value and member.wire in value:
                return ResultError(f"{member.name!r} is there twice, as {member.wire!r} too")
        names = self._wires.union(member.name for member in self.members)
        return ResultError("there is no such member", *[name for name in value if name not in names][:1])

    def _make_fast_out(self) -> Out | None:
        # In a dictionary a member may have either name.
        if any(member.name != member.wire for member in self.members):
            return None
        return out_struct(dict, self.members, mapping=True)


class ArgumentsType(DictType):
    """
    The arguments of a handler, which are keywords for it.

    :param others: arguments that are not declared are passed on, by the names they came with
    """

    def __init__(self, *, others: bool = False) -> None:
        super().__init__(dict)
        self._others = others

    def decode(self, value: JSON) -> Keywords:
        return self._decode_members(value)

    def _decode_other(self, name: str, value: JSON, found: Keywords) -> None:
        if not self._others:
            super()._decode_other(name, value, found)
        found[name] = value

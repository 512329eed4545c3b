"""
Objects: several named members in, one Python object or dictionary out, and back.

The plain road (see L{Shape}) looks at member by member in declared order, then at those that nobody declared. The fast one is a
function made for this very object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from twisted_qmon.info import ParameterInfo
from twisted_qmon.qapi.plain import Unfit
from twisted_qmon.qapi.shapes import Misfit, Shape
from twisted_qmon.qapi.source import Source, made

__all__ = ["MISSING", "Constant", "Member", "Members", "Missing"]


class Missing:
    """The type of L{MISSING}."""

    def __repr__(self) -> str:
        return "MISSING"


#: Stands for a member that is not there.
MISSING: Final = Missing()


class Constant:
    """
    Makes always the same value.

    :param value: a value that nobody changes
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self) -> Any:
        return self._value


class Member(msgspec.Struct, eq=False):
    """
    One member of an object, or one argument of a command.

    :ivar name: in Python
    :ivar wire: on the wire
    :ivar shape: its type
    :ivar optional: it may be absent
    :ivar absent: makes what stands for it in Python when it is absent; C{None}: nothing does, it is left out
    :ivar skip_none: C{None} in Python says that it is absent
    :ivar keyword: it is given to the constructor by name
    """

    name: str
    wire: str
    shape: Shape
    optional: bool = False
    absent: Callable[[], Any] | None = None
    skip_none: bool = False
    keyword: bool = True

    @property
    def info(self) -> ParameterInfo:
        """The member as plain data."""
        return ParameterInfo(self.wire, self.shape.info, self.optional)


class Members:
    """
    The members of one object.

    :param members: in declared order
    :param make: makes the Python object of the members' values; C{None}: a dictionary by Python names
    :param others: members that nobody declared are passed on, by the names they came with
    """

    def __init__(
        self, members: Sequence[Member], make: Callable[..., Any] | None = None, *, others: bool = False
    ) -> None:
        self.members = tuple(members)
        self.make = make
        self.others = others
        self._wire = frozenset(member.wire for member in members)

    # -- in

    def take(self, value: Any) -> Any:
        """
        The plain road in.

        :raise Misfit: for the first member, in declared order, that is missing or wrong; then for the first one sent that is
            not declared
        """
        if not isinstance(value, Mapping):
            raise Misfit.kind("object")
        found: dict[str, Any] = {}
        for member in self.members:
            item = value.get(member.wire, MISSING)
            if item is MISSING:
                if not member.optional:
                    raise Misfit("Parameter '", "' is missing", member.wire)
                if member.absent is not None:
                    found[member.name] = member.absent()
                continue
            try:
                found[member.name] = member.shape.take(item)
            except Misfit as e:
                e.path.append(member.wire)
                raise
        for name in value:
            if name not in self._wire:
                if not self.others:
                    raise Misfit("Parameter '", "' is unexpected", name)
                found[name] = value[name]
        return found if self.make is None else self.make(**found)

    def compile_take(
        self, fallback: Callable[[Any], Any] | None = None, call: Callable[..., Any] | None = None
    ) -> Callable[[Any], Any]:
        """
        :param fallback: what has the value when the fast road does not
        :param call: a function that is called with the members as keywords; what it raises is its own matter. There is a fallback
            then, which gives those of what the fast road does not understand.
        :return: the fast road in
        """
        if self.others:
            take = fallback or self.take
            return take if call is None else lambda value: call(**take(value))
        source = Source()
        if call is not None:
            source.line("if value is None: value = NOTHING")
        source.line("if type(value) is not dict: raise Detour")
        optional = [(i, member) for i, member in enumerate(self.members) if member.optional]
        required = [(i, member) for i, member in enumerate(self.members) if not member.optional]
        # Each member has a variable; otherwise there is a dictionary of those that are there.
        each = self.make is not None or (call is not None and all(member.absent for _, member in optional))
        for i, member in required:
            source.line(f"v{i} = value[{member.wire!r}]")
            source.convert(f"v{i}", member.shape.take_as_is, member.shape.quick_take, "")
        if not each:
            # What is required stands there from the beginning, and the rest is added as it comes.
            source.line("r = {" + ", ".join(f"{m.name!r}: v{i}" for i, m in required) + "}")
        source.line(f"n = {len(required)}")
        source.line("if True:" if any(member.absent for _, member in optional) else "if len(value) != n:")
        for i, member in optional:
            source.line(f" v{i} = value.get({member.wire!r}, MISSING)")
            source.line(f" if v{i} is not MISSING:")
            source.convert(f"v{i}", member.shape.take_as_is, member.shape.quick_take, "  ")
            source.line("  n += 1")
            if not each:
                source.line(f"  r[{member.name!r}] = v{i}")
            if member.absent is not None:
                constant = isinstance(member.absent, Constant)
                source.line(" else:")
                source.line(
                    f"  v{i} = " + (source.name(member.absent()) if constant else f"{source.name(member.absent)}()")
                )
                if not each:
                    source.line(f"  r[{member.name!r}] = v{i}")
        source.line(" if len(value) != n: raise Detour")
        order = sorted(enumerate(self.members), key=lambda pair: pair[1].keyword)
        values = ", ".join(f"{m.name}=v{i}" if m.keyword else f"v{i}" for i, m in order) if each else "**r"
        if call is not None:
            return source.compile(fallback, f"return make({values})", make=call, MISSING=MISSING, NOTHING={})
        source.line("return r" if self.make is None else f"return make({values})")
        return source.compile(fallback, make=self.make, MISSING=MISSING)

    # -- out

    def give_object(self, value: Any, owner: type) -> dict[str, Any]:
        """
        The plain road out, of an object with attributes.

        :param owner: its class, or one that it is a subclass of
        :raise Unfit: for the first member that does not fit
        """
        if not isinstance(value, owner):
            raise Unfit(f"expected a {owner.__name__}, not {type(value).__name__}")
        return self._give({member.name: getattr(value, member.name, MISSING) for member in self.members})

    def give_mapping(self, value: Any) -> Any:
        """
        The plain road out, of a dictionary by Python names or those of the wire.

        :return: the dictionary itself if nothing needs converting
        :raise Unfit: for the first member that does not fit, then for any that is not declared
        """
        if not isinstance(value, Mapping):
            raise Unfit(f"expected a dict, not {type(value).__name__}")
        known = 0
        found: dict[str, Any] = {}
        for member in self.members:
            item = value.get(member.wire, MISSING)
            if item is not MISSING:
                known += 1
            if member.name != member.wire and member.name in value:
                if item is not MISSING:
                    raise Unfit(f"{member.name!r} is there twice, as {member.wire!r} too")
                item = value[member.name]
                known += 1
            found[member.name] = item
        if known != len(value):
            names = self._wire.union(member.name for member in self.members)
            raise Unfit("there is no such member", *[name for name in value if name not in names][:1])
        result = self._give(found)
        if type(value) is dict and all(value.get(name, MISSING) is item for name, item in result.items()):
            return value if len(value) == len(result) else result
        return result

    def _give(self, found: Mapping[str, Any]) -> dict[str, Any]:
        result = {}
        for member in self.members:
            item = found[member.name]
            if item is None and member.skip_none:
                continue
            if item is MISSING:
                if not member.optional:
                    raise Unfit("is missing", member.wire)
                continue
            try:
                result[member.wire] = member.shape.give(item)
            except Unfit as e:
                e.path.append(member.wire)
                raise
        return result

    def compile_give_object(self, owner: type, fallback: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
        """
        :param owner: the class of the objects
        :param fallback: what has the value when the fast road does not
        :return: the fast road out, of an object with attributes
        """
        source = Source()
        source.line("if type(value) is not owner: raise Detour")
        source.line("r = {}")
        for i, member in enumerate(self.members):
            source.line(f"v{i} = value.{member.name}")
            indent = ""
            if member.skip_none:
                source.line(f"if v{i} is not None:")
                indent = " "
            source.convert(f"v{i}", member.shape.give_as_is, member.shape.quick_give, indent)
            source.line(f"{indent}r[{member.wire!r}] = v{i}")
        source.line("return r")
        return source.compile(fallback, owner=owner)

    def compile_give_mapping(self, fallback: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
        """
        :param fallback: what has the value when the fast road does not
        :return: the fast road out, of a dictionary that is fine as it is
        """
        if any(member.name != member.wire for member in self.members):
            return fallback or self.give_mapping
        source = Source()
        source.line("if type(value) is not dict: raise Detour")
        source.line("n = 0")
        for i, member in enumerate(self.members):
            test = member.shape.give_as_is.format(v=f"v{i}")
            if not test:
                # It may be converted into itself.
                test = f"{source.name(made(member.shape.quick_give))}(v{i}) is v{i}"
            if member.skip_none:
                test = f"v{i} is not None and ({test})"
            if member.optional:
                source.line(f"v{i} = value.get({member.wire!r}, MISSING)")
                source.line(f"if v{i} is not MISSING:")
            else:
                source.line(f"v{i} = value[{member.wire!r}]")
                source.line("if True:")
            source.line(" n += 1")
            source.line(f" if not ({test}): raise Detour")
        source.line("if len(value) != n: raise Detour")
        source.line("return value")
        return source.compile(fallback, MISSING=MISSING)

"""
Objects: several named members in, one Python object or dictionary out, and back.

Each object has two roads. The plain one says what holds: member by member in declared order, then those that nobody declared.
The fast one is a function made for this very object, as C{dataclasses} makes an C{__init__}. It only ever accepts: whatever it
does not understand goes to the plain road, which converts it, or finds the words for what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted_qmon.core.hash_order import first_unexpected
from twisted_qmon.core.plain import Unfit
from twisted_qmon.core.shapes import Misfit, Shape
from twisted_qmon.info import ParameterInfo

__all__ = ["MISSING", "Member", "Members", "Missing"]


class Missing:
    """The type of L{MISSING}."""

    def __repr__(self) -> str:
        return "MISSING"


#: Stands for a member that is not there.
MISSING: Final = Missing()


@dataclass(eq=False, slots=True)
class Member:
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

        :raise Misfit: for the first member, in declared order, that is missing or wrong; then for the first, in QEMU's order,
            that is not declared
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
                    unexpected = [other for other in value if other not in self._wire]
                    raise Misfit("Parameter '", "' is unexpected", first_unexpected(value, unexpected))
                found[name] = value[name]
        return found if self.make is None else self.make(**found)

    def compile_take(self, slow: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
        """
        :param slow: the plain road, if it is not C{take}
        :return: the fast road in
        """
        slow = slow or self.take
        if self.others:
            return slow
        source = _Source()
        source.line("def take(d):")
        source.line(" try:")
        source.line("  if type(d) is not dict: return slow(d)")
        optional = [member for member in self.members if member.optional]
        made = self.make is not None
        # Of a dictionary, what is required stands there from the beginning, and the rest is added as it comes.
        for i, member in enumerate(self.members):
            if not member.optional:
                source.line(f"  v{i} = d[{member.wire!r}]")
                source.take(member.shape, i, "  ")
        if not made:
            required = [(i, m) for i, m in enumerate(self.members) if not m.optional]
            source.line("  r = {" + ", ".join(f"{m.name!r}: v{i}" for i, m in required) + "}")
        source.line(f"  n = {len(self.members) - len(optional)}")
        source.line("  if len(d) != n:" if optional and not any(m.absent for m in optional) else "  if True:")
        for i, member in enumerate(self.members):
            if not member.optional:
                continue
            source.line(f"   v{i} = d.get({member.wire!r}, MISSING)")
            source.line(f"   if v{i} is not MISSING:")
            source.take(member.shape, i, "    ")
            source.line("    n += 1")
            if not made:
                source.line(f"    r[{member.name!r}] = v{i}")
            if member.absent is not None:
                source.line("   else:")
                source.line(f"    v{i} = {source.name(member.absent)}()")
                if not made:
                    source.line(f"    r[{member.name!r}] = v{i}")
        source.line("   if len(d) != n: return slow(d)")
        if made:
            order = sorted(enumerate(self.members), key=lambda pair: pair[1].keyword)
            arguments = [f"{m.name}=v{i}" if m.keyword else f"v{i}" for i, m in order]
            source.line(f"  r = make({', '.join(arguments)})")
        source.line("  return r")
        source.line(" except Exception: return slow(d)")
        return source.compile("take", slow=slow, make=self.make, MISSING=MISSING)

    # -- out

    def give_object(self, value: Any) -> dict[str, Any]:
        """
        The plain road out, of an object with attributes.

        :raise Unfit: for the first member that does not fit
        """
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

    def compile_give_object(self, owner: type) -> Callable[[Any], Any]:
        """
        :param owner: the class of the objects
        :return: the fast road out, of an object with attributes
        """

        def slow(value: Any) -> dict[str, Any]:
            if not isinstance(value, owner):
                raise Unfit(f"expected a {owner.__name__}, not {type(value).__name__}")
            return self.give_object(value)

        source = _Source()
        source.line("def give(o):")
        source.line(" try:")
        source.line("  if type(o) is not owner: return slow(o)")
        source.line("  r = {}")
        for i, member in enumerate(self.members):
            source.line(f"  v{i} = o.{member.name}")
            indent = "  "
            if member.skip_none:
                source.line(f"  if v{i} is not None:")
                indent = "   "
            source.give(member.shape, i, indent)
            source.line(f"{indent}r[{member.wire!r}] = v{i}")
        source.line("  return r")
        source.line(" except Exception: return slow(o)")
        return source.compile("give", slow=slow, owner=owner)

    def compile_give_mapping(self) -> Callable[[Any], Any]:
        """:return: the fast road out, of a dictionary"""
        if any(member.name != member.wire for member in self.members):
            return self.give_mapping
        source = _Source()
        source.line("def give(d):")
        source.line(" try:")
        source.line("  if type(d) is not dict: return slow(d)")
        source.line("  n = 0")
        for i, member in enumerate(self.members):
            test = member.shape.give_as_is
            if member.skip_none and test:
                test = "{v} is not None and (" + test + ")"
            if member.optional:
                source.line(f"  v{i} = d.get({member.wire!r}, MISSING)")
                source.line(f"  if v{i} is not MISSING:")
            else:
                source.line(f"  v{i} = d[{member.wire!r}]")
                source.line("  if True:")
            source.line("   n += 1")
            if test:
                source.line(f"   if not ({test.format(v=f'v{i}')}): return slow(d)")
            else:
                # A member that is passed on as it is needs no copy; any other does.
                source.line(f"   if {source.name(member.shape.give)}(v{i}) is not v{i}: return slow(d)")
        source.line("  return d if len(d) == n else slow(d)")
        source.line(" except Exception: return slow(d)")
        return source.compile("give", slow=self.give_mapping, MISSING=MISSING)


class _Source:
    """The source of one function, and the objects it names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}

    def line(self, text: str) -> None:
        self.lines.append(text)

    def name(self, value: Any) -> str:
        name = f"x{len(self.names)}"
        self.names[name] = value
        return name

    def take(self, shape: Shape, i: int, indent: str) -> None:
        self._convert(shape.take_as_is, shape.take, i, indent)

    def give(self, shape: Shape, i: int, indent: str) -> None:
        self._convert(shape.give_as_is, shape.give, i, indent)

    def _convert(self, as_is: str, convert: Callable[[Any], Any], i: int, indent: str) -> None:
        if as_is == "True":
            return
        test = f"if not ({as_is.format(v=f'v{i}')}): " if as_is else ""
        self.line(f"{indent}{test}v{i} = {self.name(convert)}(v{i})")

    def compile(self, name: str, **names: Any) -> Callable[[Any], Any]:
        namespace = {**names, **self.names}
        # Names of members are put in by repr, or are identifiers: nothing that a client sends gets here.
        exec("\n".join(self.lines), namespace)
        function: Callable[[Any], Any] = namespace[name]
        return function

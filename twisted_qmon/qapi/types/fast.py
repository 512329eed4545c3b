"""
The fast way: what msgspec does in one call, for types of which it does exactly what their own C{decode} and C{encode} do.

The plain way says what holds, and finds the words for what does not. The fast one may refuse what the plain one takes, never
the other way round: whatever it refuses, the plain way decides. Where both take a value, what comes of it is equal.

On the way in that is so for JSON data as a reader makes it (C{is_as_read} of L{twisted_qmon.qapi.types.plain}): msgspec takes a
C{set} for a list, say. On the way out anything may come from a handler, so L{Out.fits} looks first for what msgspec would take
though the type does not.

Structs of msgspec are made when they are first needed: it takes time, and most commands are never called.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional, TypeAlias

import msgspec
from msgspec import UNSET, convert, to_builtins
from msgspec.structs import asdict, astuple

from twisted_qmon.info import JSON

if TYPE_CHECKING:
    from twisted_qmon.qapi.types.objects import Member

__all__ = [
    "MANY",
    "Arguments",
    "Build",
    "Handler",
    "In",
    "InStruct",
    "Keywords",
    "Native",
    "Out",
    "bounded",
    "list_encoder",
    "one_of",
    "out_struct",
]

#: Arguments as they came, by their names on the wire.
Arguments: TypeAlias = Mapping[str, JSON]

#: The values of arguments or members, by names of Python's.
Keywords: TypeAlias = dict[str, Any]

#: What runs a command: a function that takes any arguments, and gives anything.
Handler: TypeAlias = Callable[..., object]

#: What msgspec is told of a type.
Native: TypeAlias = Any

# A field of a struct: its name, annotation, and default.
_Field: TypeAlias = tuple[Any, ...]

#: Makes a Python value of one that msgspec made.
Build: TypeAlias = Callable[[Any], object]

#: Whether a value may be given to msgspec, as far as what is inside of it is concerned.
Look: TypeAlias = Callable[[Any], bool]


def bounded(low: int, high: int) -> Native:
    """:return: the annotation of an integer; without the upper bound where that is more than msgspec can say"""
    return Annotated[int, msgspec.Meta(ge=low, le=None if high >> 63 else high)]


def one_of(values: Iterable[str]) -> Native:
    """:return: the annotation of certain strings"""
    return Literal[tuple(values)]


def _define(fields: list[_Field], members: Iterable[Member], **config: Any) -> type[msgspec.Struct]:
    names = {field[0]: member.wire for field, member in zip(fields, members, strict=True)}
    return msgspec.defstruct("Members", fields, rename=names, kw_only=True, gc=False, **config)


# -- in


class In(NamedTuple):
    """
    What decodes as a type does.

    :ivar annotation: for msgspec
    :ivar build: makes the Python value of what msgspec made; C{None}: it is that already
    """

    annotation: Native
    build: Build | None = None


# Of these types msgspec takes a default as it is; others may be changed by who gets them.
_CONSTANT = (str, int, float, bool, type(None), enum.Enum)


class InStruct:
    """
    A struct with the members of an object: JSON data is converted to it, and it gives the values for a constructor or handler.

    :param members: in declared order
    :ivar struct: for msgspec
    :ivar values: gives the members' values, in declared order; C{UNSET} where nothing stands for one that is absent
    :ivar keywords: gives the members' values by name, without those for which nothing stands
    :raise TypeError: when msgspec has no such struct
    :raise ValueError: likewise
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._left_out = [member.keyword for member in members if member.left_out]
        # What is to be done with the values that msgspec made.
        self._later: list[tuple[str, Build, Callable[[], object]]] = []
        fields = [self._field(member) for member in members]
        self.struct = _define(fields, members, forbid_unknown_fields=True)
        self.values: Callable[[Any], Sequence[object]] = self._values if self._later else astuple
        self.keywords: Callable[[Any], Keywords] = self._keywords if self._later or self._left_out else asdict

    def _field(self, member: Member) -> _Field:
        annotation, build = member.type.fast_in()
        if build is not None:
            self._later.append((member.keyword, build, member.absent))
        if not member.optional:
            return member.keyword, annotation
        if build is not None or member.left_out:
            return member.keyword, annotation, UNSET
        if isinstance(member.default, _CONSTANT):
            return member.keyword, annotation, member.default
        return member.keyword, annotation, msgspec.field(default_factory=member.absent)

    def _values(self, made: msgspec.Struct) -> Sequence[object]:
        for name, build, absent in self._later:
            value = getattr(made, name)
            setattr(made, name, absent() if value is UNSET else build(value))
        return astuple(made)

    def _keywords(self, made: msgspec.Struct) -> Keywords:
        self._values(made)
        keywords = asdict(made)
        for name in self._left_out:
            if keywords[name] is UNSET:
                del keywords[name]
        return keywords


# -- out

#: To encode so many values one by one takes as long as to ask msgspec for all of them.
MANY = 8

# It encodes only to find out whether it can: it refuses lone surrogates, and integers beyond 64 bits.
_check_encodable = msgspec.msgpack.Encoder().encode


class Out(NamedTuple):
    """
    What encodes as a type does.

    :ivar annotation: for msgspec
    :ivar kinds: the classes of the values that msgspec may be given; C{None}: any, it refuses what the type refuses
    :ivar inner: whether what is in a value may be given to msgspec; C{None}: it may
    """

    annotation: Native
    kinds: frozenset[type] | None = None
    inner: Look | None = None

    @property
    def is_lenient(self) -> bool:
        """Whether msgspec takes more than the type does."""
        return self.kinds is not None or self.inner is not None

    def fits(self, values: Collection[object]) -> bool:
        """:return: whether msgspec may be given all of these"""
        return (self.kinds is None or self.kinds.issuperset(map(type, values))) and (
            self.inner is None or all(map(self.inner, values))
        )


def out_struct(cls: type, members: Sequence[Member], *, mapping: bool = False) -> Out | None:
    """
    :param cls: the class of the objects
    :param members: in declared order
    :param mapping: the objects are dictionaries
    :return: what encodes such objects, if msgspec can
    """
    fields: list[_Field] = []
    outs: list[tuple[str, Out]] = []
    for member in members:
        out = member.type.fast_out()
        if out is None:
            return None
        outs.append((member.name, out))
        if member.skip_none:
            fields.append((member.name, Optional[out.annotation], None))  # noqa: UP045
        elif mapping and member.optional:
            fields.append((member.name, out.annotation, UNSET))
        else:
            fields.append((member.name, out.annotation))
    try:
        struct = _define(fields, members, forbid_unknown_fields=True, omit_defaults=True)
    except (TypeError, ValueError):
        return None
    return Out(
        struct,
        frozenset({cls}),
        _looker([(name, out.kinds, out.inner) for name, out in outs if out.is_lenient], mapping),
    )


_Parts: TypeAlias = Sequence[tuple[str, frozenset[type] | None, Look | None]]


def _looker(parts: _Parts, mapping: bool) -> Look | None:
    """What looks into objects, at those of their members of which msgspec would take too much."""
    get: Handler = dict.get if mapping else getattr

    def look(value: object) -> bool:
        for name, kinds, inner in parts:
            item = get(value, name, None)
            # One that is not there, or C{None} by mistake, msgspec refuses.
            if item is not None and not ((kinds is None or type(item) in kinds) and (inner is None or inner(item))):
                return False
        return True

    return look if parts else None


def list_encoder(out: Out | None) -> Callable[[Sequence[Any]], JSON] | None:
    """
    :param out: of the elements
    :return: a function that encodes lists, and raises anything at what the plain way is to decide; C{None}: there is none
    """
    if out is None:
        return None
    # To say a type that is no struct takes msgspec long each time.
    holder = msgspec.defstruct("Holder", [("value", GenericAlias(list, out.annotation))], gc=False)
    fits = out.fits

    def encode(value: Sequence[object]) -> JSON:
        if not fits(value):
            raise TypeError
        made = convert({"value": value}, holder, from_attributes=True)
        _check_encodable(made)
        encoded: JSON = to_builtins(made)["value"]
        return encoded

    return encode

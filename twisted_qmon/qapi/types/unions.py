"""
QAPI's two kinds of union: the alternate, whose options the JSON type tells apart, and the flat union, whose variants a tag does.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import JSON, ParameterInfo, TypeInfo
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.errors import ArgumentError, ResultError
from twisted_qmon.qapi.types.objects import DictType, Member, ObjectType
from twisted_qmon.qapi.types.scalars import EnumType

__all__ = ["AlternateType", "TaggedType", "all_members"]

_JSON_KINDS: Mapping[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
    tuple: "array",
    type(None): "null",
}


class AlternateType(Type):
    """
    One of several types, which the JSON type tells apart.

    :param options: the types to choose from
    :param name: the name that error texts show; empty: made out of the options' (C{StrOrNull})
    :param shown: the annotation, for errors
    :raise RegistrationError: when two options have one JSON type
    """

    def __init__(self, options: Sequence[Type], name: str, shown: str) -> None:
        self._options = tuple(options)
        self._by_kind = _by_kind(options, shown)
        self.kinds = frozenset(self._by_kind)
        name = name or "Or".join(_option_name(option.info) for option in options)
        self.info = TypeInfo("alternate", name, options=tuple(option.info for option in options))

    def decode(self, value: JSON) -> object:
        option = self._by_kind.get(_kind_of(value))
        if option is None:
            raise ArgumentError.kind(self.info.name)
        return option.decode(value)

    def encode(self, value: object) -> JSON:
        failures = []
        for option in self._options:
            try:
                return option.encode(value)
            except ResultError as e:
                failures.append(e)
        # The one that got furthest into the value knows best what is wrong.
        raise max(failures, key=lambda e: len(e.path))


def _by_kind(options: Sequence[Type], shown: str) -> dict[str, Type]:
    by_kind: dict[str, Type] = {}
    for option in options:
        if option.kinds >= {"string", "object", "array"}:
            raise RegistrationError(f"{shown}: a union with any value is just any value")
        for kind in option.kinds:
            other = by_kind.get(kind)
            if other is None or (other.info.kind == "number" and option.info.kind != "number"):
                by_kind[kind] = option
            # An integer is a number too: where both may be, it is the integer.
            elif other.info.kind == "number" or option.info.kind != "number":
                raise RegistrationError(
                    f"{shown}: two options are both a JSON {kind}, which does not tell them apart; "
                    f"for classes with a tag say Annotated[..., Tagged(...)]"
                )
    return by_kind


def _kind_of(value: JSON) -> str:
    kind = _JSON_KINDS.get(type(value))
    if kind is None:
        kind = next((name for cls, name in _JSON_KINDS.items() if isinstance(value, cls)), "")
        if not kind and isinstance(value, Mapping):
            kind = "object"
    return kind


def _option_name(info: TypeInfo) -> str:
    name = info.name or info.kind
    return name[:1].upper() + name[1:]


class TaggedType(Type):
    """
    One of several classes, which the value of one member, the tag, tells apart.

    It is complete when its variants are, which may have members of this very type.

    :param name: the union's name
    """

    kinds = frozenset({"object"})
    _tag: Member

    def __init__(self, name: str) -> None:
        self.info = TypeInfo("object", name)
        self._variants: dict[str, ObjectType] = {}
        self._by_class: dict[type, ObjectType] = {}

    def complete(self, tag: str, classes: Sequence[type], variants: Sequence[Type]) -> None:
        """
        Set the variants.

        :param tag: the tag's name on the wire
        :param classes: the classes, and...
        :param variants: ... their types
        :raise RegistrationError: when one is no class with members, has not the tag, or has a value of it that another one has
        """
        objects: list[ObjectType] = []
        for cls, variant in zip(classes, variants, strict=True):
            if not isinstance(variant, ObjectType):
                raise RegistrationError(f"{self.info.name}: {cls!r} is no class with members")
            for value in self._tag_values(tag, cls, variant):
                if self._variants.setdefault(value, variant) is not variant:
                    raise RegistrationError(f"{self.info.name}: two classes have {tag!r} {value!r}")
            if not isinstance(variant, DictType):
                self._by_class[cls] = variant
            objects.append(variant)
        own = next(member for member in objects[0].members if member.wire == tag)
        self._tag = Member(own.name, tag, EnumType({value: value for value in self._variants}, own.type.info.name))
        self.info.members = (self._tag.info, *(member.info for member in _common(objects, tag)))
        self.info.options = tuple(variant.info for variant in objects)
        self.info.tag = tag

    def _tag_values(self, tag: str, cls: type, variant: ObjectType) -> tuple[str, ...]:
        own = next((member for member in variant.members if member.wire == tag), None)
        if own is None or own.type.info.kind != "enum":
            raise RegistrationError(f"{self.info.name}: {cls.__name__} has no member {tag!r} that is a Literal")
        return own.type.info.values

    def decode(self, value: JSON) -> object:
        if not isinstance(value, Mapping):
            raise ArgumentError.kind("object")
        # First of all the members, wherever the classes have it: it says what the others should be.
        tag = self._tag
        if tag.wire not in value:
            raise ArgumentError.missing(tag.wire)
        try:
            chosen = tag.type.decode(value[tag.wire])
        except ArgumentError as e:
            e.path.append(tag.wire)
            raise
        return self._variants[str(chosen)].decode(value)

    def encode(self, value: object) -> JSON:
        variant = self._by_class.get(type(value)) or self._variant_of(value)
        if variant is None:
            raise ResultError(f"expected one of {self.info.name}, not {type(value).__name__}")
        return variant.encode(value)

    def _variant_of(self, value: object) -> ObjectType | None:
        if isinstance(value, Mapping):
            chosen = value.get(self._tag.wire, value.get(self._tag.name))
            found = self._variants.get(chosen.value if isinstance(chosen, enum.Enum) else chosen)
            if found is not None:
                return found
        return next((variant for cls, variant in self._by_class.items() if isinstance(value, cls)), None)


def all_members(info: TypeInfo) -> tuple[ParameterInfo, ...]:
    """
    :param info: an object
    :return: its members; of a flat union those of all variants, where those that not all have are optional
    """
    members = {member.name: member for member in info.members or ()}
    for option in info.options:
        for member in option.members or ():
            known = members.get(member.name)
            if known is None:
                members[member.name] = ParameterInfo(member.name, member.type, optional=True)
            elif known.type.kind != member.type.kind:
                members[member.name] = ParameterInfo(member.name, TypeInfo("any"), known.optional)
    return tuple(members.values())


def _common(variants: Sequence[ObjectType], tag: str) -> list[Member]:
    """The members that all variants have, of one type, in the order of the first; without the tag."""
    first, *rest = variants
    return [
        member
        for member in first.members
        if member.wire != tag and all(any(_alike(member, other) for other in variant.members) for variant in rest)
    ]


def _alike(one: Member, other: Member) -> bool:
    a, b = one.type.info, other.type.info
    if (one.wire, one.optional, a.kind, a.name, a.values) != (other.wire, other.optional, b.kind, b.name, b.values):
        return False
    if a.element is None or b.element is None:
        return a.element is b.element
    return a.element is b.element or (a.element.kind, a.element.name) == (b.element.kind, b.element.name)

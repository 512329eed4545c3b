"""
QAPI's two kinds of union: the alternate, whose options the JSON type tells apart, and the flat union, whose variants a tag does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import ParameterInfo, TypeInfo
from twisted_qmon.qapi.members import Member, Members
from twisted_qmon.qapi.plain import Unfit
from twisted_qmon.qapi.shapes import Misfit, Shape

__all__ = ["all_members", "alternate", "tagged"]

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


def alternate(options: Sequence[Shape], name: str, shown: str) -> Shape:
    """
    :param options: the shapes to choose from, by JSON type
    :param name: the name that error texts show; empty: made out of the options' (C{StrOrNull})
    :param shown: the annotation, for errors
    :raise RegistrationError: when two options have one JSON type
    """
    by_kind: dict[str, Shape] = {}
    for option in options:
        if option.kinds >= {"string", "object", "array"}:
            raise RegistrationError(f"{shown}: a union with any value is just any value")
        for kind in option.kinds:
            if kind in by_kind and (by_kind[kind].info.kind == "number") is not (option.info.kind == "number"):
                # An integer is a number too: where both may be, it is the integer.
                if option.info.kind == "number":
                    continue
            elif kind in by_kind:
                raise RegistrationError(
                    f"{shown}: two options are both a JSON {kind}, which does not tell them apart; "
                    f"for classes with a tag say Annotated[..., Tagged(...)]"
                )
            by_kind[kind] = option
    called = name or "Or".join(_option_name(option.info) for option in options)

    def take(value: Any) -> Any:
        option = by_kind.get(_kind_of(value))
        if option is None:
            raise Misfit.kind(called)
        return option.take(value)

    def give(value: Any) -> Any:
        failures = []
        for option in options:
            try:
                return option.give(value)
            except Unfit as e:
                failures.append(e)
        # The one that got furthest into the value knows best what is wrong.
        raise max(failures, key=lambda e: len(e.path))

    def quick_take(value: Any) -> Any:
        return by_kind[_JSON_KINDS[type(value)]].quick_take(value)

    info = TypeInfo("alternate", called, options=tuple(option.info for option in options))
    return Shape(info, take, give, frozenset(by_kind), quick_take=quick_take)


def _kind_of(value: Any) -> str:
    kind = _JSON_KINDS.get(type(value))
    if kind is None:
        kind = next((name for cls, name in _JSON_KINDS.items() if isinstance(value, cls)), "")
        if not kind and isinstance(value, Mapping):
            kind = "object"
    return kind


def _option_name(info: TypeInfo) -> str:
    name = info.name or info.kind
    return name[:1].upper() + name[1:]


#: What completes a flat union when its variants are known: the tag's name on the wire, and each variant with its members.
Complete = Callable[[str, Sequence[tuple[Shape, "Members | None"]]], None]


def tagged(options: Sequence[Any], name: str) -> tuple[Shape, Complete]:
    """
    :param options: the classes
    :param name: the union's name; empty: made out of theirs
    :return: the shape, and what completes it
    """
    called = name or "Or".join(getattr(option, "__name__", "") for option in options)
    info = TypeInfo("object", called)
    variants: dict[str, Shape] = {}
    classes: dict[type, Shape] = {}
    tag: list[Member] = []

    def quick_take(value: Any) -> Any:
        return variants[value[tag[0].wire]].quick_take(value)

    def quick_give(value: Any) -> Any:
        return classes[type(value)].quick_give(value)

    def take(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Misfit.kind("object")
        # First of all the members, wherever the classes have it: without it nobody knows what the others should be.
        Members(tag, others=True).take(value)
        return variants[value[tag[0].wire]].take(value)

    def give(value: Any) -> Any:
        shape = classes.get(type(value))
        if shape is None and isinstance(value, Mapping):
            chosen = value.get(tag[0].wire, value.get(tag[0].name))
            shape = variants.get(chosen.value if isinstance(chosen, enum.Enum) else chosen)
        if shape is None:
            shape = next((shape for cls, shape in classes.items() if isinstance(value, cls)), None)
        if shape is None:
            raise Unfit(f"expected one of {called}, not {type(value).__name__}")
        return shape.give(value)

    def complete(tag_name: str, parts: Sequence[tuple[Shape, Members | None]]) -> None:
        members: list[Members] = []
        tags: list[Member] = []
        for (shape, found), option in zip(parts, options, strict=True):
            if found is None:
                raise RegistrationError(f"{called}: {option!r} is no class with members")
            own = next((member for member in found.members if member.wire == tag_name), None)
            if own is None or own.shape.info.kind != "enum":
                raise RegistrationError(f"{called}: {option.__name__} has no member {tag_name!r} that is a Literal")
            for value in own.shape.info.values:
                if variants.setdefault(value, shape) is not shape:
                    raise RegistrationError(f"{called}: two classes have {tag_name!r} {value!r}")
            members.append(found)
            tags.append(own)
            if found.make is not None:
                classes[option] = shape
        common = _common(members, tag_name)
        kind = TypeInfo("enum", tags[0].shape.info.name, tuple(variants))
        tag.append(Member(tags[0].name, tag_name, _tag_shape(kind, tuple(variants)), optional=False))
        info.members = (ParameterInfo(tag_name, kind), *(member.info for member in common))
        info.options = tuple(shape.info for shape, _ in parts)
        info.tag = tag_name

    shape = Shape(info, take, give, frozenset({"object"}), quick_take=quick_take, quick_give=quick_give)
    return shape, complete


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


def _tag_shape(info: TypeInfo, values: tuple[str, ...]) -> Shape:
    def take(value: Any) -> str:
        if not isinstance(value, str):
            raise Misfit.kind("string")
        if value not in values:
            raise Misfit.value(value)
        return value

    return Shape(info, take, take, frozenset({"string"}))


def _common(variants: Sequence[Members], tag: str) -> list[Member]:
    """The members that all variants have, of one type, in the order of the first; without the tag."""
    first, *rest = variants
    return [
        member
        for member in first.members
        if member.wire != tag and all(any(_alike(member, other) for other in variant.members) for variant in rest)
    ]


def _alike(one: Member, other: Member) -> bool:
    a, b = one.shape.info, other.shape.info
    return (
        (one.wire, one.optional, a.kind, a.name, a.values) == (other.wire, other.optional, b.kind, b.name, b.values)
        and (a.element is None) == (b.element is None)
        and (
            a.element is b.element
            or (
                a.element is not None
                and b.element is not None
                and (a.element.kind, a.element.name) == (b.element.kind, b.element.name)
            )
        )
    )

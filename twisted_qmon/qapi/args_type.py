"""
C{args_type} declarations: QEMU's C{key:TYPE} grammar, and which arguments of a command it means. What a person types by them is
read in C{twisted_qmon.hmp}.

Items are separated by commas. A type is one letter, followed by C{?} (optional) or C{.} (optional, and only there if the next
character of the line is a dot); or a flag, C{-x}, or a flag with a value, C{-xs}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import ArgsItem, TypeInfo
from twisted_qmon.qapi.compiler import TypeCompiler
from twisted_qmon.qapi.resolve import EMPTY, HandlerParameter, HandlerSignature, wire_name
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.containers import MapType
from twisted_qmon.qapi.types.marks import Width
from twisted_qmon.qapi.types.objects import Member
from twisted_qmon.qapi.types.plain import UINT_HIGH
from twisted_qmon.qapi.types.scalars import AnyType, BoolType, IntType, NumberType, StrType

__all__ = ["FORMAT_KEYS", "LETTERS", "declared_parameters", "parse_args_type"]

#: The types that are one letter.
LETTERS = frozenset("FBsSOilMoTb/")

#: The arguments that an item of type C{/} stands for, whatever its key: C{/count format size}.
FORMAT_KEYS = ("count", "format", "size")

_ITEM = re.compile(r"(?P<key>[^:,\s]+):(?:-(?P<flag>[^\s,?.])(?P<value>s?)|(?P<letter>[^-\s,]))(?P<mark>[?.]?)")


def parse_args_type(declaration: str) -> tuple[ArgsItem, ...]:
    """
    Parse a declaration.

    :param declaration: C{"path:F,freq:i?"}; an empty one says that there are no arguments
    :raise RegistrationError: when it does not follow the grammar, has an unknown letter, a mark on a flag, or a key twice
    """
    if not declaration.strip():
        return ()
    items = tuple(_parse_item(text.strip(), declaration) for text in declaration.split(","))
    seen: set[str] = set()
    for item in items:
        for key in FORMAT_KEYS if item.letter == "/" else (item.key,):
            if key in seen:
                raise RegistrationError(f"args_type {declaration!r}: the key {key!r} comes twice")
            seen.add(key)
    return items


def _parse_item(text: str, declaration: str) -> ArgsItem:
    match = _ITEM.fullmatch(text)
    if match is None:
        raise RegistrationError(f"args_type {declaration!r}: {text!r} is not of the form key:TYPE")
    key, mark = match["key"], match["mark"]
    if match["flag"]:
        if mark:
            raise RegistrationError(f"args_type {declaration!r}: the flag {text!r} is optional without {mark!r}")
        return ArgsItem(key, "-", optional=True, flag=match["flag"], flag_value=bool(match["value"]))
    letter = match["letter"]
    if letter not in LETTERS:
        raise RegistrationError(f"args_type {declaration!r}: there is no type {letter!r}")
    return ArgsItem(key, letter, optional=bool(mark), dot=mark == ".")


# -- the arguments of a handler

_SIZE = Width("size", 0, UINT_HIGH)

#: What each letter is where the handler says nothing, and which kinds of annotation go with it.
_TYPES: Mapping[str, tuple[Callable[[], Type], frozenset[str]]] = {
    **dict.fromkeys("FBsS", (StrType, frozenset({"str", "enum"}))),
    **dict.fromkeys("il", (IntType, frozenset({"int", "size", "number"}))),
    **dict.fromkeys("Mo", (lambda: IntType(_SIZE), frozenset({"int", "size", "number"}))),
    "T": (NumberType, frozenset({"number"})),
    "b": (BoolType, frozenset({"bool"})),
    "-": (BoolType, frozenset({"bool"})),
    "O": (lambda: MapType(AnyType()), frozenset({"object"})),
}

#: The letters of the three arguments that C{/} stands for.
_FORMAT_LETTERS = dict(zip(FORMAT_KEYS, "lsl", strict=True))


def declared_parameters(compiler: TypeCompiler, items: tuple[ArgsItem, ...], found: HandlerSignature) -> list[Member]:
    """
    :param items: the parsed declaration
    :param found: the handler's signature
    :return: the arguments that it says, in its order; then those that only the handler has
    :raise RegistrationError: when the declaration does not go with the handler
    """
    rest = {wire_name(parameter.name): parameter for parameter in found.parameters}
    members: list[Member] = []
    for item in items:
        letters = _FORMAT_LETTERS if item.letter == "/" else {item.key: "s" if item.flag_value else item.letter}
        for key, letter in letters.items():
            # A key may have underscores on the wire: QEMU's own do.
            parameter = rest.pop(wire_name(key), None)
            if parameter is not None:
                members.append(_declared_parameter(compiler, item, key, letter, parameter, found))
            elif found.keywords:
                members.append(Member(key.replace("-", "_"), key, _TYPES[letter][0](), _is_optional(item)))
            else:
                raise RegistrationError(f"{found.name}: no parameter takes {key!r} of args_type")
    for parameter in rest.values():
        member = compiler.parameter(parameter, found)
        if not member.optional:
            raise RegistrationError(f"{found.name}: args_type does not say what the parameter {parameter.name!r} is")
        members.append(member)
    return members


def _declared_parameter(
    compiler: TypeCompiler,
    item: ArgsItem,
    key: str,
    letter: str,
    parameter: HandlerParameter,
    found: HandlerSignature,
) -> Member:
    make, kinds = _TYPES[letter]
    member = compiler.parameter(parameter, found)
    member.wire = key
    if parameter.annotation is EMPTY:
        member.type = make()
    elif not _goes_with(member.type.info, kinds):
        raise RegistrationError(
            f"{found.name}: the annotation of {parameter.name!r} does not go with {key}:{letter} of args_type"
        )
    if _is_optional(item) and not member.optional:
        raise RegistrationError(
            f"{found.name}: {key!r} is optional in args_type, but {parameter.name!r} has no default"
        )
    member.optional = _is_optional(item)
    return member


def _is_optional(item: ArgsItem) -> bool:
    # The three arguments of C{/} are there whenever the line is read by a person's monitor, and never asked for otherwise.
    return item.optional or item.letter == "/"


def _goes_with(info: TypeInfo, kinds: frozenset[str]) -> bool:
    if info.kind == "alternate":
        return any(_goes_with(option, kinds) for option in info.options)
    return info.kind == "any" or info.kind in kinds

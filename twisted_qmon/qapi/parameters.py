"""
What a handler's parameters are as arguments of a command: by their annotations, or by an C{args_type} declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import ArgsItem, TypeInfo
from twisted_qmon.qapi import containers, shapes
from twisted_qmon.qapi.annotations import EMPTY, HandlerParameter, HandlerSignature, wire_name
from twisted_qmon.qapi.args_type import FORMAT_KEYS
from twisted_qmon.qapi.compiler import ShapeCompiler
from twisted_qmon.qapi.members import Member
from twisted_qmon.qapi.shapes import Shape
from twisted_qmon.qapi.types import Width

__all__ = ["annotated_parameter", "declared_parameters"]


def annotated_parameter(compiler: ShapeCompiler, parameter: HandlerParameter, found: HandlerSignature) -> Member:
    """
    :param found: the handler that has the parameter
    :return: the argument that a parameter's annotation and default say
    :raise RegistrationError: when the annotation is nothing that JSON can say
    """
    annotation = Any if parameter.annotation is EMPTY else parameter.annotation
    try:
        member = compiler.member(parameter.name, annotation, found.scope, optional=parameter.default is not EMPTY)
    except RegistrationError as e:
        raise RegistrationError(f"{found.name}: parameter {e}") from e
    return member


_SIZE = Width("size", 0, (1 << 64) - 1)

#: What each letter is where the handler says nothing, and which kinds of annotation go with it.
_LETTERS: Mapping[str, tuple[Callable[[], Shape], frozenset[str]]] = {
    **dict.fromkeys("FBsS", (shapes.text, frozenset({"str", "enum"}))),
    **dict.fromkeys("il", (shapes.integer, frozenset({"int", "size", "number"}))),
    **dict.fromkeys("Mo", (lambda: shapes.integer(_SIZE), frozenset({"int", "size", "number"}))),
    "T": (shapes.number, frozenset({"number"})),
    "b": (shapes.boolean, frozenset({"bool"})),
    "-": (shapes.boolean, frozenset({"bool"})),
    "O": (lambda: containers.mapping(None), frozenset({"object"})),
}

#: The letters of the three arguments that C{/} stands for.
_FORMAT_LETTERS = dict(zip(FORMAT_KEYS, "lsl", strict=True))


def declared_parameters(compiler: ShapeCompiler, items: tuple[ArgsItem, ...], found: HandlerSignature) -> list[Member]:
    """
    :param items: the parsed declaration
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
            members.append(_declared_member(compiler, item, key, letter, parameter, found))
    for parameter in rest.values():
        member = annotated_parameter(compiler, parameter, found)
        if not member.optional:
            raise RegistrationError(f"{found.name}: args_type does not say what the parameter {parameter.name!r} is")
        members.append(member)
    return members


def _declared_member(
    compiler: ShapeCompiler,
    item: ArgsItem,
    key: str,
    letter: str,
    parameter: HandlerParameter | None,
    found: HandlerSignature,
) -> Member:
    make, kinds = _LETTERS[letter]
    # The three arguments of C{/} are there whenever the line is read by a person's monitor, and never asked for otherwise.
    optional = item.optional or item.letter == "/"
    if parameter is None:
        if not found.keywords:
            raise RegistrationError(f"{found.name}: no parameter takes {key!r} of args_type")
        return Member(key.replace("-", "_"), key, make(), optional)
    if parameter.annotation is EMPTY:
        member = Member(parameter.name, key, make(), optional)
    else:
        member = annotated_parameter(compiler, parameter, found)
        member.wire = key
        if not _goes_with(member.shape.info, kinds):
            raise RegistrationError(
                f"{found.name}: the annotation of {parameter.name!r} does not go with {key}:{letter} of args_type"
            )
        member.optional = optional
    if optional and parameter.default is EMPTY and member.absent is None:
        raise RegistrationError(
            f"{found.name}: {key!r} is optional in args_type, but {parameter.name!r} has no default"
        )
    return member


def _goes_with(info: TypeInfo, kinds: frozenset[str]) -> bool:
    if info.kind == "alternate":
        return any(_goes_with(option, kinds) for option in info.options)
    return info.kind == "any" or info.kind in kinds

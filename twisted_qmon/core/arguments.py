"""
A command's signature: its handler's annotations, or an C{args_type} declaration, compiled once.

L{Signature.bind} turns arguments as they came into keywords for the handler, or says in QEMU's words what is wrong with them;
L{Signature.finish} turns what the handler gave into plain JSON data.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from twisted_qmon.core import shapes
from twisted_qmon.core.annotations import (
    EMPTY,
    HandlerParameter,
    HandlerSignature,
    Scope,
    read_handler,
    union,
    wire_name,
)
from twisted_qmon.core.args_type import FORMAT_KEYS, parse_args_type
from twisted_qmon.core.compiler import ShapeCompiler
from twisted_qmon.core.members import Member, Members
from twisted_qmon.core.plain import Unfit
from twisted_qmon.core.result import JSONText
from twisted_qmon.core.shapes import Misfit, Shape
from twisted_qmon.core.types import Boxed, Width
from twisted_qmon.core.unions import all_members
from twisted_qmon.errors import GenericError, RegistrationError
from twisted_qmon.info import ArgsItem, ParameterInfo, TypeInfo

__all__ = ["Record", "Signature", "compile_members", "compile_signature", "default_params"]


@dataclass(eq=False, frozen=True, slots=True)
class Signature:
    """
    What a command takes and gives.

    :ivar parameters: its arguments in declared order; C{None}: any
    :ivar items: the parsed C{args_type}, or C{None}
    :ivar boxed: the type that its arguments are as a whole, where one parameter takes them all
    :ivar returns: the type of its result
    :ivar request_parameter: the name of the handler's parameter that takes the request, or C{None}
    :ivar takes_nothing: it has no arguments: without any, C{bind} has nothing to do
    :ivar returns_nothing: its result is C{None}: where it is, C{finish} has nothing to do but to say C{{}}
    :ivar bind: C{bind(arguments)}: the keywords for the handler, a new dictionary each time; raises
        L{GenericError<twisted_qmon.errors.GenericError>}
    :ivar finish: C{finish(result)}: plain JSON data, the result itself if it is that already; raises C{TypeError} when it
        does not fit the annotation, or JSON can't say it. A L{JSONText<twisted_qmon.core.result.JSONText>} passes as it is.
    """

    parameters: tuple[ParameterInfo, ...] | None
    items: tuple[ArgsItem, ...] | None
    boxed: TypeInfo | None
    returns: TypeInfo
    request_parameter: str | None
    takes_nothing: bool
    returns_nothing: bool
    bind: Callable[[Mapping[str, Any]], dict[str, Any]]
    finish: Callable[[Any], Any]


def compile_signature(handler: Callable[..., Any], *, args_type: str | None = None) -> Signature:
    """
    Compile a handler's signature.

    :param handler: a function, a bound method, a C{functools.partial} or an object that is called
    :param args_type: the arguments in QEMU's grammar. Where it says a type and an annotation says another one that fits, the
        annotation's holds.
    :raise RegistrationError: when an annotation can't be resolved or is nothing that JSON can say, when the declaration does not
        follow the grammar, or when the two don't go together
    """
    found = read_handler(handler)
    compiler = ShapeCompiler()
    returns, nothing = _result(compiler, found)
    finish = _finish_nothing if nothing else _finisher(returns)
    box = _boxed(found)
    if box is not None:
        if args_type is not None:
            raise RegistrationError(f"{found.name}: args_type does not go with Boxed")
        shape = _parameter(compiler, box, found).shape
        if shape.info.kind != "object" or shape.info.members is None:
            raise RegistrationError(f"{found.name}: all the arguments together are an object, not {shape.info.kind}")
        return Signature(
            parameters=all_members(shape.info),
            items=None,
            boxed=shape.info,
            returns=returns.info,
            request_parameter=found.request,
            takes_nothing=False,
            returns_nothing=nothing,
            bind=_box_binder(box.name, shape),
            finish=finish,
        )
    items = None if args_type is None else parse_args_type(args_type)
    any_others = found.keywords and items is None
    if items is None:
        members = [_parameter(compiler, parameter, found) for parameter in found.parameters]
    else:
        members = _declared(compiler, items, found)
    _check_names(members, found)
    parameters = None if any_others else tuple(member.info for member in members)
    return Signature(
        parameters=parameters,
        items=items,
        boxed=None,
        returns=returns.info,
        request_parameter=found.request,
        takes_nothing=parameters == (),
        returns_nothing=nothing,
        bind=_binder(Members(members, others=any_others)),
        finish=finish,
    )


def _boxed(found: HandlerSignature) -> HandlerParameter | None:
    for parameter in found.parameters:
        if any(isinstance(mark, Boxed) for mark in getattr(parameter.annotation, "__metadata__", ())):
            if len(found.parameters) > 1 or found.keywords:
                raise RegistrationError(f"{found.name}: {parameter.name!r} is Boxed, so there are no other parameters")
            return parameter
    return None


def _check_names(members: list[Member], found: HandlerSignature) -> None:
    names = [member.wire for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RegistrationError(f"{found.name}: two parameters are {twice!r} on the wire")


def _binder(members: Members) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return members.compile_take(_answering(members.take))


def _box_binder(name: str, shape: Shape) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    take, quick_take = shape.take, shape.quick_take
    explain = _answering(lambda arguments: {name: take(arguments)})

    def bind(arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {name: quick_take(arguments)}
        except Exception:
            return explain(arguments)

    return bind


def _answering(take: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """The plain road; what is wrong is the answer to the command."""

    def explain(arguments: Any) -> dict[str, Any]:
        try:
            bound: dict[str, Any] = take(arguments)
        except Misfit as e:
            raise GenericError(str(e)) from None
        except RecursionError:
            raise GenericError("JSON nesting depth limit exceeded") from None
        return bound

    return explain


# -- parameters from annotations


def _parameter(compiler: ShapeCompiler, parameter: HandlerParameter, found: HandlerSignature) -> Member:
    annotation = Any if parameter.annotation is EMPTY else parameter.annotation
    try:
        member = compiler.member(parameter.name, annotation, found.scope, optional=parameter.default is not EMPTY)
    except RegistrationError as e:
        raise RegistrationError(f"{found.name}: parameter {e}") from e
    return member


# -- parameters from args_type

_SIZE = Width("size", 0, (1 << 64) - 1)

#: What each letter is where the handler says nothing, and which kinds of annotation go with it.
_LETTERS: Mapping[str, tuple[Callable[[], Shape], frozenset[str]]] = {
    **dict.fromkeys("FBsS", (shapes.text, frozenset({"str", "enum"}))),
    **dict.fromkeys("il", (shapes.integer, frozenset({"int", "size", "number"}))),
    **dict.fromkeys("Mo", (lambda: shapes.integer(_SIZE), frozenset({"int", "size", "number"}))),
    "T": (shapes.number, frozenset({"number"})),
    "b": (shapes.boolean, frozenset({"bool"})),
    "-": (shapes.boolean, frozenset({"bool"})),
    "O": (lambda: shapes.mapping(None), frozenset({"object"})),
}

#: The letters of the three arguments that C{/} stands for.
_FORMAT_LETTERS = dict(zip(FORMAT_KEYS, "lsl", strict=True))


def _declared(compiler: ShapeCompiler, items: tuple[ArgsItem, ...], found: HandlerSignature) -> list[Member]:
    rest = {wire_name(parameter.name): parameter for parameter in found.parameters}
    members: list[Member] = []
    for item in items:
        letters = _FORMAT_LETTERS if item.letter == "/" else {item.key: "s" if item.flag_value else item.letter}
        for key, letter in letters.items():
            # A key may have underscores on the wire: QEMU's own do.
            parameter = rest.pop(wire_name(key), None)
            members.append(_declared_member(compiler, item, key, letter, parameter, found))
    for parameter in rest.values():
        member = _parameter(compiler, parameter, found)
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
        member = _parameter(compiler, parameter, found)
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


# -- results


def _result(compiler: ShapeCompiler, found: HandlerSignature) -> tuple[Shape, bool]:
    annotation = _result_annotation(found.returns, found.scope)
    if annotation is None or annotation is type(None):
        return Shape(TypeInfo("object", members=()), _nothing, _nothing, frozenset()), True
    try:
        return compiler.member("result", annotation, found.scope).shape, False
    except RegistrationError as e:
        raise RegistrationError(f"{found.name}: {e}") from e


def _nothing(value: Any) -> Any:
    """Never called: a result of no type is none, and so needs no converting."""
    raise AssertionError(value)


def _result_annotation(annotation: Any, scope: Scope) -> Any:
    """What is left of a result's annotation without the Deferred, coroutine or generator around it."""
    if isinstance(annotation, (str, typing.ForwardRef)):
        annotation = scope.resolve(annotation)
    if annotation in (EMPTY, typing.NoReturn, getattr(typing, "Never", EMPTY), *_ASYNC):
        return Any
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _ASYNC:
        return _result_annotation(arguments[-1], scope)
    if origin in (typing.Union, types.UnionType):
        options = [_result_annotation(option, scope) for option in arguments if option is not JSONText]
        if Any in options:
            return Any
        return union(options) if options else Any
    return annotation


_ASYNC: tuple[Any, ...] = (
    Deferred,
    collections.abc.Awaitable,
    collections.abc.Coroutine,
    collections.abc.Generator,
    types.CoroutineType,
)


def _finish_nothing(result: Any) -> Any:
    if result is None:
        return {}
    if isinstance(result, JSONText):
        return result
    raise TypeError(f"the result is annotated None, but is {type(result).__name__}")


def _finisher(shape: Shape) -> Callable[[Any], Any]:
    give, quick_give = shape.give, shape.quick_give
    null = shape.info.kind == "alternate" and any(option.kind == "null" for option in shape.info.options)

    def finish(result: Any) -> Any:
        if result is None:
            # Even of a command that may give anything: a command without a result answers an empty object.
            return None if null else {}
        if type(result) is JSONText:
            return result
        try:
            return quick_give(result)
        except Exception:
            return explain(result)

    def explain(result: Any) -> Any:
        try:
            return give(result)
        except RecursionError:
            raise TypeError("the result nests too deeply, or within itself") from None

    return finish


# -- events


class Record:
    """
    The data of an event: named members.

    :ivar members: in declared order
    """

    __slots__ = ("_give", "_quick_give", "members")

    def __init__(self, members: Members) -> None:
        self.members = tuple(member.info for member in members.members)
        self._give = members.give_mapping
        self._quick_give = members.compile_give_mapping()

    def encode(self, data: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """
        :param data: the members, by Python names or those of the wire
        :param path: what stands before the names in an error text
        :return: plain JSON data; C{data} itself if it is that
        :raise TypeError: when a member is missing, unknown or does not fit
        """
        encoded: dict[str, Any]
        try:
            encoded = self._quick_give(data)
        except Exception:
            encoded = self._explain(data, path)
        return encoded

    def _explain(self, data: Mapping[str, Any], path: str) -> dict[str, Any]:
        try:
            encoded: dict[str, Any] = self._give(data)
        except Unfit as e:
            if path:
                e.path.append(path)
            raise
        except RecursionError:
            raise TypeError("the data nests too deeply, or within itself") from None
        return encoded


def compile_members(members: Mapping[str, Any]) -> Record:
    """
    :param members: names (Python's or those of the wire) and annotations. C{T | None} is a member that may be absent.
    :raise RegistrationError: when an annotation is nothing that JSON can say, or two names are one on the wire
    """
    compiler = ShapeCompiler()
    scope = Scope({}, {})
    compiled = [compiler.member(name, annotation, scope) for name, annotation in members.items()]
    names = [member.wire for member in compiled]
    if len(set(names)) < len(names):
        raise RegistrationError(f"two members have one name on the wire: {', '.join(names)}")
    return Record(Members(compiled))


# -- help


def default_params(signature: Signature) -> str:
    """
    :return: the parameters as QEMU's help shows them: C{"value"}, C{"path [freq]"}, C{"[-n] device"}
    """
    if signature.items is not None:
        return " ".join(_item_text(item) for item in signature.items)
    if signature.parameters is None:
        return "[name=value...]"
    required = [parameter.name for parameter in signature.parameters if not parameter.optional]
    optional = [f"[{parameter.name}]" for parameter in signature.parameters if parameter.optional]
    return " ".join(required + optional)


def _item_text(item: ArgsItem) -> str:
    if item.letter == "/":
        return "/fmt"
    if item.letter == "-":
        return f"[-{item.flag} {item.key}]" if item.flag_value else f"[-{item.flag}]"
    if item.dot:
        return f"[.{item.key}]"
    return f"[{item.key}]" if item.optional else item.key

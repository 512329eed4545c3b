"""
A command's signature: its handler's annotations, or an C{args_type} declaration, compiled once.

L{Signature.bind} turns arguments as they came into keywords for the handler, or says in QEMU's words what is wrong with them;
L{Signature.finish} turns what the handler gave into plain JSON data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from twisted_qmon.errors import GenericError, RegistrationError
from twisted_qmon.info import ArgsItem, ParameterInfo, TypeInfo
from twisted_qmon.qapi.annotations import HandlerParameter, HandlerSignature, Scope, read_handler
from twisted_qmon.qapi.args_type import parse_args_type
from twisted_qmon.qapi.compiler import ShapeCompiler
from twisted_qmon.qapi.members import Member, Members
from twisted_qmon.qapi.parameters import annotated_parameter, declared_parameters
from twisted_qmon.qapi.plain import Unfit
from twisted_qmon.qapi.results import finish_nothing, result_shape
from twisted_qmon.qapi.shapes import Misfit, Shape
from twisted_qmon.qapi.source import Later, made
from twisted_qmon.qapi.types import Boxed
from twisted_qmon.qapi.unions import all_members

__all__ = ["Record", "Signature", "compile_members", "compile_signature", "default_params"]


class Signature(msgspec.Struct, eq=False, frozen=True):
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
    :ivar compile_call: C{compile_call(handler)}: a function that takes the arguments, or C{None}, and calls the handler with what
        C{bind} would give
    :ivar finish: C{finish(result)}: plain JSON data, the result itself if it is that already; raises C{TypeError} when it
        does not fit the annotation, or JSON can't say it. A L{JSONText<twisted_qmon.qapi.json_text.JSONText>} passes as it is.
    """

    parameters: tuple[ParameterInfo, ...] | None
    items: tuple[ArgsItem, ...] | None
    boxed: TypeInfo | None
    returns: TypeInfo
    request_parameter: str | None
    takes_nothing: bool
    returns_nothing: bool
    bind: Callable[[Mapping[str, Any]], dict[str, Any]]
    compile_call: Callable[[Callable[..., Any]], Callable[[Any], Any]]
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
    returns, finish = result_shape(compiler, found)
    box = _boxed(found)
    if box is not None:
        if args_type is not None:
            raise RegistrationError(f"{found.name}: args_type does not go with Boxed")
        shape = annotated_parameter(compiler, box, found).shape
        if shape.info.kind != "object" or shape.info.members is None:
            raise RegistrationError(f"{found.name}: all the arguments together are an object, not {shape.info.kind}")
        bind = _box_binder(box.name, shape)
        return Signature(
            parameters=all_members(shape.info),
            items=None,
            boxed=shape.info,
            returns=returns.info,
            request_parameter=found.request,
            takes_nothing=False,
            returns_nothing=finish is finish_nothing,
            bind=bind,
            compile_call=lambda handler: lambda arguments: handler(**bind(arguments or {})),
            finish=finish,
        )
    items = None if args_type is None else parse_args_type(args_type)
    any_others = found.keywords and items is None
    if items is None:
        members = [annotated_parameter(compiler, parameter, found) for parameter in found.parameters]
    else:
        members = declared_parameters(compiler, items, found)
    _check_names(members, found)
    parameters = None if any_others else tuple(member.info for member in members)
    together = Members(members, others=any_others)
    explain = _answering(together.take)
    return Signature(
        parameters=parameters,
        items=items,
        boxed=None,
        returns=returns.info,
        request_parameter=found.request,
        takes_nothing=parameters == (),
        returns_nothing=finish is finish_nothing,
        bind=Later(lambda: together.compile_take(explain)),
        compile_call=lambda handler: together.compile_take(lambda arguments: explain(arguments or {}), call=handler),
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


def _box_binder(name: str, shape: Shape) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    explain = _answering(lambda arguments: {name: shape.take(arguments)})

    def bind(arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {name: made(shape.quick_take)(arguments)}
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
        self._quick_give: Callable[[Any], Any] = Later(members.compile_give_mapping)

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

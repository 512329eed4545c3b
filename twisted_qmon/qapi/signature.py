"""
A command's signature: what it takes and gives, read from its handler's annotations or an C{args_type} declaration.

L{Signature.caller} makes what calls the handler with arguments as they came, or says in QEMU's words what is wrong with them;
C{Signature.finish} turns what the handler gave into plain JSON data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import convert

from twisted_qmon.errors import InvalidArguments, RegistrationError
from twisted_qmon.info import JSON, ArgsItem, ParameterInfo, TypeInfo
from twisted_qmon.qapi.args_type import declared_parameters, parse_args_type
from twisted_qmon.qapi.compiler import TypeCompiler
from twisted_qmon.qapi.resolve import EMPTY, HandlerParameter, HandlerSignature, Scope, read_handler
from twisted_qmon.qapi.results import Finish, compile_result
from twisted_qmon.qapi.types.errors import ArgumentError, ResultError
from twisted_qmon.qapi.types.fast import Arguments, Handler, InStruct, Keywords
from twisted_qmon.qapi.types.marks import Boxed
from twisted_qmon.qapi.types.objects import ArgumentsType, DictType, Member
from twisted_qmon.qapi.types.scalars import BoolType, EnumType, IntType, NumberType, StrType
from twisted_qmon.qapi.types.unions import all_members

__all__ = ["Record", "Signature", "compile_members", "compile_signature", "default_params"]


class Signature(msgspec.Struct, eq=False):
    """
    What a command takes and gives.

    :ivar decode: the plain way of its arguments: keywords for the handler; raises L{ArgumentError}
    :ivar finish: turns what the handler gave into plain JSON data
    :ivar returns: the type of its result
    :ivar request_parameter: the name of the handler's parameter that takes the request, or C{None}
    :ivar parameters: its arguments in declared order; C{None}: any
    :ivar items: the parsed C{args_type}, or C{None}
    :ivar boxed: the type that its arguments are as a whole, where one parameter takes them all
    :ivar members: its arguments, where there is a fast way for them
    :ivar by_place: the same with the handler's own defaults, if it takes them in this order
    :ivar request_at: how many of them come before the request
    :ivar secrets: the names, in Python, of those that are not to be shown
    """

    decode: Callable[[JSON], Keywords]
    finish: Finish
    returns: TypeInfo
    request_parameter: str | None
    parameters: tuple[ParameterInfo, ...] | None
    items: tuple[ArgsItem, ...] | None = None
    boxed: TypeInfo | None = None
    members: Sequence[Member] | None = None
    by_place: Sequence[Member] | None = None
    request_at: int = 0
    secrets: tuple[str, ...] = ()

    def bind(self, arguments: Arguments) -> Keywords:
        """
        The plain way.

        :param arguments: as they came; what is nearly JSON data will do: subclasses, tuples, mappings
        :return: the keywords for the handler, a new dictionary each time
        :raise InvalidArguments: in QEMU's words, when an argument is missing, unexpected or wrong
        """
        try:
            return self.decode(arguments)
        except ArgumentError as e:
            raise InvalidArguments(str(e)) from None
        except RecursionError:
            raise InvalidArguments("JSON nesting depth limit exceeded") from None

    def checker(self) -> Callable[[Arguments], object]:
        """
        :return: raises what L{bind} raises for arguments that won't do. They are JSON data as a reader makes it.
        """
        if self.members is None:
            return self.bind
        if not self.members:
            return lambda arguments: arguments and self.bind(arguments)
        try:
            struct = InStruct(self.members)
        except (TypeError, ValueError):
            return self.bind

        def check(arguments: Arguments) -> None:
            try:
                struct.values(convert(arguments, struct.struct))
            except Exception:
                self.bind(arguments)

        return check

    def caller(self, handler: Handler) -> Callable[..., object]:
        """
        :param handler: the one whose signature this is
        :return: C{call(arguments, request=None)}: it calls the handler with what L{bind} would give, and with the request if it
            takes that. The arguments are C{None}, or JSON data as a reader makes it.
        """
        if self.members is None:
            return self._plain_caller(handler)
        if self.request_parameter is None:
            if not self.members:
                return self._caller_without_arguments(handler)
            first = self.members[0]
            if len(self.members) == 1 and not first.optional and isinstance(first.type, _SCALARS):
                return self._caller_with_one(handler, first)
        try:
            struct = InStruct(self.by_place or self.members)
        except (TypeError, ValueError):
            return self._plain_caller(handler)
        return self._fast_caller(handler, struct)

    def _plain_caller(self, handler: Handler) -> Callable[..., object]:
        name = self.request_parameter

        def call(arguments: Arguments | None, request: object = None) -> object:
            keywords = self.bind(arguments or {})
            if name is not None:
                keywords[name] = request
            return handler(**keywords)

        return call

    def _caller_without_arguments(self, handler: Handler) -> Callable[..., object]:
        def call(arguments: Arguments | None, request: object = None) -> object:
            if arguments:
                self.bind(arguments)
            return handler()

        return call

    def _caller_with_one(self, handler: Handler, member: Member) -> Callable[..., object]:
        # To look at one value takes less time than to ask msgspec.
        wire, decode, by_place = member.wire, member.type.decode, self.by_place is not None

        def call(arguments: Any, request: object = None) -> object:
            try:
                value = decode(arguments[wire])
                fits = len(arguments) == 1
            except Exception:
                fits = False
            if not fits:
                return handler(**self.bind(arguments or {}))
            return handler(value) if by_place else handler(**{member.name: value})

        return call

    def _fast_caller(self, handler: Handler, struct: InStruct) -> Callable[..., object]:
        made, name, at, by_place = struct.struct, self.request_parameter, self.request_at, self.by_place is not None
        arrange: Callable[[Any], Any] = struct.values if by_place else struct.keywords
        nothing: Arguments = {}

        def call(arguments: Arguments | None, request: object = None) -> object:
            try:
                found = arrange(convert(arguments or nothing, made))
            except Exception:
                found = None
            # Neither within the try, nor while an exception is being handled: what the handler raises is its own matter.
            if found is None:
                found = self.bind(arguments or nothing)
            elif by_place:
                return handler(*found) if name is None else handler(*found[:at], request, *found[at:])
            if name is not None:
                found[name] = request
            return handler(**found)

        return call


# Types of which one value is decoded quickly.
_SCALARS = (StrType, IntType, NumberType, BoolType, EnumType)


def compile_signature(handler: Handler, *, args_type: str | None = None) -> Signature:
    """
    Compile a handler's signature.

    :param handler: a function, a bound method, a C{functools.partial} or an object that is called
    :param args_type: the arguments in QEMU's grammar. Where it says a type and an annotation says another one that fits, the
        annotation's holds.
    :raise RegistrationError: when an annotation can't be resolved or JSON has no such type, when the declaration does not follow
        the grammar, or when the two don't go together
    """
    found = read_handler(handler)
    signature = _compile(found, args_type)
    signature.secrets = tuple(found.secrets)
    return signature


def _compile(found: HandlerSignature, args_type: str | None) -> Signature:
    compiler = TypeCompiler()
    returns, finish = compile_result(compiler, found)
    box = _boxed_parameter(found)
    if box is not None:
        if args_type is not None:
            raise RegistrationError(f"{found.name}: args_type does not go with Boxed")
        boxed = compiler.parameter(box, found).type
        if boxed.info.kind != "object" or boxed.info.members is None:
            raise RegistrationError(f"{found.name}: all the arguments together are an object, not {boxed.info.kind}")
        return Signature(
            lambda arguments: {box.name: boxed.decode(arguments)},
            finish,
            returns,
            found.request,
            all_members(boxed.info),
            boxed=boxed.info,
        )
    items = None if args_type is None else parse_args_type(args_type)
    if items is None:
        members = [compiler.parameter(parameter, found) for parameter in found.parameters]
    else:
        members = declared_parameters(compiler, items, found)
    names = [member.wire for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RegistrationError(f"{found.name}: two parameters are {twice!r} on the wire")
    arguments = ArgumentsType(others=found.keywords and items is None)
    arguments.complete(members)
    if found.keywords and items is None:
        return Signature(arguments.decode, finish, returns, found.request, None)
    return Signature(
        arguments.decode,
        finish,
        returns,
        found.request,
        arguments.info.members,
        items,
        members=members,
        by_place=_by_place(members, found),
        request_at=found.request_at,
    )


def _boxed_parameter(found: HandlerSignature) -> HandlerParameter | None:
    for parameter in found.parameters:
        if any(isinstance(mark, Boxed) for mark in getattr(parameter.annotation, "__metadata__", ())):
            if len(found.parameters) > 1 or found.keywords:
                raise RegistrationError(f"{found.name}: {parameter.name!r} is Boxed, so there are no other parameters")
            return parameter
    return None


def _by_place(members: Sequence[Member], found: HandlerSignature) -> Sequence[Member] | None:
    """The members with the handler's defaults, which it does not add itself to what it is given by place."""
    if not found.own or found.request_by_name or any(parameter.by_name for parameter in found.parameters):
        return None
    if [member.name for member in members] != [parameter.name for parameter in found.parameters]:
        return None
    return [
        member if parameter.default is EMPTY else msgspec.structs.replace(member, default=parameter.default)
        for member, parameter in zip(members, found.parameters, strict=True)
    ]


# -- events


class Record:
    """
    The data of an event: named members.

    :param members: their names and types, in declared order
    :ivar members: the same as plain data
    :raise RegistrationError: when two have one name on the wire
    """

    __slots__ = ("_type", "members")

    def __init__(self, members: Sequence[Member]) -> None:
        self._type = DictType(dict)
        self._type.complete(members)
        self.members = self._type.info.members or ()

    def encode(self, data: Mapping[str, object], path: str = "") -> Mapping[str, JSON]:
        """
        :param data: the members, by Python names or those of the wire
        :param path: what stands before the names in an error text
        :return: plain JSON data; C{data} itself if it is that
        :raise TypeError: when a member is missing, unknown or does not fit
        """
        try:
            return self._type.encode(data)
        except ResultError as e:
            if path:
                e.path.append(path)
            raise
        except RecursionError:
            raise TypeError("the data nests too deeply, or within itself") from None


def compile_members(members: Mapping[str, object]) -> Record:
    """
    :param members: names (Python's or those of the wire) and annotations. C{T | None} is a member that may be absent.
    :raise RegistrationError: when JSON has no such type, or two names are one on the wire
    """
    compiler = TypeCompiler()
    scope = Scope({}, {})
    return Record([compiler.member(name, annotation, scope) for name, annotation in members.items()])


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

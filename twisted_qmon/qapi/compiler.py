"""
From annotations to shapes: which Python type is which type of QAPI's world.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import TypeInfo
from twisted_qmon.qapi import containers, shapes
from twisted_qmon.qapi.annotations import Scope, union, wire_name
from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qapi.members import Constant, Member, Members
from twisted_qmon.qapi.shapes import Shape
from twisted_qmon.qapi.source import Later
from twisted_qmon.qapi.types import Alternate, Tagged, Width
from twisted_qmon.qapi.unions import alternate, tagged

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required
else:
    from typing_extensions import NotRequired, Required

__all__ = ["ShapeCompiler", "without_none"]

_UNIONS: tuple[Any, ...] = (typing.Union, types.UnionType)
_LISTS = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def without_none(annotation: Any) -> tuple[Any, bool]:
    """
    :return: the annotation without C{| None}, and whether it had one
    """
    if typing.get_origin(annotation) not in _UNIONS:
        return annotation, False
    options = typing.get_args(annotation)
    rest = tuple(option for option in options if option is not type(None))
    if len(rest) == len(options) or not rest:
        return annotation, False
    return (rest[0] if len(rest) == 1 else union(rest)), True


class ShapeCompiler:
    """
    Makes shapes. One compiler makes one shape of each class, so a class may have members of its own type.
    """

    def __init__(self) -> None:
        self._classes: dict[Any, Shape] = {}
        self._members: dict[int, Members] = {}
        self._unions: dict[Any, Shape] = {}
        self._later: list[Callable[[], None]] = []
        self._depth = 0

    def compile(self, annotation: Any, scope: Scope) -> Shape:
        """
        :param annotation: any annotation of QAPI's world, resolved or not
        :param scope: where names in it are looked up
        :raise RegistrationError: when it is nothing that JSON can say
        """
        self._depth += 1
        try:
            shape = self._compile(annotation, scope)
        finally:
            self._depth -= 1
        if self._depth == 0:
            # What needs to look into classes that are complete.
            while self._later:
                self._later.pop(0)()
        return shape

    def _compile(self, annotation: Any, scope: Scope) -> Shape:
        if isinstance(annotation, (str, typing.ForwardRef)):
            annotation = scope.resolve(annotation)
        while hasattr(annotation, "__supertype__"):  # a NewType
            annotation = annotation.__supertype__
        if sys.version_info >= (3, 12) and isinstance(annotation, typing.TypeAliasType):
            return self._compile(annotation.__value__, scope)
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            return self._annotated(annotation, scope)
        if origin in _UNIONS:
            return self._union(annotation, Alternate(), scope)
        if origin is typing.Literal:
            return self._literal(annotation)
        if origin in _LISTS or annotation in _LISTS:
            shape = containers.listing(self._element(annotation, scope))
            return containers.as_tuple(shape) if tuple in (origin, annotation) else shape
        if origin in _DICTS or annotation in _DICTS:
            return containers.mapping(self._value(annotation, scope))
        if origin is not None:
            raise _no_shape(annotation)
        simple = _SIMPLE.get(annotation) if isinstance(annotation, collections.abc.Hashable) else None
        if simple is not None:
            return simple()
        if isinstance(annotation, type):
            return self._class(annotation)
        raise _no_shape(annotation)

    def _annotated(self, annotation: Any, scope: Scope) -> Shape:
        inner, *marks = typing.get_args(annotation)
        for mark in marks:
            if isinstance(mark, Width):
                return shapes.integer(mark)
            if isinstance(mark, Alternate):
                return self._union(inner, mark, scope)
            if isinstance(mark, Tagged):
                return self._tagged(inner, mark, scope)
        return self._compile(inner, scope)

    def _element(self, annotation: Any, scope: Scope) -> Shape | None:
        arguments = typing.get_args(annotation)
        if not arguments:
            return None
        origin = typing.get_origin(annotation)
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
            raise RegistrationError(f"{_show(annotation)}: a list has elements of one type; tuple[T, ...] says so")
        return self.compile(arguments[0], scope)

    def _value(self, annotation: Any, scope: Scope) -> Shape | None:
        arguments = typing.get_args(annotation)
        if not arguments:
            return None
        if arguments[0] is not str and arguments[0] != "str":
            raise RegistrationError(f"{_show(annotation)}: the names of an object's members are strings")
        return self.compile(arguments[1], scope)

    def _literal(self, annotation: Any) -> Shape:
        values = typing.get_args(annotation)
        if all(isinstance(value, enum.Enum) for value in values):
            return shapes.enumeration({_enum_value(value): value for value in values}, type(values[0]).__name__)
        if not all(isinstance(value, str) for value in values):
            raise RegistrationError(f"{_show(annotation)}: the values of an enum are strings")
        return shapes.enumeration({value: value for value in values})

    # -- unions

    def _union(self, annotation: Any, mark: Alternate, scope: Scope) -> Shape:
        key = (annotation, mark)
        if key in self._unions:
            return self._unions[key]
        options = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
        compiled = [shapes.null() if option is type(None) else self.compile(option, scope) for option in options]
        shape = (
            compiled[0] if len(compiled) == 1 and not mark.name else alternate(compiled, mark.name, _show(annotation))
        )
        self._unions[key] = shape
        return shape

    def _tagged(self, annotation: Any, mark: Tagged, scope: Scope) -> Shape:
        key = (annotation, mark)
        if key in self._unions:
            return self._unions[key]
        options = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
        # Before its variants, which may have members of this very type.
        shape, complete = tagged(options, mark.name)
        self._unions[key] = shape
        variants = [self.compile(option, scope) for option in options]
        self._later.append(lambda: complete(wire_name(mark.member), [(v, self._members.get(id(v))) for v in variants]))
        return shape

    # -- classes

    def _class(self, cls: type) -> Shape:
        if cls in self._classes:
            return self._classes[cls]
        if issubclass(cls, enum.Enum):
            shape = shapes.enumeration({_enum_value(value): value for value in cls}, cls.__name__)
            self._classes[cls] = shape
            return shape
        if hasattr(cls, "__total__") and issubclass(cls, dict):
            return self._object(cls, _typed_dict_members, None)
        if issubclass(cls, msgspec.Struct):
            return self._object(cls, _struct_members, cls)
        if dataclasses.is_dataclass(cls):
            return self._object(cls, _dataclass_members, cls)
        raise _no_shape(cls)

    def _object(
        self, cls: type, read: Callable[[ShapeCompiler, type], Sequence[Member]], make: Callable[..., Any] | None
    ) -> Shape:
        # Whoever gets hold of the shape before it is complete (a member of the class's own type) keeps these.
        def take(value: Any) -> Any:
            return shape.take(value)

        def give(value: Any) -> Any:
            return shape.give(value)

        def quick_take(value: Any) -> Any:
            return shape.quick_take(value)

        def quick_give(value: Any) -> Any:
            return shape.quick_give(value)

        info = TypeInfo("object", cls.__name__)
        shape = Shape(info, take, give, frozenset({"object"}), quick_take=quick_take, quick_give=quick_give)
        self._classes[cls] = shape
        try:
            members = Members(read(self, cls), make)
        except RegistrationError as e:
            raise RegistrationError(f"{cls.__name__}: {e}") from e
        names = [member.wire for member in members.members]
        if len(set(names)) < len(names):
            raise RegistrationError(f"{cls.__name__}: two members have one name on the wire: {', '.join(names)}")
        info.members = tuple(member.info for member in members.members)
        shape.take, shape.quick_take = members.take, Later(members.compile_take)
        if make is None:
            shape.give, shape.quick_give = members.give_mapping, Later(members.compile_give_mapping)
        else:
            shape.give = functools.partial(members.give_object, owner=cls)
            shape.quick_give = Later(lambda: members.compile_give_object(cls))
        self._members[id(shape)] = members
        return shape

    def member(
        self,
        name: str,
        annotation: Any,
        scope: Scope,
        *,
        wire: str | None = None,
        optional: bool = False,
        absent: Callable[[], Any] | None = None,
    ) -> Member:
        """
        :param absent: see L{Member}
        :return: a member of this name and annotation. C{T | None} is one that may be absent, and C{None} then.
        :raise RegistrationError: when the annotation is nothing that JSON can say
        """
        if isinstance(annotation, (str, typing.ForwardRef)):
            annotation = scope.resolve(annotation)
        annotation, skip_none = without_none(annotation)
        if skip_none and not optional:
            optional, absent = True, Constant(None)
        try:
            shape = self.compile(annotation, scope)
        except RegistrationError as e:
            raise RegistrationError(f"{name}: {e}") from e
        return Member(name, wire_name(name) if wire is None else wire, shape, optional, absent, skip_none)


def _hints(cls: type) -> dict[str, tuple[Any, Scope]]:
    """The annotations of a class and its bases, each with the scope it was written in."""
    hints: dict[str, tuple[Any, Scope]] = {}
    for owner in reversed(cls.__mro__):
        annotations = inspect.get_annotations(owner)
        if annotations:
            scope = Scope.of_class(owner)
            for name, annotation in annotations.items():
                hints[name] = (scope.resolve(annotation), scope)
    return hints


def _dataclass_members(compiler: ShapeCompiler, cls: Any) -> list[Member]:
    hints = _hints(cls)
    members = []
    for item in dataclasses.fields(cls):
        if not item.init:
            continue
        annotation, scope = hints[item.name]
        absent: Callable[[], Any] | None = None
        if item.default_factory is not dataclasses.MISSING:
            absent = item.default_factory
        elif item.default is not dataclasses.MISSING:
            absent = Constant(item.default)
        member = compiler.member(item.name, annotation, scope, optional=absent is not None, absent=absent)
        member.keyword = item.kw_only is True
        members.append(member)
    return members


def _struct_members(compiler: ShapeCompiler, cls: Any) -> list[Member]:
    if cls.__struct_config__.tag is not None:
        raise RegistrationError("say the tag as a member with a Literal: msgspec's is no member")
    hints = _hints(cls)
    members = []
    for item in msgspec.structs.fields(cls):
        annotation, scope = hints[item.name]
        absent: Callable[[], Any] | None = None
        if item.default_factory is not msgspec.NODEFAULT:
            absent = item.default_factory
        elif item.default is not msgspec.NODEFAULT:
            absent = Constant(item.default)
        wire = item.encode_name if item.encode_name != item.name else None
        members.append(
            compiler.member(item.name, annotation, scope, wire=wire, optional=absent is not None, absent=absent)
        )
    return members


def _typed_dict_members(compiler: ShapeCompiler, cls: Any) -> list[Member]:
    members = []
    for name, (annotation, scope) in _typed_dict_hints(cls).items():
        # The wrapper decides: for annotations that were strings, Python's own list of required keys is wrong.
        optional = name in cls.__optional_keys__
        while typing.get_origin(annotation) in (Required, NotRequired, typing.Annotated):
            origin = typing.get_origin(annotation)
            if origin is typing.Annotated:
                inner = typing.get_args(annotation)[0]
                if typing.get_origin(inner) not in (Required, NotRequired):
                    break
                annotation = inner
                continue
            optional = origin is NotRequired
            annotation = typing.get_args(annotation)[0]
        members.append(compiler.member(name, annotation, scope, optional=optional))
    return members


def _typed_dict_hints(cls: Any) -> dict[str, tuple[Any, Scope]]:
    hints: dict[str, tuple[Any, Scope]] = {}
    for name, annotation in inspect.get_annotations(cls).items():
        scope = Scope.of_class(cls)
        if isinstance(annotation, typing.ForwardRef):
            # A TypedDict forgets its bases, but a reference that it has from one names the base's module.
            module = sys.modules.get(getattr(annotation, "__forward_module__", None) or cls.__module__)
            scope = Scope(vars(module) if module is not None else {}, scope.local, scope.qualname)
            annotation = annotation.__forward_arg__
        hints[name] = (scope.resolve(annotation), scope)
    return hints


def _enum_value(member: enum.Enum) -> str:
    if not isinstance(member.value, str):
        raise RegistrationError(f"{type(member).__name__}: the values of an enum are strings, not {member.value!r}")
    return member.value


def _show(annotation: Any) -> str:
    # (Python 3.10 takes set[int] for a type.)
    plain = isinstance(annotation, type) and typing.get_origin(annotation) is None
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")


def _no_shape(annotation: Any) -> RegistrationError:
    return RegistrationError(f"{_show(annotation)} is no type that JSON can say")


_SIMPLE: dict[Any, Callable[[], Shape]] = {
    str: shapes.text,
    int: shapes.integer,
    float: shapes.number,
    bool: shapes.boolean,
    None: shapes.null,
    type(None): shapes.null,
    Any: shapes.anything,
    object: shapes.anything,
    JSONText: shapes.anything,
}

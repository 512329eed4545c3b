"""
From annotations to types: which type a Python type is on the wire, and which members a class has.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from twisted_qmon.errors import RegistrationError
from twisted_qmon.qapi.resolve import EMPTY, HandlerParameter, HandlerSignature, Scope, union, wire_name
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.containers import ListType, MapType
from twisted_qmon.qapi.types.marks import Alternate, Tagged, Width
from twisted_qmon.qapi.types.objects import DictType, Member, ObjectType
from twisted_qmon.qapi.types.scalars import SIMPLE, EnumType, IntType
from twisted_qmon.qapi.types.unions import AlternateType, TaggedType

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required
else:
    from typing_extensions import NotRequired, Required

__all__ = ["TypeCompiler", "without_none"]

_UNIONS: tuple[object, ...] = (typing.Union, types.UnionType)
_LISTS = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def without_none(annotation: object) -> tuple[object, bool]:
    """
    :return: the annotation without C{| None}, and whether it had one
    """
    options = _options(annotation)
    rest = tuple(option for option in options if option is not type(None))
    if len(rest) == len(options) or not rest:
        return annotation, False
    return (rest[0] if len(rest) == 1 else union(rest)), True


def _options(annotation: object) -> tuple[object, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)


class TypeCompiler:
    """
    Makes types. One compiler makes one type of each class, so a class may have members of its own type.
    """

    def __init__(self) -> None:
        self._classes: dict[type, Type] = {}
        self._unions: dict[object, Type] = {}
        self._later: list[Callable[[], None]] = []
        self._depth = 0

    def compile(self, annotation: object, scope: Scope) -> Type:
        """
        :param annotation: any annotation, resolved or not
        :param scope: where names in it are looked up
        :raise RegistrationError: when JSON has no such type
        """
        self._depth += 1
        try:
            compiled = self._compile(_unwrapped(annotation, scope), scope)
        finally:
            self._depth -= 1
        if self._depth == 0:
            # What needs to look into classes that are complete.
            while self._later:
                self._later.pop(0)()
        return compiled

    def _compile(self, annotation: object, scope: Scope) -> Type:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            return self._annotated(annotation, scope)
        if origin in _UNIONS:
            return self._union(annotation, Alternate(), scope)
        if origin is typing.Literal:
            return _literal(annotation)
        container = annotation if origin is None else origin
        if container in _LISTS:
            return ListType(self._element(annotation, scope), tuple if container is tuple else list)
        if container in _DICTS:
            return MapType(self._value(annotation, scope))
        if origin is None and isinstance(annotation, collections.abc.Hashable) and annotation in SIMPLE:
            return SIMPLE[annotation]()
        if origin is None and isinstance(annotation, type):
            return self._class(annotation)
        raise _no_type(annotation)

    def _annotated(self, annotation: object, scope: Scope) -> Type:
        inner, *marks = typing.get_args(annotation)
        for mark in marks:
            if isinstance(mark, Width):
                return IntType(mark)
            if isinstance(mark, Alternate):
                return self._union(inner, mark, scope)
            if isinstance(mark, Tagged):
                return self._tagged(inner, mark, scope)
        return self.compile(inner, scope)

    def _element(self, annotation: object, scope: Scope) -> Type:
        arguments = typing.get_args(annotation) or (Any,)
        if typing.get_origin(annotation) is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
            raise RegistrationError(f"{_show(annotation)}: a list has elements of one type; tuple[T, ...] says so")
        return self.compile(arguments[0], scope)

    def _value(self, annotation: object, scope: Scope) -> Type:
        key, value = typing.get_args(annotation) or (str, Any)
        if key is not str and key != "str":
            raise RegistrationError(f"{_show(annotation)}: the names of an object's members are strings")
        return self.compile(value, scope)

    # -- unions

    def _union(self, annotation: object, mark: Alternate, scope: Scope) -> Type:
        key = (annotation, mark)
        if key not in self._unions:
            options = [self.compile(option, scope) for option in _options(annotation)]
            alone = len(options) == 1 and not mark.name
            self._unions[key] = options[0] if alone else AlternateType(options, mark.name, _show(annotation))
        return self._unions[key]

    def _tagged(self, annotation: object, mark: Tagged, scope: Scope) -> Type:
        key = (annotation, mark)
        if key not in self._unions:
            classes: Any = _options(annotation)
            tagged = TaggedType(mark.name or "Or".join(getattr(cls, "__name__", "") for cls in classes))
            # Before its variants, which may have members of this very type.
            self._unions[key] = tagged
            variants = [self.compile(cls, scope) for cls in classes]
            self._later.append(lambda: tagged.complete(wire_name(mark.member), classes, variants))
        return self._unions[key]

    # -- classes

    def _class(self, cls: type) -> Type:
        if cls not in self._classes:
            if issubclass(cls, enum.Enum):
                self._classes[cls] = EnumType({_enum_value(value): value for value in cls}, cls.__name__, cls)
            else:
                self._object(cls)
        return self._classes[cls]

    def _object(self, cls: type) -> None:
        read = _reader(cls)
        # Before its members, which may be of its own type.
        compiled = self._classes[cls] = DictType(cls) if read is _typed_dict_members else ObjectType(cls)
        try:
            compiled.complete(list(read(self, cls)))
        except RegistrationError as e:
            raise RegistrationError(f"{cls.__name__}: {e}") from e

    def member(
        self,
        name: str,
        annotation: object,
        scope: Scope,
        *,
        optional: bool = False,
        default: object = UNSET,
        default_factory: Callable[[], object] | None = None,
    ) -> Member:
        """
        :param optional: it may be absent; what stands for it then, see L{Member}
        :return: a member of this name and annotation. C{T | None} is one that may be absent, and C{None} then.
        :raise RegistrationError: when JSON has no such type
        """
        annotation, skip_none = without_none(scope.resolved(annotation))
        if skip_none and not optional:
            optional, default = True, None
        try:
            compiled = self.compile(annotation, scope)
        except RegistrationError as e:
            raise RegistrationError(f"{name}: {e}") from e
        return Member(name, wire_name(name), compiled, optional, default, default_factory, skip_none)

    def parameter(self, parameter: HandlerParameter, found: HandlerSignature) -> Member:
        """
        :param parameter: one of a handler
        :param found: the handler's signature
        :return: the argument that its annotation and default say
        :raise RegistrationError: when JSON has no such type
        """
        annotation = Any if parameter.annotation is EMPTY else parameter.annotation
        # The handler itself has what stands for an optional one that is absent: it is left out.
        optional = parameter.default is not EMPTY
        try:
            member = self.member(parameter.name, annotation, found.scope, optional=optional)
        except RegistrationError as e:
            raise RegistrationError(f"{found.name}: parameter {e}") from e
        member.by_name = parameter.by_name
        return member


def _unwrapped(annotation: object, scope: Scope) -> object:
    """The annotation without names for it."""
    while True:
        annotation = scope.resolved(annotation)
        if hasattr(annotation, "__supertype__"):  # a NewType
            annotation = annotation.__supertype__
        elif sys.version_info >= (3, 12) and isinstance(annotation, typing.TypeAliasType):
            annotation = annotation.__value__
        else:
            return annotation


def _literal(annotation: object) -> EnumType:
    values = typing.get_args(annotation)
    if all(isinstance(value, enum.Enum) for value in values):
        return EnumType({_enum_value(value): value for value in values}, type(values[0]).__name__)
    if not all(isinstance(value, str) for value in values):
        raise RegistrationError(f"{_show(annotation)}: the values of an enum are strings")
    return EnumType({value: value for value in values})


def _enum_value(member: enum.Enum) -> str:
    if not isinstance(member.value, str):
        raise RegistrationError(f"{type(member).__name__}: the values of an enum are strings, not {member.value!r}")
    return member.value


def _show(annotation: object) -> str:
    # (Python 3.10 takes set[int] for a type.)
    plain = isinstance(annotation, type) and typing.get_origin(annotation) is None
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")  # type: ignore[attr-defined]


def _no_type(annotation: object) -> RegistrationError:
    return RegistrationError(f"{_show(annotation)} is no type that JSON can say")


# -- the members of classes

# A class of one of these kinds, or one of its fields.
_Class: TypeAlias = Any
_Reader: TypeAlias = Callable[[TypeCompiler, _Class], Iterator[Member]]


def _reader(cls: type) -> _Reader:
    """
    :return: what reads the members of a class
    :raise RegistrationError: when it is of no kind that has members
    """
    if hasattr(cls, "__total__") and issubclass(cls, dict):
        return _typed_dict_members
    if issubclass(cls, msgspec.Struct):
        return _struct_members
    if dataclasses.is_dataclass(cls):
        return _dataclass_members
    if hasattr(cls, "__attrs_attrs__"):
        return _attrs_members
    raise _no_type(cls)


def _hints(cls: type) -> dict[str, tuple[object, Scope]]:
    """The annotations of a class and its bases, each with the scope it was written in."""
    hints: dict[str, tuple[object, Scope]] = {}
    for owner in reversed(cls.__mro__):
        annotations = inspect.get_annotations(owner)
        if annotations:
            scope = Scope.of_class(owner)
            for name, annotation in annotations.items():
                hints[name] = (scope.resolve(annotation), scope)
    return hints


def _dataclass_members(compiler: TypeCompiler, cls: _Class) -> Iterator[Member]:
    hints = _hints(cls)
    for item in dataclasses.fields(cls):
        if item.init:
            member = _field_member(compiler, item, *hints[item.name], dataclasses.MISSING)
            member.by_name = item.kw_only is True
            yield member


def _field_member(compiler: TypeCompiler, item: _Class, annotation: object, scope: Scope, missing: object) -> Member:
    default = UNSET if item.default is missing else item.default
    factory = None if item.default_factory is missing else item.default_factory
    optional = default is not UNSET or factory is not None
    return compiler.member(item.name, annotation, scope, optional=optional, default=default, default_factory=factory)


def _struct_members(compiler: TypeCompiler, cls: _Class) -> Iterator[Member]:
    if cls.__struct_config__.tag is not None:
        raise RegistrationError("say the tag as a member with a Literal: msgspec's is no member")
    hints = _hints(cls)
    for item in msgspec.structs.fields(cls):
        member = _field_member(compiler, item, *hints[item.name], msgspec.NODEFAULT)
        if item.encode_name != item.name:
            member.wire = item.encode_name
        member.by_name = item.name not in cls.__match_args__
        yield member


def _attrs_members(compiler: TypeCompiler, cls: _Class) -> Iterator[Member]:
    import attr

    hints = _hints(cls)
    for item in attr.fields(cls):
        if not item.init:
            continue
        annotation, scope = hints.get(item.name) or (item.type or Any, Scope.of_class(cls))
        optional = item.default is not attr.NOTHING
        # Its constructor knows best what stands for one that is absent: that may depend on the others.
        member = compiler.member(item.name, annotation, scope, optional=optional)
        member.keyword = getattr(item, "alias", None) or item.name.lstrip("_")
        member.wire = wire_name(member.keyword)
        member.by_name = item.kw_only
        yield member


def _typed_dict_members(compiler: TypeCompiler, cls: _Class) -> Iterator[Member]:
    for name, (annotation, scope) in _typed_dict_hints(cls).items():
        # The wrapper decides: for annotations that were strings, Python's own list of required keys is wrong.
        optional = name in cls.__optional_keys__
        while typing.get_origin(annotation) in (Required, NotRequired, typing.Annotated):
            origin = typing.get_origin(annotation)
            inner = typing.get_args(annotation)[0]
            if origin is typing.Annotated and typing.get_origin(inner) not in (Required, NotRequired):
                break
            if origin is not typing.Annotated:
                optional = origin is NotRequired
            annotation = inner
        yield compiler.member(name, annotation, scope, optional=optional)


def _typed_dict_hints(cls: _Class) -> dict[str, tuple[object, Scope]]:
    hints: dict[str, tuple[object, Scope]] = {}
    for name, annotation in inspect.get_annotations(cls).items():
        scope = Scope.of_class(cls)
        if isinstance(annotation, typing.ForwardRef):
            # A TypedDict forgets its bases, but a reference that it has from one names the base's module.
            module = sys.modules.get(getattr(annotation, "__forward_module__", None) or cls.__module__)
            scope = Scope(vars(module) if module is not None else {}, scope.local, scope.qualname)
            annotation = annotation.__forward_arg__
        hints[name] = (scope.resolve(annotation), scope)
    return hints

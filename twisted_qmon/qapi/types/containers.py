"""
Lists and maps: any number of values of one type.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import GenericAlias
from typing import Any

from twisted_qmon.info import JSON, TypeInfo
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.errors import ArgumentError, ResultError
from twisted_qmon.qapi.types.fast import MANY, Build, In, Out, list_encoder
from twisted_qmon.qapi.types.plain import check_text, plain
from twisted_qmon.qapi.types.scalars import AnyType

__all__ = ["ListType", "MapType"]


class ListType(Type):
    """
    A list, in Python a list or a tuple.

    :param element: the type of the elements
    :param make: C{list} or C{tuple}
    """

    kinds = frozenset({"array"})
    passes: Callable[[Collection[object]], bool]

    def __init__(self, element: Type, make: Build = list) -> None:
        self._element = element
        self._make = make
        self._encode_many: Callable[[Sequence[Any]], JSON] | None = None
        self._asked = False
        # Objects are quicker looked at all at once.
        self.passing = None if element.passing is None or element.info.kind == "object" else list
        self.passes = _all_pass(element)
        self.info = TypeInfo("list", element=element.info)

    def decode(self, value: JSON) -> object:
        if not isinstance(value, (list, tuple)):
            raise ArgumentError.kind("array")
        decode = self._element.decode
        result: list[object] = []
        try:
            for item in value:
                result.append(decode(item))
        except ArgumentError as e:
            e.path.append(len(result))
            raise
        return result if self._make is list else self._make(result)

    def encode(self, value: object) -> JSON:
        if not isinstance(value, (list, tuple)):
            raise ResultError.kind(value, "a list")
        if type(value) is self.passing and self.passes(value):
            return value
        if type(value) is list and isinstance(self._element, AnyType):
            return plain(value)
        if self.passing is None and len(value) >= MANY:
            if not self._asked:
                self._asked = True
                self._encode_many = list_encoder(self._element.fast_out())
            if self._encode_many is not None:
                try:
                    return self._encode_many(value)
                except Exception:
                    pass  # the plain way decides
        return self._encode_each(value)

    def _encode_each(self, value: Sequence[Any]) -> JSON:
        encode = self._element.encode
        result: list[JSON] = []
        same = type(value) is list
        try:
            for item in value:
                given = encode(item)
                result.append(given)
                same = same and given is item
        except ResultError as e:
            e.path.append(len(result))
            raise
        return value if same else result

    def fast_in(self) -> In:
        annotation, build = self._element.fast_in()
        make: Any = self._make
        container = GenericAlias(list, annotation) if make is list else GenericAlias(tuple, (annotation, ...))
        return In(container, None if build is None else lambda values: make(map(build, values)))

    def fast_out(self) -> Out | None:
        out = self._element.fast_out()
        if out is None:
            return None
        inner = out.fits if out.is_lenient else None
        return Out(GenericAlias(list, out.annotation), frozenset({list, tuple}), inner)


def _all_pass(element: Type) -> Callable[[Collection[object]], bool]:
    """:return: whether all of these pass as a type's values do"""
    kinds, passes = frozenset({element.passing}), element.passes
    if passes is None:
        return lambda values: kinds.issuperset(map(type, values))
    return lambda values: kinds.issuperset(map(type, values)) and all(map(passes, values))


class MapType(Type):
    """
    An object with any members, of one type.

    :param element: the type of the members
    """

    kinds = frozenset({"object"})

    def __init__(self, element: Type) -> None:
        self._element = element
        self._all_pass = _all_pass(element)
        self.passing = None if element.passing is None else dict
        self.info = TypeInfo("object", element=element.info)

    def passes(self, value: Mapping[Any, object]) -> bool:
        """:return: whether names and values are plain data"""
        return _NAME.issuperset(map(type, value)) and all(map(str.isascii, value)) and self._all_pass(value.values())

    def decode(self, value: JSON) -> dict[str, object]:
        if not isinstance(value, Mapping):
            raise ArgumentError.kind("object")
        decode = self._element.decode
        result: dict[str, object] = {}
        key = ""
        try:
            for key, item in value.items():
                result[key] = decode(item)
        except ArgumentError as e:
            e.path.append(key)
            raise
        return result

    def encode(self, value: object) -> JSON:
        if not isinstance(value, Mapping):
            raise ResultError.kind(value, "a dict")
        same = type(value) is dict
        if same and isinstance(self._element, AnyType):
            return plain(value)
        if type(value) is self.passing and self.passes(value):
            return value
        encode = self._element.encode
        result: dict[str, JSON] = {}
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else _member_name(key)
            try:
                result[name] = given = encode(item)
            except ResultError as e:
                e.path.append(name)
                raise
            same = same and given is item and name is key
        return value if same else result

    def fast_in(self) -> In:
        annotation, build = self._element.fast_in()
        container = GenericAlias(dict, (str, annotation))
        return In(container, None if build is None else lambda values: {k: build(v) for k, v in values.items()})

    def fast_out(self) -> Out | None:
        out = self._element.fast_out()
        if out is None:
            return None

        def inner(value: dict[object, object]) -> bool:
            return _NAME.issuperset(map(type, value)) and out.fits(value.values())

        return Out(GenericAlias(dict, (str, out.annotation)), frozenset({dict}), inner)


_NAME = frozenset({str})


def _member_name(key: object) -> str:
    if not isinstance(key, str):
        raise ResultError(f"a member's name is a string, not {key!r}")
    return check_text(key)

"""
Shapes of lists, and of objects with any members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted_qmon.info import TypeInfo
from twisted_qmon.qapi.plain import Unfit, check_text, plain
from twisted_qmon.qapi.shapes import Misfit, Shape, anything, refuse
from twisted_qmon.qapi.source import Later, Source, made

__all__ = ["as_tuple", "listing", "mapping"]


def listing(element: Shape | None) -> Shape:
    """
    :param element: the shape of the elements; C{None}: any
    :return: the shape of a list
    """
    element = element or anything()
    any_element = element.info.kind == "any"
    take_one, give_one = element.take, element.give

    def take(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise Misfit.kind("array")
        result = []
        for item in value:
            try:
                result.append(take_one(item))
            except Misfit as e:
                e.path.append(len(result))
                raise
        return result

    def give(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise refuse(value, "a list")
        if any_element and type(value) is list:
            return plain(value)  # type: ignore[no-any-return]
        result: list[Any] = []
        changed = type(value) is not list
        for item in value:
            try:
                given = give_one(item)
            except Unfit as e:
                e.path.append(len(result))
                raise
            changed = changed or given is not item
            result.append(given)
        return result if changed else value  # type: ignore[return-value]

    return Shape(
        TypeInfo("list", element=element.info),
        take,
        give,
        frozenset({"array"}),
        quick_take=Later(lambda: _quick_list(element.take_as_is, element.quick_take)),
        quick_give=give if any_element else Later(lambda: _quick_list(element.give_as_is, element.quick_give)),
    )


def as_tuple(shape: Shape) -> Shape:
    """:return: the shape of a list that is a tuple in Python"""
    take, quick_take = shape.take, shape.quick_take
    return replace(
        shape, take=lambda value: tuple(take(value)), quick_take=lambda value: tuple(quick_take(value)), take_as_is=""
    )


def mapping(element: Shape | None) -> Shape:
    """
    :param element: the shape of the values; C{None}: any
    :return: the shape of an object with any members
    """
    element = element or anything()
    any_element = element.info.kind == "any"
    take_one, give_one = element.take, element.give

    def take(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Misfit.kind("object")
        result = {}
        for key, item in value.items():
            try:
                result[key] = take_one(item)
            except Misfit as e:
                e.path.append(key)
                raise
        return result

    def give(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise refuse(value, "a dict")
        if any_element and type(value) is dict:
            return plain(value)  # type: ignore[no-any-return]
        result = {}
        changed = type(value) is not dict
        for key, item in value.items():
            if not isinstance(key, str):
                raise Unfit(f"a member's name is a string, not {key!r}")
            name = check_text(key)
            try:
                result[name] = given = give_one(item)
            except Unfit as e:
                e.path.append(name)
                raise
            changed = changed or given is not item or name is not key
        return result if changed else value  # type: ignore[return-value]

    return Shape(
        TypeInfo("object", element=element.info),
        take,
        give,
        frozenset({"object"}),
        quick_take=Later(lambda: _quick_dict(element.take_as_is, element.quick_take)),
    )


def _quick_list(as_is: str, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The fast road of a list: the list itself if all its elements are fine as they are."""
    source = Source()
    source.line("if type(value) is not list: raise Detour")
    if as_is == "True":
        source.line("return value")
    elif as_is:
        source.line("for v in value:")
        source.line(f" if not ({as_is.format(v='v')}): return [convert(v) for v in value]")
        source.line("return value")
    else:
        # Elements that may be objects: those that need no conversion come back as themselves.
        source.line("result = [convert(v) for v in value]")
        source.line("for v, r in zip(value, result):")
        source.line(" if v is not r: return result")
        source.line("return value")
    return source.compile(convert=made(convert))


def _quick_dict(as_is: str, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The fast road in of an object with any members."""
    source = Source()
    source.line("if type(value) is not dict: raise Detour")
    if as_is == "True":
        source.line("return value")
    elif as_is:
        source.line("for v in value.values():")
        source.line(f" if not ({as_is.format(v='v')}): return {{k: convert(v) for k, v in value.items()}}")
        source.line("return value")
    else:
        source.line("return {k: convert(v) for k, v in value.items()}")
    return source.compile(convert=made(convert))

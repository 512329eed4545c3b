"""
From what a handler gave to plain JSON data.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import TypeInfo
from twisted_qmon.qapi.annotations import EMPTY, HandlerSignature, Scope, union
from twisted_qmon.qapi.compiler import ShapeCompiler
from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qapi.shapes import Shape
from twisted_qmon.qapi.source import made

__all__ = ["finish_nothing", "finisher", "result_shape"]


def result_shape(compiler: ShapeCompiler, found: HandlerSignature) -> tuple[Shape, Callable[[Any], Any]]:
    """
    :return: the shape of a handler's result; and what finishes such results
    :raise RegistrationError: when its annotation is nothing that JSON can say
    """
    annotation = _result_annotation(found.returns, found.scope)
    if annotation is None or annotation is type(None):
        return Shape(TypeInfo("object", members=()), _nothing, _nothing, frozenset()), finish_nothing
    try:
        member = compiler.member("result", annotation, found.scope)
        return member.shape, finisher(member.shape, optional=member.skip_none)
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


def finish_nothing(result: Any) -> Any:
    """
    Finish the result of a command that has none.

    :raise TypeError: when it has one all the same
    """
    if result is None:
        return {}
    if isinstance(result, JSONText):
        return result
    raise TypeError(f"the result is annotated None, but is {type(result).__name__}")


def finisher(shape: Shape, *, optional: bool) -> Callable[[Any], Any]:
    """
    :param optional: there need be no result: C{T | None}
    :return: what finishes results of this shape
    """
    give, quick_give = shape.give, shape.quick_give
    null = shape.info.kind == "alternate" and any(option.kind == "null" for option in shape.info.options)
    nothing = optional or null or shape.info.kind in ("any", "null")

    def first(result: Any) -> Any:
        nonlocal quick_give
        quick_give = made(shape.quick_give)
        return quick_give(result)

    quick_give = first

    def finish(result: Any) -> Any:
        if result is None and nothing:
            # A command without a result answers an empty object, even one that may give anything.
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

"""
What a command gives: the type of its result, and what turns what its handler gave into plain JSON data.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import JSON, TypeInfo
from twisted_qmon.qapi.compiler import TypeCompiler
from twisted_qmon.qapi.resolve import EMPTY, HandlerSignature, Scope, union
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.json_text import JSONText

__all__ = ["Finish", "compile_result"]

#: What finishes results: plain JSON data, the result itself if it is that already. It raises C{TypeError} when a result does not
#: fit the annotation, or JSON can't say it. A L{JSONText} passes as it is.
Finish: TypeAlias = Callable[[object], JSON | JSONText]

_ASYNC: tuple[object, ...] = (
    Deferred,
    collections.abc.Awaitable,
    collections.abc.Coroutine,
    collections.abc.Generator,
    types.CoroutineType,
)


def compile_result(compiler: TypeCompiler, found: HandlerSignature) -> tuple[TypeInfo, Finish]:
    """
    :param found: the handler's signature
    :return: the type of its result, and what finishes such results
    :raise RegistrationError: when JSON has no such type
    """
    annotation = _result_annotation(found.returns, found.scope)
    if annotation is None or annotation is type(None):
        return TypeInfo("object", members=()), _finish_nothing
    try:
        member = compiler.member("result", annotation, found.scope)
    except RegistrationError as e:
        raise RegistrationError(f"{found.name}: {e}") from e
    return member.type.info, _finisher(member.type, optional=member.skip_none)


def _result_annotation(annotation: object, scope: Scope) -> object:
    """What is left of a result's annotation without the Deferred, coroutine or generator around it."""
    annotation = scope.resolved(annotation)
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


def _finish_nothing(result: object) -> JSON | JSONText:
    """
    Finish the result of a command that has none.

    :raise TypeError: when it has one all the same
    """
    if result is None:
        return {}
    if isinstance(result, JSONText):
        return result
    raise TypeError(f"the result is annotated None, but is {type(result).__name__}")


def _finisher(type_: Type, *, optional: bool) -> Finish:
    """
    :param optional: there need be no result: C{T | None}
    :return: what finishes results of this type
    """
    null = type_.info.kind == "alternate" and any(option.kind == "null" for option in type_.info.options)
    nothing = optional or null or type_.info.kind in ("any", "null")
    encode, passes = type_.encode, type_.passes
    passing: object = type_.passing

    def finish(result: Any) -> JSON | JSONText:
        if type(result) is JSONText:
            return result
        try:
            if type(result) is passing and (passes is None or passes(result)):
                passed: JSON = result
                return passed
            if result is None and nothing:
                # A command without a result answers an empty object, even one that may give anything.
                return None if null else {}
            return encode(result)
        except RecursionError:
            raise TypeError("the result nests too deeply, or within itself") from None

    return finish

"""
What a handler's parameters and a class's members are annotated with, strings resolved. What an annotation means is decided in
L{twisted_qmon.qapi.compiler}; the types are in L{twisted_qmon.qapi.types}.

A module with C{from __future__ import annotations} has only strings. Their names are looked for where Python would: in the
module, in the class, and in the functions around the definition while these are running (which they are when a class that was
defined in a function is registered there).
"""

from __future__ import annotations

import builtins
import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred

from twisted_qmon.errors import RegistrationError
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qapi.types.secret import uncover

__all__ = ["EMPTY", "HandlerParameter", "HandlerSignature", "Scope", "is_request", "read_handler", "union", "wire_name"]

#: Stands for an annotation or a default that is not there.
EMPTY: Final = inspect.Parameter.empty

_REQUEST = re.compile(r"(?:\w+\.)*Request(?:\s*\|\s*None)?|(?:\w+\.)?Optional\[(?:\w+\.)*Request\]")

# Names that are often imported for type checkers only, and so are not there when the annotation is looked at.
_COMMON: Mapping[str, object] = {
    "Deferred": Deferred,
    "JSONText": JSONText,
    "Any": typing.Any,
    "Awaitable": typing.Awaitable,
    "Coroutine": typing.Coroutine,
}


def wire_name(name: str) -> str:
    """The name on the wire of a Python name: C{job_id} is C{job-id}, C{from_} is C{from}."""
    return name.rstrip("_").replace("_", "-") or name


def union(options: Sequence[object]) -> object:
    """:return: the annotation for one of these"""
    return typing.Union[tuple(options)]  # noqa: UP007  (how many they are is known only now)


class Scope:
    """
    Where the names in annotations are looked up.

    :param namespace: the module's global names
    :param local: names that come before them
    :param qualname: the qualified name of what has the annotations; it tells in which functions it was defined
    """

    def __init__(self, namespace: Mapping[str, object], local: Mapping[str, object], qualname: str = "") -> None:
        self.namespace = namespace
        self.local = local
        self.qualname = qualname

    @classmethod
    def of_class(cls, owner: type) -> Scope:
        """:return: where the names in the annotations of a class's members are looked up"""
        module = sys.modules.get(owner.__module__)
        return cls(vars(module) if module is not None else {}, {owner.__name__: owner}, owner.__qualname__)

    def resolved(self, annotation: object) -> object:
        """:return: the annotation; if it is a string, what L{resolve} makes of it"""
        return self.resolve(annotation) if isinstance(annotation, (str, typing.ForwardRef)) else annotation

    def resolve(self, annotation: object) -> object:
        """
        :return: the annotation with all strings in it evaluated
        :raise RegistrationError: when a name can't be found, or the text is no annotation
        """

        if isinstance(annotation, str) and ".<locals>" not in self.qualname:
            # Most are the name of a class, and a program starts with hundreds of them: nothing need be compiled to find it.
            known = self.local.get(annotation, self.namespace.get(annotation, vars(builtins).get(annotation)))
            if isinstance(known, type):
                return known

        def holder() -> None: ...

        holder.__annotations__ = {"it": annotation}
        names = {name: value for name, value in _COMMON.items() if name not in self.namespace}
        if ".<locals>" in self.qualname:
            names.update(self._enclosing())
        names.update(self.local)
        try:
            found: object = typing.get_type_hints(holder, dict(self.namespace), names, include_extras=True)["it"]
            return found
        except NameError as e:
            raise RegistrationError(
                f"can't find {e.name or str(e)!r}, in the annotation {annotation!r}: it must be known in the module when the "
                f"command is registered (not only to type checkers)"
            ) from None
        except RecursionError:
            raise
        except Exception as e:
            raise RegistrationError(f"{annotation!r} is not a valid annotation: {e}") from e

    def _enclosing(self) -> dict[str, object]:
        # "outer.<locals>.Provider.method" was defined in the function outer.
        owners = {part.rpartition(".")[2] for part in self.qualname.split(".<locals>")[:-1]}
        found: dict[str, object] = {}
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and owners:
            # Frames of other modules may have a function of the same name.
            if frame.f_code.co_name in owners and frame.f_globals.get("__name__") == self.namespace.get("__name__"):
                found = {**frame.f_locals, **found}
            frame = frame.f_back
        return found


class HandlerParameter(msgspec.Struct):
    """
    A parameter of a handler.

    :ivar name: as in Python
    :ivar annotation: resolved; L{EMPTY} if it has none
    :ivar default: L{EMPTY} if it has none
    :ivar by_name: it can only be given by name, not by its place
    """

    name: str
    annotation: object
    default: object
    by_name: bool = False


class HandlerSignature(msgspec.Struct):
    """
    What a handler takes and returns.

    :ivar parameters: those that are arguments, in order
    :ivar request: the name of the parameter that takes the request, or C{None}
    :ivar request_at: how many of the others come before it
    :ivar request_by_name: it can only be given by name, not by its place
    :ivar keywords: it takes any other keyword
    :ivar returns: the resolved annotation of the result; L{EMPTY} if it has none
    :ivar scope: where its annotations are looked up
    :ivar name: its qualified name
    :ivar secrets: the names of those that are secrets
    :ivar own: the parameters are its own, so that arguments can be given by place; C{False}: those of what a decorator wraps
    """

    parameters: list[HandlerParameter]
    returns: object
    scope: Scope
    request: str | None = None
    request_at: int = 0
    request_by_name: bool = False
    keywords: bool = False
    name: str = ""
    own: bool = True
    secrets: list[str] = []


def is_request(annotation: object) -> bool:
    """
    :param annotation: an annotation, resolved or not
    :return: it is the class C{Request} (or that or C{None})
    """
    if isinstance(annotation, str):
        return _REQUEST.fullmatch(annotation.strip().strip("'\"")) is not None
    if isinstance(annotation, type):
        return bool(getattr(annotation, "__qmon_request__", False))
    return any(is_request(argument) for argument in typing.get_args(annotation) if argument is not type(None)) and (
        typing.get_origin(annotation) in _UNIONS
    )


_UNIONS: tuple[object, ...] = (typing.Union, type(int | str))


def read_handler(handler: Callable[..., object]) -> HandlerSignature:
    """
    Read a handler's signature: a function, a bound method, a C{functools.partial} or an object that is called.

    :raise RegistrationError: when it can't be called with keywords, or an annotation can't be resolved
    """
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError) as e:
        raise RegistrationError(f"can't tell the parameters of {handler!r}: {e}") from e
    function, bound, own = _function_of(handler)
    scope = Scope(
        getattr(function, "__globals__", {}),
        _closure(function),
        getattr(function, "__qualname__", "").removesuffix("()"),
    )
    result = HandlerSignature([], EMPTY, scope, name=getattr(function, "__qualname__", repr(handler)), own=own)
    for parameter in signature.parameters.values():
        if parameter.name not in bound:
            _read_parameter(parameter, result)
    if signature.return_annotation is not EMPTY:
        result.returns = _resolve(scope, signature.return_annotation, f"{result.name}: result")
    return result


def _read_parameter(parameter: inspect.Parameter, result: HandlerSignature) -> None:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        result.keywords = True
        return
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise RegistrationError(
            f"{result.name}: arguments are given by name, and {parameter.name!r} is positional only"
        )
    annotation = parameter.annotation
    if annotation is not EMPTY:
        try:
            annotation = _resolve(result.scope, annotation, f"{result.name}: parameter {parameter.name!r}")
        except RegistrationError:
            # Often imported for type checkers only.
            if not is_request(annotation):
                raise
    by_name = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    if is_request(annotation):
        result.request, result.request_at, result.request_by_name = parameter.name, len(result.parameters), by_name
    else:
        plain = uncover(annotation)
        if plain is not None:
            annotation = plain
            result.secrets.append(parameter.name)
        result.parameters.append(HandlerParameter(parameter.name, annotation, parameter.default, by_name))


def _resolve(scope: Scope, annotation: object, where: str) -> object:
    try:
        return scope.resolve(annotation)
    except RegistrationError as e:
        raise RegistrationError(f"{where}: {e}") from e


def _function_of(handler: Any) -> tuple[object, set[str], bool]:
    """
    :return: the function below partials, methods and decorators; the keywords that partials have bound; and whether the
        parameters are those of the handler itself, and not of what a decorator wraps
    """
    bound: set[str] = set()
    own = True
    while True:
        own = own and not hasattr(handler, "__signature__")
        if isinstance(handler, functools.partial):
            bound.update(handler.keywords)
            handler = handler.func
        elif hasattr(handler, "__wrapped__"):
            own = False
            handler = handler.__wrapped__
        elif inspect.ismethod(handler):
            handler = handler.__func__
        elif not inspect.isroutine(handler) and not isinstance(handler, type) and callable(handler):
            handler = type(handler).__call__
        else:
            return handler, bound, own


def _closure(function: object) -> dict[str, object]:
    found = {}
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found

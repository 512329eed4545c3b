"""
A string that is not shown.
"""

from __future__ import annotations

import functools
import hmac
import inspect
import typing
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

__all__ = ["HIDDEN", "Secret", "uncover", "wrapped"]

_T = TypeVar("_T", bound=str)

#: What stands where a secret is.
HIDDEN = "***"


class Secret(Generic[_T]):
    """
    A string that is shown as C{***}: in logs, in the audit, in tracebacks that show values, in whatever it is formatted into.

    C{password: Secret[str]} annotates a parameter of a handler, which then is given one of these. To clients it is a string. The
    handler reads C{password.value}. Two secrets can be compared; a secret never equals a string.

    :param value: the string
    :ivar value: the string
    """

    __slots__ = ("value",)

    def __init__(self, value: _T) -> None:
        self.value = value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # How long it takes does not tell how much is right.
        return hmac.compare_digest(
            self.value.encode("utf-8", "surrogatepass"), other.value.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self.value))

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def uncover(annotation: object) -> object | None:
    """
    :param annotation: of a parameter, resolved
    :return: the same with C{str} for C{Secret[str]}; C{None} if there is no secret in it
    """
    if annotation is Secret or (typing.get_origin(annotation) is Secret and typing.get_args(annotation) == (str,)):
        return str
    options = typing.get_args(annotation)
    if type(None) in options and len(options) == 2 and any(uncover(option) is not None for option in options):
        return str | None
    return None


def wrapped(handler: Callable[..., object], names: Collection[str]) -> Callable[..., object]:
    """
    :param handler: a handler
    :param names: those of its parameters that are secrets
    :return: the same; it may be given strings for them
    """
    signature = inspect.signature(handler)

    @functools.wraps(handler)
    def call(*arguments: object, **keywords: object) -> object:
        given = signature.bind(*arguments, **keywords)
        for name in names:
            value = given.arguments.get(name)
            if isinstance(value, str):
                given.arguments[name] = Secret(value)
        return handler(*given.args, **given.kwargs)

    return call

"""
Functions made for one shape, as C{dataclasses} makes an C{__init__}: what they check is known when they are made, so that a value
that fits passes without a call for each of its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

__all__ = ["Detour", "Later", "Source", "made"]


class Detour(Exception):
    """The fast road does not understand a value: the plain one is to have it."""


class Later:
    """
    A function that is made when it is first called: compiling takes time at the start, and most are never needed.

    :param make: makes it
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._make: Callable[[], Callable[[Any], Any]] | None = make
        self._made: Callable[[Any], Any] | None = None

    def __call__(self, value: Any) -> Any:
        return self.made()(value)

    def made(self) -> Callable[[Any], Any]:
        """:return: the function itself; while it is being made (of a class with members of its own type), this"""
        make, self._make = self._make, None
        if make is not None:
            self._made = make()
        return self._made or self


def made(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """:return: the function itself, if it is a L{Later}"""
    return function.made() if isinstance(function, Later) else function


@lru_cache(256)
def _code(source: str) -> CodeType:
    """Many shapes differ only in what their names stand for: compiling takes longer than all the rest."""
    return compile(source, "<shape>", "exec")


class Source:
    """The source of one function, and the objects it names."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, Any] = {"Detour": Detour}

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append(text)

    def name(self, value: Any) -> str:
        """:return: a name for the object"""
        name = f"x{len(self._names)}"
        self._names[name] = value
        return name

    def convert(self, variable: str, as_is: str, function: Callable[[Any], Any], indent: str) -> None:
        """
        Add a line that converts a variable.

        :param as_is: an expression over C{{v}}, true where it needs no conversion; empty: it always does
        """
        if as_is == "True":
            return
        test = f"if not ({as_is.format(v=variable)}): " if as_is else ""
        self.line(f"{indent}{test}{variable} = {self.name(made(function))}({variable})")

    def compile(
        self, fallback: Callable[[Any], Any] | None = None, last: str | None = None, **names: Any
    ) -> Callable[[Any], Any]:
        """
        :param fallback: what has the value when one of the lines raises anything; its result is the function's
        :param last: one line more, which may raise what it likes. With it the fallback's result is the keywords for C{make}.
        :param names: what the source names by these
        :return: a function whose body the lines are, and whose only parameter is C{value}
        """
        body = self._lines
        if fallback is not None:
            body = ["try:", *(f" {line}" for line in body), "except Exception: r = fallback(value)"]
            # Neither of these in the reach of the try, nor while an exception is being handled.
            body += ["return r"] if last is None else [f"else: {last}", "return make(**r)"]
        namespace = {**names, **self._names, "fallback": fallback}
        # Nothing that a client sends gets here: names of members are put in by repr, or are identifiers.
        exec(_code("\n".join(["def function(value):", *(f" {line}" for line in body)])), namespace)
        function: Callable[[Any], Any] = namespace["function"]
        return function

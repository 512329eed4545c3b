"""
A typed line without an C{args_type} declaration: the arguments follow from the command's parameters. No I/O.

They are positional, in declared order with the optional ones last, each as QEMU reads a letter of its type: C{s} for a string,
C{l} for an integer, C{o} for a size, C{b} for a bool. Any may be given as C{name=value}, a member of an object as C{a.b=value},
and what needs it is JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from twisted_qmon.hmp.args import Format, as_width, parse_items, read_options, read_word
from twisted_qmon.hmp.expression import BLANKS, Cursor, LineError, evaluate, read_number, read_size
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo

__all__ = ["parse_arguments"]

_NAMED = re.compile(r"(?P<path>[^\s=.\"{\[]+(?:\.[^\s=.\"]+)*)=")
_BOOL = {"on": True, "off": False, "true": True, "false": False}
_SCALARS = frozenset(("str", "enum", "int", "size", "number", "bool"))
_ANY = TypeInfo("any")
_MISSING = object()


def parse_arguments(info: CommandInfo, cursor: Cursor, name: str, sticky: Format | None = None) -> dict[str, Any]:
    """
    Read the arguments of a command, by its C{args_type} or by its parameters.

    :param info: the command
    :param cursor: behind the command's name
    :param name: the command's names (C{"cont|c"}), for the errors
    :param sticky: the default of the letter C{/}, kept between lines
    :return: the arguments, names as on the wire
    :raise LineError: when the line doesn't fit, in QEMU's words where it has some
    """
    if info.items is not None:
        return parse_items(info.items, info.parameters, cursor, name, sticky)
    return _Derived(info.parameters, cursor, name).read()


class _Derived:
    def __init__(self, parameters: Sequence[ParameterInfo] | None, cursor: Cursor, name: str) -> None:
        self.anything = parameters is None
        self.types = {parameter.name: parameter.type for parameter in parameters or ()}
        # Stable: declared order, but the optional ones last.
        self.positional = sorted(parameters or (), key=lambda parameter: parameter.optional)
        self.cursor = cursor
        self.name = name
        self.arguments: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        cursor = self.cursor
        while True:
            cursor.skip_blanks()
            if not cursor.next:
                break
            if self._named():
                continue
            parameter = self._next_positional()
            if parameter is None:
                raise LineError(f"{self.name}: extraneous characters at the end of line")
            self.arguments[parameter.name] = self._value(parameter.type, parameter.name)
            self._expect_blank()
        for parameter in self.positional:
            if not parameter.optional and parameter.name not in self.arguments:
                # Nothing is left to read: this says what was expected.
                self._value(parameter.type, parameter.name)
        return self.arguments

    def _next_positional(self) -> ParameterInfo | None:
        return next((parameter for parameter in self.positional if parameter.name not in self.arguments), None)

    def _expect_blank(self) -> None:
        cursor = self.cursor
        if cursor.next and cursor.text[cursor.at - 1] not in BLANKS and cursor.next not in BLANKS:
            raise LineError(f"{self.name}: extraneous characters at the end of line")

    def _named(self) -> bool:
        """Read C{name=value}, if it is one."""
        cursor = self.cursor
        match = _NAMED.match(cursor.text, cursor.at)
        if match is None:
            return False
        path = match["path"]
        first, *rest = path.split(".")
        kind = self.types.get(first)
        if kind is None:
            if not self.anything:
                return False
            kind = _ANY
        cursor.at = match.end()
        target, key = self.arguments, first
        for index, member in enumerate(rest):
            kind = _member(kind, member)
            if kind is None:
                raise LineError(f"Parameter '{'.'.join([first, *rest[: index + 1]])}' is unexpected")
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                self._twice(path)
            target, key = inner, member
        if key in target:
            self._twice(path)
        target[key] = self._value(kind, path)
        self._expect_blank()
        return True

    def _twice(self, path: str) -> NoReturn:
        raise LineError(f"{self.name}: parameter '{path}' is given twice")

    def _value(self, kind: TypeInfo, path: str) -> Any:
        cursor = self.cursor
        if kind.kind in ("str", "enum"):
            word = read_word(cursor)
            if word is None:
                raise LineError(f"{self.name}: string expected")
            return word
        if kind.kind == "int":
            return as_width(evaluate(cursor, words=True), kind)
        if kind.kind == "size":
            return read_size(cursor)
        if kind.kind == "number":
            return read_number(cursor)
        if kind.kind == "bool":
            word = read_word(cursor)
            if word not in _BOOL:
                raise LineError("Expected 'on' or 'off'")
            return _BOOL[word]
        return self._structure(kind, path)

    def _structure(self, kind: TypeInfo, path: str) -> Any:
        """A value that may need JSON: an object, a list, an alternate, anything."""
        cursor = self.cursor
        cursor.skip_blanks()
        if not cursor.next:
            raise LineError(f"{self.name}: value expected for '{path}'")
        start = cursor.at
        value = self._json(path, must=cursor.next in "{[")
        if value is not _MISSING and _fits(value, kind):
            return value
        cursor.at = start
        word = read_word(cursor)
        if word is None:
            raise LineError(f"{self.name}: string expected")
        if kind.kind == "object":
            return read_options(word, kind)
        if kind.kind == "list" and kind.element is not None and kind.element.kind in _SCALARS:
            return [self._element(part, kind.element, path) for part in word.split(",")]
        if kind.kind in ("list", "null"):
            raise LineError(f"{self.name}: JSON expected for '{path}'")
        return word

    def _json(self, path: str, *, must: bool) -> Any:
        cursor = self.cursor
        try:
            value, end = _DECODER.raw_decode(cursor.text, cursor.at)
        except (ValueError, RecursionError) as error:
            if must:
                reason = (
                    "it is nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", error)
                )
                raise LineError(f"{self.name}: invalid JSON for '{path}': {reason}") from None
            return _MISSING
        if end < len(cursor.text) and cursor.text[end] not in BLANKS:
            return self._not_json(path) if must else _MISSING
        cursor.at = end
        return value

    def _not_json(self, path: str) -> NoReturn:
        raise LineError(f"{self.name}: invalid JSON for '{path}': text after its end")

    def _element(self, text: str, kind: TypeInfo, path: str) -> Any:
        if kind.kind in ("str", "enum"):
            return text
        inner = _Derived((), Cursor(text), self.name)
        value = inner._value(kind, path)
        if inner.cursor.next:
            raise LineError(f"{self.name}: extraneous characters at the end of line")
        return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, strict=True)


def _member(kind: TypeInfo, name: str) -> TypeInfo | None:
    """The type of an object's member; C{None} if it has none of that name."""
    if kind.kind == "any" or (kind.kind == "object" and kind.members is None):
        return _ANY
    if kind.kind == "alternate":
        return next((found for option in kind.options if (found := _member(option, name)) is not None), None)
    return next((member.type for member in kind.members or () if member.name == name), None)


def _fits(value: Any, kind: TypeInfo) -> bool:
    """Whether JSON is what was meant, or the text is better read as a word."""
    if kind.kind == "any":
        return True
    if kind.kind == "alternate":
        return any(_fits(value, option) for option in kind.options)
    if kind.kind == "object":
        return isinstance(value, dict)
    if kind.kind == "list":
        return isinstance(value, list)
    if kind.kind == "null":
        return value is None
    if kind.kind == "bool":
        return isinstance(value, bool)
    if kind.kind in ("int", "size"):
        return isinstance(value, int) and not isinstance(value, bool)
    if kind.kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)

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
from typing import NoReturn

from twisted_qmon.hmp.lines.args import Format, as_width, parse_items, read_options, read_word
from twisted_qmon.hmp.lines.expression import BLANKS, Cursor, LineError, evaluate, read_number, read_size
from twisted_qmon.info import JSON, CommandInfo, ParameterInfo, TypeInfo

__all__ = ["parse_arguments"]

_NAMED = re.compile(r"(?P<path>[^\s=.\"{\[]+(?:\.[^\s=.\"]+)*)=")
_BOOL = {"on": True, "off": False, "true": True, "false": False}
_SCALARS = frozenset(("str", "enum", "int", "size", "number", "bool"))
_ANY = TypeInfo("any")

#: Characters of a wrong argument that are shown in the error.
MAX_FOUND = 40

_FOUND = re.compile(r"[^ \t\n\v\f\r]+")
_EXPECTED = {
    "str": "string",
    "enum": "string",
    "int": "integer",
    "size": "size",
    "number": "number",
    "bool": "'on' or 'off'",
    "list": "JSON array",
    "null": "JSON null",
}
# Those that say more than that it is none.
_REASONS = frozenset(
    {
        "number too large",
        "division by zero",
        "')' expected",
        "unknown register",
        "character constant expected",
        "missing terminating ' character",
        "Bad number",
    }
)


def parse_arguments(info: CommandInfo, cursor: Cursor, name: str, sticky: Format | None = None) -> dict[str, JSON]:
    """
    Read the arguments of a command, by its C{args_type} or by its parameters.

    :param info: the command
    :param cursor: behind the command's name
    :param name: the command's names (C{"cont|c"}), for the errors
    :param sticky: the default of the letter C{/}, kept between lines
    :return: the arguments, names as on the wire
    :raise LineError: when the line doesn't fit: in QEMU's words for an C{args_type}, else in words that name the argument
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
        self.arguments: dict[str, JSON] = {}

    def read(self) -> dict[str, JSON]:
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
            self.arguments[parameter.name] = self._argument(parameter.type, parameter.name)
        for parameter in self.positional:
            if not parameter.optional and parameter.name not in self.arguments:
                # Nothing is left to read: this says what was expected.
                self._argument(parameter.type, parameter.name)
        return self.arguments

    def _next_positional(self) -> ParameterInfo | None:
        return next((parameter for parameter in self.positional if parameter.name not in self.arguments), None)

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
                raise LineError(f"{self.name}: unexpected parameter '{'.'.join([first, *rest[: index + 1]])}'")
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                self._twice(path)
            target, key = inner, member
        if key in target:
            self._twice(path)
        target[key] = self._argument(kind, path)
        return True

    def _twice(self, path: str) -> NoReturn:
        raise LineError(f"{self.name}: parameter '{path}' is given twice")

    def _argument(self, kind: TypeInfo, path: str) -> JSON:
        """
        Read one value, with a blank or the end of the line behind it.

        :raise LineError: with the path of the argument, what was expected and what was found
        """
        cursor = self.cursor
        cursor.skip_blanks()
        start = cursor.at
        try:
            value = self._value(kind, path)
            if cursor.next and cursor.text[cursor.at - 1] not in BLANKS and cursor.next not in BLANKS:
                raise LineError("")
        except _ArgumentError:
            raise
        except LineError as error:
            raise self._wrong(kind, path, start, error.text) from None
        return value

    def _wrong(self, kind: TypeInfo, path: str, start: int, reason: str) -> _ArgumentError:
        text = f"{self.name}: {path}: {_EXPECTED.get(kind.kind, 'value')} expected"
        match = _FOUND.match(self.cursor.text, start)
        if match is not None:
            found = match[0]
            text += f", got '{found if len(found) <= MAX_FOUND else found[:MAX_FOUND] + '...'}'"
        return _ArgumentError(f"{text} ({reason})" if reason in _REASONS else text)

    def _value(self, kind: TypeInfo, path: str) -> JSON:
        cursor = self.cursor
        if kind.kind in ("str", "enum"):
            return self._word()
        if kind.kind == "int":
            return as_width(evaluate(cursor, words=True), kind)
        if kind.kind == "size":
            return read_size(cursor)
        if kind.kind == "number":
            return read_number(cursor)
        if kind.kind == "bool":
            word = self._word()
            if word not in _BOOL:
                raise LineError("")
            return _BOOL[word]
        return self._structure(kind, path)

    def _word(self) -> str:
        word = read_word(self.cursor)
        if word is None:
            raise LineError("")
        return word

    def _structure(self, kind: TypeInfo, path: str) -> JSON:
        """A value that may need JSON: an object, a list, an alternate, anything."""
        cursor = self.cursor
        start = cursor.at
        if cursor.next:
            found = self._json(path, must=cursor.next in "{[")
            if found is not None and _fits(found[0], kind):
                return found[0]
        cursor.at = start
        word = self._word()
        if kind.kind == "object":
            return read_options(word, kind)
        if kind.kind == "list" and kind.element is not None and kind.element.kind in _SCALARS:
            return [self._element(part, kind.element, path) for part in word.split(",")]
        if kind.kind in ("list", "null"):
            raise LineError("")
        return word

    def _json(self, path: str, *, must: bool) -> tuple[JSON] | None:
        """:return: the JSON value here; C{None} if there is none and none must be"""
        cursor = self.cursor
        reason = "text after its end"
        try:
            value, end = _DECODER.raw_decode(cursor.text, cursor.at)
            if end == len(cursor.text) or cursor.text[end] in BLANKS:
                cursor.at = end
                return (value,)
        except RecursionError:
            reason = "it is nested too deeply"
        except ValueError as error:
            reason = getattr(error, "msg", str(error))
        if must:
            raise _ArgumentError(f"{self.name}: {path}: invalid JSON: {reason}")
        return None

    def _element(self, text: str, kind: TypeInfo, path: str) -> JSON:
        return text if kind.kind in ("str", "enum") else _Derived((), Cursor(text), self.name)._argument(kind, path)


class _ArgumentError(LineError):
    """It says already which argument it is about."""


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


def _fits(value: JSON, kind: TypeInfo) -> bool:
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

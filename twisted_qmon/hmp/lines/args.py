"""
A typed line by an C{args_type} declaration, as QEMU reads it: letter by letter, from left to right. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from twisted_qmon.hmp.lines.expression import BLANKS, Cursor, LineError, evaluate, read_seconds, read_size
from twisted_qmon.info import JSON, ArgsItem, ParameterInfo, TypeInfo

__all__ = ["Format", "parse_items", "read_options", "read_word", "unescape"]

_WORD = re.compile(r"[^ \t\n\v\f\r]+")
_GRAPH = re.compile(r"[!-~]*")
_DIGITS = re.compile(r"[0-9]+")
_ESCAPES = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_EXPECTED = {
    "F": "filename expected",
    "B": "block device name expected",
    "s": "string expected",
    "S": "string expected",
}
_SIZES = {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}


class Format:
    """
    The default of the letter C{/}: QEMU keeps what was given last.

    :ivar letter: one of C{o d u x i c}
    :ivar size: bytes per item
    """

    __slots__ = ("letter", "size")

    def __init__(self) -> None:
        self.letter = "x"
        self.size = 4


def parse_items(
    items: Sequence[ArgsItem],
    parameters: Sequence[ParameterInfo] | None,
    cursor: Cursor,
    name: str,
    sticky: Format | None = None,
) -> dict[str, JSON]:
    """
    Read the arguments of a command.

    :param items: the declaration
    :param parameters: the command's parameters, for the members of a C{O}
    :param cursor: behind the command's name; left at the end of the line
    :param name: the command's names (C{"cont|c"}), for the errors
    :param sticky: the default of C{/}, changed by what the line says; by default a new one
    :return: the arguments, names as on the wire
    :raise LineError: in QEMU's words
    """
    reader = _Reader(parameters, cursor, name, sticky or Format())
    for index, item in enumerate(items):
        reader.read(item, items[index + 1 :])
    cursor.skip_blanks()
    if cursor.next:
        raise LineError(f"{name}: extraneous characters at the end of line")
    return reader.arguments


class _Reader:
    def __init__(self, parameters: Sequence[ParameterInfo] | None, cursor: Cursor, name: str, sticky: Format) -> None:
        self.types = {parameter.name: parameter.type for parameter in parameters or ()}
        self.cursor = cursor
        self.name = name
        self.sticky = sticky
        self.arguments: dict[str, JSON] = {}

    def read(self, item: ArgsItem, following: Sequence[ArgsItem]) -> None:
        cursor = self.cursor
        cursor.skip_blanks()
        if item.letter == "-":
            self._flag(item, following)
            return
        if item.letter == "/":
            self._format()
            return
        if item.dot:
            if cursor.next != ".":
                return
            cursor.at += 1
            cursor.skip_blanks()
        elif not cursor.next and item.optional:
            return
        elif not cursor.next and item.letter == "O":
            # No options are options too.
            self.arguments[item.key] = {}
            return
        read = _READERS.get(item.letter)
        if read is None:
            raise LineError(f"{self.name}: unknown type '{item.letter}'")
        self.arguments[item.key] = read(self, item)

    def _flag(self, item: ArgsItem, following: Sequence[ArgsItem]) -> None:
        cursor = self.cursor
        if cursor.next != "-":
            return
        letter = cursor.text[cursor.at + 1 : cursor.at + 2]
        if letter != item.flag:
            if not letter or not any(later.letter == "-" and later.flag == letter for later in following):
                raise LineError(f"{self.name}: unsupported option -{letter}")
            return
        cursor.at += 2
        if not item.flag_value:
            self.arguments[item.key] = True
            return
        value = read_word(cursor)
        if value is None:
            raise LineError(f"{self.name}: value expected for -{item.flag}")
        self.arguments[item.key] = value

    def _format(self) -> None:
        cursor, sticky = self.cursor, self.sticky
        count, letter, size = 1, "", 0
        if cursor.next == "/":
            cursor.at += 1
            digits = cursor.take(_DIGITS)
            if digits is not None:
                count = int(digits[0])
            while c := cursor.next:
                if c in "oduxic":
                    letter = c
                elif c in _SIZES:
                    size = _SIZES[c]
                else:
                    break
                cursor.at += 1
            if c and c not in BLANKS:
                raise LineError(f"invalid char in format: '{c}'")
            sticky.letter = letter or sticky.letter
            if sticky.letter != "i":
                sticky.size = size or sticky.size
        self.arguments["count"] = count
        self.arguments["format"] = sticky.letter
        self.arguments["size"] = sticky.size if sticky.letter != "i" else size or -1

    def _string(self, item: ArgsItem) -> str:
        value = read_word(self.cursor)
        if value is None:
            raise LineError(f"{self.name}: {_EXPECTED[item.letter]}")
        return value

    def _rest(self, item: ArgsItem) -> str:
        cursor = self.cursor
        value = cursor.text[cursor.at :]
        if not value:
            raise LineError(f"{self.name}: {_EXPECTED[item.letter]}")
        cursor.at = len(cursor.text)
        return value

    def _integer(self, item: ArgsItem) -> int:
        value = evaluate(self.cursor)
        if item.letter == "i" and not 0 <= value < 2**32:
            raise LineError(f"'{self.name}' has failed: integer is for 32-bit values")
        if item.letter == "M":
            if value < 0:
                raise LineError("enter a positive value")
            if value >= 2**43:
                raise LineError("number too large")
            value <<= 20
        kind = self.types.get(item.key)
        return as_width(value, kind) if kind is not None and item.letter == "l" else value

    def _on_off(self, item: ArgsItem) -> bool:
        match = self.cursor.take(_GRAPH)
        word = match[0] if match is not None else ""
        if word not in ("on", "off"):
            raise LineError("Expected 'on' or 'off'")
        return word == "on"

    def _options(self, item: ArgsItem) -> dict[str, JSON]:
        word = read_word(self.cursor)
        if word is None:
            raise LineError(f"{self.name}: string expected")
        return read_options(word, self.types.get(item.key))


_READERS: dict[str, Callable[[_Reader, ArgsItem], JSON]] = {
    "F": _Reader._string,
    "B": _Reader._string,
    "s": _Reader._string,
    "S": _Reader._rest,
    "O": _Reader._options,
    "i": _Reader._integer,
    "l": _Reader._integer,
    "M": _Reader._integer,
    "o": lambda reader, item: read_size(reader.cursor),
    "T": lambda reader, item: read_seconds(reader.cursor),
    "b": _Reader._on_off,
}


def as_width(value: int, kind: TypeInfo) -> int:
    """A 64-bit value as its type has it: an unsigned one is not negative."""
    return value % 2**64 if value < 0 and (kind.kind == "size" or kind.name == "uint64") else value


def read_word(cursor: Cursor) -> str | None:
    """
    Read a word, or a string between double quotes with the escapes C{\\n \\r \\\\ \\' \\"}.

    :return: it, or C{None} if there is none or its quoting is broken
    """
    cursor.skip_blanks()
    if cursor.next == '"':
        return unescape(cursor)
    match = cursor.take(_WORD)
    return None if match is None else match[0]


def unescape(cursor: Cursor) -> str | None:
    """
    Read a string between double quotes; the cursor is at the first.

    :return: it, or C{None} if it doesn't end or has an escape that is none
    """
    text, at = cursor.text, cursor.at + 1
    parts: list[str] = []
    while at < len(text) and text[at] != '"':
        c = text[at]
        if c == "\\":
            at += 1
            c = _ESCAPES.get(text[at : at + 1], "")
            if not c:
                return None
        parts.append(c)
        at += 1
    if at >= len(text):
        return None
    cursor.at = at + 1
    return "".join(parts)


def read_options(word: str, kind: TypeInfo | None) -> dict[str, JSON]:
    """
    Read C{key=value,key=value}, as in C{-device}; C{,,} is one comma.

    :param kind: the type that is wanted. A first part without C{=} is the value of its first member; a later one, of a member
        that is a bool, means on. Values become what the members' types say, strings otherwise.
    :raise LineError: when a value does not fit, or there is no member that it could be
    """
    members = {member.name: member.type for member in (kind.members or ())} if kind is not None else {}
    options: dict[str, JSON] = {}
    parts = [part.replace("\0", ",") for part in word.replace(",,", "\0").split(",")]
    for index, part in enumerate(parts):
        key, equals, value = part.partition("=")
        if not equals and index == 0 and members and not _is_bool(members.get(part)):
            key, value = next(iter(members)), part
        elif not equals:
            if not part and index:
                continue
            if members and not _is_bool(members.get(part)):
                raise LineError(f"Invalid parameter '{part}'")
            value = "on"
        options[key] = _convert(key, value, members.get(key))
    return options


def _is_bool(kind: TypeInfo | None) -> bool:
    return kind is not None and kind.kind == "bool"


def _convert(key: str, value: str, kind: TypeInfo | None) -> JSON:
    if kind is None or kind.kind not in ("bool", "int", "size", "number"):
        return value
    if kind.kind == "bool":
        if value not in ("on", "off"):
            raise LineError(f"Parameter '{key}' expects 'on' or 'off'")
        return value == "on"
    cursor = Cursor(value)
    try:
        result: int | float
        if kind.kind == "number":
            result = read_seconds(cursor)
        else:
            result = read_size(cursor) if kind.kind == "size" else as_width(evaluate(cursor), kind)
    except LineError:
        raise LineError(f"Parameter '{key}' expects a number") from None
    if cursor.next:
        raise LineError(f"Parameter '{key}' expects a number")
    return result

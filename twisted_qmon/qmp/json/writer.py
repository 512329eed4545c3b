"""
From values to bytes: one line of pure ASCII for each message, always valid JSON. No I/O.

An integer is written with all its digits; beyond 64 bits QEMU reads a double. An infinite double, for which JSON has no word,
is written as C{1e999}, which readers take for infinite again. What QEMU's parser would refuse in a string (a lone
surrogate, a noncharacter) is written as U+FFFD, as QEMU does. So whatever is written here can be read by
L{twisted_qmon.qmp.json.reader} and by QEMU. A reply and its
C{id} are put together in C{twisted_qmon.qmp._server.replies}.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from twisted_qmon.qapi.types.plain import is_plain

__all__ = ["NEWLINE", "encode", "encode_line", "encode_message", "encode_quickly", "to_ascii", "verbatim"]

#: Containers inside each other. The parser takes 1024; a value from elsewhere may have more, but a circular one has an end here.
MAX_DEPTH = 10_000

_encode = msgspec.json.Encoder().encode

# What msgspec raises for what it can't write: too deep, no JSON type, an integer or text that it can't say.
_REFUSED = (RecursionError, TypeError, ValueError, OverflowError)

#: C{encode_quickly(message)}: what L{encode_message} returns, in the least time, for L{to_ascii}. Besides what L{encode_message}
#: asks for, its numbers are finite. What this refuses, L{encode_message} may be able to encode.
encode_quickly = _encode

#: C{verbatim(text)}: a value that is JSON already, to be put into a message: in ASCII, without a newline. It is not looked at.
verbatim = msgspec.Raw

# Containers that may stand in each other beyond Python's limit of recursion before Python has to do without recursion.
_ROOM = 1100

_DELETE = 0x7F

#: What ends a message on the wire.
NEWLINE = b"\r\n"

# Regular expressions, which C{re} compiles when they are first needed, and keeps.
_SPECIAL = r'[\x00-\x1f"\\\x7f]'
_NOT_ASCII = "[\x80-\U0010ffff]+"
_REFUSED_TEXT = (
    "[\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_ESCAPES = {chr(code): f"\\u{code:04X}" for code in (*range(0x20), _DELETE)} | {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def encode(value: object) -> bytes:
    """
    One value as JSON.

    Nothing is trusted: what is no JSON is found wherever it stands. A tuple is a list; a subclass of C{str}, C{int}, C{float},
    C{dict}, C{list} or C{tuple} is what it derives from.

    :return: ASCII without a newline
    :raise TypeError: when JSON can't say it: NaN, bytes, sets, dates, any other object, a key that is no string, a value
        that contains itself, an integer of thousands of digits
    """
    try:
        data = _encode_deep(value)
        # It has an end, then, and is not deep. But msgspec also writes what is no JSON (dates, sets, NaN as null).
        if is_plain(value):
            return to_ascii(data)
    except _REFUSED:
        pass
    return "".join(_slowly(value)).encode("ascii")


def encode_message(message: object) -> bytes:
    """
    One message, without its line end.

    This is for replies and events, and trusts what their makers have verified: that it is made of C{str}, C{int}, C{float},
    C{bool}, C{None}, C{dict} with C{str} keys, C{list}, C{tuple} and L{verbatim}, and of no other types. (Of other types some are
    refused, some not.) The values are not trusted: any text and any number will do.

    :return: ASCII
    :raise TypeError: when JSON can't say it, a NaN above all
    """
    try:
        data = _encode(message)
    except _REFUSED:
        # Too deep, say.
        return encode(message)
    if data.find(b"null") >= 0:
        # That may have been a float that is not finite.
        return encode(message)
    return to_ascii(data)


def encode_line(message: object) -> bytes:
    """
    One message as it goes over the wire: a line ended by CR LF.

    :param message: as for L{encode_message}
    :return: ASCII
    :raise TypeError: as L{encode_message}
    """
    return encode_message(message) + NEWLINE


def _encode_deep(value: object) -> bytes:
    """
    msgspec's encoder, with room for what the parser takes: its nesting is close to Python's limit of recursion.

    The room is some 1,100 small frames of the C stack, for the time of the call.
    """
    try:
        return _encode(value)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + _ROOM)
        try:
            return _encode(value)
        finally:
            sys.setrecursionlimit(limit)


def to_ascii(lines: bytes) -> bytes:
    """:return: the same JSON, as it goes over the wire"""
    return lines if lines.isascii() and _DELETE not in lines else _to_ascii(lines)


def _to_ascii(data: bytes) -> bytes:
    """Escape what is no ASCII, and DEL, in JSON: it can stand in strings only."""
    text = re.sub(_REFUSED_TEXT, "\ufffd", data.decode("utf-8"))
    return re.sub(_NOT_ASCII, _escape_run, text).replace("\x7f", "\\u007F").encode("ascii")


def _escape_run(found: re.Match[str]) -> str:
    """A run of characters beyond ASCII in C{\\uXXXX}, by way of UTF-16, which has the surrogate pairs."""
    return "\\u" + found.group().encode("utf-16-be").hex("-", 2).upper().replace("-", "\\u")


def _string(text: str) -> str:
    if not text.isascii():
        text = re.sub(_REFUSED_TEXT, "\ufffd", text)
    escaped = re.sub(_SPECIAL, lambda found: _ESCAPES[found.group()], text)
    return f'"{re.sub(_NOT_ASCII, _escape_run, escaped)}"'


def _number(value: int | float) -> str:
    if isinstance(value, int):
        try:
            return int.__repr__(value)
        except ValueError as e:
            # Python's own guard against numbers of thousands of digits.
            raise TypeError(str(e)) from None
    if value != value:
        raise TypeError("NaN is no JSON number")
    if value - value != 0.0:
        return "1e999" if value > 0 else "-1e999"
    return float.__repr__(value)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _slowly(value: Any) -> Iterator[str]:
    """
    Anything, to any depth, in Python.

    :raise TypeError: as L{encode}
    """
    # The open containers: what is still to come of each, and what closes it.
    stack: list[tuple[Iterator[Any], str]] = []
    while True:
        if isinstance(value, dict):
            yield "{"
            stack.append((iter(value.items()), "}"))
            first = True
        elif isinstance(value, (list, tuple)):
            yield "["
            stack.append((iter(value), "]"))
            first = True
        else:
            yield _scalar(value)
            first = False
        if len(stack) > MAX_DEPTH:
            raise TypeError("nested too deep, or containing itself")
        while stack:
            items, close = stack[-1]
            try:
                value = next(items)
            except StopIteration:
                yield close
                stack.pop()
                first = False
                continue
            if not first:
                yield ","
            if close == "}":
                key, value = value
                if not isinstance(key, str):
                    raise TypeError(f"a key must be a string, not {type(key).__name__}")
                yield _string(key) + ":"
            break
        else:
            return

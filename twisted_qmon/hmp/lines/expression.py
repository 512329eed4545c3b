"""
What a person may type for a number: QEMU's integer expressions, its sizes and its times. No I/O.

The rules and the words of the errors are those of QEMU's human monitor (monitor/hmp.c), found out with a running one.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

__all__ = ["BLANKS", "Cursor", "LineError", "evaluate", "read_number", "read_seconds", "read_size"]

#: What separates words: the blanks of C's C{isspace}.
BLANKS = " \t\n\v\f\r"

_INT64_MAX = 2**63 - 1

#: More digits than this make no number of 64 bits, except of zeros.
_MAX_DIGITS = 4000

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_REGISTER = re.compile(r"[A-Za-z0-9_.:]*")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:infinity|inf|nan)")
_SIZE = re.compile(r"\+?(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<whole>[0-9]+)(?P<fraction>\.[0-9]*)?)")
_SUFFIXES = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_EXPONENT = re.compile(r"[eE][+-]?[0-9]")


class LineError(Exception):
    """
    A typed line that can't be understood.

    :param text: what to tell the person: one line, in QEMU's words
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Cursor:
    """
    A place in a typed line.

    :ivar text: the whole line
    :ivar at: the index of the next character
    """

    __slots__ = ("at", "text")

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at

    @property
    def next(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip_blanks(self) -> None:
        """Go on to the next character that is no blank."""
        text, at, end = self.text, self.at, len(self.text)
        while at < end and text[at] in BLANKS:
            at += 1
        self.at = at

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go past what the pattern matches here.

        :return: the match, or C{None}
        """
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match


def evaluate(cursor: Cursor, *, words: bool = False) -> int:
    """
    Read an integer expression: C{+ -} bind loosest, then C{& | ^}, then C{* / %}, then unary C{+ - ~}; parentheses; C{'c'}.

    An explicit stack instead of recursion, so that no line nests too deeply.

    :param cursor: left behind the expression and the blanks that follow it
    :param words: a sign with a blank before it and none after begins the next word, as in C{move 10 -5}
    :return: the value, wrapped to 64 bits, signed
    :raise LineError: when it is none
    """
    stack: list[tuple[int, str]] = []
    opened = 0
    while True:
        value, more = _operand(cursor, stack)
        opened += more
        while True:
            # Unary operators, then what binds as tightly: so a division by zero is found where QEMU finds it.
            value = _reduce(stack, value, "upn~*/%")
            if cursor.next != ")" or not opened:
                break
            value = _reduce(stack, value, "&|^+-")
            stack.pop()
            opened -= 1
            cursor.at += 1
            cursor.skip_blanks()
        mark = cursor.next
        if not mark or mark not in "*/%&|^+-" or (words and _begins_word(cursor)):
            break
        if mark in "&|^":
            value = _reduce(stack, value, "&|^")
        elif mark in "+-":
            value = _reduce(stack, value, "&|^+-")
        stack.append((value, mark))
        cursor.at += 1
        cursor.skip_blanks()
    value = _reduce(stack, value, "&|^+-")
    if stack:
        raise LineError("')' expected")
    return value


def _begins_word(cursor: Cursor) -> bool:
    text, at = cursor.text, cursor.at
    return text[at] in "+-" and text[at - 1] in BLANKS and at + 1 < len(text) and text[at + 1] not in BLANKS


def _operand(cursor: Cursor, stack: list[tuple[int, str]]) -> tuple[int, int]:
    """Push the unary operators and parentheses here; the number behind them, and how many parentheses it took."""
    opened = 0
    cursor.skip_blanks()
    while (c := cursor.next) and c in "+-~(":
        opened += c == "("
        stack.append((0, {"+": "p", "-": "n"}.get(c, c)))
        cursor.at += 1
        cursor.skip_blanks()
    if not c:
        raise LineError("unexpected end of expression")
    if c == "'":
        value = _character(cursor)
    elif c == "$":
        cursor.at += 1
        cursor.take(_REGISTER)
        raise LineError("unknown register")
    else:
        match = cursor.take(_NUMBER)
        if match is None:
            raise LineError(f"invalid char '{c}' in expression")
        digits = match[0]
        base = 16 if digits[1:2] in ("x", "X") else 8 if digits[0] == "0" else 10
        value = int(digits, base) if len(digits) <= _MAX_DIGITS else 2**64
        if value >= 2**64:
            raise LineError("number too large")
    cursor.skip_blanks()
    return _wrap(value), opened


def _character(cursor: Cursor) -> int:
    cursor.at += 1
    character = cursor.next
    if not character:
        raise LineError("character constant expected")
    cursor.at += 1
    # A letter beyond ASCII takes several bytes, so for QEMU it is no single character.
    if cursor.next != "'" or not character.isascii():
        raise LineError("missing terminating ' character")
    cursor.at += 1
    return ord(character)


def _reduce(stack: list[tuple[int, str]], value: int, marks: str) -> int:
    """Apply what is on top of the stack as long as it is one of these operators."""
    while stack and stack[-1][1] in marks:
        left, mark = stack.pop()
        value = _wrap(_OPERATORS[mark](left, value))
    return value


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise LineError("division by zero")
    # As in C: towards zero.
    quotient = abs(left) // abs(right)
    return -quotient if (left < 0) != (right < 0) else quotient


#: By the mark on the stack; unary ones (p for plus, n for minus, ~) take no left side.
_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "p": lambda _, right: right,
    "n": lambda _, right: -right,
    "~": lambda _, right: ~right,
    "+": operator.add,
    "-": operator.sub,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "*": operator.mul,
    "/": _divide,
    # The remainder has the sign of the dividend.
    "%": lambda left, right: left - right * _divide(left, right),
}


def _wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def read_size(cursor: Cursor) -> int:
    """
    Read a size: a number, perhaps with a fraction, and a suffix out of C{b k M G T P E}; without one it counts MiB.

    :return: bytes
    :raise LineError: when it is none, or beyond 63 bits
    """
    cursor.skip_blanks()
    match = cursor.take(_SIZE)
    if match is None:
        raise LineError("invalid size")
    shift = _SUFFIXES.get(cursor.next.upper() or "-")
    if match["hex"]:
        # E and B are digits here, and are taken already.
        size = int(match["hex"], 16) << _past_suffix(cursor, shift)
    else:
        fraction = match["fraction"] or ""
        if fraction and _EXPONENT.match(cursor.text, cursor.at):
            raise LineError("invalid size")
        shift = _past_suffix(cursor, shift)
        whole = match["whole"].lstrip("0")
        size = int(whole or "0") << shift if len(whole) <= _MAX_DIGITS else 2**64
        if fraction.strip(".0"):
            if not shift:
                raise LineError("invalid size")
            # Beyond 2**-60 a digit makes no difference.
            digits = fraction[1:40]
            size += (int(digits) << shift) // 10 ** len(digits)
    if size > _INT64_MAX:
        raise LineError("invalid size")
    return size


def _past_suffix(cursor: Cursor, shift: int | None) -> int:
    if shift is None:
        return 20
    cursor.at += 1
    return shift


def read_number(cursor: Cursor) -> float:
    """
    Read a floating-point number.

    :raise LineError: when there is none, or it is infinite or no number
    """
    cursor.skip_blanks()
    match = cursor.take(_FLOAT)
    if match is None:
        raise LineError("Number expected")
    value = float(match[0])
    if not math.isfinite(value):
        raise LineError("Bad number")
    return value


def read_seconds(cursor: Cursor) -> float:
    """
    Read a time: a number, perhaps with the suffix C{ms}, C{us} or C{ns}.

    :return: seconds
    :raise LineError: when it is none
    """
    value = read_number(cursor)
    scale = {"ms": 1e3, "us": 1e6, "ns": 1e9}.get(cursor.text[cursor.at : cursor.at + 2])
    if scale is not None:
        value /= scale
        cursor.at += 2
    if cursor.next and cursor.next not in BLANKS:
        raise LineError("Unknown unit suffix")
    return value

"""QEMU's integer expressions, sizes and times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp.lines.expression import Cursor, LineError, evaluate, read_number, read_seconds, read_size


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("1+2*3", 7, ""),
        ("1+6&3", 3, ""),
        ("6&3+1", 3, ""),
        ("7&3|8", 11, ""),
        ("( 1 + 2 ) * 3", 9, ""),
        ("~0", -1, ""),
        ("- 1", -1, ""),
        ("+-~1", 2, ""),
        ("1++1", 2, ""),
        ("1 -2", -1, ""),
        ("0x1F", 31, ""),
        ("010", 8, ""),
        ("0x", 0, "x"),
        ("1k", 1, "k"),
        ("' '+1", 33, ""),
        ("'''", 39, ""),
        ("(2*(3+4)&7)*-2", -12, ""),
        ("1)", 1, ")"),
        ("(1)(2)", 1, "(2)"),
        ("18446744073709551615", -1, ""),
        ("9223372036854775807+1", -(2**63), ""),
        ("9223372036854775808/-1", -(2**63), ""),
        ("-7/2", -3, ""),
        ("-7%2", -1, ""),
        ("7%-2", 1, ""),
        ("1 ^ 3", 2, ""),
    ],
)
def test_expressions(text: str, value: int, rest: str) -> None:
    """QEMU's precedence, C's division, 64 bits that wrap."""
    cursor = Cursor(text)
    assert (evaluate(cursor), cursor.text[cursor.at :]) == (value, rest)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unexpected end of expression"),
        ("1+", "unexpected end of expression"),
        ("(", "unexpected end of expression"),
        ("(1", "')' expected"),
        ("(1 2", "')' expected"),
        ("1/0", "division by zero"),
        ("1%0 @", "division by zero"),
        ("18446744073709551616", "number too large"),
        ("9" * 4090, "number too large"),
        ("'", "character constant expected"),
        ("'ab'", "missing terminating ' character"),
        ("'é'", "missing terminating ' character"),
        ("$eax", "unknown register"),
        ("@", "invalid char '@' in expression"),
        ("()", "invalid char ')' in expression"),
    ],
)
def test_what_is_no_expression(text: str, error: str) -> None:
    """In QEMU's words."""
    with pytest.raises(LineError) as caught:
        evaluate(Cursor(text))
    assert caught.value.text == error


@pytest.mark.parametrize("text", ["(" * 2000 + "1" + ")" * 2000, "-" * 4000 + "1", "1" + "+1" * 2000])
def test_no_line_nests_too_deeply(text: str) -> None:
    """A line of parentheses or signs is a number like any other."""
    assert evaluate(Cursor(text)) in (1, 2001)


@pytest.mark.parametrize(("text", "value", "rest"), [("10 -5", 10, "-5"), ("10 - 5", 5, ""), ("10-5", 5, "")])
def test_a_sign_may_begin_a_word(text: str, value: int, rest: str) -> None:
    """Where arguments follow from types, C{move 10 -5} has two of them."""
    cursor = Cursor(text)
    assert (evaluate(cursor, words=True), cursor.text[cursor.at :]) == (value, rest)


_NUMBERS = st.integers(0, 2**64 - 1).map(str)
_EXPRESSIONS = st.recursive(
    _NUMBERS,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-&|^*"), inner).map("({0[0]}{0[1]}{0[2]})".format)
        | inner.map("~{}".format)
        | inner.map("(-{})".format)
    ),
)


@given(_EXPRESSIONS)
def test_fully_bracketed_expressions_are_pythons(text: str) -> None:
    """With every pair in brackets there is no precedence to differ in: Python says the same, modulo 64 bits."""
    assert evaluate(Cursor(text)) == (eval(text) + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize(
    ("text", "size", "rest"),
    [
        ("1", 1 << 20, ""),
        ("1b", 1, ""),
        ("1.5", 3 << 19, ""),
        ("1.", 1 << 20, ""),
        ("7.5k", 7680, ""),
        ("0.0b", 0, ""),
        ("2g x", 2 << 30, " x"),
        ("0x10", 16 << 20, ""),
        ("0x10M", 16 << 20, ""),
        ("1e3", 1 << 60, "3"),
        ("1Q", 1 << 20, "Q"),
        ("+1T", 1 << 40, ""),
    ],
)
def test_sizes(text: str, size: int, rest: str) -> None:
    """A number, a fraction, a suffix; MiB without one."""
    cursor = Cursor(text)
    assert (read_size(cursor), cursor.text[cursor.at :]) == (size, rest)


@pytest.mark.parametrize("text", ["", "x", "-1", ".5", "0.5b", "1.5e3", "8E", "9" * 4090, "0." + "9" * 4000 + "b"])
def test_what_is_no_size(text: str) -> None:
    """QEMU has one answer to all of them."""
    with pytest.raises(LineError) as caught:
        read_size(Cursor(text))
    assert caught.value.text == "invalid size"


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1.0), ("1.5ms", 0.0015), ("2us", 2e-6), ("3ns", 3e-9), ("1e1", 10.0)]
)
def test_times(text: str, seconds: float) -> None:
    """Seconds, or what the suffix says."""
    assert read_seconds(Cursor(text)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "Number expected"),
        ("x", "Number expected"),
        ("inf", "Bad number"),
        ("1e999", "Bad number"),
        ("1s", "Unknown unit suffix"),
    ],
)
def test_what_is_no_time(text: str, error: str) -> None:
    """In QEMU's words."""
    with pytest.raises(LineError) as caught:
        read_seconds(Cursor(text))
    assert caught.value.text == error


def test_numbers() -> None:
    """A plain number has no suffix: the next character is left alone."""
    cursor = Cursor(" -2.5e1ms")
    assert (read_number(cursor), cursor.text[cursor.at :]) == (-25.0, "ms")

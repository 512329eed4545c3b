"""Text for a terminal: L{twisted_qmon._text}."""

from __future__ import annotations

from textwrap import dedent

import pytest

from twisted_qmon._text import SHOWN, cut, more, printable, quantity, short_number, size, span, table


def _lines(block: str) -> str:
    return dedent(block).strip("\n")


def test_what_is_printable() -> None:
    """Letters of any script stay; what moves the cursor, turns the writing or can't be encoded does not."""
    assert printable("Grüße, 世界") == "Grüße, 世界"
    assert printable("a\tb\x7f\u202e\ud800\U000e0001") == "a\\tb\\x7f\\u202e\\ud800\\U000e0001"
    assert printable("a\nb", keep="\n") == "a\nb"


@pytest.mark.parametrize("keep", ["", "\n", "\n\t"])
def test_no_control_character_is_left(keep: str) -> None:
    """Of all those that Unicode has, in both of its blocks, and the separators of lines."""
    controls = "".join(map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029, 0x200E, 0x202A, 0x2066, 0xFEFF]))
    text = printable(controls, keep)
    assert {c for c in text if not c.isprintable()} == set(keep)
    assert printable(text, keep) == text


def test_short_numbers() -> None:
    """Few digits, however big they are."""
    numbers = [0, 0.5, 999, 999.7, 12345, 4.56e6, 7.891e9, 1e12, 3e15, 2e20]
    assert [short_number(number) for number in numbers] == [
        "0", "0.5", "999", "1k", "12.3k", "4.56M", "7.89G", "1T", "3P", "200000P",
    ]  # fmt: skip


def test_quantities() -> None:
    """One thing, many things."""
    assert [quantity(number, "call") for number in (0, 1, 3120)] == ["0 calls", "1 call", "3,120 calls"]


@pytest.mark.parametrize(
    ("limit", "rows", "printed", "hidden"),
    [
        (None, 5, 5, 0),
        (None, SHOWN + 7, SHOWN, 7),
        (0, SHOWN + 7, SHOWN + 7, 0),
        (3, 3, 3, 1000),
        (3, 2, 2, 0),
        (200, 200, 200, 803),
    ],
)
def test_a_list_that_is_cut(limit: int | None, rows: int, printed: int, hidden: int) -> None:
    """Without a limit a person is shown so many rows; and always told how many are left out."""
    arguments = {} if limit is None else {"limit": limit}
    found = list(range(rows))
    assert cut(found, arguments, lambda: 1003) == (found[:printed], hidden)
    assert cut(found, arguments, lambda: 1003, latest=True) == (found[-printed:], hidden)


def test_what_is_said_of_a_list_that_is_cut() -> None:
    """How much is missing, and how to see it."""
    assert more(3120) == "... and 3,120 more (limit=0 shows all)"


def test_a_cell_is_one_line() -> None:
    """Whatever stands in it: a name with a line feed makes no second row, and no escape reaches the terminal."""
    assert table(["name", "n"], [["a\nb\x1b[2J", "1"]]).splitlines() == ["name         n", "a\\nb\\x1b[2J  1"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 ms"),
        (0.0031, "3.1 ms"),
        (0.0999, "0.1 s"),
        (2.3, "2.3 s"),
        (99.4, "99.4 s"),
        (99.6, "1 min 40 s"),
        (245, "4 min 5 s"),
        (5999.4, "99 min 59 s"),
        (6000, "1 h 40 min"),
        (172_799, "47 h 59 min"),
        (172_800 + 3 * 3600, "2 d 3 h"),
        (-2.3, "-2.3 s"),
    ],
)
def test_a_time_span_is_in_a_unit_that_fits(seconds: float, expected: str) -> None:
    """From milliseconds to days, with two figures that matter."""
    assert span(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536 << 10, "1.5 MiB"),
        (3 << 30, "3 GiB"),
        (2**70, "1024 EiB"),
    ],
)
def test_a_size_is_in_a_unit_that_fits(count: int, expected: str) -> None:
    """Bytes in binary units."""
    assert size(count) == expected


def test_a_table_is_aligned() -> None:
    """Columns are as wide as needed, and nothing hangs over at the ends of lines."""
    assert table(["name", ">size"], [["a", "1"], ["longer", "12345"]]) == _lines(
        """
        name     size
        a           1
        longer  12345
        """
    )

"""The line, the kill ring and the history keep their limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp.editor.cells import cells, clusters, lay_out, width
from twisted_qmon.hmp.editor.line import (
    MAX_EDITED,
    MAX_HISTORY,
    MAX_HISTORY_BYTES,
    MAX_KILLED,
    MAX_KILLS,
    EditedLine,
    History,
    KillRing,
)


def test_clusters() -> None:
    """Marks belong to the character before them; a joiner, which is invisible, does not."""
    assert clusters("ae\u0301世\u0301\u0302b") == ["a", "e\u0301", "世\u0301\u0302", "b"]
    assert clusters("\u0301a") == ["\u0301", "a"]
    assert clusters("\U0001f469\u200d\U0001f4bb") == ["\U0001f469", "\u200d", "\U0001f4bb"]


def test_cells() -> None:
    """What is invisible is shown as an escape; what a paste brings, as a caret and a letter."""
    assert cells("a") == (("a", 1),)
    assert cells("世") == (("世", 2),)
    assert cells("e\u0301") == (("e\u0301", 1),)
    for cluster, shown in (
        ("\n", "^J"), ("\t", "^I"), ("\u202e", "\\u202e"), ("\u0301", "\\u0301"), ("\u200d", "\\u200d"), ("\x1b", "\\x1b"),
        ("\u0301\u0302", "\\u0301\u0302"), ("\u1161", "\\u1161"),
    ):  # fmt: skip
        assert "".join(text for text, _ in cells(cluster)) == shown
        assert {columns for _, columns in cells(cluster)} == {1}


@given(st.text(), st.text(), st.integers(0, 50), st.integers(2, 12))
def test_rows_are_full(prompt: str, text: str, cursor: int, columns: int) -> None:
    """All rows but the last are as wide as the terminal; the last has room for one column more; nothing is left out."""
    line = clusters(text)
    layout = lay_out([cell for each in clusters(prompt) for cell in cells(each)], line, min(cursor, len(line)), columns)
    assert all(width(row) == columns for row in layout.rows[:-1])
    assert width(layout.rows[-1]) < columns
    assert 0 <= layout.row < len(layout.rows)
    assert 0 <= layout.column < columns
    shown = "".join(cell for each in clusters(prompt) + line for cell, _ in cells(each))
    assert "".join(cell for row in layout.rows for cell, _ in row).replace(" ", "") == shown.replace(" ", "")


@given(st.lists(st.tuples(st.integers(0, 20), st.text(max_size=6))))
def test_inserting(steps: list[tuple[int, str]]) -> None:
    """What is inserted anywhere is what a plain text would have there, and the cursor is behind it."""
    line, plain = EditedLine(), ""
    for at, text in steps:
        line.cursor = min(at, len(line.clusters))
        before, after = line.before, "".join(line.clusters[line.cursor :])
        assert before + after == plain
        assert line.insert(text)
        plain = before + text + after
        assert line.text == plain
        assert line.before == before + text


def test_a_line_has_a_limit() -> None:
    """What does not fit is not inserted, and that is known until the line is empty."""
    line = EditedLine("ü" * (MAX_EDITED // 2 - 1))
    assert line.insert("xy")
    assert not line.insert("z")
    assert line.cut
    assert line.remove(0, 1) == "ü"
    assert line.cut
    assert line.insert("ab")
    line.remove(0, len(line.clusters))
    assert (line.cut, line.insert("z" * MAX_EDITED)) == (False, True)


def test_transposing() -> None:
    """Needs two characters; at the end the last two change places, elsewhere those around the cursor."""
    line = EditedLine("a")
    assert not line.transpose()
    line = EditedLine("abc")
    assert line.transpose()
    assert line.text == "acb"
    line.cursor = 1
    assert line.transpose()
    assert (line.text, line.cursor) == ("cab", 2)
    line.cursor = 0
    assert not EditedLine().transpose()


def test_the_kill_ring_has_a_limit() -> None:
    """So many pieces, so many characters: the oldest are forgotten."""
    ring = KillRing()
    assert ring.latest == ""
    for number in range(2 * MAX_KILLS):
        ring.add(f"piece {number}")
    seen = set()
    for _ in range(3 * MAX_KILLS):
        seen.add(ring.latest)
        ring.rotate()
    assert len(seen) == MAX_KILLS
    ring.add("x" * MAX_KILLED)
    ring.rotate()
    assert ring.latest == "x" * MAX_KILLED
    ring.add("ab", joined=True)
    assert ring.latest == ""
    ring.add("", joined=True)
    ring.add("b", joined=True)
    ring.add("a", joined=True, before=True)
    assert ring.latest == "ab"


def test_the_history_has_limits() -> None:
    """So many lines, so many bytes; no line twice in succession, none that begins with a blank."""
    history = History()
    for line in ("a", "a", "", " secret", "b", "a"):
        history.add(line)
    assert [history[n] for n in range(len(history))] == ["a", "b", "a"]
    for number in range(MAX_HISTORY + 5):
        history.add(str(number))
    assert len(history) == MAX_HISTORY
    assert history[0] == "5"
    history.add("ü" * (MAX_HISTORY_BYTES // 2))
    assert len(history) == 1

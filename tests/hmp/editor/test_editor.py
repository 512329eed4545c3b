"""What keys do: the line that comes out, and what the terminal shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcwidth

from tests.support.screen import Screen
from twisted_qmon.hmp.commands.completion import Candidate, Completion
from twisted_qmon.hmp.editor.candidates import MAX_LISTED
from twisted_qmon.hmp.editor.editor import Entered, LineEditor, Outcome
from twisted_qmon.hmp.editor.line import MAX_EDITED
from twisted_qmon.hmp.editor.search import MAX_PATTERN

PROMPT = "(qmon) "
UP, DOWN, RIGHT, LEFT, HOME, END, DELETE = (f"\x1b[{c}" for c in ("A", "B", "C", "D", "H", "F", "3~"))
PASTE, PASTED = "\x1b[200~", "\x1b[201~"


class Terminal:
    """An editor and the terminal that shows it."""

    def __init__(
        self,
        columns: int = 80,
        rows: int = 24,
        prompt: str = PROMPT,
        complete: Callable[[str], Completion | None] = lambda text: None,
    ) -> None:
        self.screen = Screen(columns, rows)
        self.raw = ""
        self.bells = 0
        self.editor = LineEditor(self._write, columns=columns, rows=rows, complete=complete)
        self.outcomes: list[Outcome] = []
        self.prompt = prompt
        self.editor.begin(prompt)

    def _write(self, text: str) -> None:
        self.raw += text
        self.bells += text.count("\a")
        self.screen.feed(text)

    def press(self, *keys: str | bytes) -> Terminal:
        for key in keys:
            self.editor.receive(key if isinstance(key, bytes) else key.encode())
            self.serve()
        return self

    def serve(self) -> None:
        outcome = self.editor.next()
        while outcome is not None:
            self.outcomes.append(outcome)
            self.editor.begin(self.prompt)
            outcome = self.editor.next()

    @property
    def lines(self) -> list[str]:
        return [outcome.line for outcome in self.outcomes]

    @property
    def edited(self) -> str:
        """The line, with a bar at the cursor."""
        line = self.editor._line
        return f"{line.before}|{line.text[len(line.before) :]}"


@pytest.mark.parametrize(
    ("keys", "edited"),
    [
        (["info"], "info|"),
        (["info", LEFT, LEFT], "in|fo"),
        (["info", LEFT * 9, RIGHT], "i|nfo"),
        (["info", HOME, "x"], "x|info"),
        (["info", "\x01", "x", "\x05", "y"], "xinfoy|"),
        (["info", HOME, END, RIGHT, "!"], "info!|"),
        (["info", "\x02", "\x7f"], "in|o"),
        (["info", LEFT, "\x06", "\x08"], "inf|"),
        (["info", LEFT, LEFT, DELETE], "in|o"),
        (["info", HOME, "\x04"], "|nfo"),
        (["info", HOME, "\x7f", END, DELETE, "\x04"], "info|"),
        (["e\u0301", "世", LEFT, LEFT, RIGHT], "e\u0301|世"),
        (["ae\u0301b", LEFT, "\x7f"], "a|b"),
        (["e", "\u0301", "\x7f"], "|"),
        (["one two-three four", "\x1bb", "\x1bb"], "one two-|three four"),
        (["one two-three four", HOME, "\x1bf", "\x1bf"], "one two|-three four"),
        (["one two", HOME, "\x1b[1;5C", "\x1b[1;5D"], "|one two"),
        (["one two-three", "\x17"], "one |"),
        (["one two-three", "\x1b\x7f"], "one two-|"),
        (["one two", HOME, "\x1bd"], "| two"),
        (["one two", HOME, "\x1bd", "\x1bd", "\x19"], "one two|"),
        (["one two", "\x17", "\x17", "\x19", "\x19"], "one twoone two|"),
        (["one two", LEFT * 3, "\x0b"], "one |"),
        (["one two", LEFT * 3, "\x15"], "|two"),
        (["one two", LEFT * 3, "\x0b", HOME, "\x19"], "two|one "),
        (["one", "\x15", "two", "\x15", "\x19", "\x1by"], "one|"),
        (["one", "\x15", "two", "\x15", "\x19", "\x1by", "\x1by"], "two|"),
        (["one", "\x15", "two", "\x1by"], "two|"),
        (["\x19"], "|"),
        (["ab", "\x14"], "ba|"),
        (["a", "\x14", "\x07"], "a|"),
        (["a", UP, DOWN, "\x12", "\x13", "\x07"], "a|"),
        ([PASTE + "one\ttwo" + PASTED, "!"], "one\ttwo!|"),
        ([b"\xe4", b"\xb8", b"\x96", b"\xff"], "世\ufffd|"),
        (["x" * MAX_EDITED, "y", "\x15", "z"], "z|"),
    ],
)  # fmt: skip
def test_keys(keys: list[str], edited: str) -> None:
    """Each key does what it does in readline."""
    assert Terminal().press(*keys).edited == edited


def test_lines() -> None:
    """Enter gives the line, Ctrl-C says so, Ctrl-D on an empty line ends the input; the rest stays on the screen."""
    terminal = Terminal().press("info name\rhel", "\x03", "x", LEFT, "\x04", "\x04")
    assert terminal.outcomes == [
        Outcome(Entered.LINE, "info name"),
        Outcome(Entered.INTERRUPT),
        Outcome(Entered.END_OF_INPUT),
    ]
    assert terminal.screen.text == "(qmon) info name\n(qmon) hel^C\n(qmon)\n(qmon)"


def test_enter_in_the_middle_of_a_line() -> None:
    """What follows begins below the line, however many rows it has."""
    terminal = Terminal(20, 10)
    terminal.press("x" * 30, HOME)
    terminal.editor.receive(b"\r")
    assert terminal.editor.next() == Outcome(Entered.LINE, "x" * 30)
    terminal.editor.show("out\n")
    assert terminal.screen.text == f"(qmon) {'x' * 13}\n{'x' * 17}\nout"


def test_pasted_lines() -> None:
    """A paste runs nothing. Enter runs its lines one after another, each shown at a prompt of its own."""
    terminal = Terminal().press(f"{PASTE}one\r\ntwo\n\nthree{PASTED}")
    assert terminal.outcomes == []
    assert terminal.screen.text == "(qmon) one^Jtwo^J^Jthree"
    terminal.press("\r")
    assert terminal.lines == ["one", "two", "", "three"]
    assert terminal.screen.text.splitlines()[1:] == ["(qmon) two", "(qmon)", "(qmon) three", "(qmon)"]
    terminal.press(UP)
    assert terminal.edited == "three|"
    assert Terminal().press(f"{PASTE}one\n{PASTED}\r").lines == ["one"]


def test_a_paste_that_is_too_long() -> None:
    """Nothing of it is run, not even what had room; that it has none is heard."""
    terminal = Terminal().press(PASTE + "x\n" * (MAX_EDITED // 2 - 1) + PASTED, PASTE + "info status\n" + PASTED)
    assert terminal.bells == 1
    terminal.press("\r")
    assert terminal.outcomes == [Outcome(Entered.TOO_LONG)]


def test_history() -> None:
    """Up and down through the lines that were entered; what was being typed is there again below the last."""
    terminal = Terminal().press("one\rtwo\r two secret\rthr", UP)
    assert terminal.edited == "two|"
    terminal.press("\x10", UP)
    assert terminal.edited == "one|"
    assert terminal.bells == 1
    terminal.press("!", DOWN)
    assert terminal.edited == "two|"
    terminal.press("\x0e")
    assert terminal.edited == "thr|"
    terminal.press(DOWN)
    assert terminal.bells == 2
    terminal.press(UP, "\r")
    assert terminal.lines[-1] == "two"


def test_search() -> None:
    """Ctrl-R finds older lines as a pattern is typed, again and again; Enter runs what was found; other keys edit it."""
    terminal = Terminal().press("info status\rinfo name\rstop\r", "\x12", "info")
    assert terminal.screen.row(3) == "(reverse-i-search)`info': info name"
    terminal.press("\x12")
    assert terminal.screen.row(3) == "(reverse-i-search)`info': info status"
    terminal.press("\x12")
    assert terminal.screen.row(3) == "(failed reverse-i-search)`info': info status"
    assert terminal.bells == 1
    terminal.press("\x13")
    assert terminal.screen.row(3) == "(i-search)`info': info name"
    terminal.press("\r")
    assert terminal.lines[-1] == "info name"


@pytest.mark.parametrize(
    ("keys", "edited"),
    [
        (["half", "\x12", "stat", "\x07"], "half|"),
        (["half", "\x12", "stat", LEFT], "info| status"),
        (["half", "\x12", "stat", END], "info status|"),
        (["half", "\x12", "nothing", END], "half|"),
        (["half", "\x12", END], "half|"),
        (["\x12", "stop", "\x7f" * 4, "stat", "\x1b[C"], "info s|tatus"),
        (["\x12", "st", "\x12", "\x7f", "\x1b[C"], "s|top"),
        (["half", "\x12", "\x7f", "\x12", "\x1b[C"], "half|"),
        (["\x12", "top", "\x01", DOWN], "|"),
        (["half", "\x13", "info", "\x1b[D"], "|info status"),
        (["\x12", "x" * MAX_PATTERN, "y", END], "|"),
    ],
)
def test_the_end_of_a_search(keys: list[str], edited: str) -> None:
    """A key that is not for the search takes what was found, the cursor at the pattern; Ctrl-G takes nothing."""
    assert Terminal().press("info status\rinfo name\rstop\r", *keys).edited == edited


def test_interrupted_search() -> None:
    """Ctrl-C ends search and line."""
    terminal = Terminal().press("info status\r", "ha", "\x12", "stat", "\x03")
    assert terminal.outcomes[-1].how is Entered.INTERRUPT
    assert terminal.edited == "|"


def test_clear_screen() -> None:
    """Ctrl-L leaves the prompt and the line alone on the screen."""
    terminal = Terminal().press("one\rtwo\rthree", LEFT, "\x0c")
    assert terminal.screen.text == "(qmon) three"
    assert terminal.screen.at == (0, 11)


def candidates(*texts: str, start: int = 0) -> Callable[[str], Completion]:
    def complete(text: str) -> Completion:
        begin = max(start, text.rfind(" ") + 1)
        return Completion(begin, tuple(Candidate(each) for each in texts if each.startswith(text[begin:])))

    return complete


def test_completion() -> None:
    """Tab inserts what is certain, and lists what is not; a word that is complete gets a blank at the end of the line."""
    terminal = Terminal(40, complete=candidates("service-stop", "service-start", "status", "世界"))
    terminal.press("ser\t")
    assert terminal.edited == "service-st|"
    terminal.press("\t")
    assert terminal.screen.text == "service-stop   service-start\n(qmon) service-st"
    terminal.press("o\t")
    assert terminal.edited == "service-stop |"
    terminal.press("\t")
    assert terminal.screen.row(1) == "service-stop   status"
    assert terminal.screen.row(2) == "service-start  世界"
    terminal.press("\x15", "stat x", LEFT * 2, "\t", "\t")
    assert terminal.edited == "status| x"
    assert terminal.bells == 0
    terminal.press("q", "\t")
    assert terminal.bells == 1


def test_completion_without_an_answer() -> None:
    """Where the commands are not known, and for what can't be typed, there is none."""
    assert Terminal().press("a\t").bells == 1
    assert Terminal(complete=candidates("a\x1b[2J")).press("a\t").bells == 1
    full = Terminal(complete=candidates("ab")).press("a " * (MAX_EDITED // 2 - 1) + "xa", LEFT, "\x7f ", "\x05", "\t")
    assert full.bells == 1


def test_many_candidates() -> None:
    """Not more than so many are listed."""
    terminal = Terminal(30, 200, complete=candidates(*(f"a{n}" for n in range(MAX_LISTED + 5))))
    terminal.press("a\t")
    assert "... and 5 more" in terminal.screen.text
    narrow = Terminal(2, 20, prompt="", complete=candidates("abcd", "abxy")).press("ab\t")
    assert narrow.edited == "ab|"


def test_output_above_a_line() -> None:
    """The line stays as it is, the cursor in its place; while no line is edited the text is only written."""
    terminal = Terminal(20, 6).press("info " + "x" * 20, LEFT * 3)
    terminal.editor.show("one\ntwo\n")
    assert terminal.screen.text == f"one\ntwo\n(qmon) info {'x' * 8}\n{'x' * 12}"
    assert terminal.screen.at == (3, 9)
    terminal.press("\r")
    assert terminal.lines == ["info " + "x" * 20]


def test_keys_between_two_lines() -> None:
    """What is typed while a command runs is for the next line; Ctrl-C is told at once, and takes what was typed before."""
    terminal = Terminal().press("one")
    editor = terminal.editor
    editor.receive(b"\rtwo\rthr")
    assert editor.next() == Outcome(Entered.LINE, "one")
    assert editor.next() is None
    assert editor.held == 8
    assert (editor.has_line, editor.receive(b"ee")) == (True, False)
    assert editor.receive(b"x\x03fo")
    assert list(filter(None, [editor.has_line, editor.receive(b"ur")])) == []
    editor.begin(PROMPT)
    terminal.serve()
    assert editor.held == 0
    assert terminal.edited == "four|"
    editor.receive(b"\r")
    editor.next()
    editor.receive(b"\rx")
    editor.drop_enter()
    editor.drop_enter()
    editor.begin(PROMPT)
    terminal.serve()
    assert terminal.edited == "x|"


def test_pastes_are_marked_while_there_is_a_session() -> None:
    """The terminal is asked to mark them at the first prompt, and no more at the end."""
    terminal = Terminal().press("one\rtwo")
    assert terminal.raw.count("\x1b[?2004h") == 1
    terminal.editor.leave()
    terminal.editor.leave()
    assert terminal.raw.count("\x1b[?2004l") == 1
    assert terminal.screen.at == (2, 0)


def test_typing_costs_what_is_typed() -> None:
    """A character at the end of the line is all that the terminal is sent."""
    terminal = Terminal().press("info")
    before = len(terminal.raw)
    terminal.press(" ", "s", "世")
    assert terminal.raw[before:] == " s世"
    terminal.press("\x7f")
    assert terminal.raw[before + 3 :] == "\b\b\x1b[K"


@pytest.mark.parametrize("paint", [True, False])
def test_another_size(paint: bool) -> None:
    """The line is folded anew, below what was shown before."""
    terminal = Terminal(80, 24).press("one\r", "x" * 60)
    terminal.screen.resize(24, 40)
    terminal.editor.resize(40, 24, paint=paint)
    terminal.editor.resize(40, 24, paint=paint)
    terminal.press(LEFT)
    assert terminal.screen.text == f"(qmon) one\n(qmon) {'x' * 33}\n{'x' * 27}"
    assert terminal.screen.at == (2, 26)
    terminal.editor.resize(80, 24, paint=False)
    terminal.screen.resize(24, 80)
    terminal.editor.show("event\n")
    assert "event\n(qmon) " + "x" * 60 in terminal.screen.text
    terminal.press("\r")
    terminal.editor.receive(b"\r")
    terminal.editor.next()
    terminal.editor.resize(20, 5)
    terminal.screen.resize(24, 20)
    terminal.editor.begin(PROMPT)
    terminal.press("y" * 20)
    assert terminal.screen.text.endswith(f"(qmon) {'y' * 13}\n{'y' * 7}")


def test_a_terminal_of_no_size() -> None:
    """One that does not know its size has 80 columns and 24 rows."""
    terminal = Terminal()
    terminal.editor.resize(0, 0)
    terminal.press("x" * 80)
    assert terminal.screen.text == f"(qmon) {'x' * 73}\n{'x' * 7}"


# -- whatever is typed

ALPHABET = ["a", "b c", "世", "e\u0301", "\u0302", "é", "x" * 17]


def _typed(line: list[str], cursor: int, text: str) -> tuple[list[str], int]:
    for c in text:
        if cursor and unicodedata.combining(c):
            line = [*line[: cursor - 1], line[cursor - 1] + c, *line[cursor:]]
        else:
            line = [*line[:cursor], c, *line[cursor:]]
            cursor += 1
    return line, cursor


_MODEL: dict[str, Callable[[list[str], int], tuple[list[str], int]]] = {
    LEFT: lambda line, cursor: (line, max(0, cursor - 1)),
    RIGHT: lambda line, cursor: (line, min(len(line), cursor + 1)),
    HOME: lambda line, cursor: (line, 0),
    END: lambda line, cursor: (line, len(line)),
    "\x7f": lambda line, cursor: (line[: max(0, cursor - 1)] + line[cursor:], max(0, cursor - 1)),
    DELETE: lambda line, cursor: (line[:cursor] + line[cursor + 1 :], cursor),
    "\x0b": lambda line, cursor: (line[:cursor], cursor),
    "\x15": lambda line, cursor: (line[cursor:], 0),
}


def _modelled(keys: list[str]) -> tuple[list[str], int]:
    """The least that an editor can be: characters with their marks, and a cursor."""
    line: list[str] = []
    cursor = 0
    for key in keys:
        line, cursor = _MODEL[key](line, cursor) if key in _MODEL else _typed(line, cursor, key)
    return line, cursor


def _expected(prompt: str, line: list[str], cursor: int, columns: int) -> tuple[list[str], int, int]:
    """The rows that they take, and where the cursor is."""
    rows, at, column = [""], (0, 0), 0
    # A mark without a character is shown as an escape; the end of the line is as wide as a character.
    shown = [*prompt, *(f"\\u{ord(c[0]):04x}{c[1:]}" if unicodedata.combining(c[0]) else c for c in line), ""]
    for number, text in enumerate(shown):
        for place, c in enumerate(text or " "):
            wide = wcwidth(c)
            if column + wide > columns:
                rows.append("")
                column = 0
            if number == len(prompt) + cursor and not place:
                at = (len(rows) - 1, column)
            rows[-1] += c if text else ""
            column += wide
    return [unicodedata.normalize("NFC", row).rstrip() for row in rows], *at


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(ALPHABET + list(_MODEL)), max_size=40),
    st.sampled_from([2, 3, 5, 8, 20, 80]),
    st.sampled_from([1, 2, 5, 24]),
    st.sampled_from(["(qmon) ", "> ", "世", ""]),
    st.data(),
)
def test_the_screen_shows_the_line(keys: list[str], columns: int, rows: int, prompt: str, more: st.DataObject) -> None:
    """Whatever is typed, however it is cut, whatever is shown meanwhile: the screen has the prompt, the line and the cursor."""
    terminal = Terminal(columns, rows, prompt)
    stream = "".join(keys).encode()
    cuts = more.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    for begin, end in pairwise([0, *sorted(cuts), len(stream)]):
        terminal.press(stream[begin:end])
        if more.draw(st.booleans()):
            terminal.editor.show("an event\n")
    line, cursor = _modelled(keys)
    assert terminal.editor._line.text == "".join(line)
    expected, row, column = _expected(prompt, line, cursor, columns)
    y, x = terminal.screen.at
    assert x == column
    # Of what has more rows than the screen, those around the cursor are there.
    first = max(y - row, 0)
    shown = [terminal.screen.row(number) for number in range(first, rows)]
    wanted = expected[max(row - y, 0) :][: len(shown)]
    assert shown[: len(wanted)] == wanted
    assert not any(shown[len(wanted) :])
    assert first + len(wanted) == rows or len(wanted) == len(expected) - max(row - y, 0)

"""
Plays the blocks of a page of documentation, in order, so that what it shows is what happens.

- C{python} blocks are executed, all in one namespace. It begins with a C{clock} and a C{monitor} without further commands.
- C{qmp} blocks are a machine's conversation with the namespace's C{monitor}: C{->} is sent, C{<-} must come back, in this
  order and nothing else (timestamps aside); C{.. 2 seconds later} and
  C{.. a moment later} let time pass.
- C{hmp} blocks are a person's: what stands after the prompt is typed, the lines after it must be printed. The namespace's
  C{prompt} is the prompt. A line C{...} stands for any lines.
- C{side-by-side} blocks are both, in the order of time: what stands before the bar is the person's, what stands behind it the
  machine's, who has negotiated. A pause in the person's column is one that the person waits through.
- A comment C{<!-- hidden ... -->} has Python that a reader need not see; C{<!-- not run: why -->} before a block leaves it out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.task import Clock

__all__ = ["LANGUAGES", "Block", "Player", "blocks", "matches"]

LANGUAGES = {"python", "qmp", "hmp", "side-by-side", "console", "sh", "ini", "toml", "text", ""}

_PART = re.compile(
    r"^<!-- (?P<comment>hidden\n|not run: )(?P<said>.*?)-->$"
    r"|^(?P<fence>`{3,}|:{3,})(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """
    A fenced block, or hidden Python.

    :ivar language: what stands after the fence; C{"hidden"} for what is hidden
    :ivar line: the line of the page that its text begins at
    """

    language: str
    text: str
    page: Path
    line: int

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are to be played, in order; directives (C{{note}}) are left out."""
    source = page.read_text()
    skip = False
    for part in _PART.finditer(source):
        if part["comment"] == "not run: ":
            assert part["said"].strip(), "say why it is not run"
            skip = True
            continue
        hidden = part["comment"] is not None
        language = "hidden" if hidden else part["language"]
        group = "said" if hidden else "text"
        line = source.count("\n", 0, part.start(group)) + 1
        if not skip and not language.startswith("{"):
            yield Block(language, part[group], page, line)
        skip = False


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether the lines are those expected, where a line C{...} stands for any lines."""
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(matches(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    return bool(actual) and actual[0].rstrip() == expected[0].rstrip() and matches(expected[1:], actual[1:])


class Player:
    """Plays blocks, one after the other."""

    def __init__(self) -> None:
        from twisted_qmon import Monitor

        clock = Clock()
        # A module that can be found: dataclasses and annotations look for theirs.
        page = sys.modules["page"] = ModuleType("page")
        self.names: dict[str, Any] = vars(page)
        self.names.update(clock=clock, monitor=Monitor(clock=clock), prompt="(qmon) ")
        self._machine: Any = None
        self._person: Any = None
        self._received: list[Any] = []
        self._screen = ""

    def play(self, block: Block) -> None:
        """
        :raise AssertionError: when something else happens than what the block says
        """
        plays = {
            "python": self._python,
            "hidden": self._python,
            "qmp": self._qmp,
            "hmp": self._hmp,
            "side-by-side": self._side_by_side,
        }
        if block.language in plays:
            plays[block.language](block)

    def _python(self, block: Block) -> None:
        # The blank lines make tracebacks point into the page.
        exec(compile("\n" * (block.line - 1) + block.text, str(block.page), "exec"), self.names)

    def _qmp(self, block: Block) -> None:
        from twisted_qmon.testing import QMPConnection

        if self._machine is None or self._machine[0] is not self.names["monitor"]:
            machine = QMPConnection(self.names["monitor"], negotiate=False)
            self._machine = (self.names["monitor"], machine)
            self._received = [machine.greeting]
        for number, line in enumerate(block.text.splitlines(), block.line):
            where = f"{block.page.name}:{number}"
            if not self._pause(line):
                self._machine_line(where, line)
        self._nothing_else_came(f"{block}: after this")

    def _machine_line(self, where: str, line: str) -> None:
        machine = self._machine[1]
        if line.startswith("-> "):
            self._nothing_else_came(f"{where}: before this")
            machine.send(line[3:].encode() + b"\n")
        elif line.startswith("<- "):
            self._received += machine.received()
            assert self._received, f"{where}: nothing came"
            actual, expected = self._received.pop(0), json.loads(line[3:])
            assert _untimed(actual) == _untimed(expected), f"{where}: came {json.dumps(actual)}"
        else:
            raise AssertionError(f"{where}: neither ->, <- nor a pause: {line}")

    def _nothing_else_came(self, when: str) -> None:
        self._received += self._machine[1].received()
        assert not self._received, f"{when} came {json.dumps(self._received[0])}"

    def _pause(self, line: str) -> bool:
        """:return: whether the line is a pause; it is over then"""
        pause = re.fullmatch(r"\.\. (a moment|\d+ seconds?) later", line)
        if pause is not None:
            seconds = pause[1].partition(" ")[0]
            for step in [0] if seconds == "a" else [1] * int(seconds):
                self.names["clock"].advance(step)
        return pause is not None

    def _side_by_side(self, block: Block) -> None:
        from twisted_qmon.testing import HMPConnection, QMPConnection

        monitor, prompt = self.names["monitor"], self.names["prompt"]
        self._machine = (monitor, QMPConnection(monitor))
        self._person = (monitor, HMPConnection(monitor, prompt=prompt))
        self._screen = prompt
        head, *rows = block.text.splitlines()
        bar = head.index("│")
        for number, row in enumerate(rows, block.line + 1):
            where = f"{block.page.name}:{number}"
            left, right = (row[:bar].rstrip(), row[bar + 1 :].strip()) if row[bar : bar + 1] == "│" else (row, "")
            if left.startswith(".. "):
                assert self._screen == "", f"{where}: the person does not wait, but sees {self._screen!r}"
            if not self._pause(left):
                self._person_line(where, left)
                if right:
                    self._machine_line(where, right)
            self._screen += self._person[1].output()
        self._nothing_else_came(f"{block}: after this")
        assert self._screen == prompt, f"{block}: the person sees {self._screen!r}"

    def _person_line(self, where: str, line: str) -> None:
        prompt = self.names["prompt"]
        if line.startswith(prompt):
            assert self._screen == prompt, f"{where}: before this the person sees {self._screen!r}"
            self._screen = self._person[1].type(line[len(prompt) :])
        elif line:
            printed, _, self._screen = self._screen.partition("\r\n")
            assert printed == line, f"{where}: the person sees {printed!r}"

    def _hmp(self, block: Block) -> None:
        from twisted_qmon.testing import HMPConnection

        prompt = self.names["prompt"]
        if self._person is None or self._person[0] is not self.names["monitor"]:
            self._person = (self.names["monitor"], HMPConnection(self.names["monitor"], prompt=prompt))
        for typed, expected in conversation(block.text, prompt):
            output = self._person[1].type(typed)
            assert output.endswith(prompt), f"{block}: {typed!r} has not completed: {output!r}"
            actual = output[: -len(prompt)].splitlines()
            assert matches(expected, actual), f"{block}: {typed!r} printed\n" + "\n".join(actual)


def conversation(text: str, prompt: str) -> Iterator[tuple[str, list[str]]]:
    """What is typed after each prompt, and the lines that are printed then."""
    typed: str | None = None
    printed: list[str] = []
    for line in text.splitlines():
        if line.startswith(prompt):
            if typed is not None:
                yield typed, printed
            typed, printed = line[len(prompt) :], []
        else:
            printed.append(line)
    if typed is not None:
        yield typed, printed


def _untimed(message: Any) -> Any:
    if isinstance(message, dict) and "timestamp" in message:
        return {**message, "timestamp": None}
    return message

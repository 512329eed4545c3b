"""
C{qmon}, or another program, in a pseudo-terminal, and what a person sees of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import pexpect
import pyte

from tests.live.qmon_program import COMMAND, environment
from tests.live.twistd_process import PATIENCE

__all__ = ["Terminal"]


class Terminal:
    """
    A terminal in which C{qmon} runs, ended with the C{with} statement.

    :param folder: where it runs, and has its state
    :param words: the words of its command line
    :param program: what runs there; by default C{qmon}
    :ivar raw: all bytes that it has written
    """

    def __init__(
        self,
        folder: Path,
        *words: str,
        columns: int = 100,
        lines: int = 30,
        variables: dict[str, str] | None = None,
        program: Sequence[str] = COMMAND,
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._process = pexpect.spawn(
            program[0],
            [*program[1:], *words],
            cwd=str(folder),
            env=environment(folder, **(variables or {})),
            dimensions=(lines, columns),
            timeout=PATIENCE,
        )
        self._process.delaybeforesend = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._process.close(force=True)

    def _read(self, seconds: float) -> bool:
        """:return: whether something came"""
        try:
            data = self._process.read_nonblocking(65536, seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return False
        self.raw += data
        self._stream.feed(data)
        return True

    @property
    def screen(self) -> str:
        """What a person sees, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def line(self) -> str:
        """The line in which the cursor is."""
        return self._screen.display[self._screen.cursor.y].rstrip()

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """
        Read until something holds.

        :raise AssertionError: when it does not come to hold
        """
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"{what}: not on the screen\n{self.screen}"
            if not self._read(0.1) and not self._process.isalive():
                self._read(0)
                assert holds(), f"{what}: ended with\n{self.screen}"

    def shows(self, *texts: str) -> str:
        """Wait until all of this is to be seen. :return: the screen"""
        self.until(repr(texts), lambda: all(text in self.screen for text in texts))
        return self.screen

    def prompts(self, line: str = "(qmon)") -> str:
        """Wait until the cursor is on such a line, and nothing comes any more. :return: the screen"""
        # While text is being written the terminal itself shows a Ctrl-C, as it does for any program.
        self.until(f"the line {line!r}", lambda: self.line.removeprefix("^C") == line and not self._read(0.15))
        return self.screen

    def types(self, text: str) -> None:
        """Press keys."""
        self._process.send(text)

    def enters(self, line: str) -> None:
        """Type a line and press Enter."""
        self.types(line + "\r")

    def does(self, line: str) -> str:
        """Run a line. :return: the screen, with the prompt back"""
        before = len(self.raw)
        self.enters(line)
        typed = f"(qmon) {line}"[:80]
        # On a busy machine a long answer may come together with the line, and carry it off the screen.
        self.until(repr(typed), lambda: typed in self.screen or self.raw[before:].count(b"\n") > self._screen.lines)
        return self.prompts()

    def settles(self, seconds: float = 0.3) -> str:
        """Read until nothing has come for a time. :return: the screen"""
        while self._read(seconds):
            pass
        return self.screen

    def resizes(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        self._screen.resize(lines, columns)
        self._process.setwinsize(lines, columns)

    def ends(self) -> int:
        """Wait for its end. :return: its exit status, or minus the signal that ended it"""
        while self._read(0.1) or self._process.isalive():
            pass
        self._process.close()
        status = self._process.exitstatus
        return -int(self._process.signalstatus) if status is None else int(status)

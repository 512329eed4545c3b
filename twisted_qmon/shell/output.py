"""
Where everything is written. Text that comes from a server reaches a terminal through here and nowhere else: as JSON in pure
ASCII, or made printable.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TextIO

from twisted_qmon._text import json_text

if TYPE_CHECKING:
    from twisted_qmon.info import JSON, TypeInfo

__all__ = ["Output", "json_text", "wants_colour"]

#: Characters of JSON beyond which a result is printed plainly also where there is rich, which needs seconds for it.
RICH_LIMIT = 200_000


def wants_colour(stream: TextIO) -> bool:
    """:return: whether to colour what goes there: to a terminal that can, of a person who has not set C{NO_COLOR}"""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


class Output:
    """
    Standard output and standard error of a command.

    :param as_json: results are JSON; C{None}: if standard output is no terminal
    :param stdout: by default the process's
    :param stderr: by default the process's
    :ivar as_json: results are JSON
    """

    def __init__(self, as_json: bool | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.as_json = not self.stdout.isatty() if as_json is None else as_json

    def result(self, value: JSON, kind: TypeInfo | None = None) -> None:
        """
        Write a result: JSON (indented at a terminal), else a table or a tree.

        :param value: JSON data
        :param kind: its type, where it is known
        """
        if self.as_json:
            self.write(json_text(value, indent=2 if self.stdout.isatty() else None) + "\n")
        elif value not in (None, {}, [], ""):
            self._readable(value, kind)

    def rows(self, rows: Iterable[Mapping[str, JSON]]) -> None:
        """Write a list of objects as JSON, one a line, for C{grep} and C{jq} alike."""
        for row in rows:
            self.write(json_text(row) + "\n")

    def _readable(self, value: JSON, kind: TypeInfo | None) -> None:
        from twisted_qmon.hmp.printers import render

        if self.stdout.isatty() and len(json.dumps(value)) <= RICH_LIMIT:
            try:
                from twisted_qmon.shell.tables import write_readable
            except ImportError:
                # Not installed: the extra is for the prompt, and this can do without.
                pass
            else:
                write_readable(value, self.stdout, colour=wants_colour(self.stdout))
                return
        self.write(render(value, kind) + "\n")

    def text(self, text: str) -> None:
        """Write lines of text for a person, made printable."""
        from twisted_qmon._text import printable

        self.write(printable(text, keep="\n\t"))

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines, each made printable as a whole: what is in one can't begin another."""
        from twisted_qmon._text import printable

        self.write("".join(printable(line) + "\n" for line in lines))

    def note(self, text: str) -> None:
        """Write a line to standard error."""
        from twisted_qmon._text import printable

        self.stderr.write(f"qmon: {printable(text)}\n")
        self.stderr.flush()

    def write(self, text: str) -> None:
        """Write what is harmless already."""
        self.stdout.write(text)

    def descriptor(self) -> int | None:
        """:return: the file descriptor of standard output, if it has one"""
        try:
            return self.stdout.fileno()
        except (OSError, ValueError):
            return None

    def flush(self) -> None:
        """Have it appear."""
        self.stdout.flush()

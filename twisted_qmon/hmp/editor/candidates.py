"""
What Tab offers, as a list. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted_qmon._text import printable
from twisted_qmon.hmp.editor.cells import cells_of, width

if TYPE_CHECKING:
    from twisted_qmon.hmp.commands.completion import Candidate, Completion

__all__ = ["MAX_LISTED", "choices", "in_columns"]

#: How many candidates are listed.
MAX_LISTED = 100

_GAP = 2


def choices(completion: Completion) -> list[Candidate]:
    """
    :return: the candidates that can be typed. Files are none of them: they are those of the server, which not each person may
        look at.
    """
    return [candidate for candidate in completion.candidates if printable(candidate.text) == candidate.text]


def in_columns(candidates: Sequence[Candidate], columns: int) -> str:
    """:return: lines in which the candidates stand below each other, in as many columns as the terminal has room for"""
    texts = [candidate.text for candidate in candidates[:MAX_LISTED]]
    widths = [width(cells_of(text)) for text in texts]
    step = max(widths) + _GAP
    across = max(1, (columns + _GAP - 1) // step)
    down = -(-len(texts) // across)
    lines = []
    for row in range(down):
        line = "".join(texts[n] + " " * (step - widths[n]) for n in range(row, len(texts), down))
        lines.append(line.rstrip())
    if len(candidates) > len(texts):
        lines.append(f"... and {len(candidates) - len(texts):,} more")
    return "\n".join(lines) + "\n"

"""
The lines that were typed, over all starts of C{qmon}: in a file that its owner alone can read, without secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory

__all__ = ["History", "has_secret", "history_path"]

# Of QEMU's commands and parameters, and what others will call theirs. C{change vnc} reads a password on the same line.
_SECRET = re.compile(r"passwd|password|passphrase|secret|token|credential|\bchange\s+vnc\b", re.IGNORECASE)


def has_secret(line: str) -> bool:
    """:return: whether a line is better not kept: it has a secret, may have one, or begins with a blank"""
    return line[:1].isspace() or _SECRET.search(line) is not None


def history_path() -> Path:
    """:return: C{$XDG_STATE_HOME/qmon/history}"""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "qmon" / "history"


class History(FileHistory):
    """
    The history file. Where it can't be written, the history is that of the session.

    :param path: of the file; it and its folder are made at the first line
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path))

    def load_history_strings(self) -> Iterable[str]:
        """The lines of the file, latest first."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def append_string(self, string: str) -> None:
        """Keep a line, if it has no secret; one that is the same as that before it is kept once."""
        if not has_secret(string) and string.strip() and string != next(iter(self._loaded_strings), None):
            super().append_string(string)

    def store_string(self, string: str) -> None:
        """Append a line to the file."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not after it was made: another process could have opened it by then.
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            os.chmod(self._path, 0o600)
            super().store_string(string)
        except OSError:
            return

"""
Tab at the prompt: what L{complete<twisted_qmon.hmp.completion.complete>} knows, and the files that there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from twisted_qmon._text import printable
from twisted_qmon.hmp.command_index import Names
from twisted_qmon.hmp.completion import Candidate, complete, quote

__all__ = ["MAX_FILES", "LineCompleter", "files"]

#: How many files of a folder are looked at.
MAX_FILES = 10_000

_HELP_WIDTH = 60

# A message as it stands, up to the name of its command.
_EXECUTE = re.compile(r'\s*\{\s*"(?:execute|exec-oob)"\s*:\s*"(?P<name>[^"]*)$')


class LineCompleter(Completer):
    """
    :param names: returns the commands that are known at present; C{None}: none are
    """

    def __init__(self, names: Callable[[], Names | None]) -> None:
        self._names = names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See prompt_toolkit."""
        names = self._names()
        line = document.text_before_cursor
        if names is None:
            return
        message = _EXECUTE.match(line)
        if message is not None:
            found = [Candidate(name, info.help) for name, info in sorted(names.commands.items())]
            yield from _completions(
                [each for each in found if each.text.startswith(message["name"])], message.start("name") - len(line)
            )
        elif not line.lstrip().startswith("{"):
            completion = complete(names, line)
            yield from _completions(
                completion.candidates, completion.start - len(line), blank=document.text_after_cursor == ""
            )
            if completion.path is not None:
                yield from _completions(files(completion.path), completion.start - len(line))


def _completions(candidates: Iterable[Candidate], position: int, *, blank: bool = False) -> Iterator[Completion]:
    for candidate in candidates:
        shown = printable(candidate.text)
        if shown == candidate.text:
            text = candidate.text + (" " if blank and candidate.ends else "")
            yield Completion(text, position, display=shown, display_meta=printable(candidate.help)[:_HELP_WIDTH])


def files(path: str) -> list[Candidate]:
    """:return: the files whose names begin so, as words of a line; a folder with a C{/}"""
    folder, name = os.path.split(os.path.expanduser(path) if path.startswith("~/") else path)
    found: list[Candidate] = []
    try:
        with os.scandir(folder or ".") as entries:
            for _, entry in zip(range(MAX_FILES), entries, strict=False):
                if entry.name.startswith(name) and (name.startswith(".") or not entry.name.startswith(".")):
                    is_folder = entry.is_dir()
                    found.append(
                        Candidate(quote(os.path.join(folder, entry.name) + "/" * is_folder), ends=not is_folder)
                    )
    except OSError:
        return []
    return sorted(found, key=lambda candidate: candidate.text)

"""
Tab at the prompt: what L{complete<twisted_qmon.hmp.commands.completion.complete>} knows, the files that there are, and the
events of the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from twisted_qmon._text import printable
from twisted_qmon.hmp.commands.command_index import Names
from twisted_qmon.hmp.commands.completion import Candidate, complete, quote

__all__ = ["MAX_FILES", "LineCompleter", "files"]

#: How many files of a folder are looked at.
MAX_FILES = 10_000

_HELP_WIDTH = 60

# A message as it stands, up to the name of its command.
_EXECUTE = re.compile(r'\s*\{\s*"(?:execute|exec-oob)"\s*:\s*"(?P<name>[^"]*)$')


class LineCompleter(Completer):
    """
    :param names: returns the commands; C{None}: they can't be had at present
    :param events: returns the names of the events that there are
    """

    def __init__(
        self, names: Callable[[], Awaitable[Names | None]], events: Callable[[], Awaitable[Iterable[str]]]
    ) -> None:
        self._names = names
        self._events = events

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Nothing: the server has to be asked."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """See prompt_toolkit."""
        names = await self._names()
        line = document.text_before_cursor
        if names is None:
            return
        message = _EXECUTE.match(line)
        if message is not None:
            found = [Candidate(name, info.help) for name, info in sorted(names.commands.items())]
            chosen = [each for each in found if each.text.startswith(message["name"])]
            for each in _completions(chosen, message.start("name") - len(line)):
                yield each
        elif not line.lstrip().startswith("{"):
            completion = complete(names, line)
            candidates = [*completion.candidates]
            if completion.event is not None:
                events = sorted(await self._events())
                candidates += [Candidate(name) for name in events if name.startswith(completion.event)]
            position = completion.start - len(line)
            for each in _completions(candidates, position, blank=document.text_after_cursor == ""):
                yield each
            for each in _completions(files(completion.path) if completion.path is not None else (), position):
                yield each


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

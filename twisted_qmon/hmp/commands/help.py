"""
What C{help} prints, in QEMU's layout; and reading what a QEMU's own C{help} prints. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_qmon.hmp.commands.command_index import Entry, Names
    from twisted_qmon.info import CommandInfo

__all__ = ["UpstreamHelp", "entry_line", "help_for", "list_commands", "list_info", "parse_upstream"]

_COMMAND = re.compile(r"(?P<names>[A-Za-z0-9_?][^\s/]*) ")
_FIELD = re.compile(r":(?P<what>param|return|returns|raise|raises)(?: (?P<name>[^:]+))?:\s*(?P<text>.*)")
_MARKUP = re.compile(r"[CBILUM]\{([^{}]*)\}")


@dataclass(slots=True)
class UpstreamHelp:
    """
    The help of a QEMU's human monitor.

    :ivar top: the text of each command, which may have several lines, by each of its names
    :ivar sub: the same for the sub-commands of C{info}
    """

    top: dict[str, str] = field(default_factory=dict)
    sub: dict[str, str] = field(default_factory=dict)


def parse_upstream(commands: str, info: str) -> UpstreamHelp:
    """
    Read what a QEMU prints for C{help} and for C{info}.

    :param commands: the answer to C{help}
    :param info: the answer to C{info}
    """
    return UpstreamHelp(_parse(commands, ""), _parse(info, "info "))


def _parse(text: str, prefix: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"):
        match = _COMMAND.match(line, len(prefix)) if line.startswith(prefix) else None
        if match is not None:
            names = match["names"].split("|")
            entries.update(dict.fromkeys(names, line))
        else:
            # Help text may go on for several lines, indented or not.
            entries.update({name: f"{entries[name]}\n{line}" for name in names})
    return entries


def entry_line(entry: Entry) -> str:
    """:return: C{NAMES PARAMS -- HELP}; empty PARAMS leave two blanks, as on QEMU"""
    return f"{entry.shown} {entry.info.params} -- {entry.info.help}".rstrip(" ")


def list_commands(names: Names) -> str:
    """:return: what C{help} prints"""
    ours = [(entry.shown, entry_line(entry)) for entry in names.entries() if not names.is_upstream(entry.names[0])]
    return _sorted(ours, names, sub=False)


def list_info(names: Names) -> str:
    """:return: what C{info} prints"""
    entries = names.entries(sub=True)
    ours = [(entry.shown, entry_line(entry)) for entry in entries if not names.is_upstream(entry.names[0], sub=True)]
    return _sorted(ours, names, sub=True)


def _sorted(ours: list[tuple[str, str]], names: Names, *, sub: bool) -> str:
    upstream = names.upstream or UpstreamHelp()
    # A command with several names is there under each; its text is printed once.
    theirs = {
        text: " ".join(text.split(" ")[: 2 if sub else 1])
        for name, text in (upstream.sub if sub else upstream.top).items()
        if names.is_upstream(name, sub=sub)
    }
    lines = [*ours, *((name, text) for text, name in theirs.items())]
    return "".join(f"{line}\n" for _, line in sorted(lines, key=lambda pair: pair[0].encode("utf-8", "replace")))


def help_for(words: list[str], names: Names) -> str | None:
    """
    What C{help WORDS} prints, as far as it is known here, so that help does not wait for a busy QEMU.

    :param words: not empty; those after the name of a command don't matter
    :return: lines; C{None} where the QEMU behind has to be asked
    """
    first, second = words[0], words[1] if len(words) > 1 else None
    if first == "info" and second is None:
        return list_info(names)
    sub = first == "info"
    word = second if second is not None and sub else first
    if names.is_upstream(word, sub=sub):
        upstream = names.upstream or UpstreamHelp()
        text = (upstream.sub if sub else upstream.top).get(word)
        # For the one it prints a table of its own, and not its line.
        return None if text is None or words[0] == "log" else f"{text}\n"
    entry = names.find(word, sub=sub)
    if entry is None:
        return None if names.behind else f"unknown command: '{' '.join(words[:2] if sub else words[:1])}'\n"
    return f"{entry_line(entry)}\n" + "".join(f"\t\t\t{line}".rstrip() + "\n" for line in _more(entry.info))


def _more(info: CommandInfo) -> Iterable[str]:
    """
    The rest of a docstring as people want to read it: what a parameter means, under the name that they type, without markup,
    without what is raised.
    """
    typed = {item.key for item in info.items or ()} | {parameter.name for parameter in info.parameters or ()}
    lines: list[str] = []
    keep = True
    for line in info.doc.splitlines():
        match = _FIELD.match(line.strip())
        if match is not None:
            keep = not match["what"].startswith("raise")
            name = match["name"] or "" if match["what"] == "param" else "returns"
            dashed = name.rstrip("_").replace("_", "-")
            name = dashed if dashed in typed else name
            line = f"{name}: {match['text']}"
        elif not line.strip() or not line[0].isspace():
            keep = True
        if keep and (line.strip() or (lines and lines[-1])):
            lines.append(_MARKUP.sub(r"\1", line).strip())
    while lines and not lines[-1]:
        lines.pop()
    return lines

"""
C{info X}: how it finds its command. No I/O.

C{query-x} is C{info x} for people. L{make_names<twisted_qmon.hmp.commands.command_index.make_names>} enters it so, with the
command's aliases, into the table of sub-commands (L{Names.sub<twisted_qmon.hmp.commands.command_index.Names>}). L{find_info}
looks up there what was typed, and for a person also what begins so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_qmon.hmp.commands.command_index import Entry, Names
    from twisted_qmon.info import CommandInfo

__all__ = ["beginning_with", "find_info", "human_name", "is_sub_command"]

_QUERY = "query-"


def human_name(info: CommandInfo) -> str:
    """:return: what people call a command: C{"name"} for C{query-name}, else its own name"""
    return info.name.removeprefix(_QUERY) or info.name


def is_sub_command(info: CommandInfo) -> bool:
    """:return: whether people type C{info} before it"""
    return info.name.startswith(_QUERY) and len(info.name) > len(_QUERY)


def find_info(word: str, names: Names, *, abbreviated: bool) -> Entry | None:
    """
    :param word: what was typed behind C{info}
    :param abbreviated: its beginning is enough, where that is not ambiguous and no QEMU behind may know the word
    :return: the command, or C{None}
    """
    entry = names.find(word, sub=True)
    if entry is None and abbreviated and not names.behind:
        found = {id(each): each for each in beginning_with(word, names.sub).values()} if word else {}
        entry = next(iter(found.values())) if len(found) == 1 else None
    return entry


def beginning_with(word: str, table: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """:return: those whose names begin so, the hidden ones left out"""
    return {name: entry for name, entry in table.items() if name.startswith(word) and not entry.info.hidden}

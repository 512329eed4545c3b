"""
Help for what was nearly typed: the commands that look alike. No I/O.
"""

from __future__ import annotations

from difflib import get_close_matches

from twisted_qmon.hmp.commands.command_index import Names
from twisted_qmon.hmp.commands.info import beginning_with

__all__ = ["MAX_SUGGESTIONS", "suggest"]

#: How many commands are suggested at most.
MAX_SUGGESTIONS = 3

#: How much a name must look like what was typed; 1.0 is equality.
_CUTOFF = 0.7

#: Characters of the longest word that anything is suggested for.
_LONGEST = 40


def suggest(word: str, names: Names, *, sub: bool) -> str:
    """
    :param word: what is no command
    :param sub: it stood behind C{info}
    :return: C{did you mean 'info services'?}; empty if nothing looks like it
    """
    if not word or len(word) > _LONGEST:
        return ""
    top = {name for name, entry in names.top.items() if not entry.info.hidden and not entry.sub}
    subs = {name for name, entry in names.sub.items() if not entry.info.hidden}
    plain = word.removeprefix("query-")
    found: list[str] = []
    if sub:
        found += sorted(f"info {name}" for name in beginning_with(word, names.sub))
        found += [word] if word in top else []
    elif plain in subs:
        found.append(f"info {plain}")
    else:
        found += get_close_matches(word, sorted(top), MAX_SUGGESTIONS, _CUTOFF)
    if not found:
        found += [f"info {name}" for name in get_close_matches(plain, sorted(subs), MAX_SUGGESTIONS, _CUTOFF)]
    quoted = [f"'{name}'" for name in found[:MAX_SUGGESTIONS]]
    if not quoted:
        return ""
    return "did you mean " + " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted) + "?"

"""
QEMU's schema with ours behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["merge_schema"]

_ARRAY = re.compile(r"(\[*)([^\[\]]*)(\]*)")

_Entry = dict[str, Any]


def merge_schema(theirs: Sequence[_Entry], ours: Sequence[_Entry]) -> list[_Entry]:
    """
    Put two schemas together. Types without names are numbered in each: ours get numbers that QEMU's don't have.

    :param theirs: QEMU's, which stays as it is
    :param ours: commands and events of other names, and their types
    """
    taken = {entry["name"] for entry in theirs}
    rename = _renaming(taken, ours)
    merged = list(theirs)
    for entry in ours:
        entry = _with_types_renamed(entry, rename)
        # A type of the same name is a builtin one, or an array of one.
        if entry["meta-type"] in ("command", "event") or entry["name"] not in taken:
            merged.append(entry)
    return merged


def _renaming(taken: set[str], ours: Sequence[_Entry]) -> Callable[[str], str]:
    """:return: what gives each type of ours a name that is not taken; builtin types keep theirs"""
    first_free = max((int(name) for name in taken if name.isdecimal()), default=-1) + 1
    named = {entry["name"] for entry in ours if entry["meta-type"] in ("object", "enum", "alternate")}

    def rename(name: str) -> str:
        match = _ARRAY.fullmatch(name)
        if match is None or match[2] not in named:
            return name
        inner = str(int(match[2]) + first_free) if match[2].isdecimal() else f"{match[2]}-{first_free}"
        return f"{match[1]}{inner}{match[3]}"

    return rename


def _with_types_renamed(entry: _Entry, rename: Callable[[str], str]) -> _Entry:
    entry = dict(entry)
    if entry["meta-type"] not in ("command", "event"):
        entry["name"] = rename(entry["name"])
    for key in ("arg-type", "ret-type", "element-type"):
        if key in entry:
            entry[key] = rename(entry[key])
    for key in ("members", "variants"):
        if key in entry:
            entry[key] = [
                {**member, "type": rename(member["type"])} if "type" in member else member for member in entry[key]
            ]
    return entry

"""
C{args_type} declarations: QEMU's C{key:TYPE} grammar, parsed. What a person types by them is read in C{twisted_qmon.hmp}.

Items are separated by commas. A type is one letter, followed by C{?} (optional) or C{.} (optional, and only there if the next
character of the line is a dot); or a flag, C{-x}, or a flag with a value, C{-xs}.
"""

from __future__ import annotations

import re

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import ArgsItem

__all__ = ["FORMAT_KEYS", "LETTERS", "parse_args_type"]

#: The types that are one letter.
LETTERS = frozenset("FBsSOilMoTb/")

#: The arguments that an item of type C{/} stands for, whatever its key: C{/count format size}.
FORMAT_KEYS = ("count", "format", "size")

_ITEM = re.compile(r"(?P<key>[^:,\s]+):(?:-(?P<flag>[^\s,?.])(?P<value>s?)|(?P<letter>[^-\s,]))(?P<mark>[?.]?)")


def parse_args_type(declaration: str) -> tuple[ArgsItem, ...]:
    """
    Parse a declaration.

    :param declaration: C{"path:F,freq:i?"}; an empty one says that there are no arguments
    :raise RegistrationError: when it does not follow the grammar, has an unknown letter, a mark on a flag, or a key twice
    """
    if not declaration.strip():
        return ()
    items = tuple(_parse_item(text.strip(), declaration) for text in declaration.split(","))
    seen: set[str] = set()
    for item in items:
        for key in FORMAT_KEYS if item.letter == "/" else (item.key,):
            if key in seen:
                raise RegistrationError(f"args_type {declaration!r}: the key {key!r} comes twice")
            seen.add(key)
    return items


def _parse_item(text: str, declaration: str) -> ArgsItem:
    match = _ITEM.fullmatch(text)
    if match is None:
        raise RegistrationError(f"args_type {declaration!r}: {text!r} is not of the form key:TYPE")
    key, mark = match["key"], match["mark"]
    if match["flag"]:
        if mark:
            raise RegistrationError(f"args_type {declaration!r}: the flag {text!r} is optional without {mark!r}")
        return ArgsItem(key, "-", optional=True, flag=match["flag"], flag_value=bool(match["value"]))
    letter = match["letter"]
    if letter not in LETTERS:
        raise RegistrationError(f"args_type {declaration!r}: there is no type {letter!r}")
    return ArgsItem(key, letter, optional=bool(mark), dot=mark == ".")

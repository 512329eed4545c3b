"""
The values of options: each function makes one of its text, or raises C{ValueError} with what is wrong, in plain words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["choice", "count", "count_or_none", "number_of_bytes", "seconds", "seconds_or_off", "some_bytes"]

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def count(value: str) -> int:
    """A number that is at least 1."""
    number = int(value)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def count_or_none(value: str) -> int:
    """A number that is at least 0."""
    number = int(value)
    if number < 0:
        raise ValueError("it must be at least 0")
    return number


def number_of_bytes(value: str) -> int:
    """A number of bytes, with K, M or G for 1024 and its powers: C{1M}, C{64 MiB}."""
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("it must be a number of bytes, such as 65536, 64K or 1M")
    return int(match[1]) << _UNITS[match[2].upper()]


def some_bytes(value: str) -> int:
    """The same, but at least 1."""
    number = number_of_bytes(value)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def seconds(value: str) -> float:
    """A number of seconds."""
    number = float(value)
    if not 0 <= number < 1e9:
        raise ValueError("it must be a number of seconds")
    return number


def seconds_or_off(value: str) -> float | None:
    """The same, but more than 0; C{None} for C{off}."""
    if value in ("off", "none"):
        return None
    number = seconds(value)
    if not number:
        raise ValueError("it must be more than 0 seconds, or 'off'")
    return number


def choice(words: Sequence[str]) -> Callable[[str], str]:
    """:return: what takes one of these words"""

    def chosen(value: str) -> str:
        if value not in words:
            raise ValueError(f"it must be {' or '.join(map(repr, words))}")
        return value

    return chosen

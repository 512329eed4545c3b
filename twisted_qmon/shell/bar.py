"""
How far something is, as a bar of text.
"""

from __future__ import annotations

__all__ = ["WIDTH", "bar"]

#: Columns of a bar.
WIDTH = 24


def bar(current: float, total: float, width: int = WIDTH, *, plain: bool = False) -> str:
    """:return: a bar of that width, filled as far as it is"""
    full, empty = ("#", ".") if plain else ("█", "░")
    filled = round(width * min(1.0, max(0.0, current / total))) if total > 0 else 0
    return full * filled + empty * (width - filled)

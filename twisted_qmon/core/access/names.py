"""
The names of users and groups, as the system knows them.

Each is asked for once: it may take a while where a directory service knows them, and nothing else goes on meanwhile.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["MAX_NAMES", "forget_names", "group_name", "user_name"]

#: How many names of users, and of groups, are kept.
MAX_NAMES = 1024


@lru_cache(maxsize=MAX_NAMES)
def user_name(uid: int) -> str | None:
    """:return: the name of a user, or C{None} if it has none"""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


@lru_cache(maxsize=MAX_NAMES)
def group_name(gid: int) -> str | None:
    """:return: the name of a group, or C{None} if it has none"""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def forget_names() -> None:
    """Ask for the names again."""
    user_name.cache_clear()
    group_name.cache_clear()

"""What file descriptors this process has open."""

from __future__ import annotations

import os

__all__ = ["descriptors"]


def descriptors() -> set[str]:
    """:return: the file descriptors of this process, and what they are"""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue
    # Of it Twisted keeps one open, for when there are no others.
    return {each for each in found if not each.endswith("/dev/null")}

"""What file descriptors this process has open; and one that shows whether it is open anywhere."""

from __future__ import annotations

import os
from types import TracebackType

__all__ = ["Sent", "descriptors"]


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


class Sent:
    """
    A descriptor as it comes out of a socket: it belongs to the one who gets it. Close this with C{with}.

    :ivar number: the descriptor
    """

    def __init__(self) -> None:
        self._other_end, self.number = os.pipe()
        os.set_blocking(self._other_end, False)

    def __enter__(self) -> Sent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._other_end)

    def is_open(self) -> bool:
        """:return: whether it is open, under whatever number, in whatever process."""
        try:
            return os.read(self._other_end, 1) != b""
        except BlockingIOError:
            return True

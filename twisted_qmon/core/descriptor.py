"""
A file descriptor that came with a request (C{SCM_RIGHTS}).
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["Descriptor"]


class Descriptor:
    """
    A file descriptor of this process that another process has sent. Who has this object closes it; it is closed once, at the
    latest when nothing refers to the object any more.

    :param number: the descriptor; programs that this process starts don't inherit it
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number
        with suppress(OSError):
            os.set_inheritable(number, False)

    @property
    def closed(self) -> bool:
        """It is closed."""
        return self._number < 0

    def fileno(self) -> int:
        """
        :return: the descriptor, which stays this object's
        :raise ValueError: when it is closed
        """
        if self._number < 0:
            raise ValueError("the descriptor is closed")
        return self._number

    def close(self) -> None:
        """Close it. More than once does no harm."""
        number, self._number = self._number, -1
        if number >= 0:
            with suppress(OSError):
                os.close(number)

    def __del__(self) -> None:
        self.close()

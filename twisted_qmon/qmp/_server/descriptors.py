"""
The file descriptors that a client has sent, until a command takes them. No I/O but closing.

A descriptor comes with some byte: of the command that it is for (libvirt), or of a blank ahead of that (qemu.qmp, ganeti). Which
byte it was the transport does not tell. So it is for the next command that takes one, in what came together with it or later, and
is closed when another command came instead.
"""

from __future__ import annotations

import os
from contextlib import suppress

from twisted_qmon.core.descriptor import Descriptor
from twisted_qmon.qmp._server.limits import MAX_DESCRIPTORS

__all__ = ["WaitingDescriptors", "close_descriptor"]


def close_descriptor(number: int) -> None:
    """Close a descriptor that is of no use here."""
    with suppress(OSError):
        os.close(number)


class WaitingDescriptors:
    """
    What has come since the last command that takes descriptors.

    :ivar passed_over: a command has come that does not take one
    """

    __slots__ = ("_descriptor", "_is_complete", "_received", "passed_over")

    def __init__(self) -> None:
        self._descriptor: Descriptor | None = None
        self._received = 0
        self._is_complete = False
        self.passed_over = False

    def add(self, number: int) -> None:
        """
        Keep one more. One that came with later bytes than those before takes their place, as in QEMU. If one message has more
        than L{MAX_DESCRIPTORS}, all of them are closed.
        """
        if self._is_complete:
            self.close()
            self._received = 0
            self._is_complete = self.passed_over = False
        self._received += 1
        if self._received > MAX_DESCRIPTORS:
            self.close()
            close_descriptor(number)
        else:
            self._descriptor = Descriptor(number)

    def complete(self) -> None:
        """The bytes that they came with have been looked at."""
        self._is_complete = True

    def take(self) -> Descriptor | None:
        """:return: the descriptor, which is the caller's now; C{None}: there were too many"""
        taken, self._descriptor = self._descriptor, None
        return taken

    def close(self) -> None:
        """Close what waits."""
        if self._descriptor is not None:
            self._descriptor.close()
            self._descriptor = None

"""
The QEMUs that one process is a proxy for: the command that lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from twisted_qmon._text import table
from twisted_qmon.core.command import CommandProvider, command

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["UpstreamInfo", "Upstreams"]


class UpstreamInfo(msgspec.Struct):
    """
    One QEMU, in C{query-upstreams}.

    :ivar name: its name, that of the sockets C{NAME.qmp} and C{NAME.hmp}
    :ivar socket: its own socket
    :ivar connected: its commands can be executed
    :ivar connections: how many connections to it there have been
    :ivar version: C{"7.2.22"}; empty as long as it is not known
    :ivar clients: how many clients are connected to it through this process
    :ivar pending: how many of their requests are not answered yet
    """

    name: str
    socket: str
    connected: bool
    connections: int
    version: str
    clients: int
    pending: int


class Upstreams(CommandProvider):
    """
    The QEMUs behind this process.

    :param find: gives them
    """

    def __init__(self, find: Callable[[], Iterable[UpstreamInfo]]) -> None:
        self._find = find

    @command(aliases=["upstreams"])
    def query_upstreams(self) -> list[UpstreamInfo]:
        """show the QEMUs that this process is a proxy for"""
        return sorted(self._find(), key=lambda upstream: upstream.name)

    @query_upstreams.printer
    def _(self, upstreams: Sequence[Mapping[str, JSON]]) -> str:
        if not upstreams:
            return "no QEMU"
        return table(("name", "state", "version", ">clients", ">pending", "socket"), map(_row, upstreams))


def _row(upstream: Mapping[str, JSON]) -> tuple[str, ...]:
    state = "connected" if upstream["connected"] else "not connected"
    return (str(upstream["name"]), state, *(str(upstream[key]) for key in ("version", "clients", "pending", "socket")))

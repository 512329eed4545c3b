"""
A connection to a server that comes back, beside an asyncio loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from twisted_qmon.info import JSON
from twisted_qmon.qmp.client import EventGap, QMPClient
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.connecting import reason_of
from twisted_qmon.shell.errors import NoConnection
from twisted_qmon.shell.rows import object_of

__all__ = ["MAX_DELAY", "Connection", "gap_text", "retry_policy", "server_name"]

#: Seconds between two attempts to reconnect, at most.
MAX_DELAY = 3.0


def retry_policy(failures: int) -> float:
    """:return: seconds until the next attempt"""
    return min(MAX_DELAY, 0.2 * 1.5**failures)


def server_name(greeting: Mapping[str, JSON]) -> str:
    """:return: what a server says that it is, in its greeting"""
    version = object_of(greeting.get("version"))
    numbers = object_of(version.get("qemu"))
    if not numbers:
        return "connected"
    package = str(version.get("package") or "")
    if package.startswith("twisted-qmon"):
        return package
    return "QEMU " + ".".join(str(numbers.get(part, "?")) for part in ("major", "minor", "micro"))


def gap_text(gap: EventGap) -> str:
    """:return: what is said of events that were lost, as C{qmon ADDRESS events} does"""
    if gap.restarted:
        return "the server was restarted: events may have been lost"
    return f"{gap.lost:,} events were lost: the server does not keep them any more"


class Connection:
    """
    Connects, and again after each loss.

    :param reactor: on the asyncio loop that runs
    :param address: of the server
    :param on_gap: called with a line of text when events were lost
    :ivar client: the client
    """

    def __init__(self, reactor: Any, address: Destination, on_gap: Callable[[str], object]) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        endpoint = address.client_endpoint(reactor)
        self.service = QMPClient.service(
            endpoint, clock=reactor, retry_policy=retry_policy, on_gap=lambda gap: on_gap(gap_text(gap))
        )
        self.client = self.service.client

    async def open(self) -> None:
        """
        Connect for the first time.

        :raise NoConnection: when that fails
        """
        self.service.startService()
        try:
            await self.service.when_connected(fail_after=1).asFuture(self._loop)
        except Exception as error:
            await self.close()
            raise NoConnection(f"no connection to {self._address.text}: {reason_of(error)}") from None

    async def close(self) -> None:
        """Disconnect, and connect no more."""
        await self.service.stopService().asFuture(self._loop)

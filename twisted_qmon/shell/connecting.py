"""
A L{QMPClient} at an address.
"""

from __future__ import annotations

import os

from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from twisted_qmon.qmp.client import QMPClient
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.errors import NoConnection

__all__ = ["connect", "reason_of"]


def reason_of(error: Exception) -> str:
    """:return: why there is no connection, in a few words"""
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError)
    return str(error).rstrip(".")


async def connect(endpoint: IStreamClientEndpoint, address: Address, clock: IReactorTime) -> QMPClient:
    """
    :return: a client, connected
    :raise NoConnection: when it can't be
    """
    try:
        return await QMPClient.connect(endpoint, clock=clock)
    except Exception as error:
        raise NoConnection(f"no connection to {address.text}: {reason_of(error)}") from None

"""
Why there is no connection.
"""

from __future__ import annotations

import os

from twisted.internet.error import ConnectError

__all__ = ["reason_of"]


def reason_of(error: Exception) -> str:
    """:return: why there is no connection, in a few words"""
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError)
    return str(error).rstrip(".")

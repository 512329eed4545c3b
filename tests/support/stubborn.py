"""Handlers that do not end when they are cancelled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

__all__ = ["stubborn"]


def stubborn(gate: Deferred[Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
    """:return: a handler that waits until it is cancelled, and then for C{gate}, whose outcome is its own"""

    async def handler() -> Any:
        try:
            await Deferred()
        except CancelledError:
            return await gate

    return handler

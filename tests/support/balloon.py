"""
Commands of every kind, and a caller, for tests of the monitor.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_qmon import CommandProvider, DeviceNotActive, Event, Request, Size, command
from twisted_qmon.info import Level
from twisted_qmon.interfaces import ICaller


@implementer(ICaller)
class Caller:
    """Who asks, in these tests."""

    kind = "test"
    peer = "nowhere"

    identity = "test"
    level = Level.ADMIN

    def __init__(self, name: str = "test-1") -> None:
        self.name = name


class Balloon(CommandProvider):
    """Commands of every kind."""

    events = (Event("BALLOON_CHANGE", actual=int),)

    def __init__(self) -> None:
        self.pending: list[Deferred[Any]] = []
        self.actual = 1 << 29

    @command(args_type="value:M", aliases=["bl"])
    def balloon(self, value: Size) -> None:
        """Ask the guest to use this much memory."""
        self.actual = value

    @command
    def query_balloon(self) -> dict[str, int]:
        """Show it."""
        return {"actual": self.actual}

    @command(timeout=5)
    def slow(self, request: Request) -> Deferred[int]:
        """Takes as long as it likes."""
        self.request = request
        self.pending.append(Deferred())
        return self.pending[-1]

    @command(on_disconnect="cancel")
    async def coroutine(self, text: str = "x") -> str:
        """A coroutine."""
        self.pending.append(Deferred())
        return text + str(await self.pending[-1])

    @command
    def broken(self) -> None:
        """Raises something undeclared."""
        raise ZeroDivisionError("secret")

    @command
    def refused(self) -> None:
        """Raises an error of QMP's."""
        raise DeviceNotActive("No balloon device has been activated")

    @command
    def misfit(self) -> int:
        """Returns what it did not announce."""
        return "seven"  # type: ignore[return-value]

    @command
    def shared(self) -> Deferred[int]:
        """Returns the same Deferred each time."""
        if not self.pending:
            self.pending.append(Deferred())
        return self.pending[0]

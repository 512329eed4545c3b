"""
The options of the watchdog.
"""

from __future__ import annotations

from twisted_qmon.providers.process.stalls import MIN_STALL, STALL
from twisted_qmon.tap.group import OptionGroup
from twisted_qmon.tap.values import seconds_or_off

__all__ = ["WatchdogOptions"]


def _stall(value: str) -> float | None:
    seconds = seconds_or_off(value)
    if seconds is not None and seconds < MIN_STALL:
        raise ValueError(f"it must be at least {MIN_STALL} seconds, or 'off'")
    return seconds


class WatchdogOptions(OptionGroup):
    """C{--stall} and C{--watchdog}."""

    optParameters = [
        ["stall", None, STALL, "Seconds from which on a reactor that is late has stalled, or 'off'.", _stall],
    ]  # fmt: skip
    endpoints = ["watchdog", "watchdog-hmp"]

    def opt_watchdog(self, description: str) -> None:
        """Serve QMP at this server endpoint from a thread that answers while the reactor is stuck (repeatable)."""
        self["watchdog"].append(description)

    def opt_watchdog_hmp(self, description: str) -> None:
        """Serve the human monitor there (repeatable)."""
        self["watchdog-hmp"].append(description)

"""
The options of the monitor itself: its name, its limits, its events, and what loads commands into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._twistd.plugins import ProviderError, ProviderFinder, find_provider, register_provider
from twisted_qmon.core.events.history import EVENT_HISTORY, EVENT_HISTORY_BYTES
from twisted_qmon.core.monitor import MAX_ABANDONED
from twisted_qmon.service import DRAIN
from twisted_qmon.tap.group import OptionGroup
from twisted_qmon.tap.values import count, count_or_none, number_of_bytes, seconds, seconds_or_off

if TYPE_CHECKING:
    from twisted.application.service import MultiService

    from twisted_qmon.core.monitor import Monitor


__all__ = ["MonitorOptions"]


class MonitorOptions(OptionGroup):
    """What the monitor is, wherever it is served."""

    optParameters = [
        ["name", None, None, "What query-name answers."],
        ["timeout", None, None,
         "Seconds that a command has if it declares no deadline, or 'off'. [default: off]", seconds_or_off],
        ["drain", None, DRAIN, "Seconds that pending requests have when the service stops.", seconds],
        ["max-abandoned", None, MAX_ABANDONED, "Abandoned executions of a command, beyond which it is refused.", count],
        ["event-history", None, EVENT_HISTORY, "Events that are kept for clients that come back.", count_or_none],
        ["event-history-bytes", None, EVENT_HISTORY_BYTES, "Bytes that these may have together.", number_of_bytes],
    ]  # fmt: skip
    lists = ["provider"]

    def __init__(self) -> None:
        super().__init__()
        self.providers: list[tuple[str, ProviderFinder]] = []

    def opt_provider(self, name: str) -> None:
        """Load commands: an installed provider plugin's name, or the dotted name of a class, function or object (repeatable)."""
        self["provider"].append(name)

    def check(self) -> None:
        """:raise UsageError: when a provider can't be found"""
        for text in self["provider"]:
            try:
                self.providers.append((text, find_provider(text)))
            except ProviderError as e:
                raise UsageError(f"--provider: {e}") from e

    def register_providers(self, monitor: Monitor, reactor: object, root: MultiService) -> None:
        """
        Once everything else is there.

        :param root: the parent of what runs in this process
        :raise SystemExit: when a provider can't be made
        """
        for text, make in self.providers:
            try:
                register_provider(monitor, text, make(reactor, root))
            except ProviderError as e:
                raise SystemExit(f"twistd qmon: --provider: {e}") from e

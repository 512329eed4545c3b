"""
What a monitor offers as long as one QEMU is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon.core.events import Event
from twisted_qmon.errors import EventError, MonitorError
from twisted_qmon.providers.qemu.commands import UpstreamCommands
from twisted_qmon.providers.qemu.long_commands import long_commands
from twisted_qmon.qmp._client.commands import HMC

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICommandProvider
    from twisted_qmon.providers.qemu.description import Description
    from twisted_qmon.providers.qemu.descriptors import Descriptors
    from twisted_qmon.providers.qemu.upstream import Upstream

__all__ = ["MAX_EVENT_NAME", "MAX_MORE_EVENTS", "SPEAK_FOR_THE_SERVER", "Offer"]

#: Commands that every monitor that is served has, with QEMU's names. In front of a server they would be taken for the
#: server's: where it does not have one, the monitor has none either.
SPEAK_FOR_THE_SERVER = frozenset(
    (
        *("query-name", "query-status", HMC),
        *("query-jobs", "job-cancel", "job-complete", "job-dismiss", "job-finalize", "job-pause", "job-resume"),
    )
)

#: Events that happen although QEMU's schema does not have them: how many of their names are added to the schema. The
#: others are delivered as well.
MAX_MORE_EVENTS = 1000

#: The longest of these names that is added, in characters.
MAX_EVENT_NAME = 200


class Offer:
    """
    The commands and events of a QEMU and the long commands that it is good for, registered with a monitor.

    :param withdraw: is called when they are there: takes out what was offered before
    :raise MonitorError: when they can't be registered; nothing is, then
    """

    _log = Logger()

    def __init__(
        self,
        upstream: Upstream,
        description: Description,
        monitor: Monitor,
        descriptors: Descriptors,
        withdraw: Callable[[], object],
    ) -> None:
        self._monitor = monitor
        self._more_events: list[Event] = []
        self._told = False
        self._registered: list[ICommandProvider] = []
        theirs = description.infos.keys()
        try:
            for make in long_commands():
                self._register(make(upstream, theirs))
            self._register(UpstreamCommands(upstream, description, monitor, descriptors))
        except MonitorError:
            self._unregister()
            raise
        withdraw()
        self._show = monitor.registry.hide(SPEAK_FOR_THE_SERVER.difference(theirs))

    def _register(self, provider: ICommandProvider) -> None:
        self._monitor.register(provider, shadow=True)
        self._registered.append(provider)

    def _unregister(self) -> None:
        for provider in self._registered:
            self._monitor.unregister(provider)

    def withdraw(self) -> None:
        """Take it all out again."""
        self._show()
        self._unregister()
        self._monitor.events.remove(self._more_events)

    def deliver(self, name: str, data: Mapping[str, JSON] | None, timestamp: Mapping[str, int] | None) -> None:
        """Pass an event on, whether the schema has it or not."""
        events = self._monitor.events
        if name not in events.definitions:
            self._add_to_schema(name)
        try:
            events.forward(name, data, timestamp=timestamp)
        except EventError as e:
            self._log.warn("dropped an event of QEMU's: {error}", error=e)

    def _add_to_schema(self, name: str) -> None:
        if len(name) <= MAX_EVENT_NAME and len(self._more_events) < MAX_MORE_EVENTS:
            event = Event(name, check=False)
            self._monitor.events.define([event])
            self._more_events.append(event)
        elif not self._told:
            self._told = True
            self._log.warn(
                "QEMU sends events of more than {limit} names that its schema does not have, or longer ones than {length} "
                "characters: the others are delivered, but not added to the schema",
                limit=MAX_MORE_EVENTS,
                length=MAX_EVENT_NAME,
            )

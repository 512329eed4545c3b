"""
A table of events in memory.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from twisted_qmon.core.events import Event, EventMessage, EventTable

NOW = 1_700_000_000.25


def make(*events: Event) -> tuple[EventTable, Clock, list[EventMessage]]:
    """A table with these events, its clock, and the list that its only subscriber appends to."""
    clock = Clock()
    clock.rightNow = NOW
    table = EventTable(lambda: clock)
    table.define(events)
    seen: list[EventMessage] = []
    table.subscribe(seen.append)
    return table, clock, seen


def numbers(messages: list[EventMessage]) -> list[int]:
    """The C{n} of each message's data."""
    return [message.data["n"] for message in messages]

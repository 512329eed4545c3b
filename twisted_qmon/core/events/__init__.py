"""
Events: their definitions, their delivery, QEMU's rate limit, and the latest of them for clients that come back.

Start with L{EventTable}: each monitor has one.
"""

from __future__ import annotations

from twisted_qmon.core.events.table import MAX_NESTED, Event, EventMessage, EventTable, Receiver, wire_timestamp

__all__ = ["MAX_NESTED", "Event", "EventMessage", "EventTable", "Receiver", "wire_timestamp"]

"""
What a person is told without having asked: that the QEMU behind the monitor has gone, or is back. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_qmon.interfaces import IMonitor

__all__ = ["NOTICES", "subscribe_notices"]


def _connected(data: Mapping[str, Any]) -> str:
    numbers = data.get("version", {}).get("qemu", {})
    version = ".".join(str(numbers.get(part, "?")) for part in ("major", "minor", "micro"))
    return f"QEMU {version} connected"


def _disconnected(data: Mapping[str, Any]) -> str:
    return f"QEMU disconnected: {data.get('reason', 'no reason given')}"


#: By the name of the event, what makes a line of its data.
_LINES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "QEMU_CONNECTED": _connected,
    "QEMU_DISCONNECTED": _disconnected,
}


#: The events that are told in this way.
NOTICES = frozenset(_LINES)


def subscribe_notices(monitor: IMonitor, show: Callable[[str], object]) -> Callable[[], None]:
    """
    :param monitor: whose events; one that fronts no QEMU has none of these
    :param show: called with each line, without its end
    :return: call it to be told no more
    """

    def happened(event: Mapping[str, Any]) -> None:
        show(_LINES[event["event"]](event.get("data", {})))

    return monitor.subscribe(happened, tuple(_LINES))

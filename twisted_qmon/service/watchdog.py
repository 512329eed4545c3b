"""
The watchdog of a service: a thread that sees when the reactor is stuck, and serves meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from twisted_qmon._transport.endpoints import server_endpoint, take_level
from twisted_qmon._transport.factory import MonitorFactory
from twisted_qmon._twistd.start_up import StartUp
from twisted_qmon.core.access.rules import endpoint_name
from twisted_qmon.providers.process.stalls import Pulse, Stalls
from twisted_qmon.service.listener import Listener, listener_of
from twisted_qmon.watchdog.service import Watchdog, unusable

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.service.monitor_service import MonitorService
    from twisted_qmon.watchdog.doors import MakeDoor

__all__ = ["serve_watchdog"]


def serve_watchdog(
    service: MonitorService, pulse: Pulse, stall: float | None, qmp: Iterable[str] = (), hmp: Iterable[str] = ()
) -> None:
    """
    Have a thread watch the reactor, and serve what it can answer.

    :param service: what L{make_monitor_service<twisted_qmon.service.make_monitor_service>} makes
    :param pulse: of the reactor
    :param stall: seconds from which on a late reactor has stalled; C{None}: it is not watched
    :param qmp: server endpoint descriptions to serve QMP at (C{hmp}: the human monitor)
    :raise ValueError: when a description is not valid
    """
    doors = [*_doors(service, qmp, service.sessions.qmp), *_doors(service, hmp, service.sessions.hmp)]
    if stall is None and not doors:
        return
    stalls = None if stall is None else Stalls(pulse, stall)
    if stalls is not None and unusable() is None:
        service.monitor.register(stalls)
    watchdog = Watchdog(service.reactor, service.monitor, pulse, stalls, doors)
    watchdog.setServiceParent(service)
    service.on_reread.append(watchdog.reread)


def _doors(
    service: MonitorService, descriptions: Iterable[str], make_factory: Callable[[Monitor], MonitorFactory]
) -> Iterator[MakeDoor]:
    """:return: what makes the watchdog's doors when it starts, with its own reactor and monitor"""
    start_up = StartUp()
    for description in descriptions:
        plain, _ = take_level(description)
        server_endpoint(None, plain)
        service.other_endpoints.append(endpoint_name(plain))

        def make_door(reactor: object, monitor: Monitor, description: str = description) -> Listener:
            return listener_of(reactor, description, make_factory(monitor), service.owner, start_up)

        yield make_door

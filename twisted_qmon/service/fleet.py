"""
The monitor of a service as a member of a fleet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted_qmon._twistd.extras import need_extra

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.fleet.router import Router
    from twisted_qmon.fleet.service import MemberService
    from twisted_qmon.service.monitor_service import MonitorService

__all__ = ["join_fleet"]


def join_fleet(
    service: MonitorService,
    router: Router | str,
    name: str | None = None,
    *,
    ticket: str | os.PathLike[str] | None = None,
    monitor: Monitor | None = None,
) -> MemberService:
    """
    Have a monitor join a fleet while the service runs. Each monitor joins for itself, with a name and a connection of its own.

    :param service: what L{make_monitor_service<twisted_qmon.service.make_monitor_service>} made
    :param router: where the router is: a L{Router<twisted_qmon.fleet.router.Router>}, or its URL
    :param name: the member's name, of which other characters than letters, digits, C{_} and C{-} become C{_}; by default
        C{host-name-pid}, with the monitor's name
    :param ticket: a file with what proves to the router that it may have that name; it is read again with the service's rules
    :param monitor: the monitor; by default the service's
    :return: the member; C{disownServiceParent} takes it out of the service and of the fleet
    :raise ValueError: when the URL, the name or the ticket is not valid, or the ticket would be sent in the open
    :raise ImportError: when the extra C{fleet} is not installed
    """
    need_extra("fleet")
    # Without a router Autobahn is not loaded.
    from twisted_qmon.fleet.interfaces import member_name
    from twisted_qmon.fleet.router import Router
    from twisted_qmon.fleet.service import MemberService

    member = MemberService(
        service.reactor,
        service.monitor if monitor is None else monitor,
        Router.parse(router) if isinstance(router, str) else router,
        None if name is None else member_name(name),
        ticket=ticket,
    )
    service.other_endpoints.append(member.endpoint)
    if ticket is not None:
        service.on_reread.append(member.reread)
        service.reread_files.append(os.fspath(ticket))
    member.setServiceParent(service)
    return member

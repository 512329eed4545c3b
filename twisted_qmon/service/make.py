"""
Makes the service of a monitor.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from twisted.application.service import IProcess

from twisted_qmon._transport.unix_port import Owner, owner_of
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.metrics.provider import Metrics
from twisted_qmon.providers.clients import Clients
from twisted_qmon.providers.diagnose import Diagnose
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.providers.process import Process
from twisted_qmon.providers.process.stalls import STALL
from twisted_qmon.service.monitor_service import DRAIN, MonitorService
from twisted_qmon.service.sessions import SessionKeywords, Sessions
from twisted_qmon.service.ssh import serve_ssh
from twisted_qmon.service.watchdog import serve_watchdog

if TYPE_CHECKING:
    from twisted.application.service import IService, IServiceCollection
    from twisted.conch.ssh.keys import Key
    from twisted.python.components import Componentized
    from typing_extensions import Unpack

    from twisted_qmon.core.access.file import Access
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys

__all__ = ["make_monitor_service"]


def make_monitor_service(
    reactor: Any,
    monitor: Monitor,
    qmp: Iterable[str] = (),
    hmp: Iterable[str] = (),
    *,
    application: IService | IServiceCollection | Componentized | None = None,
    drain: float = DRAIN,
    owner: tuple[int, int] | None = None,
    access: Access | str | PathLike[str] | None = None,
    audit: str | PathLike[str] | None = None,
    audit_required: bool = False,
    stall: float | None = STALL,
    watchdog: Iterable[str] = (),
    watchdog_hmp: Iterable[str] = (),
    event_history: int | None = None,
    event_history_bytes: int | None = None,
    ssh: Iterable[str] = (),
    ssh_host_key: Key | str | PathLike[str] | None = None,
    ssh_authorized_keys: AuthorizedKeys | str | PathLike[str] | None = None,
    **sessions: Unpack[SessionKeywords],
) -> MonitorService:
    """
    Make a service that serves a monitor, and give the monitor C{human-monitor-command}, jobs and the commands about this process.

    :param monitor: the L{Monitor<twisted_qmon.Monitor>}
    :param qmp: server endpoint descriptions to serve QMP at (C{hmp}: the human monitor). A C{unix:} one without a mode gets 600.
    :param application: the root of the services that C{query-services} shows; by default what the service is put under
    :param drain: seconds that pending requests have when it stops
    :param owner: the ids of the user and the group that get the unix sockets; by default those that the process changes to
    :param access: the rules of who may do what, or the path of a TOML file with them; without any, the level of each endpoint
    :param audit: a file for the record of what is done; C{audit_required}: without it commands above C{observe} are refused
    :param stall: seconds from which on a late reactor has stalled; a thread sees it, and serves at C{watchdog}, C{watchdog_hmp}
    :param event_history: for this and the next see L{Monitor<twisted_qmon.Monitor>}; C{None}: what the monitor was made with
    :param ssh: the same as L{serve_ssh<twisted_qmon.service.serve_ssh>} afterwards
    :param sessions: how clients are served, over whatever: C{prompt}, C{banner}, C{hmp_style}, C{in_flight}, C{max_message},
        C{negotiation_timeout}, C{max_connections}, C{max_queued}, C{slow_client}, C{idle_timeout}, C{ready_timeout}; see
        L{Sessions<twisted_qmon.service.Sessions>}
    :raise ValueError: when a description is not valid or a limit is out of range, or a file can't be used, or an extra is missing
    :raise RegistrationError: when the monitor has commands of the same names
    """
    service = MonitorService(
        reactor, monitor, drain=drain, owner=owner or _owner(application), sessions=Sessions(**sessions)
    )
    monitor.events.history.limit(event_history, event_history_bytes)
    _serve(service, qmp, hmp)
    serve_ssh(service, ssh, ssh_host_key, ssh_authorized_keys)
    serve_watchdog(service, _register(service, application).latency, stall, watchdog, watchdog_hmp)
    _guard(service, access, Audit(audit, lambda: monitor.clock.seconds(), required=audit_required))
    return service


def _serve(service: MonitorService, qmp: Iterable[str], hmp: Iterable[str]) -> None:
    monitor, sessions = service.monitor, service.sessions
    for description in qmp:
        service.serve(description, sessions.qmp(monitor))
    for description in hmp:
        service.serve(description, sessions.hmp(monitor, sessions.hmp_style))


def _guard(service: MonitorService, access: Access | str | PathLike[str] | None, audit: Audit) -> None:
    """Have the rules hold and the record be kept. One that the monitor has already stays, unless there is a file for this one."""
    guard = service.monitor.guard
    service.monitor.set_guard(access=access, audit=audit if guard.audit is None or audit.file is not None else None)
    assert guard.audit is not None

    def end() -> None:
        with suppress(ValueError):
            guard.on_reload.remove(service.check_rules)

    service.on_start += [guard.audit.open, service.check_rules, partial(guard.on_reload.append, service.check_rules)]
    service.on_stop += [end, guard.audit.close]


def _register(service: MonitorService, application: object) -> Process:
    """Register the commands that every served monitor has."""
    monitor = service.monitor
    jobs = Jobs()
    monitor.register(HumanMonitorCommand())
    monitor.register(Clients())
    monitor.register(jobs)
    process = Process(service.reactor, application, own=[service])
    process.service().setServiceParent(service)
    monitor.register(process)
    monitor.register(Diagnose(service.reactor))
    monitor.register(Metrics(service))
    service.drains.append(jobs.drain)
    return process


def _owner(application: object) -> Owner | None:
    """:return: the user and the group that a process changes to as its application says, or C{None}"""
    process = IProcess(application, None)
    return None if process is None else owner_of(process.uid, process.gid)

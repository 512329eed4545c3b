"""
A monitor as a Twisted service: what embedders and C{twistd qmon} both call.

::

    service = make_monitor_service(reactor, monitor, qmp=["unix:app.qmp"], hmp=["tcp:4444:interface=127.0.0.1"])
    service.setServiceParent(application)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from ipaddress import ip_address
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted.application.service import IProcess, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._text import printable
from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.endpoints import server_endpoint, service_name, take_level
from twisted_qmon._transport.factory import MAX_CONNECTIONS, READY_TIMEOUT, Limits, MonitorFactory, ServedFactory
from twisted_qmon._transport.mtls import reread_all
from twisted_qmon._transport.unix_port import Owner, owner_of
from twisted_qmon._transport.write_queue import MAX_QUEUED
from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon._twistd.start_up import StartUp, one_line
from twisted_qmon.core.access.rules import AccessError, endpoint_name
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.hmp.prompt import PROMPT
from twisted_qmon.metrics.provider import Metrics
from twisted_qmon.providers.clients import Clients
from twisted_qmon.providers.diagnose import Diagnose
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.providers.process import Process
from twisted_qmon.providers.process.stalls import STALL, Stalls
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.qmp.protocol import QMPFactory
from twisted_qmon.watchdog.service import Watchdog, unusable

if TYPE_CHECKING:
    from twisted.application.service import IService, IServiceCollection
    from twisted.conch.ssh.keys import Key
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
    from twisted.python.components import Componentized
    from typing_extensions import Unpack

    from twisted_qmon.core.access.file import Access
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request
    from twisted_qmon.hmp.protocol import HMPFactory
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
    from twisted_qmon.watchdog.doors import MakeDoor

__all__ = ["DRAIN", "Listener", "MonitorService", "make_monitor_service", "serve_metrics", "serve_web"]

_log = Logger()

#: Seconds that pending requests have when the service stops.
DRAIN = 5.0


#: The descriptions of endpoints, and what makes the factory that is served there.
_Served: TypeAlias = "tuple[Iterable[str], Callable[[Monitor], MonitorFactory]]"


class Listener(Service):
    """
    Listens at one endpoint while it runs. Unlike a C{strports} service it can be stopped and started again, and takes over a unix
    socket that no process serves any more.

    :param description: the server endpoint's description
    :param factory: what serves the connections
    :param owner: the ids of the user and the group that get a unix socket
    :param start_up: when the service was made, if that was before this listener was
    :raise ValueError: when the description is not valid
    """

    def __init__(
        self,
        reactor: Any,
        description: str,
        factory: ServedFactory,
        owner: Owner | None = None,
        start_up: StartUp | None = None,
    ) -> None:
        self.description = description
        self.factory = factory
        self.setName(f"{factory.kind} {service_name(description)}")
        self._endpoint: IStreamServerEndpoint = server_endpoint(reactor, description, owner)
        self._start_up = StartUp() if start_up is None else start_up
        self._port: Deferred[Any] | None = None

    def privilegedStartService(self) -> None:
        """
        Listen.

        :raise SystemExit: with one line, when that fails: twistd then ends with status 1 and no traceback. A daemon raises an
            exception with that line instead, which twistd reports.
        """
        failures: list[Failure] = []
        try:
            self._port = self._endpoint.listen(cast("IProtocolFactory", self.factory))
            self._port.addCallbacks(self._listening, failures.append)
            if failures:
                failures[0].raiseException()
        except (CannotListenError, OSError, OverflowError) as e:
            # OverflowError: a port number beyond 65535.
            self._port = None
            raise self._start_up.error(f"can't listen at {self.description}: {_reason(e)}") from e

    def _listening(self, port: IListeningPort) -> IListeningPort:
        host = getattr(port.getHost(), "host", None)
        if host is not None and not _is_loopback(host) and not self.factory.is_restricted:
            _log.warn(
                "{endpoint} is open to each host that can reach {host}: a client has level {access_level}",
                endpoint=self.description,
                host=host,
                access_level=str(self.factory.level),
            )
        # One that has to tell people where it is.
        told: Callable[[IListeningPort], None] | None = getattr(self.factory, "listening", None)
        if told is not None:
            told(port)
        return port

    def startService(self) -> None:
        """Listen, if C{privilegedStartService} has not been called."""
        super().startService()
        if self._port is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """:return: fires when it listens no more"""
        super().stopService()
        listening, self._port = self._port, None
        if listening is None:
            return succeed(None)
        return listening.addCallback(lambda port: port.stopListening() if port is not None else None)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or one_line(cause)


class MonitorService(MultiService):
    """
    Serves a monitor, and ends in an orderly way: no new connections and requests, those pending get their time, then C{SHUTDOWN}
    and the end of every connection.

    :ivar reactor: the reactor
    :ivar monitor: the monitor
    :ivar factories: one for each endpoint
    :ivar drain: seconds that pending requests have when it stops
    :ivar drains: called with the same number of seconds at the same time: what else has to come to an end before C{SHUTDOWN}
        (jobs, say). Each returns a Deferred. Called again with 0 by L{hurry}: their time is up.
    :ivar owner: the ids of the user and the group that get the unix sockets
    :ivar draining: it waits for the last requests
    :ivar drained: how many times it has done so
    :ivar drain_cancelled: how many requests were cancelled in the end
    :ivar on_start: called, without arguments, each time it has been started
    :ivar on_reread: called, without arguments, by L{reread}
    :ivar other_endpoints: what rules know those endpoints by that are not served by C{factories}
    """

    _log = Logger()

    def __init__(self, reactor: Any, monitor: Monitor, *, drain: float = DRAIN, owner: Owner | None = None) -> None:
        super().__init__()
        self.setName("qmon")
        self.monitor = monitor
        self.owner = owner
        self.factories: list[ServedFactory] = []
        self.drain = drain
        self.drains: list[Callable[[float], Deferred[Any]]] = []
        self.on_start: list[Callable[[], object]] = []
        self.on_reread: list[Callable[[], object]] = []
        self.other_endpoints: list[str] = []
        self.reactor = reactor
        self._listeners: list[Listener] = []
        self._shutdown: Deferred[None] | None = None
        self.draining = False
        self.drained = self.drain_cancelled = 0
        self._asked_by: Request | None = None
        self._cut_short: list[Deferred[int]] = []

    def serve(self, description: str, factory: ServedFactory) -> None:
        """
        Serve at one more endpoint.

        :param description: as Twisted takes it, and maybe with C{level=LEVEL}: the most that a client may do there
        :raise ValueError: when the description is not valid
        """
        listener = _listener(self.reactor, description, factory, self.owner)
        name = listener.name
        number = 1
        while listener.name in self.namedServices:
            # The same file in another folder, or C{tcp:0} once more.
            number += 1
            listener.setName(f"{name} ({number})")
        self.factories.append(factory)
        self._listeners.append(listener)
        listener.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Begin, or begin again after a stop."""
        self._begin()
        super().privilegedStartService()

    def startService(self) -> None:
        """The same, for a caller that calls only this."""
        self._begin()
        super().startService()
        for started in self.on_start:
            started()

    def _begin(self) -> None:
        self._shutdown = None
        self._cut_short.clear()
        for factory in self.factories:
            factory.ending = False
        self.monitor.accept()
        self.monitor.events.mute(False)

    def shut_down(self, reason: str, request: Request | None = None) -> Deferred[None]:
        """
        Come to an end, all but the connections themselves.

        :param reason: what the C{SHUTDOWN} event says: C{"host-qmp-quit"}, C{"host-signal"}
        :param request: the one that asked for it; it is not waited for
        :return: fires after C{SHUTDOWN}
        """
        if self._shutdown is None:
            self._shutdown = Deferred.fromCoroutine(self._shut_down(reason, request))
        done: Deferred[None] = Deferred()

        def tell(result: object) -> object:
            done.callback(None)
            return result

        self._shutdown.addBoth(tell)
        return done

    async def _shut_down(self, reason: str, request: Request | None) -> None:
        pending = sum(1 for each in self.monitor.pending if each is not request)
        began = self.monitor.clock.seconds()
        self._asked_by = request
        self.draining = True
        closed = [_swallow(listener.stopService(), self._log) for listener in self._listeners]
        self.monitor.refuse()
        others = [_swallow(drain(self.drain), self._log) for drain in self.drains]
        cancelled = await self.monitor.drain(self.drain, exclude=request)
        await DeferredList([*others, *closed])
        for cut_short in self._cut_short:
            cancelled += await cut_short
        self.draining = False
        self.drained += 1
        self.drain_cancelled += cancelled
        if cancelled:
            self._log.warn(
                "the drain ended with {cancelled} of {pending} pending requests cancelled after {seconds} s",
                cancelled=cancelled,
                pending=pending,
                seconds=round(self.monitor.clock.seconds() - began, 1),
            )
        else:
            self._log.info("the drain was clean: {pending} pending requests were answered", pending=pending)
        self.monitor.events.flush()
        self.monitor.emit("SHUTDOWN", {"guest": False, "reason": reason})
        self.monitor.events.mute()
        for factory in self.factories:
            factory.ending = True

    def hurry(self) -> None:
        """
        Cut short what stopping waits for: the drain, whose pending requests are cancelled and answered now; once that is over,
        the clients that have not read the rest. Nothing happens while it does not stop.
        """
        if self._shutdown is None:
            return
        if self.draining:
            self._cut_short.append(self.monitor.drain(0, exclude=self._asked_by))
            for drain in self.drains:
                _swallow(drain(0), self._log)
        else:
            for factory in self.factories:
                factory.abort()

    @property
    def rereads(self) -> bool:
        """There is something that L{reread} is for."""
        guard = self.monitor.guard
        rules = guard.access is not None and guard.access.path is not None
        file = guard.audit is not None and guard.audit.file is not None
        keys = any(factory.kind == "ssh" for factory in self.factories)
        return rules or file or keys or any(endpoint.startswith("mtls:") for endpoint in self._endpoints())

    def _endpoints(self) -> set[str]:
        return {*(factory.endpoint for factory in self.factories), *self.other_endpoints}

    def check_rules(self) -> None:
        """Warn of rules for endpoints that are not served: a misspelt one makes a rule that never applies."""
        access = self.monitor.guard.access
        served = self._endpoints()
        for number, grant in enumerate(() if access is None else access.rules.grants, 1):
            # One without a type is not known before it is there.
            if grant.endpoint is not None and ":" in grant.endpoint and grant.endpoint not in served:
                self._log.warn(
                    "{path}: grant[{number}].endpoint: {endpoint} is not served",
                    path=access.path if access is not None and access.path is not None else "the access rules",
                    number=number,
                    endpoint=printable(grant.endpoint),
                )

    def reread(self) -> None:
        """
        Read the access rules, the tokens of the web interface, the files of C{mtls:} and who may log in over SSH again, and open
        the audit's file again. What is wrong with one is logged. Without its file no client can log in over SSH; of all others
        what was read before stays in use.
        """
        self._log.info("reading access rules, tokens and TLS files again, and opening the audit again")
        guard = self.monitor.guard
        try:
            guard.reload()
        except AccessError as e:
            self._log.error("{reason}; the access rules stay as they were", reason=str(e))
        else:
            self.check_rules()
        for factory in self.factories:
            again: Callable[[], None] | None = getattr(factory, "reread", None)
            if again is not None:
                try:
                    again()
                except AccessError as e:
                    self._log.error("{reason}; the tokens stay as they were", reason=str(e))
        if guard.audit is not None:
            guard.audit.open()
        reread_all()
        for reread in self.on_reread:
            reread()

    def stopService(self) -> Deferred[None]:
        """:return: fires when nothing of it is left: no listening port, no connection"""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.shut_down("host-signal")
        # A session in the middle of a batch of replies finishes it first.
        await deferLater(self.reactor, 0)
        await DeferredList([factory.close(LINGER) for factory in self.factories])
        await super().stopService()
        if self.monitor.guard.audit is not None:
            self.monitor.guard.audit.close()


def _listener(
    reactor: object, description: str, factory: ServedFactory, owner: Owner | None, start_up: StartUp | None = None
) -> Listener:
    """:return: what serves a factory at an endpoint, whose description may have a level in it"""
    description, level = take_level(description)
    factory.level = min(factory.level, level)
    factory.endpoint = endpoint_name(description)
    return Listener(reactor, description, factory, owner, start_up)


def _swallow(deferred: object, log: Logger) -> Deferred[Any]:
    """One part that fails to stop must not keep the others."""
    if not isinstance(deferred, Deferred):
        return succeed(deferred)
    return deferred.addErrback(lambda failure: log.failure("while stopping", failure))


def make_monitor_service(
    reactor: Any,
    monitor: Monitor,
    qmp: Iterable[str] = (),
    hmp: Iterable[str] = (),
    *,
    application: IService | IServiceCollection | Componentized | None = None,
    prompt: str = PROMPT,
    banner: str | None = None,
    hmp_style: str = "qmon",
    drain: float = DRAIN,
    in_flight: int = IN_FLIGHT,
    max_message: int = MAX_MESSAGE,
    negotiation_timeout: float | None = None,
    max_connections: int = MAX_CONNECTIONS,
    max_queued: int = MAX_QUEUED,
    slow_client: str = "disconnect",
    idle_timeout: float | None = None,
    ready_timeout: float = READY_TIMEOUT,
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
) -> MonitorService:
    """
    Make a service that serves a monitor, and give the monitor C{human-monitor-command}, jobs and the commands about this process.

    :param monitor: the L{Monitor<twisted_qmon.Monitor>}
    :param qmp: server endpoint descriptions to serve QMP at (C{hmp}: the human monitor). A C{unix:} one without a mode gets 600.
    :param application: the root of the services that C{query-services} shows; by default what the service is put under
    :param prompt: the human monitor's; C{banner} and C{hmp_style}: see L{HMPFactory<twisted_qmon.HMPFactory>}
    :param drain: seconds that pending requests have when it stops
    :param in_flight: for this and the next two see L{QMPFactory<twisted_qmon.QMPFactory>}
    :param max_connections: for this and the next four see L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}
    :param owner: the ids of the user and the group that get the unix sockets; by default those that the process changes to
    :param access: the rules of who may do what, or the path of a TOML file with them; without any, the level of each endpoint
    :param audit: a file for the record of what is done; C{audit_required}: without it commands above C{observe} are refused
    :param stall: seconds from which on a late reactor has stalled; a thread sees it, and serves at C{watchdog}, C{watchdog_hmp}
    :param event_history: for this and the next see L{Monitor<twisted_qmon.Monitor>}; C{None}: what the monitor was made with
    :param ssh: server endpoint descriptions to serve over SSH, with the files C{ssh_host_key} and C{ssh_authorized_keys}
    :raise ValueError: when a description is not valid or a limit is out of range, or a file can't be used, or an extra is missing
    :raise RegistrationError: when the monitor has commands of the same names
    """
    service = MonitorService(reactor, monitor, drain=drain, owner=owner or _owner(application))
    monitor.events.history.limit(event_history, event_history_bytes)
    limits = _limits(max_connections, max_queued, slow_client, idle_timeout, ready_timeout)
    of_qmp = partial(QMPFactory, in_flight=in_flight, max_message=max_message, negotiation_timeout=negotiation_timeout)
    for_machines, for_people = partial(of_qmp, **limits), partial(_human, prompt=prompt, banner=banner, **limits)
    _serve(service, (qmp, for_machines), (hmp, partial(for_people, style=hmp_style)))
    _serve_ssh(service, ssh, ssh_host_key, ssh_authorized_keys, for_people, for_machines, limits)
    _watch(service, _register(service, application), stall, (watchdog, for_machines), (watchdog_hmp, for_people))
    _guard(service, access, Audit(audit, lambda: monitor.clock.seconds(), required=audit_required))
    return service


def _guard(service: MonitorService, access: Access | str | PathLike[str] | None, audit: Audit) -> None:
    """Have the rules hold and the record be kept. One that the monitor has already stays, unless there is a file for this one."""
    guard = service.monitor.guard
    service.monitor.set_guard(access=access, audit=audit if guard.audit is None or audit.file is not None else None)
    assert guard.audit is not None
    service.on_start += [guard.audit.open, service.check_rules]


def _limits(
    max_connections: int, max_queued: int, slow_client: str, idle_timeout: float | None, ready_timeout: float
) -> Limits:
    return Limits(
        max_connections=max_connections,
        max_queued=max_queued,
        slow_client=slow_client,
        idle_timeout=idle_timeout,
        ready_timeout=ready_timeout,
    )


def _human(
    monitor: Monitor, *, prompt: str, banner: str | None, style: str = "qmon", **limits: Unpack[Limits]
) -> HMPFactory:
    # Without a human monitor its modules are not loaded.
    from twisted_qmon.hmp.protocol import HMPFactory

    return HMPFactory(monitor, prompt=prompt, banner=banner, style=style, **limits)


def _serve(service: MonitorService, *servers: _Served) -> None:
    for descriptions, make_factory in servers:
        for description in descriptions:
            service.serve(description, make_factory(service.monitor))


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
            return _listener(reactor, description, make_factory(monitor), service.owner, start_up)

        yield make_door


def _watch(service: MonitorService, process: Process, stall: float | None, *servers: _Served) -> None:
    """Have a thread watch the reactor, and serve what it can answer."""
    pulse = process.latency
    doors = [door for descriptions, make_factory in servers for door in _doors(service, descriptions, make_factory)]
    if stall is None and not doors:
        return
    stalls = None if stall is None else Stalls(pulse, stall)
    if stalls is not None and unusable() is None:
        service.monitor.register(stalls)
    watchdog = Watchdog(service.reactor, service.monitor, pulse, stalls, doors)
    watchdog.setServiceParent(service)
    service.on_reread.append(watchdog.reread)


def serve_web(
    service: MonitorService,
    descriptions: Iterable[str],
    tokens: str | PathLike[str],
    *,
    hosts: Iterable[str] = (),
    max_connections: int = MAX_CONNECTIONS,
    max_body: int = MAX_MESSAGE,
) -> None:
    """
    Serve the page and the HTTP interface as well.

    :param service: what L{make_monitor_service} made
    :param descriptions: server endpoint descriptions
    :param tokens: the file of tokens; it is made if it is not there
    :param hosts: for this and the next two see L{WebFactory<twisted_qmon.web.factory.WebFactory>}
    :raise ValueError: when a description is not valid or the file can't be used
    :raise ImportError: when the extra C{web} is not installed
    """
    descriptions = list(descriptions)
    if descriptions:
        # Without a page its modules are not loaded, nor those of Twisted's web.
        from twisted_qmon.web.factory import WebFactory
        from twisted_qmon.web.tokens import Tokens

        known = Tokens(tokens, service.owner)
        for description in descriptions:
            factory = WebFactory(
                service.monitor, known, hosts=hosts, max_connections=max_connections, max_body=max_body
            )
            service.serve(description, factory)


def serve_metrics(service: MonitorService, descriptions: Iterable[str]) -> None:
    """
    Serve the metrics to Prometheus as well, at C{/metrics}.

    :param service: what L{make_monitor_service} made
    :param descriptions: server endpoint descriptions
    :raise ValueError: when a description is not valid
    :raise ImportError: when the extra C{metrics} is not installed
    """
    descriptions = list(descriptions)
    if descriptions:
        # Without these endpoints neither prometheus_client nor Twisted's web is loaded.
        from twisted_qmon.metrics.exposition import process_families
        from twisted_qmon.metrics.server import MetricsFactory

        metrics = next(provider for provider in service.monitor.providers if isinstance(provider, Metrics))
        metrics.more.append(process_families)
        for description in descriptions:
            service.serve(description, MetricsFactory(service.monitor, metrics))


def _serve_ssh(
    service: MonitorService,
    descriptions: Iterable[str],
    host_key: Key | str | PathLike[str] | None,
    authorized_keys: AuthorizedKeys | str | PathLike[str] | None,
    for_people: Callable[[Monitor], HMPFactory],
    for_machines: Callable[[Monitor], QMPFactory],
    limits: Limits,
) -> None:
    descriptions = list(descriptions)
    if not descriptions:
        return
    if host_key is None or authorized_keys is None:
        raise ValueError("ssh needs ssh_host_key and ssh_authorized_keys")
    missing = missing_modules("ssh")
    if missing:
        raise ImportError(missing)
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
    from twisted_qmon.ssh.command import CommandFactory
    from twisted_qmon.ssh.factory import SSHFactory
    from twisted_qmon.ssh.host_key import load_host_key

    key = load_host_key(fspath(host_key)) if isinstance(host_key, (str, PathLike)) else host_key
    keys = AuthorizedKeys(fspath(authorized_keys)) if isinstance(authorized_keys, (str, PathLike)) else authorized_keys
    service.on_reread.append(keys.reread)
    monitor = service.monitor
    for description in descriptions:
        commands = CommandFactory(monitor, **limits)
        people, machines = for_people(monitor), for_machines(monitor)
        factory = SSHFactory(people, commands, machines, key, keys, max_connections=limits["max_connections"])
        service.serve(description, factory)


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

"""
Commands about the Twisted process that the monitor lives in.

L{Process} is registered by C{twistd qmon} and by L{make_monitor_service<twisted_qmon.service.make_monitor_service>}; elsewhere::

    monitor.register(Process(reactor, application))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.python.reflect import qual

from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.events import Event
from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.providers.process import reactor_view as view
from twisted_qmon.providers.process import text
from twisted_qmon.providers.process.connections import Accepted, ConnectionInfo, Connections, Sort
from twisted_qmon.providers.process.facts import ProcessInfo, Uptime, process_info
from twisted_qmon.providers.process.latency import INTERVAL, Latency
from twisted_qmon.providers.process.logs import KEEP, LEVELS, Level, LevelInfo, LogInfo, LogKeeper
from twisted_qmon.providers.process.services import ServiceInfo, Services, describe, find, is_inside, walk
from twisted_qmon.providers.process.stacks import StacksInfo, stacks
from twisted_qmon.providers.process.summary import (
    MAX_PORTS,
    SummaryInfo,
    Trend,
    clients_of,
    pending_of,
    port_summaries,
    stalls_of,
)
from twisted_qmon.qapi.types import UInt32, UInt64

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.tally import Durations

__all__ = ["WATCH_PERIOD", "Process"]

#: Seconds between two looks at which services run.
WATCH_PERIOD = 1.0

_Result = TypeVar("_Result")

_log = Logger()


class ProcessService(Service):
    """Runs while the process is measured."""

    name = "process"

    def __init__(self, process: Process) -> None:
        self._process = process

    def startService(self) -> None:
        Service.startService(self)
        self._process.start()

    def stopService(self) -> None:
        Service.stopService(self)
        self._process.stop()


class Process(CommandProvider):
    """
    What this process is, does and waits for; its services, and its log.

    While it is registered (or while its L{service} runs, if it has been asked for one) it measures how late the reactor runs,
    keeps the last log events, and looks every L{WATCH_PERIOD} whether a service has stopped or started: well under one percent
    of a processor.

    :param reactor: the reactor of this process
    :param application: the root of the service tree: an L{IService}, or what C{Application(...)} makes; C{None}: the topmost
        parent of the monitor's own service
    :param clock: the time; C{None}: the reactor
    :param own: the services that serve this monitor, which C{service-stop} refuses to stop. More can be put into C{own} later.
    :param publisher: where log events come from; by default all that is logged
    :param keep: how many log events are kept
    :param interval: seconds between two measurements of the latency
    :ivar own: a list of the monitor's own services
    """

    events = (
        Event("LOG", level="operate", data={"level": Level}, namespace=str, text=str, suppressed=int | None),
        Event("SERVICE_CHANGE", path=str, name=str, running=bool),
    )

    def __init__(
        self,
        reactor: Any,
        application: Any = None,
        *,
        clock: IReactorTime | None = None,
        own: Iterable[IService] = (),
        publisher: LogPublisher = globalLogPublisher,
        keep: int = KEEP,
        interval: float = INTERVAL,
    ) -> None:
        self._reactor = reactor
        self._clock: Any = reactor if clock is None else clock
        self._application = application
        self.own: list[IService] = list(own)
        self._uptime = Uptime(self._clock)
        self._latency = Latency(self._clock, interval)
        self._accepted = Accepted(self._clock)
        self._connections = Connections(reactor, self._accepted)
        self._trend = Trend(self._clock)
        self._log_keeper = LogKeeper(publisher, reactor, self._emit_log, keep)
        self._services = Services(lambda: self.own)
        self._running: dict[int, tuple[IService, str, bool]] = {}
        self._watch: IDelayedCall | None = None
        self._monitor: Monitor | None = None
        self._started = False
        self._managed = False

    @property
    def monitor(self) -> Monitor | None:
        """The monitor it is registered with. Being registered starts the measuring, and being unregistered ends it."""
        return self._monitor

    @monitor.setter
    def monitor(self, monitor: Monitor | None) -> None:
        self._monitor = monitor
        if monitor is None:
            self.stop()
        elif not self._managed:
            self.start()

    @property
    def lateness(self) -> Durations:
        """How late the reactor has been, all the time that it was measured."""
        return self._latency.all

    def service(self) -> Service:
        """
        :return: a service called C{process}, to be put beside what serves the monitor: measuring starts and stops with it, and
            no more with being registered. What is logged is kept from now on: also how the other services start.
        """
        self._managed = True
        self._log_keeper.prepare()
        return ProcessService(self)

    def start(self) -> None:
        """Measure and watch, from when the reactor runs. Does nothing if it does already."""
        if self._started:
            return
        self._started = True
        self._log_keeper.start()
        if IReactorCore.providedBy(self._reactor):
            self._reactor.callWhenRunning(self._reactor_runs)
        else:
            self._reactor_runs()

    def _reactor_runs(self) -> None:
        if self._started and self._watch is None:
            # The reactor's thread need not be the one that registered this.
            self._log_keeper.start()
            # What has started until here is the beginning, and no change.
            self._running = self._which_run()
            self._latency.start()
            self._sample()
            self._watch = self._clock.callLater(WATCH_PERIOD, self._look)

    def stop(self) -> None:
        """Measure and watch no more; nothing is left in the reactor. What was measured and kept stays."""
        if not self._started:
            return
        self._started = False
        self._log_keeper.stop()
        self._latency.stop()
        watch, self._watch = self._watch, None
        if watch is not None and watch.active():
            watch.cancel()

    @property
    def latency(self) -> Latency:
        """What measures the reactor, and shows that it runs."""
        return self._latency

    # -- the process and its reactor

    @command(thread_safe=True)
    def query_process(self) -> ProcessInfo:
        """show process id, command line, uptime, memory and versions"""
        return process_info(self._uptime.seconds())

    query_process.printer(text.process)

    @command
    def query_reactor(self) -> view.ReactorInfo:
        """show what the reactor reads, writes and will call, and how late it runs"""
        readers, writers = view.descriptors(self._reactor)
        calls = view.delayed_calls(self._clock)
        return view.ReactorInfo(
            class_=qual(type(self._reactor)),
            latency=self._latency.figures(),
            reader_count=len(readers),
            readers=[view.describe_descriptor(thing) for thing in readers[: view.MAX_LISTED]],
            writer_count=len(writers),
            writers=[view.describe_descriptor(thing) for thing in writers[: view.MAX_LISTED]],
            delayed_call_count=len(calls),
            delayed_calls=calls[: view.MAX_LISTED],
            reader_groups=view.descriptor_groups(readers),
            writer_groups=view.descriptor_groups(writers),
            delayed_call_groups=view.delayed_call_groups(calls),
            connection_count=len(self._connections.all()),
            thread_pool=view.thread_pool(self._reactor),
        )

    query_reactor.printer(text.reactor)

    @command
    def query_delayed_calls(
        self, limit: UInt32 | None = None, filter: str | None = None, sort: Literal["when", "what"] = "when"
    ) -> list[view.DelayedCallInfo]:
        """
        list the delayed calls, the soonest first

        :param limit: at most this many; without it, or with 0, all of them
        :param filter: only those with this text in the name of the function
        :param sort: by time, or by the name of the function
        """
        calls = self._delayed_calls(filter)
        if sort == "what":
            calls.sort(key=lambda call: (call.what, call.when))
        return calls[:limit] if limit else calls

    def _delayed_calls(self, filter: str | None) -> list[view.DelayedCallInfo]:
        return [call for call in view.delayed_calls(self._clock) if not filter or filter in call.what]

    @query_delayed_calls.printer
    def _(self, infos: text.Rows, arguments: text.Arguments) -> str:
        return text.delayed_calls(infos, arguments, lambda: len(self._delayed_calls(arguments.get("filter"))))

    @command
    def query_ports(self) -> list[view.PortInfo]:
        """list the listening ports and what serves them"""
        return view.ports(self._reactor)

    query_ports.printer(text.ports)

    @command
    def query_connections(
        self, limit: UInt32 | None = None, filter: str | None = None, sort: Sort = "peer"
    ) -> list[ConnectionInfo]:
        """
        list the connections

        :param limit: at most this many; without it, or with 0, all of them
        :param filter: only those with this text in peer, host or protocol
        :param sort: by this member; numbers, but for fd: the largest first
        """
        return self._connections.infos(filter, sort, limit or None)

    @query_connections.printer
    def _(self, infos: text.Rows, arguments: text.Arguments) -> str:
        return text.connections(infos, arguments, lambda: len(self._connections.matching(arguments.get("filter"))))

    @command(level="admin")
    def connection_close(self, fd: UInt32, peer: str | None = None, abort: bool = False) -> None:
        """
        close a connection, once what is queued for its peer has been written

        :param fd: its file descriptor, as query-connections lists it
        :param peer: only if this is its peer, as query-connections lists it: the descriptor may belong to another one by now
        :param abort: close it at once, also if its peer does not read
        """
        self._connections.close(fd, peer, abort)

    @command
    def query_summary(self) -> SummaryInfo:
        """show the most important facts on one screen"""
        facts = process_info(self._uptime.seconds())
        transports = self._connections.all()
        ports, outgoing = port_summaries(self._reactor, transports)
        return SummaryInfo(
            pid=facts.pid,
            uptime=facts.uptime,
            latency=self._latency.figures(),
            errors=self._log_keeper.errors(self._clock.seconds() - 60),
            clients=clients_of(self._monitor),
            pending=pending_of(self._monitor),
            connections=len(transports),
            outgoing=outgoing,
            port_count=len(ports),
            ports=ports[:MAX_PORTS],
            stalls=stalls_of(self._monitor, self._clock.seconds()),
            memory_changes=self._trend.memory_changes(facts.resident_memory),
            processor=self._trend.processor(),
            resident_memory=facts.resident_memory,
            file_descriptors=facts.file_descriptors,
            file_descriptor_limit=facts.file_descriptor_limit,
        )

    query_summary.printer(text.summary)

    @command(level="operate", thread_safe=True)
    def query_stacks(self) -> StacksInfo:
        """show the stacks of threads and coroutines"""
        return stacks(self._latency.thread or None)

    query_stacks.printer(text.stacks)

    # -- services

    def _root(self) -> IService | None:
        if self._application is not None:
            return IService(self._application)
        root = next(iter(self.own), None)
        while root is not None and root.parent is not None:
            root = root.parent
        return root

    def _find(self, path: str) -> IService:
        root = self._root()
        if root is None:
            raise GenericError(f"Service '{path}' not found")
        return find(root, path)

    @command
    def query_services(self) -> list[ServiceInfo]:
        """show the tree of services"""
        root = self._root()
        return [] if root is None else [describe(path, service) for path, service in walk(root)]

    query_services.printer(text.services)

    @command(level="operate")
    def service_stop(self, path: str) -> Deferred[None]:
        """
        stop a service and wait until it has stopped

        :param path: as query-services lists it
        """
        return self._services.stop(path, self._find(path)).addBoth(self._looked)

    @command(level="operate")
    def service_start(self, path: str) -> Deferred[None]:
        """
        start a stopped service

        :param path: as query-services lists it
        """
        return self._services.start(path, self._find(path)).addBoth(self._looked)

    def _looked(self, result: _Result) -> _Result:
        self._look_at_services()
        return result

    def _look(self) -> None:
        self._watch = self._clock.callLater(WATCH_PERIOD, self._look)
        self._sample()
        self._look_at_services()

    def _sample(self) -> None:
        self._accepted.look(self._reactor)
        self._trend.look()
        if self._monitor is not None:
            self._monitor.registry.tallies.arm()

    def _which_run(self) -> dict[int, tuple[IService, str, bool]]:
        root = self._root()
        if root is None:
            return {}
        # The service itself is kept with its identity, or that might soon be another one's. The monitor's own, and what holds
        # them, come and go with the monitor: no client is left to be told.
        return {
            id(found): (found, path, bool(found.running))
            for path, found in walk(root)
            if not any(is_inside(found, own) or is_inside(own, found) for own in self.own)
        }

    def _look_at_services(self) -> None:
        before, self._running = self._running, self._which_run()
        if self._monitor is None:
            return
        for identity, (service, path, running) in self._running.items():
            known = before.pop(identity, None)
            if known is not None and known[2] != running:
                self._service_changed(path, service, running)
        for service, path, running in before.values():
            # It was taken out of the tree.
            if running:
                self._service_changed(path, service, False)

    def _service_changed(self, path: str, service: IService, running: bool) -> None:
        assert self._monitor is not None
        _log.info("service '{path}' {has}", path=path, has="has started" if running else "has stopped")
        self._monitor.emit("SERVICE_CHANGE", {"path": path, "name": service.name or "", "running": running})

    # -- the log

    @command(level="operate", thread_safe=True)
    def query_log(
        self,
        limit: UInt32 | None = None,
        level: Level | None = None,
        namespace: str | None = None,
        filter: str | None = None,
        sort: Literal["number", "level", "namespace"] = "number",
        after: UInt64 = 0,
    ) -> list[LogInfo]:
        """
        show the last log events

        :param limit: at most this many, the latest ones; without it, or with 0, all that are kept
        :param level: only from this level upwards
        :param namespace: only of this namespace and those below it
        :param filter: only those that contain this text
        :param sort: by number, which is by time; or by level, the lowest first, or namespace
        :param after: only those whose number is larger
        """
        found = self._log_keeper.last(limit or None, level, namespace, filter, after)
        if sort == "level":
            found.sort(key=lambda info: LEVELS.index(info.level))
        elif sort == "namespace":
            found.sort(key=lambda info: info.namespace)
        return found

    @query_log.continues
    def _(self, request: Request) -> bool:
        return bool((request.arguments or {}).get("after"))

    @query_log.printer
    def _(self, infos: text.Rows, arguments: text.Arguments) -> str:
        def total() -> int:
            level = None if arguments.get("level") is None else Level(arguments["level"])
            namespace, part, after = arguments.get("namespace"), arguments.get("filter"), arguments.get("after", 0)
            return len(self._log_keeper.last(None, level, namespace, part, after))

        return text.log(infos, arguments, total)

    @command(level="observe", thread_safe=True)
    def query_log_levels(self) -> list[LevelInfo]:
        """show the log level of each namespace"""
        return self._log_keeper.levels()

    query_log_levels.printer(text.levels)

    @command(level="operate")
    def set_log_level(self, level: Level, namespace: str = "") -> None:
        """
        set the level from which log events are kept and emitted

        It holds for the monitor's own log. Log files and other observers of the application are not affected.

        :param level: the lowest one to keep
        :param namespace: it and those below it; by default all that have no level of their own
        """
        self._log_keeper.set_level(level, namespace)

    def _emit_log(self, data: dict[str, Any], timestamp: Mapping[str, int]) -> None:
        if self._monitor is not None:
            self._monitor.emit("LOG", data, timestamp=timestamp)

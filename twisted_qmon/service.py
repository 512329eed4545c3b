"""
A monitor as a Twisted service: what embedders and C{twistd qmon} both call.

::

    service = make_monitor_service(reactor, monitor, qmp=["unix:app.qmp"], hmp=["tcp:4444:interface=127.0.0.1"])
    service.setServiceParent(application)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.endpoints import claim_path, server_endpoint, unix_path
from twisted_qmon._transport.factory import MonitorFactory
from twisted_qmon.hmp import PROMPT
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.providers.process import Process
from twisted_qmon.qmp.protocol import QMPFactory

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request

__all__ = ["DRAIN", "Listener", "MonitorService", "make_monitor_service"]

#: Seconds that pending requests have when the service stops.
DRAIN = 5.0


class Listener(Service):
    """
    Listens at one endpoint while it runs. Unlike a C{strports} service it can be stopped and started again, and takes over a unix
    socket that nobody serves any more.

    :param description: the server endpoint's description
    :param factory: what serves the connections
    :raise ValueError: when the description makes no sense
    """

    def __init__(self, reactor: Any, description: str, factory: MonitorFactory) -> None:
        self.description = description
        self.factory = factory
        self.setName(f"{factory.kind} {description}")
        self._endpoint = server_endpoint(reactor, description)
        self._path = unix_path(description)
        self._port: Deferred[Any] | None = None

    def privilegedStartService(self) -> None:
        """
        Listen.

        :raise SystemExit: with one line, when that can't be: twistd then ends with status 1 and no traceback
        """
        failures: list[Failure] = []
        try:
            if self._path is not None:
                claim_path(self._path)
            self._port = self._endpoint.listen(self.factory)
            self._port.addErrback(failures.append)
            if failures:
                failures[0].raiseException()
        except (CannotListenError, OSError, OverflowError) as e:
            # OverflowError: a port number beyond 65535.
            self._port = None
            reason = e.socketError if isinstance(e, CannotListenError) else e
            raise SystemExit(f"twistd qmon: can't listen at {self.description}: {reason}") from e

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


class MonitorService(MultiService):
    """
    Serves a monitor, and ends in an orderly way: no new connections and requests, those pending get their time, then C{SHUTDOWN}
    and the end of every connection.

    :ivar monitor: the monitor
    :ivar factories: one for each endpoint
    :ivar drain: seconds that pending requests have when it stops
    :ivar drains: called with the same number of seconds at the same time: what else has to come to an end before C{SHUTDOWN}
        (jobs, say). Each returns a Deferred.
    """

    _log = Logger()

    def __init__(self, reactor: Any, monitor: Monitor, *, drain: float = DRAIN) -> None:
        super().__init__()
        self.setName("qmon")
        self.monitor = monitor
        self.factories: list[MonitorFactory] = []
        self.drain = drain
        self.drains: list[Callable[[float], Deferred[Any]]] = []
        self._reactor = reactor
        self._listeners: list[Listener] = []
        self._shutdown: Deferred[None] | None = None

    def serve(self, description: str, factory: MonitorFactory) -> None:
        """
        Serve at one more endpoint.

        :raise ValueError: when the description makes no sense
        """
        listener = Listener(self._reactor, description, factory)
        number = 1
        while listener.name in self.namedServices:
            # The same once more (C{tcp:0} makes sense, of others the port will be busy).
            number += 1
            listener.setName(f"{factory.kind} {description} ({number})")
        self.factories.append(factory)
        self._listeners.append(listener)
        listener.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Begin, or begin again after a stop."""
        self._begin()
        super().privilegedStartService()

    def startService(self) -> None:
        """The same for who calls only this."""
        self._begin()
        super().startService()

    def _begin(self) -> None:
        self._shutdown = None
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

        def tell(result: Any) -> Any:
            done.callback(None)
            return result

        self._shutdown.addBoth(tell)
        return done

    async def _shut_down(self, reason: str, request: Request | None) -> None:
        pending = sum(1 for each in self.monitor.pending if each is not request)
        closed = [_swallow(listener.stopService(), self._log) for listener in self._listeners]
        self.monitor.refuse()
        others = [_swallow(drain(self.drain), self._log) for drain in self.drains]
        cancelled = await self.monitor.drain(self.drain, exclude=request)
        await DeferredList([*others, *closed])
        if cancelled:
            self._log.warn(
                "the drain ended with {cancelled} of {pending} pending requests cancelled after {seconds} s",
                cancelled=cancelled,
                pending=pending,
                seconds=self.drain,
            )
        else:
            self._log.info("the drain was clean: {pending} pending requests were answered", pending=pending)
        self.monitor.events.flush()
        self.monitor.emit("SHUTDOWN", {"guest": False, "reason": reason})
        self.monitor.events.mute()
        for factory in self.factories:
            factory.ending = True

    def stopService(self) -> Deferred[None]:
        """:return: fires when nothing of it is left: no listening port, no connection"""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.shut_down("host-signal")
        # Who is in the middle of a batch of replies finishes it first.
        await deferLater(self._reactor, 0)
        await DeferredList([factory.close(LINGER) for factory in self.factories])
        await super().stopService()


def _swallow(deferred: Any, log: Logger) -> Deferred[Any]:
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
    application: Any = None,
    prompt: str = PROMPT,
    banner: str | None = None,
    drain: float = DRAIN,
    in_flight: int | None = None,
    max_message: int | None = None,
    negotiation_timeout: float | None = None,
    **limits: Any,
) -> MonitorService:
    """
    Make a service that serves a monitor, and give the monitor C{human-monitor-command}, jobs and the commands about this process.

    :param reactor: the reactor
    :param monitor: the L{Monitor<twisted_qmon.Monitor>}
    :param qmp: server endpoint descriptions to serve QMP at. A C{unix:} one without a mode gets 600.
    :param hmp: server endpoint descriptions to serve the human monitor at
    :param application: the root of the services that C{query-services} shows; by default what the service is put under
    :param prompt: the human monitor's
    :param banner: what the human monitor says first
    :param drain: seconds that pending requests have when it stops
    :param limits: C{max_connections}, C{max_queued}, C{slow_client}, C{idle_timeout}, C{ready_timeout}: see
        L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}
    :raise ValueError: when a description or a limit makes no sense
    :raise RegistrationError: when the monitor has commands of the same names
    """
    service = MonitorService(reactor, monitor, drain=drain)
    of_qmp: dict[str, Any] = {"negotiation_timeout": negotiation_timeout, **limits}
    if in_flight is not None:
        of_qmp["in_flight"] = in_flight
    if max_message is not None:
        of_qmp["max_message"] = max_message
    for description in qmp:
        service.serve(description, QMPFactory(monitor, **of_qmp))
    for description in hmp:
        # Where there is no human monitor, nobody need wait for its modules.
        from twisted_qmon.hmp.protocol import HMPFactory

        service.serve(description, HMPFactory(monitor, prompt=prompt, banner=banner, **limits))
    jobs = Jobs()
    monitor.register(HumanMonitorCommand())
    monitor.register(jobs)
    process = Process(reactor, application, own=[service])
    process.service().setServiceParent(service)
    monitor.register(process)
    service.drains.append(jobs.drain)
    return service

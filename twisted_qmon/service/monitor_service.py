"""
The service of a monitor: what it serves, how it comes to an end, and what it reads again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_qmon._text import printable
from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.factory import ServedFactory
from twisted_qmon._transport.mtls import reread_all
from twisted_qmon._transport.unix_port import Owner
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.service.listener import Listener, listener_of
from twisted_qmon.service.sessions import Sessions

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request

__all__ = ["DRAIN", "MonitorService"]

#: Seconds that pending requests have when the service stops.
DRAIN = 5.0


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
    :ivar sessions: makes the factories of QMP and of the human monitor, whatever they are served over
    :ivar draining: it waits for the last requests
    :ivar drained: how many times it has done so
    :ivar drain_cancelled: how many requests were cancelled in the end
    :ivar on_start: called, without arguments, each time it has been started
    :ivar on_stop: called, without arguments, when nothing of it is left
    :ivar on_hurry: called, without arguments, by L{hurry}
    :ivar on_reread: called, without arguments, by L{reread}
    :ivar reread_files: files that L{reread} is for, of what C{on_reread} calls
    :ivar other_endpoints: what rules know those endpoints by that are not served by C{factories}
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        monitor: Monitor,
        *,
        drain: float = DRAIN,
        owner: Owner | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__()
        self.setName("qmon")
        self.monitor = monitor
        self.owner = owner
        self.sessions = Sessions() if sessions is None else sessions
        self.factories: list[ServedFactory] = []
        self.drain = drain
        self.drains: list[Callable[[float], Deferred[Any]]] = []
        self.on_start: list[Callable[[], object]] = []
        self.on_stop: list[Callable[[], object]] = []
        self.on_hurry: list[Callable[[], object]] = []
        self.on_reread: list[Callable[[], object]] = []
        self.other_endpoints: list[str] = []
        self.reread_files: list[str] = []
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
        listener = listener_of(self.reactor, description, factory, self.owner)
        name = listener.name
        number = 1
        while listener.name in self.namedServices:
            # The same file in another folder, or C{tcp:0} once more.
            number += 1
            listener.setName(f"{name} ({number})")
        self.factories.append(factory)
        self._listeners.append(listener)
        listener.setServiceParent(self)

    def serve_at(self, description: str, factory: ServedFactory, *, endpoint: str) -> None:
        """
        Serve at one more endpoint, in a process that goes on if that fails. This service runs already.

        :param endpoint: what rules know it by
        :raise ListenError: when that fails
        """
        listener = listener_of(self.reactor, description, factory, self.owner)
        factory.endpoint = endpoint
        listener.listen()
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

        :param reason: what the C{SHUTDOWN} event says: C{"host-qmp-quit"}, C{"host-signal"}; empty: there is no event
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
        if reason:
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
        for hurry in self.on_hurry:
            hurry()
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
        return (
            rules
            or file
            or keys
            or bool(self.reread_files)
            or any(endpoint.startswith("mtls:") for endpoint in self._endpoints())
        )

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
        for stopped in self.on_stop:
            stopped()


def _swallow(deferred: object, log: Logger) -> Deferred[Any]:
    """One part that fails to stop must not keep the others."""
    if not isinstance(deferred, Deferred):
        return succeed(deferred)
    return deferred.addErrback(lambda failure: log.failure("while stopping", failure))

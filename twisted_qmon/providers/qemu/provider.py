"""
The provider that puts a monitor in front of a real QEMU.

::

    qemu = Qemu("unix:/run/vm.qmp", reactor)
    monitor.register(qemu)
    qemu.service.setServiceParent(service)

The monitor then has QEMU's commands and events. They cover the monitor's own of the same names; the others stand beside
them. Commands that take long on QEMU complete here when they are done: see L{twisted_qmon.providers.qemu.long_commands}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.logger import Logger

from twisted_qmon._reactor import global_reactor
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.dispatcher import not_found
from twisted_qmon.core.events import Event
from twisted_qmon.core.upstream import UPSTREAM_LOST
from twisted_qmon.errors import CommandError, GenericError, MonitorError
from twisted_qmon.providers.qemu.description import Description, describe, version_text
from twisted_qmon.providers.qemu.descriptors import Descriptors
from twisted_qmon.providers.qemu.offer import Offer
from twisted_qmon.providers.qemu.upstream import Upstream, UpstreamConnection, not_connected
from twisted_qmon.qmp._client.connection import NEGOTIATION_TIMEOUT
from twisted_qmon.qmp._client.waiters import Waiters

if TYPE_CHECKING:
    from twisted.application.service import Service
    from twisted.internet.interfaces import IStreamClientEndpoint

    from twisted_qmon.core.guard import Client
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICommand

__all__ = ["DESCRIBE_TIMEOUT", "Qemu"]

#: Seconds that QEMU has, after the negotiation, to say what it can do.
DESCRIBE_TIMEOUT = 30.0


class _NotYet(CommandProvider):
    """
    Covers commands of the monitor as long as no QEMU has been connected: their answers would be taken for QEMU's.
    """

    @command
    def query_status(self) -> dict[str, Any]:
        """show whether QEMU runs"""
        raise not_connected()

    @command
    def query_name(self) -> dict[str, Any]:
        """show QEMU's name"""
        raise not_connected()


class Qemu(CommandProvider):
    """
    The QEMU behind a monitor.

    :param endpoint: a client endpoint to its QMP server, or the description of one
    :param reactor: for time, and for an endpoint given as a description; C{None}: the global one
    :param negotiation_timeout: seconds that it has for greeting and negotiation
    :param retry_policy: seconds until the next attempt to connect, for the number of failures so far
    :param upstream_lost: what becomes of the monitor's clients when QEMU goes, C{"keep"} or C{"close"}: they stay connected, or
        their connections are ended as QEMU's own end would end them
    :param once: the endpoint gives one connection, which is not given up however long QEMU is silent
    :raise ValueError: when the description is not valid, or C{upstream_lost} is something else

    :ivar service: a service that connects while it runs; start it, or give it a parent
    :ivar upstream: the connection
    """

    _log = Logger()

    events = (
        Event("QEMU_CONNECTED", version=dict),
        Event("QEMU_DISCONNECTED", reason=str),
    )

    def __init__(
        self,
        endpoint: str | IStreamClientEndpoint,
        reactor: Any = None,
        *,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        retry_policy: Callable[[int], float] | None = None,
        upstream_lost: str = "keep",
        once: bool = False,
    ) -> None:
        if upstream_lost not in UPSTREAM_LOST:
            raise ValueError(f"upstream_lost is one of {', '.join(UPSTREAM_LOST)}, not {upstream_lost!r}")
        if reactor is None:
            reactor = global_reactor()
        self._address = endpoint if isinstance(endpoint, str) else repr(endpoint)
        self.upstream = Upstream(
            _endpoint(endpoint, reactor),
            self._address,
            reactor,
            self,
            negotiation_timeout=negotiation_timeout,
            retry_policy=retry_policy,
            before_close=lambda: self._descriptors.release_all(),
            once=once,
        )
        self._descriptors = Descriptors(self.upstream)
        self._once = once
        self.service: Service = self.upstream.service
        self.service.setName("qemu")  # type: ignore[no-untyped-call]
        self._monitor: Monitor | None = None
        self._offer: Offer | None = None
        self._ready: Waiters[None] = Waiters()
        self._not_yet: _NotYet | None = None
        # The last QEMU's. A greeting needs it before there is an offer.
        self._version: Mapping[str, Any] | None = None
        self._connections = 0
        self._closes = upstream_lost == "close"
        # There has been a QEMU, and the clients have not been disconnected since.
        self._has_served = False

    def commands(self) -> Iterable[ICommand]:
        """:return: none: they come when QEMU is connected"""
        return ()

    # -- the monitor it is registered with

    @property
    def monitor(self) -> Monitor | None:
        """The monitor it is registered with."""
        return self._monitor

    @monitor.setter
    def monitor(self, monitor: Monitor | None) -> None:
        if self._monitor is not None:
            self._withdraw()
            self._monitor.set_upstream(None)
            self._monitor.dispatcher.on_leave.remove(self._descriptors.left)
            self._monitor.events.upstream = None
        self._monitor = monitor
        if monitor is not None:
            monitor.events.upstream = self._connections
            self._not_yet = _NotYet()
            monitor.register(self._not_yet, shadow=True)
            monitor.set_upstream(self)
            monitor.dispatcher.on_leave.append(self._descriptors.left)

    def _withdraw(self) -> None:
        """Take out what is registered with the monitor besides this provider."""
        assert self._monitor is not None
        if self._not_yet is not None:
            self._monitor.unregister(self._not_yet)
            self._not_yet = None
        if self._offer is not None:
            self._offer.withdraw()
            self._offer = None

    @property
    def connected(self) -> bool:
        """QEMU is there, and its commands are known."""
        return self.upstream.connection is not None

    def when_ready(self) -> Deferred[None] | None:
        """
        :return: C{None} if QEMU is connected or the service does not run; else a Deferred that fires when it is connected
        """
        return None if self.connected or not self.service.running else self._ready.wait()

    @property
    def version(self) -> Mapping[str, Any] | None:
        """The QEMU's version, in the form of C{query-version}; C{None} before the first connection."""
        return self._version

    @property
    def version_text(self) -> str:
        """The QEMU's version as people write it, C{7.2.22}; empty before the first connection."""
        return "" if self._version is None else version_text(self._version)

    def not_found(self, name: str) -> CommandError:
        """:return: the error for the name of an unknown command: it may be QEMU's, as long as none has been connected"""
        return not_connected() if self._offer is None else not_found(name)

    # -- what the upstream tells: see UpstreamUser

    @property
    def is_stopping(self) -> bool:
        """The monitor takes no new requests."""
        return self._monitor is not None and self._monitor.refusing

    def describe(self, connection: UpstreamConnection) -> Deferred[None]:
        """Ask a QEMU what it can do, and offer that."""
        version = connection.session.version
        if version is not None:
            self._version = version
        described = Deferred.fromCoroutine(self._take(connection))
        if self._once:
            return described
        return described.addTimeout(DESCRIBE_TIMEOUT, self.upstream.clock, onTimeoutCancel=_too_late)

    async def _take(self, connection: UpstreamConnection) -> None:
        description = await describe(connection)
        if self._monitor is not None:
            self._make_offer(description, self._monitor)

    def _make_offer(self, description: Description, monitor: Monitor) -> None:
        try:
            self._offer = Offer(self.upstream, description, monitor, self._descriptors, self._withdraw)
        except MonitorError as e:
            raise GenericError(f"QEMU's commands can't be registered: {e}") from e
        self._version = description.version
        self._log.info(
            "connected to QEMU {version} at {address}: {commands} commands, {events} events",
            version=version_text(description.version),
            address=self._address,
            commands=len(description.infos),
            events=len(description.offered.events),
        )

    def happened(self, name: str, data: Mapping[str, JSON] | None, timestamp: Mapping[str, int] | None) -> None:
        """Pass an event on."""
        if self._offer is not None:
            self._offer.deliver(name, data, timestamp)

    def serving(self) -> None:
        """QEMU's commands can be executed from now on."""
        self._connections += 1
        self._has_served = True
        if self._monitor is not None:
            self._monitor.events.upstream = self._connections
            self._monitor.emit("QEMU_CONNECTED", {"version": self._monitor.version})
        self._ready.tell(None)

    def lost(self, error: CommandError) -> None:
        """They can't be, until it is back."""
        if self._monitor is not None:
            self._monitor.emit("QEMU_DISCONNECTED", {"reason": error.desc})

    def gone(self) -> None:
        """There is no QEMU any more: disconnect the clients, if that is wanted."""
        self._descriptors.clear()
        if not (self._has_served and self._closes) or self._monitor is None or self.is_stopping:
            return
        self._has_served = False
        clients = list(self._monitor.guard.clients.values())
        self._log.info("QEMU is gone: disconnecting {count} clients", count=len(clients))
        # What this turn has to say to them is said first.
        self.upstream.clock.callLater(0, _disconnect, clients)


def _endpoint(endpoint: str | IStreamClientEndpoint, reactor: Any) -> IStreamClientEndpoint:
    if not isinstance(endpoint, str):
        return endpoint
    try:
        found: IStreamClientEndpoint = clientFromString(reactor, endpoint)
        return found
    except (ValueError, TypeError, IndexError) as e:
        raise ValueError(f"{endpoint!r} is not a valid client endpoint: {e}") from e


def _disconnect(clients: Iterable[Client]) -> None:
    for client in clients:
        client.disconnect()


def _too_late(result: object, seconds: float) -> NoReturn:
    raise GenericError(f"QEMU did not describe its commands within {seconds:g} s")

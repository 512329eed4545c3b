"""
The fleet as a caller sees it.

::

    client = FleetClient(reactor, "wss://router.example.org/ws", authid="ops", ticket=secret)
    await client.connect()
    for name in await client.members():
        print(name, await client.member(name).execute("query-status", timeout=5))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._twistd.extras import need_extra
from twisted_qmon.errors import CommandError, ConnectionClosed
from twisted_qmon.fleet.interfaces import FleetGap, IFleet, IFleetClient, Publication
from twisted_qmon.fleet.positions import Positions
from twisted_qmon.fleet.presence import Presence
from twisted_qmon.fleet.remote import FOLLOW, RemoteMonitor
from twisted_qmon.fleet.router import REALM, Router, Secret
from twisted_qmon.qmp._client.reconnect import Reconnector, failure_reason

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_qmon.fleet.interfaces import Connect
    from twisted_qmon.info import JSON

__all__ = ["FleetClient"]


@implementer(IFleetClient)
class FleetClient:
    """
    See L{IFleetClient}.

    :param reactor: the reactor
    :param url: where the router is: C{ws://HOST:PORT/PATH}, C{wss://...}, C{rs://HOST:PORT}, C{rss://...}, C{rs://unix:/PATH}
    :param realm: the realm of the fleet
    :param authid: who one is; C{None}: the router decides
    :param ticket: what proves it, or what returns it for each connection; C{None}: nothing does
    :param ca: a file with the certificates (PEM) of whom to trust; C{None}: those that the platform trusts
    :param timeout: seconds that each command may take; C{None}: no limit
    :param on_gap: called with a L{FleetGap} when events are lost; C{None}: that is logged
    :param on_connection: called with whether there is a connection, and why there is none, each time that this changes
    :param retry_policy: as of L{QMPClient.service<twisted_qmon.QMPClient.service>}
    :param connect: makes a connection; by default one to a WAMP router
    :raise ValueError: when the URL is not valid, there is a ticket without an authid, or it would be sent in the open
    :raise ImportError: when the extra C{fleet} is not installed
    :ivar router: the router
    :ivar timeout: see above
    :ivar fleet: the connection that there is; C{None}: there is none
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        url: str,
        *,
        realm: str = REALM,
        authid: str | None = None,
        ticket: Secret = None,
        ca: str | None = None,
        timeout: float | None = None,
        on_gap: Callable[[FleetGap], object] | None = None,
        on_connection: Callable[[bool, str], object] | None = None,
        retry_policy: Callable[[int], float] | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.router = Router.parse(url, realm, ca)
        if ticket is not None:
            if authid is None:
                raise ValueError("a ticket needs an authid: the router looks it up by that")
            self.router.check_ticket()
        if connect is None:
            need_extra("fleet")
            from twisted_qmon.fleet._connection import connect as connect_wamp

            connect = connect_wamp
        self.clock = reactor
        self.timeout = timeout
        self.fleet: IFleet | None = None
        self._authid = authid
        self._ticket = ticket
        self._make_connection: Connect = connect
        self._on_gap = on_gap
        self._on_connection = on_connection
        self._reconnector = Reconnector(self._join, f"the fleet at {url}", reactor, retry_policy)
        self._monitors: dict[str, RemoteMonitor] = {}
        self._presence = Presence(self._let_presence_go_on)
        self._positions = Positions(self._ask, self._deliver, self._gap)
        # Who receives events: of all members, and of each.
        self._receivers: dict[object, Callable[[Publication], object]] = {}
        self._followers: dict[str, dict[object, Callable[[Publication], object]]] = {}
        # What ends the subscriptions that the connection has; by the member's name, or None for all.
        self._subscriptions: dict[str | None, Callable[[], None] | None] = {}
        self._following: IDelayedCall | None = None

    @property
    def connected(self) -> bool:
        """There is a connection."""
        return self.fleet is not None

    # -- connections

    def connect(self) -> Deferred[IFleetClient]:
        """See L{IFleetClient.connect}."""
        connected = self._reconnector.when_connected(fail_after=1)
        self._reconnector.startService()

        async def first() -> IFleetClient:
            try:
                await connected
            except CommandError:
                await self.close()
                raise
            except Exception as error:
                await self.close()
                raise ConnectionClosed(f"can't connect to {self.router.url}: {failure_reason(error)}") from error
            return self

        return Deferred.fromCoroutine(first())

    def close(self) -> Deferred[None]:
        """See L{IFleetClient.close}."""
        if self._following is not None:
            self._following.cancel()
            self._following = None
        return self._reconnector.stopService()

    def _join(self) -> Deferred[IFleet]:
        return Deferred.fromCoroutine(self._join_once())

    async def _join_once(self) -> IFleet:
        ticket = self._ticket() if callable(self._ticket) else self._ticket
        fleet = await self._make_connection(self.clock, self.router, self._authid, ticket)
        self.fleet = fleet
        fleet.when_lost().addCallback(lambda reason: self._lost(fleet, reason))
        self._tell_connection(True, "")
        if self._presence.wanted:
            self._presence.connected(fleet)
        for name in [*([None] if self._receivers else []), *self._followers]:
            self._begin_subscription(name)
        return fleet

    def _lost(self, fleet: IFleet, reason: CommandError) -> None:
        if self.fleet is not fleet:
            return
        self.fleet = None
        self._presence.lost()
        self._subscriptions.clear()
        for monitor in self._monitors.values():
            monitor.forget()
        self._tell_connection(False, reason.desc)

    def _tell_connection(self, there: bool, reason: str) -> None:
        if self._on_connection is not None:
            try:
                self._on_connection(there, reason)
            except Exception:
                self._log.failure("while telling {receiver!r} of the connection", receiver=self._on_connection)

    # -- members

    def members(self) -> Deferred[list[str]]:
        """See L{IFleetClient.members}."""
        if self.fleet is None:
            return fail(ConnectionClosed("There is no connection to the router"))
        return self.fleet.members()

    def member(self, name: str) -> RemoteMonitor:
        """See L{IFleetClient.member}."""
        monitor = self._monitors.get(name)
        if monitor is None:
            monitor = self._monitors[name] = RemoteMonitor(self, name)
        return monitor

    def watch(
        self, receiver: Callable[[str, bool], object], failed: Callable[[CommandError], object] | None = None
    ) -> Callable[[], None]:
        """
        See L{IFleetClient.watch}.

        :param failed: called when the router does not allow it; C{None}: that is logged
        """
        return self._presence.watch(receiver, failed)

    def _let_presence_go_on(self) -> None:
        if self.fleet is not None:
            self._presence.connected(self.fleet)

    # -- events

    def subscribe(self, receiver: Callable[[Publication], object]) -> Callable[[], None]:
        """See L{IFleetClient.subscribe}."""
        token = object()
        self._receivers[token] = receiver
        self._begin_subscription(None)

        def end() -> None:
            if self._receivers.pop(token, None) is not None and not self._receivers:
                self._end_subscription(None)

        return end

    def follow(self, name: str, receiver: Callable[[Publication], object]) -> Callable[[], None]:
        """
        Receive the events of one member; those above the level C{observe} too, if one's own level there allows it.

        :return: call it to end that
        """
        token = object()
        followers = self._followers.setdefault(name, {})
        followers[token] = receiver
        self._begin_subscription(name)
        if self._following is None:
            self._following = self.clock.callLater(FOLLOW, self._follow_all)

        def end() -> None:
            if followers.pop(token, None) is not None and not followers and self._followers.get(name) is followers:
                del self._followers[name]
                self._end_subscription(name)

        return end

    def _follow_all(self) -> None:
        self._following = None
        if self._followers:
            self._following = self.clock.callLater(FOLLOW, self._follow_all)
            if self.fleet is not None:
                for name in list(self._followers):
                    self._positions.fetch(name)

    def _begin_subscription(self, name: str | None) -> None:
        fleet = self.fleet
        if fleet is None or name in self._subscriptions:
            return
        self._subscriptions[name] = None

        def begun(end: Callable[[], None]) -> None:
            wanted = self._receivers if name is None else self._followers.get(name)
            if self.fleet is not fleet:
                return
            if not wanted:
                self._subscriptions.pop(name, None)
                end()
                return
            self._subscriptions[name] = end
            if name is not None:
                self._positions.fetch(name)

        def failed(failure: Failure) -> None:
            self._subscriptions.pop(name, None)
            self._log.error(
                "no events of {member}: {reason}", member=name or "the fleet", reason=failure.getErrorMessage()
            )

        fleet.subscribe(self._positions.received, name).addCallbacks(begun, failed)

    def _end_subscription(self, name: str | None) -> None:
        end = self._subscriptions.get(name)
        if end is not None:
            del self._subscriptions[name]
            end()

    def _ask(self, name: str, after: int | None, monitor: str | None) -> Deferred[JSON]:
        if self.fleet is None:
            return fail(ConnectionClosed("There is no connection to the router"))
        asking = self.fleet.call(name, "events", [after, monitor])
        return asking.addTimeout(FOLLOW, self.clock, _no_answer)

    def _deliver(self, publication: Publication) -> None:
        for receivers in (self._receivers, self._followers.get(publication.member, {})):
            for receiver in list(receivers.values()):
                try:
                    receiver(publication)
                except Exception:
                    self._log.failure("while telling {receiver!r} of an event", receiver=receiver)

    def _gap(self, gap: FleetGap) -> None:
        if self._on_gap is not None:
            self._on_gap(gap)
        else:
            self._log.warn(
                "events of {member} were lost: {lost} are not kept any more; it was restarted: {restarted}",
                member=gap.member,
                lost=gap.lost,
                restarted=gap.restarted,
            )


def _no_answer(result: object, seconds: float) -> JSON:
    raise ConnectionClosed(f"no answer within {seconds:g} s")

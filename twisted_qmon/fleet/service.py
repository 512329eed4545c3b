"""
A member as a service: it joins the fleet while it runs, and again after each loss.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_qmon._twistd.extras import need_extra
from twisted_qmon.fleet.callers import IN_FLIGHT, MAX_CALLS
from twisted_qmon.fleet.errors import NameTaken
from twisted_qmon.fleet.interfaces import IFleet, member_name
from twisted_qmon.fleet.member import Member
from twisted_qmon.fleet.publisher import Publisher
from twisted_qmon.fleet.router import Router, read_ticket
from twisted_qmon.qmp._client.reconnect import Reconnector

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.fleet.interfaces import Connect

__all__ = ["NAME_RETRY", "MemberService", "default_name", "endpoint_of"]

#: Seconds between two attempts to get a name that another member has.
NAME_RETRY = 5.0


def endpoint_of(router: Router) -> str:
    """:return: what rules know a router by: C{fleet:ROUTER}, its host and port or the path of its socket"""
    if not router.host:
        return f"fleet:{router.path}"
    return f"fleet:{f'[{router.host}]' if ':' in router.host else router.host}:{router.port}"


def default_name(name: str | None) -> str:
    """
    :param name: the monitor's name
    :return: a name for a member: C{host-name-pid}
    """
    return member_name(f"{socket.gethostname()}-{name or 'qmon'}-{os.getpid()}")


class MemberService(Service):
    """
    Keeps a monitor in a fleet.

    :param reactor: the reactor
    :param monitor: the monitor
    :param router: where the router is
    :param name: the member's name; the router knows it by this name too. C{None}: L{default_name}
    :param ticket: a file with what proves it; C{None}: nothing does, which the router may not allow
    :param in_flight: calls of one caller's session that may be under way at a time
    :param max_calls: calls of all callers that may be under way at a time
    :param connect: makes a connection; by default one to a WAMP router
    :param retry_policy: as of L{Reconnector<twisted_qmon.qmp._client.reconnect.Reconnector>}
    :raise ValueError: when the name, the file or a limit is not valid, or the ticket would be sent in the open
    :raise ImportError: when the extra C{fleet} is not installed
    :ivar member: serves the calls
    :ivar endpoint: what rules know the router by
    :ivar member_name: the member's name; empty until it is started if it was not given
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        monitor: Monitor,
        router: Router,
        name: str | None = None,
        *,
        ticket: str | os.PathLike[str] | None = None,
        in_flight: int = IN_FLIGHT,
        max_calls: int = MAX_CALLS,
        connect: Connect | None = None,
        retry_policy: Callable[[int], float] | None = None,
    ) -> None:
        if name is not None and member_name(name) != name:
            raise ValueError(f"{name!r} is not a name of a member: letters, digits, '_' and '-'")
        self.member_name = name or ""
        self._monitor = monitor
        self.endpoint = endpoint_of(router)
        self._reactor = reactor
        self._router = router
        # The process may be in another folder when it is read again.
        self._ticket_file = None if ticket is None else os.path.abspath(ticket)
        self._ticket = None if self._ticket_file is None else read_ticket(self._ticket_file)
        if self._ticket is not None:
            router.check_ticket()
        if connect is None:
            need_extra("fleet")
            from twisted_qmon.fleet._connection import connect as connect_wamp

            connect = connect_wamp
        self._connect: Connect = connect
        self.member = Member(monitor, self.endpoint, in_flight=in_flight, max_calls=max_calls)
        self._publisher = Publisher(monitor, self.member.callers.listeners)
        self._reconnector = Reconnector(self._join, f"the fleet at {router.url}", reactor, retry_policy)
        self._name_is_taken = False
        self._fleet: IFleet | None = None
        # The connection on which it waits for the name, and the wait.
        self._joining: IFleet | None = None
        self._pause: Deferred[None] | None = None

    @property
    def joined(self) -> bool:
        """It can be called."""
        return self._fleet is not None

    @property
    def has_ticket(self) -> bool:
        """There is a file that L{reread} reads."""
        return self._ticket_file is not None

    def reread(self) -> None:
        """
        Read the ticket again: the next connection is made with it. If it can't be read, that is logged, and the old one stays.
        """
        if self._ticket_file is None:
            return
        try:
            self._ticket = read_ticket(self._ticket_file)
        except ValueError as e:
            self._log.error("{reason}; the ticket stays as it was", reason=str(e))

    def startService(self) -> None:
        """Begin to join."""
        super().startService()  # type: ignore[no-untyped-call]
        # Not before: a daemon has another number than the process that reads the options.
        self.member_name = self.member_name or default_name(self._monitor.name)
        self._publisher.start(self.member_name)
        self._reconnector.startService()

    def stopService(self) -> Deferred[None]:
        """:return: fires when it has left"""
        super().stopService()  # type: ignore[no-untyped-call]
        self._publisher.stop()
        return self._reconnector.stopService()

    def when_joined(self) -> Deferred[None]:
        """:return: fires when it can be called, at once if it can"""
        return self._reconnector.when_connected().addCallback(lambda _: None)

    def _join(self) -> Deferred[IFleet]:
        return Deferred.fromCoroutine(self._join_once())

    async def _join_once(self) -> IFleet:
        fleet = await self._connect(self._reactor, self._router, self.member_name, self._ticket)
        fleet.when_lost().addCallback(lambda _: self._lost(fleet))
        try:
            self._joining = fleet
            await self._announce(fleet)
        except BaseException:
            fleet.close()
            raise
        finally:
            self._joining = None
        self._fleet = fleet
        self._publisher.attach(fleet)
        self._log.info("{name} is a member of the fleet at {url}", name=self.member_name, url=self._router.url)
        return fleet

    async def _announce(self, fleet: IFleet) -> None:
        while True:
            try:
                await fleet.announce(self.member_name, self.member)
            except NameTaken:
                if not self._name_is_taken:
                    self._name_is_taken = True
                    self._log.warn(
                        "another member of the fleet at {url} has the name {name}; trying again until it is free",
                        url=self._router.url,
                        name=self.member_name,
                    )
            else:
                self._name_is_taken = False
                return
            self._pause = deferLater(self._reactor, NAME_RETRY)
            try:
                await self._pause
                self._pause = None
            except CancelledError:
                if self._joining is fleet:
                    raise
                # The connection was lost: that is what the next attempt says.

    def _lost(self, fleet: IFleet) -> None:
        if self._joining is fleet:
            self._joining = None
            if self._pause is not None:
                self._pause.cancel()
        if self._fleet is fleet:
            self._fleet = None
            self._publisher.detach()
            self.member.callers.clear()

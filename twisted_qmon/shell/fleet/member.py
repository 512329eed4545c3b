"""
A member of a fleet as what C{qmon} connects to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon.errors import ConnectionClosed, GenericError
from twisted_qmon.shell.fleet.login import Login
from twisted_qmon.shell.fleet.session import MemberSession

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime

    from twisted_qmon.fleet.interfaces import IFleet

__all__ = ["Member", "MemberEndpoint", "SocketReactor"]


class SocketReactor(Protocol):
    """What an endpoint needs of the reactor, besides C{IReactorTime}."""

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: object) -> None:
        """See C{IReactorSocket}."""


class Member(NamedTuple):
    """
    One member: a L{Destination<twisted_qmon.shell.address.Destination>}.

    :ivar login: the router, and who connects
    :ivar name: of the member
    """

    login: Login
    name: str

    @property
    def text(self) -> str:
        """See L{Destination<twisted_qmon.shell.address.Destination>}."""
        return f"{self.name} at {self.login.router.url}"

    def client_endpoint(self, reactor: IReactorTime) -> IStreamClientEndpoint:
        """See L{Destination<twisted_qmon.shell.address.Destination>}."""
        return MemberEndpoint(reactor, self.name, lambda: self.login.connect(reactor))


@implementer(IStreamClientEndpoint)
class MemberEndpoint:
    """
    Connects to a member as to a QMP server: through a socket pair, behind which a L{MemberSession} serves.

    :param reactor: provides C{IReactorSocket} and C{IReactorTime}
    :param name: of the member
    :param open_fleet: connects to the router
    """

    def __init__(self, reactor: IReactorTime, name: str, open_fleet: Callable[[], Deferred[IFleet]]) -> None:
        self._reactor = reactor
        self._name = name
        self._open_fleet = open_fleet

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See C{IStreamClientEndpoint}. It fails with L{CommandError} when the router or the member refuses, or there is no such
        member.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        fleet = await self._open_fleet()
        try:
            version = await fleet.call(self._name, "execute", ("query-version", {}))
            if not isinstance(version, Mapping):
                raise GenericError(f"{self._name} does not say what it is")
            session = MemberSession(self._reactor, fleet, self._name, version)
            await fleet.subscribe(session.published, self._name)
        except BaseException:
            fleet.close()
            raise
        fleet.when_lost().addCallback(lambda error: session.end(str(error)))
        return self._join(session, factory)

    def _join(self, session: MemberSession, factory: IProtocolFactory) -> IProtocol:
        ends = socket.socketpair()
        client = _Client(factory, session)
        for end, made in zip(ends, (client, _Served(session)), strict=True):
            # The reactor has a descriptor of its own.
            with end:
                end.setblocking(False)
                cast("SocketReactor", self._reactor).adoptStreamConnection(end.fileno(), socket.AF_UNIX, made)
        protocol = client.made
        assert protocol is not None
        return protocol


class _Served(Factory):
    """Has the session made already."""

    noisy = False

    def __init__(self, session: MemberSession) -> None:
        self._session = session

    def buildProtocol(self, addr: IAddress | None) -> MemberSession:
        return self._session


class _Told(ProtocolWrapper):
    """The client's end: knows why the session has ended, which a socket does not tell."""

    factory: _Client

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        why = self.factory.session.reason
        super().connectionLost(Failure(ConnectionClosed(why)) if why else reason)


class _Client(WrappingFactory):
    """
    :ivar made: the client's protocol, when it is there
    """

    noisy = False
    protocol = _Told

    def __init__(self, factory: IProtocolFactory, session: MemberSession) -> None:
        super().__init__(factory)
        self.session = session
        self.made: IProtocol | None = None

    def buildProtocol(self, addr: IAddress | None) -> _Told:
        wrapper = super().buildProtocol(addr)
        assert isinstance(wrapper, _Told)
        self.made = wrapper.wrappedProtocol
        return wrapper

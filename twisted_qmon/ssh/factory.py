"""
L{SSHFactory} serves a monitor over SSH at any server endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.conch.ssh.factory import SSHFactory as _ConchFactory
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.connections import EndableFactory, Refused
from twisted_qmon._transport.factory import MAX_CONNECTIONS, MonitorFactory
from twisted_qmon.info import Level
from twisted_qmon.ssh.algorithms import CIPHERS, KEY_EXCHANGES, MACS
from twisted_qmon.ssh.connection import Connection
from twisted_qmon.ssh.log import QuietLogger
from twisted_qmon.ssh.login import Login, make_portal
from twisted_qmon.ssh.transport import ServerTransport
from twisted_qmon.ssh.visitor import Visitor

if TYPE_CHECKING:
    from twisted.conch.ssh.keys import Key
    from twisted.conch.ssh.service import SSHService
    from twisted.cred.portal import Portal
    from twisted.internet.interfaces import IAddress, IReactorTime

    from twisted_qmon.hmp.protocol import HMPFactory, HMPProtocol
    from twisted_qmon.qmp.protocol import QMPFactory, QMPProtocol
    from twisted_qmon.ssh.authorized_keys import AuthorizedKey, AuthorizedKeys
    from twisted_qmon.ssh.command import CommandFactory

__all__ = ["MAX_LOGINS", "SSHFactory"]

#: Connections at a time whose clients have not logged in. If there is one more, the oldest of them is closed: of those from the
#: address that has most of them.
MAX_LOGINS = 64

#: Seconds between two lines of the log about that.
_LOG_PERIOD = 60.0

_own_log = Logger()


class SSHFactory(EndableFactory[ServerTransport], _ConchFactory):
    """
    Serves a monitor over SSH: C{endpoint.listen(SSHFactory(...))}.

    The factories that it is given serve the sessions: their limits, levels and times hold.

    :param people: serves shells
    :param commands: serves single lines
    :param machines: serves the subsystem C{qmp}
    :param host_key: the server's private key (see L{load_host_key<twisted_qmon.ssh.host_key.load_host_key>})
    :param keys: who may log in
    :param max_connections: connections at a time; more are closed at once
    """

    protocol = ServerTransport
    services: dict[bytes, type[SSHService]] = {b"ssh-userauth": Login, b"ssh-connection": Connection}
    kind = "ssh"
    noisy = False
    is_restricted = True
    primes = None
    _log = QuietLogger()

    def __init__(
        self,
        people: HMPFactory,
        commands: CommandFactory,
        machines: QMPFactory,
        host_key: Key,
        keys: AuthorizedKeys,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.people = people
        self.commands = commands
        self.machines = machines
        self.keys = keys
        self._limit(max_connections)
        kind = host_key.sshType()
        self.publicKeys = {kind: host_key.public()}
        self.privateKeys = {kind: host_key}
        # conch looks here for what clients may do; each gets its own (see portal_for).
        self.portal = make_portal(keys, "", self._visit)
        # Those whose clients have not logged in, oldest first, by address.
        self._strangers: dict[str, dict[ServerTransport, None]] = {}
        self._logged = float("-inf")
        self._evicted = 0

    # -- what the service sees

    def _sessions(self) -> Iterable[MonitorFactory]:
        return (self.people, self.commands, self.machines)

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits."""
        return self.people.clock

    @property
    def idle_timeout(self) -> float | None:
        """Seconds after which a connection without a session is closed; C{None}: it is not."""
        return self.people.idle_timeout

    @property
    def level(self) -> Level:
        """The most that a client may do here."""
        return self.people.level

    @level.setter
    def level(self, level: Level) -> None:
        for factory in self._sessions():
            factory.level = level

    @property
    def endpoint(self) -> str:
        """What rules know the endpoint by."""
        return self.people.endpoint

    @endpoint.setter
    def endpoint(self, endpoint: str) -> None:
        for factory in self._sessions():
            factory.endpoint = endpoint

    @property
    def ending(self) -> bool:
        """Everything has been said, and the connections are about to be closed."""
        return self.people.ending

    @ending.setter
    def ending(self, ending: bool) -> None:
        for factory in self._sessions():
            factory.ending = ending

    def close(self, linger: float = LINGER) -> Deferred[None]:
        """
        End all sessions, then all connections.

        :param linger: seconds that clients have to read the rest
        :return: fires when no connection is left
        """

        def leave(_: object) -> None:
            for transport in list(self.connections):
                transport.leave()

        closed = super().close(linger)
        DeferredList([factory.close(linger) for factory in self._sessions()]).addCallback(leave)
        return closed

    def reread(self) -> None:
        """Read again who may log in. A client whose key is not authorized any more is disconnected."""
        self.keys.reread()
        for transport in list(self.connections):
            if transport.logged_in and self.keys.find(transport.avatar.key.blob, transport.host) is None:
                _own_log.info(
                    "disconnecting {identity} at {peer}: the key is not authorized any more",
                    identity=str(transport.avatar.key.identity),
                    peer=transport.peer,
                )
                transport.abort()

    # -- connections

    def buildProtocol(self, addr: IAddress | None) -> ServerTransport | Refused:  # type: ignore[override]
        """See conch."""
        transport: ServerTransport | Refused = super().buildProtocol(addr)
        if isinstance(transport, Refused):
            return transport
        if sum(map(len, self._strangers.values())) >= MAX_LOGINS:
            self.loginLimitExceeded()
        transport.supportedKeyExchanges = KEY_EXCHANGES
        transport.supportedCiphers = CIPHERS
        transport.supportedMACs = MACS
        # SHA-1 is not among what an RSA host key signs with.
        transport.supportedPublicKeys = [name for name in transport.supportedPublicKeys if name != b"ssh-rsa"]
        self.connection_made(transport)
        self._strangers.setdefault(getattr(addr, "host", ""), {})[transport] = None
        return transport

    def connectionLimitExceeded(self, addr: IAddress | None) -> None:
        """One connection too many: it is logged, unlike what conch would."""
        self.counters.refused += 1
        _own_log.warn("refusing a connection from {peer}: {count} are open", peer=addr, count=len(self.connections))

    def loginLimitExceeded(self) -> None:
        """More than L{MAX_LOGINS} clients have not logged in: the one that has had most time is disconnected."""
        most = max(self._strangers.values(), key=len)
        oldest = next(iter(most))
        self._forget_stranger(oldest)
        self._evicted += 1
        now = self.clock.seconds()
        if now >= self._logged + _LOG_PERIOD:
            _own_log.warn(
                "more than {limit} clients have not logged in: disconnected {count}, the last of them {peer}",
                limit=MAX_LOGINS,
                count=self._evicted,
                peer=oldest.peer,
            )
            self._logged = now
            self._evicted = 0
        oldest.abort()

    def _forget_stranger(self, transport: ServerTransport) -> None:
        for host, transports in self._strangers.items():
            if transport in transports:
                del transports[transport]
                if not transports:
                    del self._strangers[host]
                return

    def logged_in(self, transport: ServerTransport) -> None:
        """A client has logged in."""
        self._forget_stranger(transport)

    def lost(self, transport: ServerTransport) -> None:
        """A connection has ended."""
        self._forget_stranger(transport)
        self.connection_lost(transport)

    def getService(self, transport: ServerTransport, service: bytes) -> type[SSHService] | None:
        """See conch. A client that has logged in does not do so again."""
        return self.services.get(service) if (service == b"ssh-userauth") is not transport.logged_in else None

    # -- who logs in, and what it gets

    def portal_for(self, transport: ServerTransport) -> Portal:
        """:return: what decides whether the client of this connection may log in"""

        def visit(key: AuthorizedKey) -> Visitor:
            transport.has_logged_in(key.identity)
            return self._visit(key)

        return make_portal(self.keys, transport.host, visit)

    def _visit(self, key: AuthorizedKey) -> Visitor:
        return Visitor(key, self)

    def shell(self) -> HMPProtocol | None:
        """:return: the human monitor; C{None} if there are as many as may be"""
        protocol: HMPProtocol | Refused = self.people.buildProtocol(None)
        return None if isinstance(protocol, Refused) else protocol

    def command(self, line: bytes, *, terminal: bool) -> HMPProtocol | None:
        """:return: what runs one line; C{None} if there are as many as may be"""
        protocol = self.commands.buildProtocol(None)
        if isinstance(protocol, Refused):
            return None
        protocol.line = line
        protocol.terminal = terminal
        made: HMPProtocol = protocol
        return made

    def subsystem(self, name: bytes) -> QMPProtocol | None:
        """:return: QMP, if that is the name; C{None} also if there are as many as may be"""
        if name != b"qmp":
            return None
        protocol: QMPProtocol | Refused = self.machines.buildProtocol(None)
        return None if isinstance(protocol, Refused) else protocol

"""
The server: L{WebFactory} serves the page and the HTTP interface of a monitor at any server endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.factory import MAX_CONNECTIONS
from twisted_qmon.info import Level
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.web.admission import Admission
from twisted_qmon.web.answers import HEADERS, JSON_TYPE, Refusal
from twisted_qmon.web.channel import WebRequest
from twisted_qmon.web.interface import Interface
from twisted_qmon.web.session import WebSession
from twisted_qmon.web.site import LimitedSite
from twisted_qmon.web.streams import EventStreams

if TYPE_CHECKING:
    from klein._app import KleinRenderable
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.iweb import IRequest

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.web.tokens import Tokens

__all__ = ["WebFactory"]

_HEADERS = [(name, [value]) for name, value in HEADERS.items()]


class _Root(KleinResource):
    """Klein's resource; each answer has the headers that all have."""

    def render(self, request: IRequest) -> KleinRenderable:
        assert isinstance(request, WebRequest)
        set_header = request.responseHeaders.setRawHeaders
        for name, values in _HEADERS:
            set_header(name, values)
        return super().render(request)


class WebFactory(LimitedSite):
    """
    Serves a monitor to browsers, and to programs that speak HTTP: C{endpoint.listen(WebFactory(monitor, Tokens("tokens.toml")))}.

    :param monitor: the L{Monitor<twisted_qmon.Monitor>}
    :param tokens: who may use it
    :param hosts: names of this host, beside C{localhost} and the address that a request came in at
    :param clock: for time limits; by default the monitor's
    :param max_connections: connections served at a time; more are closed at once
    :param max_body: bytes of the longest body of a request
    :param level: the most that a client may do here: C{"observe"}, C{"operate"} or C{"admin"}; tokens and rules may give it less
    :raise ValueError: when a limit is out of range
    :ivar endpoint: what rules know the endpoint by (C{"tcp:8080"}); empty if it was not served by its description
    :ivar counters: what has happened here
    :ivar ending: everything has been said, and the connections are about to be closed
    :ivar streams: the clients that follow events
    :ivar admission: decides which requests are served
    """

    kind = "web"

    def __init__(
        self,
        monitor: Monitor,
        tokens: Tokens,
        *,
        hosts: Iterable[str] = (),
        clock: IReactorTime | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_body: int = MAX_MESSAGE,
        level: Level | str = Level.ADMIN,
    ) -> None:
        if max_body < 1:
            raise ValueError(f"max_body is at least 1, not {max_body}")
        self.monitor = monitor
        self.tokens = tokens
        self.hosts = list(hosts)
        self.max_body = max_body
        self.admission = Admission(tokens, self.hosts, lambda: self.clock.seconds())
        self.streams = EventStreams(monitor)
        self._sessions: dict[str, WebSession] = {}
        interface = Interface(self)
        super().__init__(_Root(interface.app), clock or monitor.clock, max_connections, Level.of(level))

    # -- requests

    def admit_body(self, request: WebRequest, length: int | None) -> None:
        """
        Look at a request that has a body, before that is read.

        :param length: its length in bytes; C{None}: it comes in chunks
        :raise Refusal: when it will not be served
        """
        self.admission.check_site(request)
        request.shown = self.admission.check_token(request)
        kind = request.getHeader("Content-Type") or ""
        # A form of another page can't say that.
        if kind.partition(";")[0].strip().lower() != JSON_TYPE.decode("ascii"):
            raise Refusal(415, "The body must be application/json")
        if length is not None:
            self.check_size(length)

    def check_size(self, size: int) -> None:
        """
        :param size: bytes of a body
        :raise Refusal: when that is too much
        """
        if size > self.max_body:
            raise Refusal(413, f"The body has more than {self.max_body} bytes")

    def admit(self, request: WebRequest) -> WebSession:
        """
        Look at who sends a request.

        :return: the session of its token
        :raise Refusal: when it is not served
        """
        if request.shown is None:
            self.admission.check_site(request)
            request.shown = self.admission.check_token(request)
        token = request.shown.token
        session = self._sessions.get(token.name)
        if session is None:
            session = WebSession(self.monitor, self.clock, token, self.endpoint, self.level, self._gone)
            if not self.monitor.join(session):
                session.end()
                raise Refusal(403, f"Permission denied: {session.standing.identity.name} has no access here")
            self._sessions[token.name] = session
        session.used()
        return session

    def _gone(self, session: WebSession) -> None:
        self.monitor.part(session)
        if self._sessions.get(session.token.name) is session:
            del self._sessions[session.token.name]

    def reread(self) -> None:
        """
        Read the tokens again. One that is not valid any more ends what goes on with it.

        :raise AccessError: when the file can't be used; the old tokens stay
        """
        self.tokens.reload()
        for session in list(self._sessions.values()):
            token = self.tokens.named(session.token.name)
            if token is None or token.secret != session.token.secret:
                session.disconnect()
            else:
                session.change(token)

    # -- connections

    @property
    def is_restricted(self) -> bool:
        """A token is needed."""
        return True

    def listening(self, port: IListeningPort) -> None:
        """It listens: tell where the page is."""
        address = port.getHost()
        host, number = getattr(address, "host", None), getattr(address, "port", 0)
        if host is None:
            return
        secure = self.endpoint.partition(":")[0] in ("ssl", "tls", "mtls")
        if host in ("0.0.0.0", "::"):
            host = next(iter(self.hosts), "localhost")
        self.tokens.announce(f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{number}")

    def close(self, linger: float = LINGER) -> Deferred[None]:
        """
        End all connections: streams of events end, and what is being answered is answered.

        :param linger: seconds that clients have to read the rest
        :return: fires when no connection is left
        """
        self.tokens.withdraw()
        for session in list(self._sessions.values()):
            session.disconnect()
        return super().close(linger)

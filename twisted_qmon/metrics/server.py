"""
Serves the numbers over HTTP, at C{/metrics}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.web.resource import Resource

from twisted_qmon._transport.peer import identify
from twisted_qmon._transport.tls import tls_layer
from twisted_qmon.core.access.standing import Standing, session_name
from twisted_qmon.info import Level
from twisted_qmon.metrics.exposition import Exposition
from twisted_qmon.web.channel import WebRequest
from twisted_qmon.web.site import LimitedSite

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.metrics.provider import Metrics

__all__ = ["MAX_METRICS_CONNECTIONS", "MetricsFactory"]

#: Connections that are served at a time. A Prometheus needs one.
MAX_METRICS_CONNECTIONS = 64


class _Page(Resource):
    """The one page."""

    isLeaf = True
    _log = Logger()

    def __init__(self, factory: MetricsFactory) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: WebRequest) -> bytes:
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        if request.path != b"/metrics":
            return self._refuse(request, 404, "The metrics are at /metrics")
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET, HEAD")
            return self._refuse(request, 405, "GET and HEAD are all there is")
        if not self._factory.admits(request):
            return self._refuse(request, 403, "Permission denied: metrics need observe")
        try:
            page, kind = self._factory.exposition.page(request.getHeader("Accept") or "")
        except Exception:
            self._log.failure("while collecting metrics")
            return self._refuse(request, 500, "The metrics could not be collected; the reason was logged")
        request.setHeader(b"Content-Type", kind.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(page))
        return b"" if request.method == b"HEAD" else page

    def _refuse(self, request: WebRequest, status: int, text: str) -> bytes:
        body = f"{text}\n".encode("ascii")
        request.setResponseCode(status)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b"" if request.method == b"HEAD" else body


class MetricsFactory(LimitedSite):
    """
    Serves the numbers of a monitor to Prometheus: C{endpoint.listen(MetricsFactory(monitor, metrics))}.

    A client needs the level observe, as rules and the endpoint give it to the identity of its connection.

    :param monitor: the L{Monitor<twisted_qmon.Monitor>}
    :param metrics: has the numbers
    :param clock: for time limits; by default the monitor's
    :param max_connections: connections served at a time; more are closed at once
    :raise ValueError: when the limit is out of range
    :ivar exposition: makes the page
    """

    kind = "metrics"

    def __init__(
        self,
        monitor: Monitor,
        metrics: Metrics,
        *,
        clock: IReactorTime | None = None,
        max_connections: int = MAX_METRICS_CONNECTIONS,
    ) -> None:
        # A client can do no more here.
        super().__init__(_Page(self), clock or monitor.clock, max_connections, Level.OBSERVE)
        self.monitor = monitor
        self.exposition = Exposition(metrics.families)

    def admits(self, request: WebRequest) -> bool:
        """:return: whether who sends a request may see the numbers"""
        transport = request.channel.transport
        standing = Standing(session=session_name(self.kind), endpoint=self.endpoint, cap=self.level)
        standing.identity = identify(transport, tls_layer(transport))
        guard = self.monitor.guard
        guard.judge(standing)
        if standing.level >= Level.OBSERVE:
            return True
        guard.turned_away += 1
        if guard.audit is not None:
            guard.audit.turned_away(standing)
        return False

    @property
    def is_restricted(self) -> bool:
        """Rules say who may do what here, or each client has a certificate."""
        return self.endpoint.startswith("mtls:") or self.monitor.guard.access is not None

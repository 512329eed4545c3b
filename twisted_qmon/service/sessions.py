"""
How clients are served, whatever they are connected by: a socket, SSH, the watchdog's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from twisted_qmon._transport.factory import MAX_CONNECTIONS, READY_TIMEOUT, Limits
from twisted_qmon._transport.write_queue import MAX_QUEUED
from twisted_qmon.hmp.prompt import PROMPT
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.qmp.protocol import QMPFactory

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.hmp.protocol import HMPFactory
    from twisted_qmon.interfaces import IMonitor

__all__ = ["SessionKeywords", "Sessions"]


class SessionKeywords(TypedDict, total=False):
    """The keywords of L{Sessions}, which L{make_monitor_service<twisted_qmon.service.make_monitor_service>} passes on to it."""

    prompt: str
    banner: str | None
    hmp_style: str
    in_flight: int
    max_message: int
    negotiation_timeout: float | None
    max_connections: int
    max_queued: int
    slow_client: str
    idle_timeout: float | None
    ready_timeout: float


class Sessions:
    """
    Makes the factories of QMP and of the human monitor, all of one kind with the same limits.

    :param prompt: the human monitor's; for C{banner} and C{hmp_style} see L{HMPFactory<twisted_qmon.HMPFactory>}
    :param in_flight: for this and the next two see L{QMPFactory<twisted_qmon.QMPFactory>}
    :param max_connections: for this and the next four see L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}
    :ivar hmp_style: whose human monitor it looks like at an endpoint of its own
    :ivar max_connections: connections at each endpoint
    :ivar limits: what all factories have
    """

    def __init__(
        self,
        *,
        prompt: str = PROMPT,
        banner: str | None = None,
        hmp_style: str = "qmon",
        in_flight: int = IN_FLIGHT,
        max_message: int = MAX_MESSAGE,
        negotiation_timeout: float | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_queued: int = MAX_QUEUED,
        slow_client: str = "disconnect",
        idle_timeout: float | None = None,
        ready_timeout: float = READY_TIMEOUT,
    ) -> None:
        self.hmp_style = hmp_style
        self.max_connections = max_connections
        self.limits = Limits(
            max_connections=max_connections,
            max_queued=max_queued,
            slow_client=slow_client,
            idle_timeout=idle_timeout,
            ready_timeout=ready_timeout,
        )
        self._prompt = prompt
        self._banner = banner
        self._in_flight = in_flight
        self._max_message = max_message
        self._negotiation_timeout = negotiation_timeout

    def qmp(self, monitor: Monitor) -> QMPFactory:
        """:return: what serves QMP"""
        return QMPFactory(
            monitor,
            in_flight=self._in_flight,
            max_message=self._max_message,
            negotiation_timeout=self._negotiation_timeout,
            **self.limits,
        )

    def hmp(self, monitor: IMonitor, style: str = "qmon") -> HMPFactory:
        """:return: what serves the human monitor"""
        # Without a human monitor its modules are not loaded.
        from twisted_qmon.hmp.protocol import HMPFactory

        return HMPFactory(monitor, prompt=self._prompt, banner=self._banner, style=style, **self.limits)

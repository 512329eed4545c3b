"""
One endpoint of a service.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._transport.endpoints import server_endpoint, service_name, take_level
from twisted_qmon._transport.factory import ServedFactory
from twisted_qmon._transport.unix_port import Owner
from twisted_qmon._twistd.start_up import StartUp, one_line
from twisted_qmon.core.access.rules import endpoint_name

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint

__all__ = ["ListenError", "Listener", "listener_of"]

_log = Logger()


class ListenError(Exception):
    """It can't listen at its endpoint. The text is one line."""


class Listener(Service):
    """
    Listens at one endpoint while it runs. Unlike a C{strports} service it can be stopped and started again, and takes over a unix
    socket that no process serves any more.

    :param description: the server endpoint's description
    :param factory: what serves the connections
    :param owner: the ids of the user and the group that get a unix socket
    :param start_up: when the service was made, if that was before this listener was
    :raise ValueError: when the description is not valid
    """

    def __init__(
        self,
        reactor: Any,
        description: str,
        factory: ServedFactory,
        owner: Owner | None = None,
        start_up: StartUp | None = None,
    ) -> None:
        self.description = description
        self.factory = factory
        self.setName(f"{factory.kind} {service_name(description)}")
        self._endpoint: IStreamServerEndpoint = server_endpoint(reactor, description, owner)
        self._start_up = StartUp() if start_up is None else start_up
        self._port: Deferred[Any] | None = None

    def privilegedStartService(self) -> None:
        """
        Listen, unless it does.

        :raise SystemExit: with one line, when that fails: twistd then ends with status 1 and no traceback. A daemon raises an
            exception with that line instead, which twistd reports.
        """
        if self._port is not None:
            return
        try:
            self.listen()
        except ListenError as e:
            raise self._start_up.error(str(e)) from e

    def listen(self) -> None:
        """
        Listen, in a process that goes on if that fails.

        :raise ListenError: when that fails
        """
        failures: list[Failure] = []
        try:
            self._port = self._endpoint.listen(cast("IProtocolFactory", self.factory))
            self._port.addCallbacks(self._listening, failures.append)
            if failures:
                failures[0].raiseException()
        except (CannotListenError, OSError, OverflowError) as e:
            # OverflowError: a port number beyond 65535.
            self._port = None
            raise ListenError(f"can't listen at {self.description}: {_reason(e)}") from e

    def _listening(self, port: IListeningPort) -> IListeningPort:
        host = getattr(port.getHost(), "host", None)
        if host is not None and not _is_loopback(host) and not self.factory.is_restricted:
            _log.warn(
                "{endpoint} is open to each host that can reach {host}: a client has level {access_level}",
                endpoint=self.description,
                host=host,
                access_level=str(self.factory.level),
            )
        # One that has to tell people where it is.
        told: Callable[[IListeningPort], None] | None = getattr(self.factory, "listening", None)
        if told is not None:
            told(port)
        return port

    def startService(self) -> None:
        """Listen, if C{privilegedStartService} has not been called."""
        super().startService()
        self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """:return: fires when it listens no more"""
        super().stopService()
        listening, self._port = self._port, None
        if listening is None:
            return succeed(None)
        return listening.addCallback(lambda port: port.stopListening() if port is not None else None)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or one_line(cause)


def listener_of(
    reactor: object, description: str, factory: ServedFactory, owner: Owner | None, start_up: StartUp | None = None
) -> Listener:
    """:return: what serves a factory at an endpoint, whose description may have a level in it"""
    description, level = take_level(description)
    factory.level = min(factory.level, level)
    factory.endpoint = endpoint_name(description)
    return Listener(reactor, description, factory, owner, start_up)

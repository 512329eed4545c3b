"""
The tree of services: paths, and starting and stopping what they name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, IServiceCollection
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from twisted_qmon.errors import GenericError

__all__ = ["MAX_SERVICES", "ServiceInfo", "Services", "describe", "find", "is_inside", "path_of", "walk"]

#: How many services are looked at; what lies behind is not listed.
MAX_SERVICES = 10_000

_log = Logger()


class ServiceInfo(msgspec.Struct):
    """
    One service of the tree.

    :ivar path: the names from below the root to here, joined by C{/}; the index in its parent, from 0, stands for one that has
        no name. The root's is empty.
    :ivar name: its own name, empty if it has none
    :ivar class_: the qualified name of its class
    :ivar running: it says that it runs
    """

    path: str
    name: str
    class_: str
    running: bool


def _children(service: IService) -> list[IService]:
    return list(service) if IServiceCollection.providedBy(service) else []


def _segments(services: list[IService]) -> list[str]:
    """
    What stands in a path for each of these siblings: the name, or the index where there is no name or it would not do. One with
    a slash would look like two, one that is a number like an index, and a second one of the same name like the first.
    """
    taken = {str(index) for index in range(len(services))}
    segments = []
    for index, service in enumerate(services):
        name = service.name
        if not isinstance(name, str) or not name or "/" in name or name in taken:
            name = str(index)
        taken.add(name)
        segments.append(name)
    return segments


def walk(root: IService) -> Iterator[tuple[str, IService]]:
    """
    :param root: an L{IService}
    :return: the paths and services of its tree, parents first and siblings in their order; at most L{MAX_SERVICES}
    """
    waiting: list[tuple[str, IService]] = [("", root)]
    for _ in range(MAX_SERVICES):
        if not waiting:
            return
        path, service = waiting.pop()
        yield path, service
        children = _children(service)
        prefix = path + "/" if path else ""
        waiting += [
            (prefix + segment, child)
            for segment, child in zip(reversed(_segments(children)), reversed(children), strict=True)
        ]


def find(root: IService, path: str) -> IService:
    """
    :return: the service at a path
    :raise GenericError: when there is none
    """
    service = root
    if path:
        for wanted in path.split("/"):
            children = _children(service)
            for segment, child in zip(_segments(children), children, strict=True):
                if segment == wanted:
                    service = child
                    break
            else:
                raise GenericError(f"Service '{path}' not found")
    return service


def path_of(root: IService, service: IService) -> str | None:
    """:return: the path of a service, or C{None} when it is not in the tree"""
    return next((path for path, found in walk(root) if found is service), None)


def is_inside(service: IService, ancestor: IService) -> bool:
    """:return: whether the ancestor is the service, its parent, its parent's parent..."""
    seen = 0
    while service is not None and seen < MAX_SERVICES:
        if service is ancestor:
            return True
        service = service.parent
        seen += 1
    return False


def describe(path: str, service: IService) -> ServiceInfo:
    """:return: the plain facts of a service"""
    return ServiceInfo(path, service.name or "", qual(type(service)), bool(service.running))


class Services:
    """
    Starts and stops services, one operation at a time on any part of the tree.

    :param own: the services that must not be stopped by path, fetched anew for each question
    """

    def __init__(self, own: Callable[[], Iterable[IService]]) -> None:
        self._own = own
        self._changing: list[IService] = []

    def stop(self, path: str, service: IService) -> Deferred[None]:
        """
        Stop a service.

        :return: fires when it has stopped. Cancelling it does not keep the service from stopping.
        :raise GenericError: when it is or contains the monitor's own, does not run, or is changing already
        """
        for own in self._own():
            if is_inside(own, service) or is_inside(service, own):
                raise GenericError(f"Service '{path}' serves this monitor and can't be stopped through it")
        self._refuse_changing(path, service)
        if not service.running:
            raise GenericError(f"Service '{path}' is not running")
        return self._change(service, _stop_service, f"Service '{path}' stopped with an error")

    def start(self, path: str, service: IService) -> Deferred[None]:
        """
        Start a service: C{privilegedStartService()}, without which many would not listen again, then C{startService()}. One that
        fails at that is stopped again.

        :return: fires when it has started
        :raise GenericError: when it, or one inside it, runs already, or is changing
        """
        self._refuse_changing(path, service)
        for inner, found in walk(service):
            if found.running:
                where = "/".join(part for part in (path, inner) if part)
                raise GenericError(f"Service '{where}' is already running")
        return self._change(service, _start_service, f"Service '{path}' could not be started")

    def _refuse_changing(self, path: str, service: IService) -> None:
        for changing in self._changing:
            if is_inside(changing, service) or is_inside(service, changing):
                raise GenericError(f"Service '{path}' is being started or stopped")

    def _change(self, service: IService, act: Callable[[IService], Deferred[None]], complaint: str) -> Deferred[None]:
        # A caller that gives up cancels this Deferred only, not what it waits for.
        answer: Deferred[None] = Deferred()

        def done(result: object) -> None:
            self._changing.remove(service)
            if isinstance(result, Failure):
                _log.failure("{complaint}", result, complaint=complaint)
                answer.errback(GenericError(f"{complaint}: {_reason(result)}"))
            else:
                answer.callback(None)

        self._changing.append(service)
        act(service).addBoth(done)
        return answer


def _reason(failure: Failure) -> str:
    return failure.getErrorMessage() or type(failure.value).__name__


def _stop_service(service: IService) -> Deferred[None]:
    return maybeDeferred(service.stopService).addCallback(_raise_inner_failure)


def _raise_inner_failure(result: object) -> None:
    """
    A C{MultiService} stops with the list of what its parts came to, failures and all, and calls that success.

    :raise Exception: the first failure in it
    """
    if not isinstance(result, list):
        return
    for part in result:
        if isinstance(part, tuple) and len(part) == 2:
            good, value = part
            if not good and isinstance(value, Failure):
                value.raiseException()
            _raise_inner_failure(value)


def _start_service(service: IService) -> Deferred[None]:
    for _, part in walk(service):
        if isinstance(part, StreamServerEndpointService):
            # Once it has listened it only logs it when the port is busy the next time, and says that it runs.
            part._raiseSynchronously = True

    def roll_back(failure: Failure) -> Deferred[None]:
        def failed_again(second: Failure) -> None:
            _log.debug(
                "while stopping {service!r}, which had failed to start: {why}", service=service, why=_reason(second)
            )

        stopped = maybeDeferred(service.stopService).addErrback(failed_again)
        return stopped.addCallback(lambda _: failure.raiseException())

    starting: Deferred[None] = maybeDeferred(service.privilegedStartService)
    starting.addCallback(lambda _: maybeDeferred(service.startService))
    return starting.addErrback(roll_back)

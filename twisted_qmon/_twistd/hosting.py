"""
Another C{twistd} plugin's service, run beside the monitor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import CoroutineType
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Hosting", "one_line", "start_up"]

_log = Logger()


def one_line(error: BaseException) -> str:
    """:return: what an exception says, on one line; its class's name if it says nothing"""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def start_up(what: str) -> Iterator[None]:
    """
    What fails in here fails while the process starts.

    :param what: who it is that fails, for the message
    :raise SystemExit: instead of an exception: twistd ends with this one line and status 1, not with a traceback
    """
    try:
        yield
    except Exception as e:
        raise SystemExit(f"twistd qmon: {what}: {one_line(e)}") from e


class Hosting(MultiService):
    """
    The common parent of a plugin's service and the monitor's. What fails while it starts ends the process with one line; what
    fails later is logged, and nothing else comes to an end by it.

    :param name: the plugin's name, which its service gets if it has none
    :param hosted: the plugin's service
    """

    def __init__(self, name: str, hosted: Any) -> None:
        MultiService.__init__(self)
        self._name = name
        self._hosted = hosted
        if hosted.name is None and hosted.parent is None:
            hosted.setName(name)
        hosted.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """:raise SystemExit: with one line, when a part of it can't"""
        with start_up(self._name):
            MultiService.privilegedStartService(self)

    def startService(self) -> None:
        """:raise SystemExit: with one line, when a part of it can't"""
        Service.startService(self)
        for service in self:
            with start_up(self._name):
                result = service.startService()
                if service is self._hosted:
                    self._watch(result)

    def _watch(self, result: Any) -> None:
        """Some services return a Deferred or a coroutine from C{startService}, and their failure in it."""
        if isinstance(result, CoroutineType):
            result = Deferred.fromCoroutine(result)
        if not isinstance(result, Deferred):
            return
        at_once: list[Failure] = []
        began = True

        def failed(failure: Failure) -> None:
            if began:
                at_once.append(failure)
            else:
                _log.failure("the service {name} failed", failure, name=self._name)

        result.addErrback(failed)
        began = False
        if at_once:
            at_once[0].raiseException()

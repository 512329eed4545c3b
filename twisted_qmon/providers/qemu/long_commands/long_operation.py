"""
Long work on QEMU: one command begins it, events and queries tell how far it is, and another command calls it off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandError, ConnectionClosed

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICaller
    from twisted_qmon.providers.qemu.upstream import Forwarded, Upstream

__all__ = ["MAX_WATCHED", "POLL", "LongOperation", "Watch"]

#: Seconds between two queries of how far the work is, and whether it ended without an event.
POLL = 1.0

#: Events that a L{Watch} keeps until they are asked for; beyond it the oldest are dropped. A query has what they told.
MAX_WATCHED = 1000

_T = TypeVar("_T")

_log = Logger()


class Watch:
    """
    Waits for some of QEMU's events, from C{with} on.

    :param wanted: called with name and data; says whether the event matters
    """

    def __init__(self, upstream: Upstream, wanted: Callable[[str, Mapping[str, Any]], bool]) -> None:
        self._upstream = upstream
        self._wanted = wanted
        self._seen: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=MAX_WATCHED)
        self._is_over = False
        self._waiting: Deferred[None] | None = None
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Watch:
        self._stop = self._upstream.watch(self._happened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _happened(self, name: str, data: Mapping[str, Any]) -> None:
        if not name:
            self._is_over = True
        elif self._wanted(name, data):
            self._seen.append((name, data))
        else:
            return
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def next(self, seconds: float) -> tuple[str, Mapping[str, Any]] | None:
        """
        :param seconds: how long to wait
        :return: the next event that matters; C{None} if there is none in that time
        :raise ConnectionClosed: when the connection to QEMU is lost: no more events will come
        """
        if not self._seen and not self._is_over:
            self._waiting = Deferred()
            timer = self._upstream.clock.callLater(seconds, self._waiting.callback, None)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer.active():
                    timer.cancel()
        if self._seen:
            return self._seen.popleft()
        if self._is_over:
            raise ConnectionClosed("The connection to QEMU was lost before this was done")
        return None


class LongOperation:
    """
    One piece of long work. When the one who waits for it gives up, it is called off, and followed to its end all the
    same. When the proxy stops, QEMU goes on with it.

    :param upstream: the QEMU
    :param begin: the command that begins it, and its arguments
    :param call_off: the command that calls it off, and its arguments
    :param caller: on whose behalf
    """

    def __init__(
        self,
        upstream: Upstream,
        begin: tuple[str, Mapping[str, JSON]],
        call_off: tuple[str, Mapping[str, JSON]],
        caller: ICaller | None,
    ) -> None:
        self.upstream = upstream
        self._begin = begin
        self._call_off = call_off
        self._caller = caller
        self._beginning: Forwarded | None = None
        self._is_called_off = False

    async def begin(self) -> None:
        """
        Begin it.

        :raise CommandError: when QEMU refuses
        """
        self._beginning = self.upstream.execute(*self._begin, self._caller)
        await self._beginning
        self._beginning = None
        if self._is_called_off:
            self._send_call_off()

    def wait(self, course: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """
        :param course: begins it and waits for its end
        :return: fires with what that returns. Cancelling it calls the work off.
        """
        waiting: Deferred[_T] = Deferred(self._cancelled)

        def ended(outcome: _T | Failure) -> None:
            if not waiting.called:
                waiting.callback(outcome)
            elif isinstance(outcome, Failure) and not outcome.check(CommandError, CancelledError):
                _log.failure("while waiting for the end of {name}", outcome, name=self._begin[0])

        Deferred.fromCoroutine(course).addBoth(ended)
        return waiting

    def _cancelled(self, waiting: Deferred[_T]) -> None:
        if self.upstream.is_stopping:
            return
        self._is_called_off = True
        if self._beginning is None:
            self._send_call_off()
        elif not self._beginning.is_sent:
            # It never will be, then.
            self._beginning.cancel()

    def _send_call_off(self) -> None:
        name = self._call_off[0]
        self.upstream.execute(*self._call_off).addErrback(
            lambda failure: _log.info("{name} was refused: {reason}", name=name, reason=failure.getErrorMessage())
        )

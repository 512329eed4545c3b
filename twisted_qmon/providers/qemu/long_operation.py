"""
Long work on QEMU that one command begins, events and queries tell of, and another command calls off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandError, ConnectionClosed, GenericError

if TYPE_CHECKING:
    from twisted_qmon.providers.qemu.upstream import Upstream
    from twisted_qmon.qapi.json_text import JSONText

__all__ = ["MAX_WATCHED", "POLL", "LongOperation", "Watch", "run_job"]

#: Seconds between two looks at how far something is, and whether it ended without saying so.
POLL = 1.0

#: Events that a L{Watch} keeps until they are asked for; beyond it the oldest are dropped (a query tells what they
#: told).
MAX_WATCHED = 1000

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
        :raise ConnectionClosed: when the connection to QEMU is lost: nobody tells any more
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
    One piece of long work. Who waits for it may give up; it is then called off, and seen to its end all the same. When it is the
    door that stops, QEMU is left to it.

    :param begin: the command that begins it, and its arguments
    :param call_off: the command that calls it off, and its arguments
    :param caller: on whose behalf
    """

    def __init__(
        self,
        upstream: Upstream,
        begin: tuple[str, Mapping[str, Any]],
        call_off: tuple[str, Mapping[str, Any]],
        caller: Any,
    ) -> None:
        self.upstream = upstream
        self._begin = begin
        self._call_off = call_off
        self._caller = caller
        self._beginning: Deferred[JSONText] | None = None
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

    def wait(self, course: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """
        :param course: begins it and waits for its end
        :return: fires with what that returns. Cancelling it calls the work off.
        """
        waiting: Deferred[Any] = Deferred(self._cancelled)

        def ended(outcome: Any) -> None:
            if not waiting.called:
                waiting.callback(outcome)
            elif isinstance(outcome, Failure) and not outcome.check(CommandError, CancelledError):
                _log.failure("while waiting for the end of {name}", outcome, name=self._begin[0])

        Deferred.fromCoroutine(course).addBoth(ended)
        return waiting

    def _cancelled(self, waiting: Deferred[Any]) -> None:
        if self.upstream.is_stopping:
            # Nobody wants it to end: the door is closed, and QEMU goes on.
            return
        self._is_called_off = True
        if self._beginning is None:
            self._send_call_off()
        elif not getattr(self._beginning, "number", 0):
            # Not sent yet, and so it never will be.
            self._beginning.cancel()

    def _send_call_off(self) -> None:
        name = self._call_off[0]
        self.upstream.execute(*self._call_off).addErrback(
            lambda failure: _log.info("{name} was refused: {reason}", name=name, reason=failure.getErrorMessage())
        )


def run_job(
    upstream: Upstream,
    begin: tuple[str, Mapping[str, Any]],
    job_id: str,
    request: Any,
    *,
    when_ready: str | None = None,
) -> Deferred[None]:
    """
    Begin a job of QEMU's, wait for its end and dismiss it.

    :param begin: the command, and all its arguments
    :param job_id: the job's id, as in the arguments
    :param request: the L{Request<twisted_qmon.Request>} on whose behalf; is told the progress
    :param when_ready: what becomes of a job that is ready to be completed: C{"complete"} completes it, C{"leave"}
        leaves it at that
    :return: fires when it is done; fails with the job's own error. Cancelling it cancels the job.
    """
    work = LongOperation(upstream, begin, ("job-cancel", {"id": job_id}), request.caller)
    return work.wait(_see_through(work, job_id, request, when_ready))


async def _see_through(work: LongOperation, job_id: str, request: Any, when_ready: str | None) -> None:
    upstream = work.upstream
    error = None
    is_ours = False
    with Watch(upstream, lambda _, data: job_id in (data.get("id"), data.get("device"))) as watch:
        await work.begin()
        while True:
            event = await watch.next(POLL)
            if event is None:
                info = await _job_info(upstream, job_id)
                # Somebody else may have dismissed it.
                status = "null" if info is None else info.get("status")
                if info is not None and info.get("total-progress"):
                    request.progress(info.get("current-progress", 0), info["total-progress"])
            else:
                name, data = event
                status = data.get("status") if name == "JOB_STATUS_CHANGE" else None
                # There may have been one with the same id before, whose end was still to be told.
                is_ours = is_ours or status == "created"
                if not is_ours:
                    continue
                if name == "BLOCK_JOB_COMPLETED":
                    error = data.get("error")
                elif name == "BLOCK_JOB_CANCELLED":
                    error = "The job was cancelled"
            if status == "ready" and when_ready is not None:
                if when_ready == "leave":
                    return
                when_ready = None
                await upstream.call("job-complete", {"id": job_id})
            if status in ("concluded", "null"):
                break
        if status == "concluded":
            info = await _job_info(upstream, job_id)
            if info is not None:
                error = info.get("error", error)
                await _dismiss(upstream, job_id)
    if error:
        raise GenericError(str(error))


async def _job_info(upstream: Upstream, job_id: str) -> dict[str, Any] | None:
    jobs = await upstream.call("query-jobs")
    return next((job for job in jobs if job.get("id") == job_id), None)


async def _dismiss(upstream: Upstream, job_id: str) -> None:
    try:
        await upstream.call("job-dismiss", {"id": job_id})
    except GenericError as e:
        # Somebody else was faster.
        _log.debug("job {id} is not to be dismissed: {error}", id=job_id, error=e)

"""
A job of QEMU's, from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.providers.qemu.long_commands.long_operation import POLL, LongOperation, Watch

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.providers.qemu.upstream import Upstream

__all__ = ["JOB_COMMANDS", "WhenReady", "run_job"]

#: The commands of QEMU that L{run_job} uses, besides the one that begins the job.
JOB_COMMANDS = ("query-jobs", "job-cancel", "job-dismiss")

#: What becomes of a job that is ready to be completed: it is completed, or the wait ends and it goes on. C{None}: nothing.
WhenReady: TypeAlias = Literal["complete", "leave"] | None

_log = Logger()


def run_job(
    upstream: Upstream,
    begin: tuple[str, Mapping[str, JSON]],
    job_id: str,
    request: Request,
    *,
    when_ready: WhenReady = None,
) -> Deferred[None]:
    """
    Begin a job of QEMU's, wait for its end and dismiss it.

    :param begin: the command, and all its arguments
    :param job_id: the job's id, as in the arguments
    :param request: the request on whose behalf; is told the progress
    :return: fires when it is done; fails with the job's own error. Cancelling it cancels the job.
    """
    operation = LongOperation(upstream, begin, ("job-cancel", {"id": job_id}), request.caller)
    return operation.wait(_Job(upstream, job_id, request).follow(operation, when_ready))


class _Job:
    """What is known of a job while it runs."""

    def __init__(self, upstream: Upstream, job_id: str, request: Request) -> None:
        self._upstream = upstream
        self._id = job_id
        self._request = request
        self._error: str | None = None
        # Events come with the job's id, which one before it may have had.
        self._is_ours = False

    async def follow(self, operation: LongOperation, when_ready: WhenReady) -> None:
        """
        :raise GenericError: with the job's error, when it has failed or was cancelled
        """
        with Watch(self._upstream, lambda _, data: self._id in (data.get("id"), data.get("device"))) as watch:
            await operation.begin()
            status = None
            while status not in ("concluded", "null"):
                status = await self._next_status(watch)
                if status == "ready" and when_ready == "leave":
                    return
                if status == "ready" and when_ready == "complete":
                    when_ready = None
                    await self._upstream.call("job-complete", {"id": self._id})
            if status == "concluded":
                await self._conclude()
        if self._error:
            raise GenericError(self._error)

    async def _next_status(self, watch: Watch) -> str | None:
        event = await watch.next(POLL)
        if event is not None:
            return self._take_event(*event)
        info = await self._info()
        if info is None:
            # Another client has dismissed it.
            return "null"
        if info.get("total-progress"):
            self._request.progress(info.get("current-progress", 0), info["total-progress"])
        return str(info.get("status"))

    def _take_event(self, name: str, data: Mapping[str, Any]) -> str | None:
        status = data.get("status") if name == "JOB_STATUS_CHANGE" else None
        self._is_ours = self._is_ours or status == "created"
        if not self._is_ours:
            return None
        if name == "BLOCK_JOB_COMPLETED":
            self._error = data.get("error")
        elif name == "BLOCK_JOB_CANCELLED":
            self._error = "The job was cancelled"
        return status

    async def _conclude(self) -> None:
        info = await self._info()
        if info is None:
            return
        self._error = info.get("error", self._error)
        try:
            await self._upstream.call("job-dismiss", {"id": self._id})
        except GenericError as e:
            # Another client was faster.
            _log.debug("job {id} was not dismissed: {error}", id=self._id, error=e)

    async def _info(self) -> dict[str, Any] | None:
        jobs = await self._upstream.call("query-jobs")
        return next((job for job in jobs if job.get("id") == self._id), None)

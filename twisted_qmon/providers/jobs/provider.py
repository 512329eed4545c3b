"""
Jobs: long work that outlives the client that began it, with QEMU's own commands, states and events.

A command starts one in two lines and returns::

    @command
    def copy(self, job_id: str, source: str, target: str) -> None:
        \"\"\"Copy a file in the background.\"\"\"

        async def work(job: Job) -> None:
            for done, total in pieces(source, target):
                job.progress(done, total)
                await job.pause_point()

        Jobs.of(self.monitor).start(job_id, "copy", work)

Any client sees it from then on: C{JOB_STATUS_CHANGE} at each change, C{query-jobs}, C{job-cancel} and the other verbs;
and a person types C{info jobs}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from twisted_qmon import CommandProvider, Event, GenericError, Request, command
from twisted_qmon._text import short_number, table
from twisted_qmon.core.access.standing import standing_of
from twisted_qmon.core.guard import ASKING
from twisted_qmon.errors import EventError, RegistrationError, ShuttingDown
from twisted_qmon.info import Level, Need
from twisted_qmon.providers.jobs.job import Job, Work
from twisted_qmon.providers.jobs.states import JobStatus

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from twisted_qmon import Monitor

__all__ = ["MAX_JOBS", "STOP_GRACE", "Job", "JobInfo", "JobStatus", "Jobs"]

#: How many jobs there may be at a time; those that are concluded and not dismissed count.
MAX_JOBS = 1000

#: Seconds that a drain gives work that was cancelled because time was up, before the job is ended without it.
STOP_GRACE = 1.0

#: A job that is in one of these states goes on only if a command says so.
_WAITS_FOR_COMMAND = frozenset({JobStatus.PAUSED, JobStatus.READY, JobStatus.STANDBY, JobStatus.PENDING})

_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_BAR = 20


class JobInfo(msgspec.Struct):
    """
    What C{query-jobs} says of a job.

    :ivar current_progress: what is done, in the job's own unit
    :ivar total_progress: what there is to do, in the same unit
    :ivar error: why it failed
    """

    id: str
    type: str
    status: JobStatus
    current_progress: int
    total_progress: int
    error: str | None = None


class Jobs(CommandProvider):
    """
    The jobs of a monitor, and the commands that show and control them.

    :param max_jobs: how many there may be at a time; see L{MAX_JOBS}
    """

    _log = Logger()

    events = (Event("JOB_STATUS_CHANGE", status=JobStatus, id=str),)

    def __init__(self, *, max_jobs: int = MAX_JOBS) -> None:
        self.max_jobs = max_jobs
        self._jobs: dict[str, Job] = {}
        self._draining = False

    # -- for other providers

    @staticmethod
    def of(monitor: Monitor | None) -> Jobs:
        """
        :return: the jobs of this monitor
        :raise RegistrationError: when no L{Jobs} is registered with it
        """
        for provider in monitor.providers if monitor is not None else ():
            if isinstance(provider, Jobs):
                return provider
        raise RegistrationError("no Jobs is registered with this monitor")

    def start(
        self,
        id: str,
        type: str,
        work: Work,
        *,
        auto_finalize: bool = True,
        auto_dismiss: bool = True,
        on_stop: str = "cancel",
        on_finalize: Callable[[], object] | None = None,
    ) -> Job:
        """
        Start a job: it is C{created}, it is C{running}, and its work runs until it first waits for something. The job
        ends with the work, in a later turn of the reactor at the earliest; when that fails the job has failed: with the
        words of a L{CommandError}, while any other exception is logged.

        :param id: a letter, then letters, digits, C{.}, C{_} and C{-}; no other job has it
        :param type: what kind of work it is, for people and programs (C{"copy"})
        :param work: called with the L{Job}, returns a Deferred or a coroutine (or nothing: it is done). Or a Deferred
            or coroutine itself, if it wants nothing of the job.
        :param auto_finalize: C{False}: it stays C{pending} when the work is done, until C{job-finalize}
        :param auto_dismiss: C{False}: it stays C{concluded}, with its error if any, until C{job-dismiss}
        :param on_stop: what a drain does: C{"cancel"} it, or C{"wait"} for it as long as it needs no command to
            go on
        :param on_finalize: called between C{pending} and C{concluded}, to make the result of the work count; what it
            raises makes the job fail
        :raise GenericError: when the id is wrong or taken, or there are too many jobs
        :raise ShuttingDown: when the monitor is stopping
        :raise RuntimeError: when this provider is not registered with a monitor
        """
        try:
            job = self._new(
                id,
                type,
                auto_finalize=auto_finalize,
                auto_dismiss=auto_dismiss,
                on_stop=on_stop,
                on_finalize=on_finalize,
            )
        except BaseException:
            if isinstance(work, Coroutine):
                work.close()
            raise
        self._jobs[id] = job
        job.begin(work)
        return job

    def _new(self, id: str, type: str, **options: Any) -> Job:
        if self.monitor is None:
            raise RuntimeError("jobs can be started only while their provider is registered with a monitor")
        if self._draining or self.monitor.refusing:
            raise ShuttingDown("The monitor is shutting down")
        if not _ID.fullmatch(id):
            raise GenericError(f"Invalid job ID '{id}'")
        if id in self._jobs:
            raise GenericError(f"Job ID '{id}' already in use")
        if len(self._jobs) >= self.max_jobs:
            raise GenericError(f"There are {self.max_jobs} jobs already; dismiss those that are concluded")
        return Job(id, type, clock=self.monitor.clock, changed=self._changed, owner=ASKING.get(), **options)

    def __iter__(self) -> Iterator[Job]:
        """The jobs, newest first."""
        return iter(list(reversed(self._jobs.values())))

    def get(self, id: str) -> Job:
        """
        :return: the job of that id
        :raise GenericError: when there is none
        """
        try:
            return self._jobs[id]
        except KeyError:
            raise GenericError("Job not found") from None

    def drain(self, seconds: float) -> Deferred[int]:
        """
        Bring all jobs to an end, and take no new ones meanwhile. Those whose type says so are cancelled now; the others
        may run on for a while, but not in a state that only a command can end, since no more commands come. All those
        that are left when time is up are cancelled, and if even that does not end their work, they end without it
        (L{STOP_GRACE} later). The end of each is an event, as always.

        :param seconds: how long
        :return: fires when all are concluded, with how many were cancelled because time was up
        """
        late: list[Job] = []
        timers: list[IDelayedCall] = []
        if self.monitor is None or not self._alive():
            return succeed(0)
        clock = self.monitor.clock

        def time_is_up() -> None:
            late.extend(self._alive())
            for job in late:
                self._stop(job)
            timers.append(clock.callLater(STOP_GRACE, give_up))

        def give_up() -> None:
            for job in self._alive():
                job.abandon()

        def all_ended(_: object) -> int:
            self._draining = False
            for timer in timers:
                if timer.active():
                    timer.cancel()
            return len(late)

        self._draining = True
        timers.append(clock.callLater(seconds, time_is_up))
        left = self._alive()
        everything = _all_of([job.ended() for job in left]).addCallback(all_ended)
        for job in left:
            self._stop_if_due(job)
        return everything

    def _alive(self) -> list[Job]:
        return [job for job in self._jobs.values() if not job.is_over]

    def _stop_if_due(self, job: Job) -> None:
        # A pending job that needs no job-finalize goes on by itself.
        if job.status is JobStatus.PENDING and job.auto_finalize:
            return
        if job.on_stop == "cancel" or job.status in _WAITS_FOR_COMMAND:
            self._stop(job)

    def _stop(self, job: Job) -> None:
        if not (job.cancelled or job.is_over):
            job.cancel()

    def _changed(self, job: Job) -> None:
        if job.status is JobStatus.NULL and self._jobs.get(job.id) is job:
            del self._jobs[job.id]
        if self.monitor is not None:
            try:
                self.monitor.emit("JOB_STATUS_CHANGE", {"status": job.status, "id": job.id})
            except EventError:
                # Another provider may have taken the event's name; the job must not stop half-way.
                self._log.failure("while telling that {job!r}", job=job)
        if self._draining and not job.is_over:
            self._stop_if_due(job)

    # -- commands

    @command
    def query_jobs(self) -> list[JobInfo]:
        """list the jobs"""
        return [JobInfo(job.id, job.type, job.status, job.current, job.total, job.error) for job in self]

    @command(level="operate")
    def job_cancel(self, id: str) -> None:
        """cancel a job

        :param id: the job
        """
        self.get(id).cancel()

    @job_cancel.needs
    def _(self, request: Request) -> list[Need]:
        id = (request.arguments or {}).get("id")
        job = self._jobs.get(id) if isinstance(id, str) else None
        if job is None:
            return [Need(Level.OPERATE, "job-cancel")]
        if standing_of(request.caller).owns(job.owner):
            return [Need(Level.OBSERVE, "job-cancel")]
        return [Need(Level.ADMIN, "job-cancel", doing=" of another caller's job")]

    @command(level="operate")
    def job_pause(self, id: str) -> None:
        """pause a job at its next pause point

        :param id: the job
        """
        self.get(id).pause()

    @command(level="operate")
    def job_resume(self, id: str) -> None:
        """resume a paused job

        :param id: the job
        """
        self.get(id).resume()

    @command(level="operate")
    def job_complete(self, id: str) -> None:
        """complete a job that is ready

        :param id: the job
        """
        self.get(id).complete()

    @command(level="operate")
    def job_finalize(self, id: str) -> None:
        """finalize a pending job

        :param id: the job
        """
        self.get(id).finalize()

    @command(level="operate")
    def job_dismiss(self, id: str) -> None:
        """remove a concluded job

        :param id: the job
        """
        self.get(id).dismiss()

    # -- for people

    @query_jobs.printer
    def _table(self, infos: list[dict[str, Any]]) -> str:
        """C{info jobs}: a line for each, with a bar, per cent, and while it runs the rate and the time left."""
        if not infos:
            return "No jobs"
        rows = []
        for info in infos:
            current, total = info["current-progress"], info["total-progress"]
            part = min(current / total, 1.0) if total else None
            rows.append(
                (
                    info["id"],
                    info["type"],
                    info["status"],
                    _bar(part),
                    "" if part is None else f"{int(part * 100)} %",
                    *self._pace(info["id"], total - current),
                    f"error: {info['error']}" if "error" in info else "",
                )
            )
        return table(["ID", "TYPE", "STATUS", "PROGRESS", ">", ">RATE", ">LEFT", ""], rows)

    def _pace(self, id: str, left: int) -> tuple[str, str]:
        job = self._jobs.get(id)
        if job is None or self.monitor is None or job.status is not JobStatus.RUNNING:
            return "", ""
        rate = job.meter.rate(self.monitor.clock.seconds(), job.current)
        if rate is None:
            return "", ""
        return f"{short_number(rate)}/s", _duration(left / rate) if rate and left > 0 else ""


def _bar(part: float | None) -> str:
    done = 0 if part is None else int(part * _BAR)
    return "[" + "#" * done + "-" * (_BAR - done) + "]"


def _duration(seconds: float) -> str:
    if seconds >= 100 * 86400:
        return "months"
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _all_of(deferreds: list[Deferred[Job]]) -> Deferred[None]:
    """Fires when all have fired; none of them fails."""

    async def wait() -> None:
        for deferred in deferreds:
            await deferred

    return Deferred.fromCoroutine(wait())

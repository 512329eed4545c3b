"""
One job: its states, the verbs that change them, and the work that it is made of. Behaviour and words are those of
QEMU's jobs.

The machine is a table (L{TRANSITIONS}), a second one says which verb is taken when (L{VERBS}), and all changes go
through one method, which tells the owner. The owner's subscribers may use a verb while they are told: each step
therefore looks whether the job still is where it had put it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.core.access.standing import Standing, standing_of
from twisted_qmon.errors import LOGGED, CommandError, GenericError
from twisted_qmon.providers.jobs.states import TRANSITIONS, VERBS, JobStatus, RateMeter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["Job", "Work"]

CANCELED = "Operation canceled"
_MOST = 2**63 - 1


#: What a job does: a callable that is given the job, or a Deferred or coroutine.
Work: TypeAlias = "Callable[[Job], Any] | Awaitable[Any]"


class Job:
    """
    A long operation that outlives the request that began it. L{Jobs.start<twisted_qmon.providers.jobs.Jobs.start>}
    makes one.

    The work calls L{progress}, L{pause_point} and L{ready}; the others control it. Each verb raises
    L{GenericError} in QEMU's words when the state of the job does not allow it.

    :ivar id: unique among the jobs of a monitor
    :ivar type: what kind of work it is (C{"copy"})
    :ivar status: where it is
    :ivar current: what is done, in the job's own unit
    :ivar total: what there is to do; 0 while unknown
    :ivar error: why it failed, or C{None}. A job that was cancelled has failed, with C{Operation canceled}.
    :ivar cancelled: it was cancelled; the work may not have noticed yet
    :ivar is_over: it is concluded, or dismissed already
    :ivar owner: who started it
    :ivar on_stop: C{"cancel"} or C{"wait"}: what a drain does with it
    :ivar meter: how fast it is
    """

    _log = Logger()

    def __init__(
        self,
        id: str,
        type: str,
        *,
        clock: IReactorTime,
        changed: Callable[[Job], None],
        auto_finalize: bool = True,
        auto_dismiss: bool = True,
        on_stop: str = "cancel",
        on_finalize: Callable[[], object] | None = None,
        owner: Standing | None = None,
    ) -> None:
        if on_stop not in ("cancel", "wait"):
            raise ValueError(f"on_stop is 'cancel' or 'wait', not {on_stop!r}")
        self.id = id
        self.type = type
        self.status = JobStatus.UNDEFINED
        self.current = self.total = 0
        self.error: str | None = None
        self.cancelled = False
        self.on_stop = on_stop
        self.owner = standing_of(None) if owner is None else owner
        self.auto_finalize = auto_finalize
        self.auto_dismiss = auto_dismiss
        self.meter = RateMeter()
        self._clock = clock
        self._changed = changed
        self._on_finalize = on_finalize
        self._pause_requested = False
        self._completing = False
        self._started = False
        self._work: Deferred[Any] | None = None
        self._parked: list[Deferred[None]] = []
        self._kick: Deferred[None] | None = None
        self._waiters: list[Deferred[Job]] = []
        self.is_over = False

    def __repr__(self) -> str:
        return f"<Job {self.id!r} ({self.type}) {self.status.value}>"

    def _to(self, status: JobStatus) -> bool:
        """
        Change the state and tell the owner.

        :return: it is still in that state afterwards
        """
        before = self.status
        assert status in TRANSITIONS[before], f"{self!r} can't become {status.value}"
        self.status = status
        if status is not before:
            self._changed(self)
        return self.status is status

    def _check(self, verb: str) -> None:
        if self.status not in VERBS[verb]:
            raise GenericError(f"Job '{self.id}' in state '{self.status.value}' cannot accept command verb '{verb}'")

    # -- for the work

    def progress(self, current: int, total: int) -> None:
        """
        Say how far the work is.

        :param current: what is done, in the job's own unit (bytes, files, per cent)
        :param total: what there is to do, in the same unit; may change; 0 while unknown
        :raise TypeError: when one is no integer
        :raise ValueError: when one is negative, or too big for QMP's 64 bits
        """
        current, total = index(current), index(total)
        if not (0 <= current <= _MOST and 0 <= total <= _MOST):
            raise ValueError(f"no progress: {current} of {total}")
        if self.is_over:
            return
        self.current = current
        self.total = total
        self.meter.add(self._clock.seconds(), current)

    def pause_point(self) -> Deferred[None]:
        """
        A place where the work can rest: await it wherever nothing is half done, before each piece of the work for
        instance. A job is C{paused} (in C{ready}: C{standby}) only here; until it comes here it runs on.

        :return: fires at once if no pause was asked for, else when the job is resumed; fails with
            C{CancelledError} when the job is cancelled meanwhile
        """
        if not self._pause_requested or self.cancelled or self.is_over:
            return succeed(None)
        parked: Deferred[None] = Deferred(self._left)
        self._parked.append(parked)
        if self.status is JobStatus.RUNNING:
            self._to(JobStatus.PAUSED)
        elif self.status is JobStatus.READY:
            self._to(JobStatus.STANDBY)
        return parked

    def _left(self, parked: Deferred[None]) -> None:
        # The work does not wait at this pause point any more: not because we let it go, it had reasons of its own.
        if parked in self._parked:
            self._parked.remove(parked)
            if not self._parked:
                self._go_on()

    def _go_on(self) -> None:
        if self.status is JobStatus.PAUSED:
            self.meter.restart(self._clock.seconds(), self.current)
            self._to(JobStatus.RUNNING)
        elif self.status is JobStatus.STANDBY:
            self._to(JobStatus.READY)

    def ready(self) -> Deferred[None]:
        """
        Say that the work could end now, and wait for C{job-complete}: a copy is complete, say,
        and is kept up to date until it is wanted. Until then the work counts as standing at a pause point.

        :return: fires when the job is to be completed; fails with C{CancelledError} when it is cancelled, and with
            C{RuntimeError} when it has been ready before
        """
        return Deferred.fromCoroutine(self._ready())

    async def _ready(self) -> None:
        await self.pause_point()
        if self.status is not JobStatus.RUNNING:
            raise RuntimeError(f"{self!r} can't become ready")
        self._to(JobStatus.READY)
        while True:
            await self.pause_point()
            if self._completing:
                return
            self._kick = Deferred()
            await self._kick

    def _wake(self) -> None:
        kick, self._kick = self._kick, None
        if kick is not None and not kick.called:
            kick.callback(None)

    # -- control

    def ended(self) -> Deferred[Job]:
        """
        :return: fires with the job when it is concluded, one way or the other (C{error} tells), after the events that
            say so; at once if it is
        """
        waiter: Deferred[Job] = Deferred(self._waiters_remove)
        if self.is_over:
            waiter.callback(self)
        else:
            self._waiters.append(waiter)
        return waiter

    def _waiters_remove(self, waiter: Deferred[Job]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def pause(self) -> None:
        """
        Ask the work to pause.

        :raise GenericError: when it can't, or a pause was asked for before
        """
        self._check("pause")
        if self._pause_requested:
            raise GenericError("Job is already paused")
        self._pause_requested = True
        self._wake()

    def resume(self) -> None:
        """
        Undo L{pause}.

        :raise GenericError: when no pause was asked for, or it is too late
        """
        if not self._pause_requested:
            raise GenericError("Can't resume a job that was not paused")
        self._check("resume")
        self._pause_requested = False
        parked, self._parked = self._parked, []
        self._go_on()
        for deferred in parked:
            if not deferred.called:
                deferred.callback(None)

    def complete(self) -> None:
        """
        Let a job that is ready end. In C{standby} it does so once it is resumed.

        :raise GenericError: when it is not ready
        """
        self._check("complete")
        if self.cancelled:
            raise GenericError(f"The active block job '{self.id}' cannot be completed")
        self._completing = True
        self._wake()

    def finalize(self) -> None:
        """
        Let a job that waits for it conclude.

        :raise GenericError: when it does not
        """
        self._check("finalize")
        self._finalize()

    def dismiss(self) -> None:
        """
        Forget a job that is concluded.

        :raise GenericError: when it is not
        """
        self._check("dismiss")
        self._to(JobStatus.NULL)

    def cancel(self) -> None:
        """
        Cancel it: the Deferred or coroutine of its work is cancelled. It is over when the work has ended, as a failed
        job.

        :raise GenericError: when it is over
        """
        self._check("cancel")
        if self.cancelled:
            return
        self.cancelled = True
        self._pause_requested = False
        if not self._started or self.status in (JobStatus.WAITING, JobStatus.PENDING):
            self._fail(CANCELED)
            return
        self._go_on()
        # Not at once: this may be called from within the work, and nothing can be cancelled while it runs.
        self._clock.callLater(0, self._cancel_work)

    def _cancel_work(self) -> None:
        if self._work is not None:
            self._work.cancel()
        # Strands of the work that its cancellation did not reach.
        parked, self._parked = self._parked, []
        for deferred in parked:
            deferred.cancel()

    def abandon(self) -> None:
        """End it now, whatever its work does. What comes of that later is logged."""
        if self.is_over:
            return
        self.cancelled = True
        self._pause_requested = False
        self._go_on()
        if not self.is_over:
            self._log.warn("{job!r} is left to itself: it was cancelled, and its work did not end", job=self)
            self._fail(CANCELED)

    # -- its life

    def begin(self, work: Work) -> None:
        """
        Create it and run the work until that first waits for something. Nothing is raised: a failure is the job's.
        """
        if not self._to(JobStatus.CREATED):
            _discard(work)
            return
        self._started = True
        self._to(JobStatus.RUNNING)
        self.meter.restart(self._clock.seconds(), 0)
        self._work = Deferred.fromCoroutine(self._run(work))
        self._work.addBoth(self._work_ended)

    async def _run(self, work: Work) -> None:
        try:
            await self.pause_point()
            if self.cancelled:
                raise CancelledError()
        except CancelledError:
            _discard(work)
            raise
        outcome = work(self) if callable(work) else work
        if isinstance(outcome, (Deferred, Coroutine)):
            await outcome

    def _work_ended(self, result: Any) -> None:
        self._work = None
        if self.is_over:
            outcome = result.getErrorMessage() if isinstance(result, Failure) else "it succeeded"
            self._log.info("the work of {job!r}, left to itself, has ended: {outcome}", job=self, outcome=outcome)
            return
        # The answer to the command that started it comes first.
        self._clock.callLater(0, self._exit, result if isinstance(result, Failure) else None)

    def _exit(self, failure: Failure | None) -> None:
        if self.is_over:
            return
        self._parked.clear()
        self._go_on()
        if failure is not None:
            self._fail(self._reason(failure))
        elif self.cancelled:
            self._fail(CANCELED)
        elif (
            self._to(JobStatus.WAITING)  # for others of its group: ours are groups of one
            and self._to(JobStatus.PENDING)
            and self.auto_finalize
        ):
            self._finalize()

    def _reason(self, failure: Failure) -> str:
        if isinstance(failure.value, CommandError):
            return failure.value.desc
        if isinstance(failure.value, CancelledError):
            return CANCELED
        self._log.failure("while {job!r} was at work", failure, job=self)
        return f"Job '{self.id}' {LOGGED}"

    def _finalize(self) -> None:
        if self._on_finalize is not None:
            try:
                self._on_finalize()
            except Exception:
                self._fail(self._reason(Failure()))
                return
        self._conclude()

    def _fail(self, reason: str) -> None:
        self.error = reason
        self._to(JobStatus.ABORTING)
        self._conclude()

    def _conclude(self) -> None:
        self.is_over = True
        if self._to(JobStatus.CONCLUDED) and (self.auto_dismiss or not self._started):
            self._to(JobStatus.NULL)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(self)


def _discard(work: Work) -> None:
    """Work that will not be done."""
    if isinstance(work, Deferred):
        work.addErrback(lambda failure: failure.trap(CancelledError))
        work.cancel()
    elif isinstance(work, Coroutine):
        work.close()

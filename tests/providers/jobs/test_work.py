"""
Jobs: the work, how it ends, its progress; limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.support.job_scenarios import Ours
from tests.support.jobs import failing, forever, nothing, ready, states_of
from twisted_qmon import DeviceNotFound, Event, EventError, GenericError, Monitor, RegistrationError, command
from twisted_qmon.core.command import CommandProvider
from twisted_qmon.providers.jobs.provider import Job, Jobs
from twisted_qmon.providers.jobs.states import JobStatus, RateMeter


def test_two_lines() -> None:
    """A provider starts a job in two lines, and the reply comes before the job can end."""

    class Copier(CommandProvider):
        @command
        def copy(self, job_id: str) -> None:
            """Copy."""

            async def work(job: Job) -> None:
                job.progress(1, 1)

            Jobs.of(self.monitor).start(job_id, "copy", work, auto_dismiss=False)

    ours = Ours()
    ours.monitor.register(Copier())
    assert ours.call("copy", **{"job-id": "c"}) == {}
    assert states_of(ours, "c") == "created running"
    ours.clock.advance(0)
    assert states_of(ours, "c") == "created running waiting pending concluded"


def test_no_jobs_registered() -> None:
    """Who looks for the jobs of a monitor without any is told so."""
    for monitor in (None, Monitor(clock=Clock())):
        with pytest.raises(RegistrationError, match="no Jobs"):
            Jobs.of(monitor)


def test_not_registered() -> None:
    """A job can't be started without a monitor."""
    with pytest.raises(RuntimeError, match="registered"):
        Jobs().start("j", "test", nothing)


def test_unregistered_meanwhile() -> None:
    """Jobs that run when their provider is taken out come to their end, silently."""
    ours = Ours()
    done: Deferred[None] = Deferred()
    job = ours.jobs.start("j", "test", done)
    ours.monitor.unregister(ours.jobs)
    done.callback(None)
    ours.clock.advance(0)
    assert job.status is JobStatus.NULL
    assert states_of(ours) == "created running"


@pytest.mark.parametrize("kind", ["deferred", "coroutine", "returns deferred", "returns coroutine", "returns nothing"])
def test_kinds_of_work(kind: str) -> None:
    """Work is a Deferred or a coroutine, or a callable that returns one, or nothing."""
    ours = Ours()
    deferred: Deferred[None] = Deferred()

    async def coroutine(job: Job | None = None) -> None:
        await deferred

    works: dict[str, Any] = {
        "deferred": deferred,
        "coroutine": coroutine() if kind == "coroutine" else None,
        "returns deferred": lambda job: deferred,
        "returns coroutine": coroutine,
        "returns nothing": nothing,
    }
    ours.jobs.start("j", "test", works[kind])
    ours.clock.advance(0)
    if kind != "returns nothing":
        assert states_of(ours) == "created running"
        deferred.callback(None)
        ours.clock.advance(0)
    assert states_of(ours) == "created running waiting pending concluded null"


@pytest.mark.parametrize("kind", ["deferred", "coroutine", "returns deferred", "returns coroutine"])
@pytest.mark.parametrize("when", ["created", "running", "later"])
def test_cancel_any_work(kind: str, when: str) -> None:
    """Whatever the work is, and however early: it is cancelled, or never begun, and the job is over."""
    ours = Ours()
    cancelled: list[str] = []
    deferred: Deferred[None] = Deferred(lambda d: cancelled.append("deferred"))

    async def coroutine(job: Job | None = None) -> None:
        try:
            await deferred
        except CancelledError:
            cancelled.append("coroutine")
            raise

    works: dict[str, Any] = {
        "deferred": deferred,
        "coroutine": coroutine() if kind == "coroutine" else None,
        "returns deferred": lambda job: deferred,
        "returns coroutine": coroutine,
    }
    ours.monitor.subscribe(lambda m: ours.call("job-cancel", id="j") if m["data"]["status"] == when else None)
    job = ours.jobs.start("j", "test", works[kind], auto_dismiss=False)
    if when == "later":
        ours.clock.advance(1)
        ours.call("job-cancel", id="j")
    ours.clock.advance(0)
    assert job.error == "Operation canceled"
    expected = "created aborting concluded null" if when == "created" else "created running aborting concluded"
    assert states_of(ours) == expected
    if when == "later":
        assert cancelled == (["deferred", "coroutine"] if "coroutine" in kind else ["deferred"])
    else:
        assert cancelled == (["deferred"] if kind == "deferred" else [])


def test_work_that_ignores_cancel() -> None:
    """Work that was cancelled and ends well has failed all the same, when it ends."""
    ours = Ours()
    ends: Deferred[None] = Deferred()

    async def stubborn(job: Job) -> None:
        try:
            await Deferred()
        except CancelledError:
            await ends

    job = ours.jobs.start("j", "test", stubborn, auto_dismiss=False)
    ours.call("job-cancel", id="j")
    ours.clock.advance(10)
    assert (job.status, job.cancelled) == (JobStatus.RUNNING, True)
    ours.call("job-cancel", id="j")
    ours.clock.advance(10)
    assert job.status is JobStatus.RUNNING
    ends.callback(None)
    ours.clock.advance(0)
    assert states_of(ours) == "created running aborting concluded"
    assert job.error == "Operation canceled"


def test_cancel_from_within() -> None:
    """Work may cancel its own job."""
    ours = Ours()

    async def work(job: Job) -> None:
        ours.call("job-cancel", id="j")
        await Deferred()

    ours.jobs.start("j", "test", work)
    ours.clock.advance(0)
    assert states_of(ours) == "created running aborting concluded null"


def test_cancelled_after_the_work() -> None:
    """Between the end of its work and its own, a job can still be cancelled."""
    ours = Ours()
    job = ours.jobs.start("j", "test", nothing)
    ours.call("job-cancel", id="j")
    ours.clock.advance(0)
    assert states_of(ours) == "created running aborting concluded null"
    assert job.error == "Operation canceled"


def test_complete_after_cancel() -> None:
    """A job that has been cancelled can't be completed any more, in QEMU's words."""
    ours = Ours()
    ours.jobs.start("j", "test", ready)
    ours.call("job-cancel", id="j")
    with pytest.raises(GenericError, match="The active block job 'j' cannot be completed"):
        ours.call("job-complete", id="j")
    ours.clock.advance(0)
    assert states_of(ours) == "created running ready aborting concluded null"


def test_canceller_that_raises(flush_logged_errors: Callable[..., Any]) -> None:
    """Work that can't even be cancelled without an exception ends its job all the same."""
    ours = Ours()

    def canceller(deferred: Any) -> None:
        raise ValueError("no")

    job = ours.jobs.start("j", "test", lambda job: Deferred(canceller))
    ours.call("job-cancel", id="j")
    ours.clock.advance(0)
    assert job.error == "Job 'j' failed for a reason that was logged"
    assert states_of(ours) == "created running aborting concluded null"
    assert len(flush_logged_errors(ValueError)) == 1


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_abandon(when: str) -> None:
    """A job can be ended without its work at any time; once it is over, that is nothing."""
    ours = Ours()
    work: Deferred[None] = Deferred()
    job = ours.jobs.start("j", "test", work)
    if when != "before":
        work.callback(None)
    if when == "after":
        ours.clock.advance(0)
    job.abandon()
    job.abandon()
    ours.clock.advance(1)
    ended = "waiting pending concluded null" if when == "after" else "aborting concluded null"
    assert states_of(ours) == f"created running {ended}"


def test_spoilt_event(flush_logged_errors: Callable[..., Any]) -> None:
    """Somebody covers the event with one of other members: that is logged, and the job is none the worse."""
    ours = Ours()

    class Spoiler(CommandProvider):
        events = (Event("JOB_STATUS_CHANGE", other=int),)

    ours.monitor.register(Spoiler(), shadow=True)
    job = ours.jobs.start("j", "test", nothing)
    ours.clock.advance(0)
    assert job.status is JobStatus.NULL
    assert len(flush_logged_errors(EventError)) == 6


def test_error_while_cancelled() -> None:
    """Work that fails in words of its own when it is cancelled is quoted."""
    ours = Ours()

    async def work(job: Job) -> None:
        try:
            await Deferred()
        except CancelledError:
            raise GenericError("half of it is there") from None

    job = ours.jobs.start("j", "test", work)
    ours.call("job-cancel", id="j")
    ours.clock.advance(0)
    assert job.error == "half of it is there"


@pytest.mark.parametrize(
    "work", [failing, lambda job: (_ for _ in ()).throw(DeviceNotFound("Device 'x' not found"))], ids=["async", "sync"]
)
def test_failure(work: Any) -> None:
    """A job whose work fails has failed; the one who started it is not bothered."""
    ours = Ours()
    ours.jobs.start("j", "test", work)
    ours.clock.advance(0)
    assert states_of(ours) == "created running aborting concluded null"


def test_failure_with_an_exception(flush_logged_errors: Callable[..., Any]) -> None:
    """An exception that is no CommandError is logged, and not shown to clients."""
    ours = Ours()

    async def work(job: Job) -> None:
        raise OSError("/secret/path")

    job = ours.jobs.start("j", "test", work, auto_dismiss=False)
    ours.clock.advance(0)
    assert job.error == "Job 'j' failed for a reason that was logged"
    assert len(flush_logged_errors(OSError)) == 1


def test_ended() -> None:
    """One can wait for the end of a job, before and after; and stop waiting."""
    ours = Ours()
    work: Deferred[None] = Deferred()
    job = ours.jobs.start("j", "test", work)
    seen: list[Any] = []
    job.ended().addCallback(lambda ended: seen.append((ended, ended.status, ended.error)))
    impatient = job.ended()
    impatient.addErrback(lambda failure: failure.trap(CancelledError))
    impatient.cancel()
    assert not seen
    work.callback(None)
    ours.clock.advance(0)
    assert seen == [(job, JobStatus.NULL, None)]
    job.ended().addCallback(seen.append)
    assert seen[1] is job
    ours.call("query-jobs")


def test_same_id_again() -> None:
    """When a job is gone its id is free: also for the receiver of the event that says so."""
    ours = Ours()
    again: list[Job] = []

    def start_again(message: Any) -> None:
        if message["data"]["status"] == "null" and not again:
            again.append(ours.jobs.start("j", "second", forever))

    ours.monitor.subscribe(start_again)
    ours.jobs.start("j", "first", nothing)
    ours.clock.advance(0)
    assert [info["type"] for info in ours.call("query-jobs")] == ["second"]
    assert states_of(ours) == "created running waiting pending concluded null created running"


# -- progress


@pytest.mark.parametrize("wrong", [(1.5, 2), ("1", 2), (None, 1), (1, None)])
def test_progress_type(wrong: Any) -> None:
    """Progress is integers; what is not raises at the work, so that query-jobs can't stumble over it."""
    job = Ours().jobs.start("j", "test", forever)
    with pytest.raises(TypeError):
        job.progress(*wrong)


@pytest.mark.parametrize("wrong", [(-1, 2), (1, -1), (2**63, 2**63)])
def test_progress_range(wrong: Any) -> None:
    """Progress is in QMP's range."""
    job = Ours().jobs.start("j", "test", forever)
    with pytest.raises(ValueError, match="no progress"):
        job.progress(*wrong)


def test_rate() -> None:
    """The rate is that of the last half minute."""
    meter = RateMeter()
    assert meter.rate(0, 0) is None
    meter.restart(100, 0)
    assert meter.rate(100, 0) is None
    for second in range(1, 200):
        meter.add(100 + second, 10 * second if second < 100 else 1000 + 50 * (second - 100))
    assert meter.rate(299, 5950) == pytest.approx(50)
    assert len(meter._samples) <= meter.SAMPLES + 1
    # Nothing is done any more: it goes down.
    assert meter.rate(329, 5950) == pytest.approx(25)


def test_rate_of_work_that_starts_again() -> None:
    """Progress that goes back starts the measurement anew."""
    meter = RateMeter()
    meter.restart(0, 0)
    meter.add(10, 1000)
    meter.add(11, 0)
    assert meter.rate(12, 20) == pytest.approx(20)
    assert meter.rate(12, -20) is None


# -- limits


def test_number_of_jobs_is_limited() -> None:
    """Those that are concluded count until they are dismissed."""
    clock = Clock()
    monitor = Monitor(clock=clock)
    jobs = Jobs(max_jobs=2)
    monitor.register(jobs)
    jobs.start("a", "test", nothing, auto_dismiss=False)
    jobs.start("b", "test", forever)
    clock.advance(0)
    with pytest.raises(GenericError, match="There are 2 jobs already"):
        jobs.start("c", "test", nothing)
    jobs.get("a").dismiss()
    jobs.start("c", "test", nothing)
    assert [job.id for job in jobs] == ["c", "b"]


@pytest.mark.parametrize("id", ["", "0", "-a", "_a", "a b", "é", "a\n", "a/b", "#block1"])
def test_wrong_id(id: str) -> None:
    """Ids are QEMU's; a coroutine that is handed in with a wrong one is not left hanging."""
    ours = Ours()

    async def work() -> None: ...

    with pytest.raises(GenericError) as caught:
        ours.jobs.start(id, "test", work())
    assert str(caught.value) == f"Invalid job ID '{id}'"


def test_wrong_on_stop() -> None:
    """A drain cancels or waits."""
    with pytest.raises(ValueError, match="on_stop"):
        Ours().jobs.start("j", "test", nothing, on_stop="never")

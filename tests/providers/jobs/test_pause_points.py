"""
Jobs: pause points, getting ready, finalizing and dismissing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from tests.support.job_scenarios import Ours
from tests.support.jobs import at_pause_points, nothing, ready, states_of
from twisted_qmon import GenericError
from twisted_qmon.providers.jobs.provider import Job
from twisted_qmon.providers.jobs.states import JobStatus

Act = Callable[[Job], "Coroutine[Any, Any, None]"]


def test_pause_only_at_a_pause_point() -> None:
    """A job that is to pause runs on until its work comes to a pause point, and stays there until it is resumed."""
    ours = Ours()
    piece: Deferred[None] = Deferred()
    done: list[int] = []

    async def work(job: Job) -> None:
        await piece
        done.append(1)
        await job.pause_point()
        done.append(2)

    job = ours.jobs.start("j", "test", work)
    ours.call("job-pause", id="j")
    ours.clock.advance(1)
    assert job.status is JobStatus.RUNNING
    piece.callback(None)
    assert (job.status, done) == (JobStatus.PAUSED, [1])
    ours.clock.advance(1)
    ours.call("job-resume", id="j")
    assert (job.status, done) == (JobStatus.RUNNING, [1, 2])
    ours.clock.advance(0)
    assert states_of(ours) == "created running paused running waiting pending concluded null"


def test_pause_too_late() -> None:
    """Without another pause point, a job ends in spite of the pause; and then it is too late to resume it."""
    ours = Ours()
    work: Deferred[None] = Deferred()
    ours.jobs.start("j", "test", work, auto_dismiss=False)
    ours.call("job-pause", id="j")
    work.callback(None)
    ours.clock.advance(0)
    assert states_of(ours) == "created running waiting pending concluded"
    with pytest.raises(GenericError, match="in state 'concluded' cannot accept command verb 'resume'"):
        ours.call("job-resume", id="j")


def test_resume_before_the_pause_point() -> None:
    """A pause that is taken back before the work noticed was none."""
    ours = Ours()
    job = ours.jobs.start("j", "test", at_pause_points)
    ours.call("job-pause", id="j")
    ours.call("job-resume", id="j")
    ours.clock.advance(1)
    assert states_of(ours) == "created running"
    assert job.status is JobStatus.RUNNING


def test_several_at_a_pause_point() -> None:
    """Work in several strands rests in all of them, and goes on in all of them."""
    ours = Ours()
    going: list[str] = []
    strands: list[Deferred[None]] = []

    async def strand(job: Job, name: str) -> None:
        await deferLater(ours.clock, 0.1)
        await job.pause_point()
        going.append(name)

    async def work(job: Job) -> None:
        strands.extend(Deferred.fromCoroutine(strand(job, name)) for name in "abc")
        for one in strands:
            await one

    job = ours.jobs.start("j", "test", work)
    ours.call("job-pause", id="j")
    ours.clock.advance(0.1)
    assert (job.status, going) == (JobStatus.PAUSED, [])
    ours.call("job-resume", id="j")
    assert going == ["a", "b", "c"]
    ours.clock.advance(0)
    assert states_of(ours) == "created running paused running waiting pending concluded null"


def test_leaving_a_pause_point() -> None:
    """Work that gives up waiting at its pause point makes the job run again."""
    ours = Ours()
    points: list[Deferred[Any]] = []

    async def work(job: Job) -> None:
        await deferLater(ours.clock, 0.1)
        for _ in range(2):
            points.append(job.pause_point().addErrback(lambda failure: failure.trap(CancelledError)))
        await Deferred()

    ours.jobs.start("j", "test", work)
    ours.call("job-pause", id="j")
    ours.clock.advance(0.1)
    points[0].cancel()
    assert states_of(ours) == "created running paused"
    points[1].cancel()
    assert states_of(ours) == "created running paused running"
    ours.call("job-resume", id="j")


@pytest.mark.parametrize("rest", [None, "a value"])
def test_pause_point_not_awaited(rest: Any) -> None:
    """Work that ends without waiting at its pause point ends."""
    ours = Ours()
    gate: Deferred[None] = Deferred()

    async def work(job: Job) -> Any:
        await gate
        job.pause_point()
        return rest

    ours.jobs.start("j", "test", work)
    ours.call("job-pause", id="j")
    gate.callback(None)
    ours.clock.advance(0)
    assert states_of(ours) == "created running paused running waiting pending concluded null"


def test_cancel_at_a_pause_point_of_a_strand() -> None:
    """A strand that rests where the cancellation of the work does not reach it is cancelled too."""
    ours = Ours()
    failures: list[Any] = []
    ends: Deferred[None] = Deferred(lambda d: None)

    def work(job: Job) -> Deferred[None]:
        deferLater(ours.clock, 0.1, job.pause_point).addErrback(failures.append)
        return ends

    ours.jobs.start("j", "test", work)
    ours.call("job-pause", id="j")
    ours.clock.advance(0.1)
    ours.call("job-cancel", id="j")
    ours.clock.advance(0)
    assert [failure.type for failure in failures] == [CancelledError]
    assert states_of(ours) == "created running paused running aborting concluded null"


def test_ready_twice() -> None:
    """Work is ready once."""
    ours = Ours()

    async def work(job: Job) -> None:
        await job.ready()
        with pytest.raises(RuntimeError, match="can't become ready"):
            await job.ready()

    ours.jobs.start("j", "test", work)
    ours.call("job-complete", id="j")
    ours.clock.advance(0)
    assert states_of(ours) == "created running ready waiting pending concluded null"


def test_ready_while_paused() -> None:
    """Becoming ready is a pause point before and after."""
    ours = Ours()
    ours.monitor.subscribe(lambda m: ours.call("job-pause", id="j") if m["data"]["status"] == "created" else None)
    ours.jobs.start("j", "test", ready)
    ours.call("job-resume", id="j")
    ours.call("job-pause", id="j")
    ours.call("job-complete", id="j")
    assert states_of(ours) == "created running paused running ready standby"
    ours.call("job-resume", id="j")
    ours.clock.advance(0)
    assert states_of(ours).endswith("standby ready waiting pending concluded null")


@pytest.mark.parametrize("auto", [True, False])
def test_on_finalize(auto: bool) -> None:
    """What makes the result count is called between pending and concluded."""
    ours = Ours()
    calls: list[str] = []
    ours.jobs.start("j", "test", nothing, auto_finalize=auto, on_finalize=lambda: calls.append(states_of(ours)))
    ours.clock.advance(0)
    if not auto:
        assert not calls
        ours.call("job-finalize", id="j")
    assert calls == ["created running waiting pending"]


def test_on_finalize_fails() -> None:
    """When it fails the job has failed."""
    ours = Ours()

    def disk_full() -> None:
        raise GenericError("No space left on device")

    job = ours.jobs.start("j", "test", nothing, on_finalize=disk_full, auto_dismiss=False)
    ours.clock.advance(0)
    assert states_of(ours) == "created running waiting pending aborting concluded"
    assert job.error == "No space left on device"


def test_finalize_in_the_event() -> None:
    """A receiver may finalize and dismiss a job while it is told of its states."""
    ours = Ours()
    verbs = {"pending": "job-finalize", "concluded": "job-dismiss"}

    def act(message: Any) -> None:
        if message["data"]["status"] in verbs:
            ours.call(verbs[message["data"]["status"]], id="j")

    ours.monitor.subscribe(act)
    job = ours.jobs.start("j", "test", nothing, auto_dismiss=False)
    ours.clock.advance(0)
    assert states_of(ours) == "created running waiting pending concluded null"
    assert job.is_over


@pytest.mark.parametrize("auto_dismiss", [True, False])
def test_dismiss_in_the_event(auto_dismiss: bool) -> None:
    """A receiver may dismiss a job in the very event, also one that is dismissed by itself a moment later."""
    ours = Ours()

    def act(message: Any) -> None:
        if message["data"]["status"] == "concluded":
            ours.call("job-dismiss", id="j")

    ours.monitor.subscribe(act)
    job = ours.jobs.start("j", "test", nothing, auto_dismiss=auto_dismiss)
    ended: list[Any] = []
    job.ended().addCallback(ended.append)
    ours.clock.advance(0)
    assert states_of(ours) == "created running waiting pending concluded null"
    assert ended == [job]


def test_leaving_a_pause_point_when_it_ends() -> None:
    """Work that gives up waiting in the moment in which it is resumed does no harm."""
    ours = Ours()
    points: list[Deferred[Any]] = []

    async def work(job: Job) -> None:
        await deferLater(ours.clock, 0.1)
        points.append(job.pause_point().addErrback(lambda failure: failure.trap(CancelledError)))
        await points[0]

    def act(message: Any) -> None:
        if points:
            points[0].cancel()

    ours.jobs.start("j", "test", work)
    ours.call("job-pause", id="j")
    ours.clock.advance(0.1)
    ours.monitor.subscribe(act)
    ours.call("job-resume", id="j")
    ours.clock.advance(0)
    assert states_of(ours) == "created running paused running waiting pending concluded null"


def test_no_pause_once_cancelled() -> None:
    """A job that is cancelled does not pause any more, whatever is asked of it: it is on its way out."""
    ours = Ours()
    tidied: list[bool] = []

    async def tidy(job: Job) -> None:
        try:
            await Deferred()
        finally:
            await job.pause_point()
            tidied.append(True)

    ours.jobs.start("j", "test", tidy)
    ours.call("job-cancel", id="j")
    ours.call("job-pause", id="j")
    ours.clock.advance(0)
    assert tidied == [True]
    assert states_of(ours) == "created running aborting concluded null"

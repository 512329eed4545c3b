"""
Jobs: states, verbs, messages and events as on QEMU; the work; drain; limits; the table for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from tests.support.job_scenarios import RANDOM, SCENARIOS, Ours, Scenario, random_scenario
from twisted_qmon import (
    CommandError,
    DeviceNotFound,
    Event,
    EventError,
    GenericError,
    Monitor,
    RegistrationError,
    ShuttingDown,
    command,
    make_monitor_service,
)
from twisted_qmon.core.command import CommandProvider
from twisted_qmon.interfaces import ICommandProvider
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.jobs.provider import STOP_GRACE, Job, Jobs, _duration, _short
from twisted_qmon.providers.jobs.states import TRANSITIONS, VERBS, JobStatus, RateMeter

RECORDED = json.loads((Path(__file__).parent.parent.parent / "data" / "qemu-jobs.json").read_text())

# QEMU's two tables, written as it documents them: what each state may become, and which verb each takes.
STATES = [
    "undefined",
    "created",
    "running",
    "paused",
    "ready",
    "standby",
    "waiting",
    "pending",
    "aborting",
    "concluded",
    "null",
]
MAY_BECOME = {
    "undefined": "created",
    "created": "running aborting null",
    "running": "paused ready waiting aborting",
    "paused": "running",
    "ready": "standby waiting aborting",
    "standby": "ready",
    "waiting": "pending aborting",
    "pending": "aborting concluded",
    "aborting": "aborting concluded",
    "concluded": "null",
    "null": "",
}
TAKES = {
    "created": "cancel pause resume",
    "running": "cancel pause resume",
    "paused": "cancel pause resume",
    "ready": "cancel pause resume complete",
    "standby": "cancel pause resume complete",
    "waiting": "cancel",
    "pending": "cancel finalize",
    "aborting": "",
    "concluded": "dismiss",
}
ALL_VERBS = ["cancel", "pause", "resume", "complete", "finalize", "dismiss"]

Act = Callable[[Job], "Coroutine[Any, Any, None]"]


def forever(job: Job) -> Deferred[None]:
    """Work that never ends by itself."""
    return Deferred()


async def at_pause_points(job: Job) -> None:
    """Work that never ends by itself, and offers a pause point each time the clock ticks."""
    while True:
        await job.pause_point()
        await deferLater(job._clock, 0.1)


async def ready(job: Job) -> None:
    """Work that is ready at once."""
    await job.ready()


async def failing(job: Job) -> None:
    """Work that fails."""
    raise DeviceNotFound("Device 'x' not found")


def nothing(job: Job) -> None:
    """Work that is done already."""


# -- the tables


@pytest.mark.parametrize("state", MAY_BECOME)
def test_transitions(state: str) -> None:
    """Each state may become what it may on QEMU."""
    assert {s.value for s in TRANSITIONS[JobStatus(state)]} == set(MAY_BECOME[state].split())


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_verbs(verb: str) -> None:
    """Each verb is taken in the states in which QEMU takes it."""
    assert {s.value for s in VERBS[verb]} == {state for state, verbs in TAKES.items() if verb in verbs.split()}


# How to bring a job to each state: the work, the verbs on the way (at the state named), and its options.
ROADS: dict[str, tuple[Any, dict[str, str], dict[str, Any]]] = {
    "created": (forever, {}, {}),
    "running": (forever, {}, {}),
    "paused": (at_pause_points, {"created": "pause"}, {}),
    "ready": (ready, {}, {}),
    "standby": (ready, {"ready": "pause"}, {}),
    "waiting": (nothing, {}, {}),
    "pending": (nothing, {}, {"auto_finalize": False}),
    "aborting": (failing, {}, {}),
    "concluded": (nothing, {}, {"auto_dismiss": False}),
}


@pytest.mark.parametrize("verb", ALL_VERBS)
@pytest.mark.parametrize("state", ROADS)
def test_each_verb_in_each_state(state: str, verb: str) -> None:
    """
    In the very moment in which a job comes to a state, each verb is taken or refused with QEMU's words; and however it
    goes on, each change is one of the table's.
    """
    ours = Ours()
    work, verbs, options = ROADS[state]
    on_the_way = dict(verbs)
    replies: list[str] = []

    def act(message: Any) -> None:
        now = message["data"]["status"]
        if now == state and not replies:
            try:
                replies.append("ok" if ours.call(f"job-{verb}", id="j") == {} else "?")
            except GenericError as error:
                replies.append(error.desc)
        elif now in on_the_way:
            ours.call(f"job-{on_the_way.pop(now)}", id="j")

    ours.monitor.subscribe(act)
    ours.jobs.start("j", "test", work, **options)
    ours.clock.pump([0.1] * 10)
    was_paused = state in ("paused", "standby")
    if verb == "resume" and not was_paused:
        expected = "Can't resume a job that was not paused"
    elif verb not in TAKES[state].split():
        expected = f"Job 'j' in state '{state}' cannot accept command verb '{verb}'"
    elif verb == "pause" and was_paused:
        expected = "Job is already paused"
    else:
        expected = "ok"
    assert replies == [expected]
    history = ["undefined", *(entry.split()[1] for entry in ours.states)]
    assert state in history
    for before, after in pairwise(history):
        assert after in MAY_BECOME[before].split()
    if verb == "cancel" and expected == "ok":
        assert "aborting" in history


# -- as recorded from QEMU


@pytest.mark.parametrize(
    "scenario", [*SCENARIOS, *map(random_scenario, range(RANDOM))], ids=lambda scenario: scenario.name.replace(" ", "-")
)
def test_as_recorded(scenario: Scenario) -> None:
    """The replies, the states in their order, and what query-jobs says, are those recorded from a real QEMU."""
    assert Ours().play(scenario) == RECORDED[scenario.name]


def test_query_jobs() -> None:
    """It says what QEMU's says, and nothing more."""
    ours = Ours()
    job = ours.jobs.start("j0", "copy", forever)
    job.progress(3, 10)
    expected = {"id": "j0", "type": "copy", "status": "running", "current-progress": 3, "total-progress": 10}
    assert ours.call("query-jobs") == [expected]
    ours.jobs.start("j1", "copy", failing, auto_dismiss=False)
    ours.clock.advance(0)
    assert ours.call("query-jobs")[0]["error"] == "Device 'x' not found"


def test_event() -> None:
    """The data of the event is QEMU's, in QEMU's order."""
    ours = Ours()
    messages: list[Any] = []
    ours.monitor.subscribe(messages.append)
    ours.jobs.start("j0", "copy", forever)
    assert [list(message["data"].items()) for message in messages] == [
        [("status", "created"), ("id", "j0")],
        [("status", "running"), ("id", "j0")],
    ]
    assert type(messages[0]["data"]["status"]) is str


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_no_such_job(verb: str) -> None:
    """A verb for a job that is not there."""
    with pytest.raises(GenericError, match=r"^Job not found$"):
        Ours().call(f"job-{verb}", id="j")


def test_cancel_has_no_force() -> None:
    """Jobs are always cancelled with force, as on QEMU: there is no such argument."""
    with pytest.raises(GenericError, match=r"^Parameter 'force' is unexpected$"):
        Ours().call("job-cancel", id="j", force=True)


def test_is_a_provider() -> None:
    """Jobs provides what it says."""
    assert verifyObject(ICommandProvider, Jobs())


# -- the work


def states_of(ours: Ours, id: str = "j") -> str:
    """The states a job went through, as words."""
    return " ".join(entry.split()[1] for entry in ours.states if entry.split()[0] == id)


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


# -- pause points, ready, finalize


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


# -- drain


def drained(ours: Ours, seconds: float = 5.0) -> list[int]:
    """Start to drain; the list gets the result."""
    results: list[int] = []
    ours.jobs.drain(seconds).addCallback(results.append)
    return results


def test_drain_nothing() -> None:
    """Without jobs a drain is done at once; so it is with those that are concluded already."""
    ours = Ours()
    assert drained(ours) == [0]
    ours.jobs.start("j", "test", nothing, auto_dismiss=False)
    ours.clock.advance(0)
    assert drained(ours) == [0]
    assert not ours.clock.getDelayedCalls()


def test_drain_by_type() -> None:
    """Some jobs are cancelled at once, others are waited for."""
    ours = Ours()
    work: Deferred[None] = Deferred()
    ours.jobs.start("c", "test", forever)
    ours.jobs.start("w", "test", work, on_stop="wait")
    results = drained(ours)
    ours.clock.advance(1)
    assert states_of(ours, "c") == "created running aborting concluded null"
    assert states_of(ours, "w") == "created running"
    assert not results
    work.callback(None)
    ours.clock.advance(0)
    assert states_of(ours, "w") == "created running waiting pending concluded null"
    assert results == [0]
    assert not ours.clock.getDelayedCalls()


def test_no_new_jobs_while_draining() -> None:
    """During a drain no job is started; nor while the monitor refuses requests; afterwards they are again."""
    ours = Ours()
    work: Deferred[None] = Deferred()
    ours.jobs.start("w", "test", work, on_stop="wait")
    drained(ours)
    with pytest.raises(ShuttingDown):
        ours.jobs.start("n", "test", nothing)
    work.callback(None)
    ours.clock.advance(0)
    ours.jobs.start("n", "test", nothing)
    ours.monitor.refuse()
    with pytest.raises(ShuttingDown):
        ours.jobs.start("n2", "test", nothing)


@pytest.mark.parametrize(
    ("work", "verbs", "options"),
    [
        (at_pause_points, ["pause"], {}),
        (ready, [], {}),
        (ready, ["pause"], {}),
        (nothing, [], {"auto_finalize": False}),
    ],
    ids=["paused", "ready", "standby", "pending"],
)
@pytest.mark.parametrize("already", [True, False])
def test_drain_does_not_wait_for_people(work: Any, verbs: list[str], options: Any, already: bool) -> None:
    """A job that only a command could bring to its end is cancelled, since no more commands come."""
    ours = Ours()
    gate: Deferred[None] = Deferred()

    async def gated(job: Job) -> None:
        await gate
        result = work(job)
        if result is not None:
            await result

    job = ours.jobs.start("j", "test", gated, on_stop="wait", **options)
    if already:
        gate.callback(None)
    for verb in verbs:
        ours.call(f"job-{verb}", id="j")
    if already:
        ours.clock.advance(1)
    results = drained(ours)
    if not already:
        gate.callback(None)
    ours.clock.advance(1)
    assert results == [0]
    assert job.error == "Operation canceled"
    assert states_of(ours).endswith("aborting concluded null")


def test_drain_in_time() -> None:
    """When time is up, what is left is cancelled, and counted."""
    ours = Ours()
    ours.jobs.start("a", "test", forever, on_stop="wait")
    ours.jobs.start("b", "test", at_pause_points, on_stop="wait")
    results = drained(ours, 5)
    ours.clock.pump([0.1] * 49)
    assert not results
    ours.clock.advance(0.2)
    assert results == [2]
    assert list(ours.jobs) == []
    assert not ours.clock.getDelayedCalls()


@pytest.mark.parametrize("on_stop", ["cancel", "wait"])
@pytest.mark.parametrize("ending", ["well", "badly", "never"])
def test_drain_leaves_nobody_behind(on_stop: str, ending: str, flush_logged_errors: Callable[..., Any]) -> None:
    """Work that does not even end when it is cancelled does not hold up a drain, and can do no harm later."""
    ours = Ours()
    ends: Deferred[None] = Deferred()

    async def stubborn(job: Job) -> None:
        while True:
            try:
                await (Deferred() if not job.cancelled else ends)
                return
            except CancelledError:
                pass

    job = ours.jobs.start("j", "test", stubborn, on_stop=on_stop)
    results = drained(ours, 5)
    ours.clock.advance(5)
    assert not results
    ours.clock.advance(STOP_GRACE)
    assert results == [1]
    assert states_of(ours) == "created running aborting concluded null"
    job.progress(1, 2)
    assert (job.current, job.error) == (0, "Operation canceled")
    if ending == "well":
        ends.callback(None)
    elif ending == "badly":
        ends.errback(GenericError("too late"))
    ours.clock.advance(10)
    assert states_of(ours) == "created running aborting concluded null"
    assert not flush_logged_errors()


def test_drain_without_time() -> None:
    """With no time to spare all are cancelled, and have the grace to end."""
    ours = Ours()
    ours.jobs.start("j", "test", forever, on_stop="wait")
    results = drained(ours, 0)
    ours.clock.advance(0)
    assert results == [1]


def test_service_stops() -> None:
    """When the service stops, the end of each job is told before SHUTDOWN; those that are to be waited for are."""
    reactor = MemoryReactorClock()
    monitor = Monitor(clock=reactor)
    service = make_monitor_service(reactor, monitor, drain=5)
    service.privilegedStartService()
    service.startService()
    told: list[str] = []
    monitor.subscribe(lambda m: told.append(" ".join([m["event"], m.get("data", {}).get("status", "")]).strip()))
    jobs = Jobs.of(monitor)
    jobs.start("c", "test", forever)
    jobs.start("w", "test", lambda job: deferLater(reactor, 3), on_stop="wait")
    del told[:]
    stopped: list[Any] = []
    service.stopService().addBoth(stopped.append)
    for _ in range(40):
        reactor.advance(0.1)
    change = "JOB_STATUS_CHANGE"
    assert told == [
        *(f"{change} {status}" for status in ("aborting", "concluded", "null")),
        *(f"{change} {status}" for status in ("waiting", "pending", "concluded", "null")),
        "SHUTDOWN",
    ]
    assert stopped == [None]


# -- for people


def test_short_numbers() -> None:
    """Rates and times have few figures, however big they are."""
    numbers = [0, 0.5, 999, 999.7, 12345, 4.56e6, 7.891e9, 1e12, 3e15, 2e20]
    assert [_short(number) for number in numbers] == [
        "0", "0.5", "999", "1k", "12.3k", "4.56M", "7.89G", "1T", "3P", "200000P",
    ]  # fmt: skip
    assert [_duration(seconds) for seconds in (0.4, 59.6, 3600, 359999, 1e8)] == [
        "0:00:00", "0:01:00", "1:00:00", "99:59:59", "months",
    ]  # fmt: skip


def test_typed() -> None:
    """A person types `info jobs`, and the verbs with their ids."""
    ours = Ours()
    ours.monitor.register(HumanMonitorCommand())
    ours.jobs.start("j0", "copy", forever).progress(1, 4)

    def typed(line: str) -> list[str]:
        text: str = ours.call("human-monitor-command", **{"command-line": line})
        return text.splitlines()

    assert typed("info jobs") == [
        "ID  TYPE  STATUS   PROGRESS                      RATE  LEFT",
        "j0  copy  running  [#####---------------]  25 %",
    ]
    assert typed("job-resume j0") == ["Error: Can't resume a job that was not paused"]
    assert typed("job-cancel j0") == []
    ours.clock.advance(0)
    assert typed("info jobs") == ["No jobs"]


def printer_of(ours: Ours) -> Callable[[Any], str]:
    """What makes text of the result of query-jobs."""
    found = ours.monitor.command("query-jobs")
    assert found is not None
    printer: Callable[[Any], str] = found.info.printer
    return printer


def test_table() -> None:
    """`info jobs`: bar, per cent, rate and time left of those that run; the error of those that failed."""
    ours = Ours()
    printer = printer_of(ours)
    assert printer(ours.call("query-jobs")) == "No jobs"
    broken = ours.jobs.start("broken", "copy", failing, auto_dismiss=False)
    broken.progress(1, 3)
    big = ours.jobs.start("j0", "backup", forever)
    ours.jobs.start("m", "mirror", ready).progress(4, 4)
    ours.jobs.start("unknown", "scan", forever)
    ours.clock.pump([1] * 10)
    big.progress(45_000_000, 100_000_000)
    ours.clock.advance(0)
    assert printer(ours.call("query-jobs")).split("\n") == [
        "ID       TYPE    STATUS     PROGRESS                         RATE     LEFT",
        "unknown  scan    running    [--------------------]            0/s",
        "m        mirror  ready      [####################]  100 %",
        "j0       backup  running    [#########-----------]   45 %  4.5M/s  0:00:12",
        "broken   copy    concluded  [######--------------]   33 %                   error: Device 'x' not found",
    ]


def test_no_rate_while_paused() -> None:
    """A pause does not count, neither while it lasts nor afterwards."""
    ours = Ours()
    printer = printer_of(ours)
    job = ours.jobs.start("j", "copy", at_pause_points)
    ours.clock.pump([0.1] * 100)
    job.progress(100, 1000)
    assert "10/s  0:01:30" in printer(ours.call("query-jobs"))
    ours.call("job-pause", id="j")
    ours.clock.pump([0.1] * 600)
    assert "/s" not in printer(ours.call("query-jobs"))
    ours.call("job-resume", id="j")
    ours.clock.pump([0.1] * 10)
    job.progress(120, 1000)
    assert "20/s  0:00:44" in printer(ours.call("query-jobs"))


def test_table_of_a_remote_monitor() -> None:
    """Jobs that are not ours, or are gone since, have a line all the same."""
    printer = printer_of(Ours())
    info = {"id": "x", "type": "copy", "status": "running", "current-progress": 7, "total-progress": 5}
    assert "[####################]  100 %" in printer([info])


# -- at random


class RandomJob(RuleBasedStateMachine):
    """
    One job after another, its work and its verbs at random, beside a model: where the work stands, and what was asked
    of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ours = Ours()
        self.job: Job | None = None
        self.next_id = 0
        self.new_states: list[str] = []

    def start_over(self, **options: Any) -> None:
        """A new job whose work does what it is told, and the model's view of it."""
        self.next_id += 1
        self.orders: list[Deferred[str]] = []

        async def work(job: Job) -> None:
            while True:
                order: Deferred[str] = Deferred()
                self.orders.append(order)
                todo = await order
                if todo == "pause point":
                    await job.pause_point()
                elif todo == "ready":
                    await job.ready()
                elif todo == "fail":
                    raise GenericError("failed")
                else:
                    return

        self.options = options
        self.before = len(self.ours.states)
        self.job = self.ours.jobs.start(f"j{self.next_id}", "test", work, **options)
        self.status, self.asked, self.completing = "running", False, False
        self.stands: str | None = None  # at a pause point, or ready
        self.history = ["created", "running"]

    def move(self, *states: str) -> None:
        """The model goes through these states."""
        self.history.extend(states)
        self.status = states[-1]

    @property
    def free(self) -> bool:
        """The work waits for an order."""
        return self.job is not None and self.status in ("running", "ready") and self.stands is None

    @rule(auto_finalize=st.booleans(), auto_dismiss=st.booleans())
    @precondition(lambda self: self.job is None)
    def start(self, auto_finalize: bool, auto_dismiss: bool) -> None:
        self.start_over(auto_finalize=auto_finalize, auto_dismiss=auto_dismiss)

    @rule()
    @precondition(lambda self: self.free)
    def pause_point(self) -> None:
        self.orders.pop().callback("pause point")
        if self.asked:
            self.stands = "pause point"
            self.move("standby" if self.status == "ready" else "paused")

    @rule()
    @precondition(lambda self: self.free and self.status == "running")
    def become_ready(self) -> None:
        self.orders.pop().callback("ready")
        if self.asked:
            self.stands = "before ready"
            self.move("paused")
        else:
            self.stands = "ready"
            self.move("ready")

    @rule(todo=st.sampled_from(["finish", "fail"]))
    @precondition(lambda self: self.free)
    def end(self, todo: str) -> None:
        self.orders.pop().callback(todo)
        self.ours.clock.advance(0)
        if todo == "fail":
            self.abort("failed")
            return
        self.move("waiting", "pending")
        if self.options["auto_finalize"]:
            self.conclude(None)

    def abort(self, error: str) -> None:
        self.move("aborting")
        self.conclude(error)

    def conclude(self, error: str | None) -> None:
        self.move("concluded")
        self.error = error
        if self.options["auto_dismiss"]:
            self.move("null")

    @rule(verb=st.sampled_from([*ALL_VERBS, "pause", "resume", "complete"]))
    @precondition(lambda self: self.job is not None)
    def verb(self, verb: str) -> None:
        assert self.job is not None
        expected = self.reply_to(verb)
        try:
            assert self.ours.call(f"job-{verb}", id=self.job.id) == {}
            reply = "ok"
        except CommandError as error:
            reply = error.desc
        assert reply == expected
        if reply == "ok":
            getattr(self, f"did_{verb}")()
        self.ours.clock.advance(0)

    def reply_to(self, verb: str) -> str:
        assert self.job is not None
        if verb == "resume" and not self.asked:
            return "Can't resume a job that was not paused"
        if verb not in TAKES[self.status].split():
            return f"Job '{self.job.id}' in state '{self.status}' cannot accept command verb '{verb}'"
        if verb == "pause" and self.asked:
            return "Job is already paused"
        return "ok"

    def did_cancel(self) -> None:
        self.asked = False
        if self.status in ("paused", "standby"):
            self.move("running" if self.status == "paused" else "ready")
        self.abort("Operation canceled")

    def did_pause(self) -> None:
        self.asked = True
        if self.stands == "ready":
            self.move("standby")

    def did_resume(self) -> None:
        self.asked = False
        if self.status in ("paused", "standby"):
            self.move("running" if self.status == "paused" else "ready")
            if self.stands == "before ready":
                self.stands = "ready"
                self.move("ready")
            elif self.stands == "pause point":
                self.stands = None
        if self.stands == "ready" and self.completing:
            self.stands = None

    def did_complete(self) -> None:
        self.completing = True
        if self.stands == "ready" and not self.asked:
            self.stands = None

    def did_finalize(self) -> None:
        self.conclude(None)

    def did_dismiss(self) -> None:
        self.move("null")

    @invariant()
    def same(self) -> None:
        if self.job is None:
            return
        assert [entry.split()[1] for entry in self.ours.states[self.before :]] == self.history
        for before, after in pairwise(self.history):
            assert after in MAY_BECOME[before].split()
        infos = self.ours.call("query-jobs")
        if self.status == "null":
            assert infos == []
            assert self.job.error == self.error
            self.job = None
        else:
            assert [info["status"] for info in infos] == [self.status]
            assert infos[0].get("error") == (self.error if self.status == "concluded" else None)


RandomJobTests = RandomJob.TestCase
RandomJobTests.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)

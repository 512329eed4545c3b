"""
Jobs: what becomes of them when the monitor stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock

from tests.support.job_scenarios import Ours
from tests.support.jobs import at_pause_points, forever, nothing, ready, states_of
from twisted_qmon import GenericError, Monitor, ShuttingDown, make_monitor_service
from twisted_qmon.providers.jobs.provider import STOP_GRACE, Job, Jobs


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

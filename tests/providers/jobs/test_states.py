"""
Jobs: the states, and the verbs that each takes, as on QEMU; as recorded there, and at random.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.support.job_scenarios import RANDOM, SCENARIOS, Ours, Scenario, random_scenario
from tests.support.jobs import ALL_VERBS, MAY_BECOME, TAKES, at_pause_points, failing, forever, nothing, ready
from twisted_qmon import CommandError, GenericError
from twisted_qmon.interfaces import ICommandProvider
from twisted_qmon.providers.jobs.provider import Job, Jobs
from twisted_qmon.providers.jobs.states import TRANSITIONS, VERBS, JobStatus

RECORDED = json.loads((Path(__file__).parent.parent.parent / "data" / "qemu-jobs.json").read_text())


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

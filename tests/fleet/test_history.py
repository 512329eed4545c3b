"""
Histories of a fleet over a router in memory.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from tests.support.fleet_history import KINDS, History, Plan
from tests.support.wamp_router import WampRouter


def finish(clock: Clock, router: WampRouter, work: Coroutine[Any, Any, None], until: int = 100_000) -> None:
    """Let time go by until it is done."""
    outcomes: list[Any] = []
    ensureDeferred(work).addBoth(outcomes.append)
    for _ in range(until):
        router.pump()
        if outcomes:
            break
        clock.advance(0.01)
    assert outcomes == [None]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_call_gets_its_one_answer(seed: int) -> None:
    """Results, progress, errors, cancelling and deadlines of many callers: each call gets the answer that is its own."""
    clock, router = Clock(), WampRouter()
    history = History(clock, Plan(seed, members=4, callers=3, calls=600, at_once=5), router.connect)
    finish(clock, router, history.join())
    finish(clock, router, history.play())
    finish(clock, router, history.leave())
    assert history.wrong == []
    assert sum(history.answers.values()) == 600
    assert {outcome.split(":")[0] for outcome in history.answers} == set(KINDS)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("seed", [4, 5])
def test_the_router_is_lost_in_the_middle(seed: int) -> None:
    """A router that is killed in the middle: what is lost fails and says so, the rest gets its answer, all come back."""
    clock, router = Clock(), WampRouter()
    history = History(clock, Plan(seed, members=4, callers=3, calls=600, at_once=5), router.connect, allow_loss=True)
    finish(clock, router, history.join())
    clock.callLater(0.05, router.kill)
    clock.callLater(0.06, setattr, router, "up", True)
    finish(clock, router, history.play())
    assert history.wrong == []
    assert sum(history.answers.values()) == 600
    assert any(outcome.startswith("lost") for outcome in history.answers)
    clock.pump([1.0] * 20)
    router.pump()
    assert all(member.joined for member in history.members)
    finish(clock, router, history.leave())

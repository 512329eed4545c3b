"""Exactly one reply to every request, to the one who asked, in order, whatever happens: random histories."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.history import Server, run


class Histories(RuleBasedStateMachine):
    """A server with its clients, driven step by step; the books are checked after each and balanced at the end."""

    server: Server | None = None

    @initialize(choose=st.randoms(use_true_random=False))
    def begin(self, choose: random.Random) -> None:
        self.server = Server(choose)
        self.server.connect()
        self.server.connect()

    @rule(step=st.sampled_from([name for name, _ in Server.STEPS]))
    def step(self, step: str) -> None:
        assert self.server is not None
        getattr(self.server, step)()

    @rule()
    def ask(self) -> None:
        assert self.server is not None
        self.server.ask()

    @invariant()
    def balanced(self) -> None:
        if self.server is not None:
            self.server.settle()

    def teardown(self) -> None:
        if self.server is not None:
            self.server.stop()


Histories.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestHistories = Histories.TestCase


def test_seededHistories() -> None:
    """Long histories from a seed: nothing lost, doubled or misrouted, and nothing left behind."""
    counts = run(5_000, seed=20101)
    assert counts["asked"] == counts["answered"] + counts["of clients that left"]
    assert counts["answered"] > counts["asked"] / 2

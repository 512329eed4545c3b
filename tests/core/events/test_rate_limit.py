"""
QEMU's rate limit of events.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import NOW, make, numbers
from twisted_qmon.core.events import Event, EventMessage, rate_limit, wire_timestamp


def test_rate_limit_as_observed() -> None:
    """
    Ten in 0.4 s: the first at once, the last one at the end of the period, with its own timestamp. So it was seen on QEMU.
    """
    table, clock, seen = make(Event("QUORUM_REPORT_BAD", rate_limit=1.0, n=int))
    for n in range(10):
        table.emit("QUORUM_REPORT_BAD", {"n": n})
        clock.advance(0.04)
    assert numbers(seen) == [0]
    clock.advance(0.59)
    assert numbers(seen) == [0]
    clock.advance(0.02)
    assert numbers(seen) == [0, 9]
    assert seen[1]["timestamp"] == wire_timestamp(NOW + 9 * 0.04)
    clock.advance(10)
    assert numbers(seen) == [0, 9]
    assert not clock.getDelayedCalls()


def test_period_restarts() -> None:
    """The end of a period that sends something starts another one; one that has nothing to send ends it."""
    table, clock, seen = make(Event("A", rate_limit=1.0, n=int))
    table.emit("A", {"n": 0})
    clock.advance(0.9)
    table.emit("A", {"n": 1})
    clock.advance(0.1)  # 1.0: sends 1
    assert numbers(seen) == [0, 1]
    clock.advance(0.5)
    table.emit("A", {"n": 2})
    clock.advance(0.4)
    assert numbers(seen) == [0, 1]
    clock.advance(0.1)  # 2.0: sends 2
    assert numbers(seen) == [0, 1, 2]
    clock.advance(1.0)  # 3.0: quiet
    table.emit("A", {"n": 3})
    assert numbers(seen) == [0, 1, 2, 3]


def test_rate_limit_per_key() -> None:
    """Each value of the key has its own period; other members don't matter."""
    table, clock, seen = make(Event("VSERPORT_CHANGE", rate_limit=1.0, key=("id",), id=str, n=int))
    for n, id in enumerate(["a", "b", "a", "b", "a"]):
        table.emit("VSERPORT_CHANGE", {"id": id, "n": n})
    assert numbers(seen) == [0, 1]
    clock.advance(1)
    assert numbers(seen) == [0, 1, 4, 3]


def test_rate_limit_of_dashed_key() -> None:
    """A key is named in Python's spelling or that of the wire."""
    for key in ("node_name", "node-name"):
        table, clock, seen = make(Event("QUORUM_REPORT_BAD", rate_limit=1.0, key=(key,), node_name=str, n=int))
        for n, name in enumerate(["a", "a", "b"]):
            table.emit("QUORUM_REPORT_BAD", {"node-name": name, "n": n})
        clock.advance(1)
        assert numbers(seen) == [0, 2, 1]


def test_rate_limit_of_any_key() -> None:
    """Any JSON value will do as a key, and absent is one too."""
    table, _, seen = make(Event("A", rate_limit=1.0, key=("k",), check=False))
    values: list[Any] = [1, True, 1.0, "1", [1], {"a": 1}, None]
    for value in (*values, *values):
        table.emit("A", {"k": value})
    table.emit("A")
    assert [message.data.get("k") for message in seen] == values


def test_rate_limited_events_are_independent() -> None:
    """The period of one event is nothing to another."""
    table, _, seen = make(Event("A", rate_limit=1.0), Event("B", rate_limit=1.0), Event("C"))
    for name in "ABCABC":
        table.emit(name)
    assert [message.name for message in seen] == ["A", "B", "C", "C"]


def test_emit_from_the_end_of_a_period() -> None:
    """A receiver that emits the event again when it gets it does not outrun the limit."""
    table, clock, seen = make(Event("A", rate_limit=1.0, n=int))

    def again(message: EventMessage) -> None:
        table.emit("A", {"n": message.data["n"] + 1})

    table.subscribe(again)
    table.emit("A", {"n": 0})
    clock.pump([0.125] * 24)
    assert numbers(seen) == [0, 1, 2, 3]


def test_flush() -> None:
    """What is kept is sent, in the order in which it happened, and no timer is left."""
    table, clock, seen = make(
        Event("A", rate_limit=1.0, key=("k",), k=str, n=int), Event("B", rate_limit=5.0, n=int), Event("C", n=int)
    )
    for n, (name, k) in enumerate([("A", "x"), ("B", ""), ("A", "y"), ("B", ""), ("A", "y"), ("B", ""), ("A", "x")]):
        table.emit(name, {"k": k, "n": n} if name == "A" else {"n": n})
    assert numbers(seen) == [0, 1, 2]
    table.flush()
    assert numbers(seen) == [0, 1, 2, 4, 5, 6]
    assert not clock.getDelayedCalls()
    # No limit is remembered for events that may never come again.
    assert not table._limits
    table.emit("B", {"n": 7})
    assert numbers(seen)[-1] == 7


def test_remove_sends_what_is_kept() -> None:
    """When an event is taken out, nothing of it is lost."""
    event = Event("A", rate_limit=1.0, n=int)
    table, clock, seen = make(event)
    table.emit("A", {"n": 0})
    table.emit("A", {"n": 1})
    table.remove([event])
    assert numbers(seen) == [0, 1]
    assert not clock.getDelayedCalls()


def test_covering_sends_what_is_kept() -> None:
    """So it is when an event is covered by another definition, which has a limit of its own."""
    table, clock, seen = make(Event("A", rate_limit=1.0, n=int))
    table.emit("A", {"n": 0})
    table.emit("A", {"n": 1})
    table.define([Event("A", check=False)], shadow=True)
    table.emit("A", {"n": 2})
    table.emit("A", {"n": 3})
    assert numbers(seen) == [0, 1, 2, 3]
    assert not clock.getDelayedCalls()


def test_number_of_keys_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many keys at a time the others go out at once: nothing is lost, and memory does not grow."""
    monkeypatch.setattr(rate_limit, "MAX_KEYS", 3)
    table, clock, seen = make(Event("A", rate_limit=1.0, key=("n",), n=int))
    for n in (0, 1, 2, 3, 3, 0):
        table.emit("A", {"n": n})
    assert numbers(seen) == [0, 1, 2, 3, 3]
    assert len(clock.getDelayedCalls()) == 3
    clock.advance(1)
    assert numbers(seen) == [0, 1, 2, 3, 3, 0]
    clock.advance(1)
    assert not clock.getDelayedCalls()


class Model:
    """The rate limit as QEMU's documentation tells it, by brute force over a list of (time, n)."""

    def __init__(self) -> None:
        self.until: float | None = None
        self.kept: tuple[float, int] | None = None
        self.out: list[tuple[float, int]] = []

    def run_to(self, now: float) -> None:
        while self.until is not None and self.until <= now:
            if self.kept is None:
                self.until = None
            else:
                self.out.append(self.kept)
                self.kept = None
                self.until += 1.0

    def emit(self, now: float, n: int) -> None:
        self.run_to(now)
        if self.until is None:
            self.out.append((now, n))
            self.until = now + 1.0
        else:
            self.kept = (now, n)


@given(st.lists(st.integers(min_value=0, max_value=24), max_size=60))
def test_rate_limit_against_a_model(gaps: list[int]) -> None:
    """For any sequence of emissions: the same ones go out, in the same order, with the same timestamps."""
    table, clock, seen = make(Event("A", rate_limit=1.0, n=int))
    model = Model()
    for n, eighths in enumerate(gaps):
        clock.pump([0.125] * eighths)
        table.emit("A", {"n": n})
        model.emit(clock.seconds(), n)
        assert numbers(seen) == [n for _, n in model.out]
    clock.advance(1)
    clock.advance(1)
    model.run_to(clock.seconds())
    assert [(m["timestamp"], m.data["n"]) for m in seen] == [(wire_timestamp(t), n) for t, n in model.out]
    # The last one is never lost, however many there were.
    assert not gaps or numbers(seen)[-1] == len(gaps) - 1

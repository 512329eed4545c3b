"""Whether the reactor has stalled, as another thread sees it: L{twisted_qmon.watchdog.stall_watch}."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stalls import FakePulse, place
from twisted_qmon.providers.process.stacks import Place
from twisted_qmon.providers.process.stalls import Noticed, Stalls
from twisted_qmon.watchdog.stall_watch import StallWatch, stack_of

STACK = (place("/srv/shop.py", "render"),)


class Watched:
    """A watch over a fake pulse, with what it has noticed."""

    def __init__(self, limit: float = 0.5) -> None:
        self.pulse = FakePulse()
        self.stalls = Stalls(self.pulse, limit)
        self.asked: list[int] = []
        self.watch = StallWatch(
            self.stalls, self.pulse, stack_of=self.stack_of, monotonic=lambda: self.pulse.now, wall=lambda: 1000.0
        )

    def stack_of(self, thread: int) -> tuple[Place, ...]:
        self.asked.append(thread)
        return STACK

    def look(self, after: float = 0.0) -> float:
        self.pulse.now += after
        return self.watch.look()


def test_a_reactor_that_runs() -> None:
    """While it beats nothing is noticed, and each look is due when a stall would be one: once in the limit or less often."""
    watched = Watched()
    for _ in range(10):
        assert watched.look() == pytest.approx(0.55)
        watched.pulse.now += 0.55
        watched.pulse.beat = watched.pulse.now
    assert watched.stalls.noticed is None
    assert watched.asked == []


def test_the_look_comes_when_it_has_stalled() -> None:
    """Between two looks the reactor beats once more: the next look is at the limit, counted from that beat."""
    watched = Watched()
    watched.look()
    watched.pulse.beat = 100.3
    assert watched.look(0.55) == pytest.approx(0.3)
    watched.look(0.3001)
    noticed = watched.stalls.noticed
    assert noticed is not None
    assert noticed == Noticed(100.3, noticed.since, False, STACK)
    assert noticed.since == pytest.approx(999.4999)


def test_a_stall_is_noticed_once() -> None:
    """However long it takes, the stack is that of the moment on which it was noticed; the next one is noticed again."""
    watched = Watched()
    watched.look()
    watched.look(0.56)
    first = watched.stalls.noticed
    for _ in range(10):
        assert watched.look(0.5) == 0.5
    assert watched.stalls.noticed is first
    assert watched.asked == [7]
    watched.pulse.beat = watched.pulse.now
    assert watched.look() == pytest.approx(0.55)
    watched.look(0.56)
    assert watched.asked == [7, 7]
    assert watched.stalls.noticed is not first


def test_it_wakes_between_two_looks() -> None:
    """The thread may be woken before the next look is due: it notices a stall at once, and that it comes late itself."""
    watched = Watched()
    watched.look()
    watched.pulse.now = 100.3
    watched.watch.wake()
    assert watched.asked == []
    watched.pulse.beat = 100.3
    watched.pulse.now = 102.3
    watched.watch.wake()
    noticed = watched.stalls.noticed
    assert noticed is not None
    assert noticed == Noticed(100.3, noticed.since, True, STACK)
    watched.watch.wake()
    watched.look()
    assert watched.asked == [7]


def test_frozen() -> None:
    """A look that comes late itself says so: nothing in the process ran, or nothing else could."""
    watched = Watched()
    watched.look()
    watched.look(2.0)
    assert watched.stalls.noticed is not None
    assert watched.stalls.noticed.frozen


def test_the_first_look_is_not_late() -> None:
    """Before there was a look, none was due."""
    watched = Watched()
    watched.look(5.0)
    assert watched.stalls.noticed is not None
    assert not watched.stalls.noticed.frozen


def test_no_pulse() -> None:
    """A reactor that is not measured, before it runs or after the end, does not stall."""
    watched = Watched()
    watched.pulse.beat = None
    assert watched.look(100.0) == 0.5
    assert watched.stalls.noticed is None


def test_it_goes_on_meanwhile() -> None:
    """A reactor that beats while its stack is taken is not blamed for where it is by then."""
    watched = Watched()

    def stack_of(thread: int) -> tuple[Place, ...]:
        watched.pulse.beat = watched.pulse.now
        return STACK

    watched.watch = StallWatch(watched.stalls, watched.pulse, stack_of=stack_of, monotonic=lambda: watched.pulse.now)
    watched.look(1.0)
    assert watched.stalls.noticed is None


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=60))
def test_every_stall_is_noticed(steps: list[tuple[float, bool]]) -> None:
    """Whatever the beats, and however late the looks are: what is late by the limit at a look is noticed, and nothing else."""
    watched = Watched()
    watched.stalls.start()
    for wait, beats in steps:
        if beats:
            watched.pulse.beat = watched.pulse.now
        before = watched.pulse.beat
        assert before is not None
        wait_until = watched.look(wait)
        late = watched.pulse.now - before - watched.pulse.interval
        noticed = watched.stalls.noticed
        assert (noticed is not None and noticed.beat == before) == (late >= 0.5)
        assert 0 < wait_until <= 0.55 + 1e-9
        if late < 0.5:
            assert watched.pulse.now + wait_until == pytest.approx(before + 0.55)


def test_the_stack_of_a_thread() -> None:
    """It is told down to the call that asks; a thread that is not there has none."""
    stack = stack_of(threading.get_ident())
    assert "test_the_stack_of_a_thread" in [each.code.co_name for each in stack]
    assert stack_of(1) == ()

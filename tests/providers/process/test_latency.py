"""How late the reactor runs: L{twisted_qmon.providers.process.latency}."""

from __future__ import annotations

from twisted.internet.task import Clock

from twisted_qmon.providers.process.latency import Latency


def _block(clock: Clock, seconds: float) -> None:
    """What a handler does that does not give way: time passes, and nothing is called."""
    clock.rightNow += seconds


def _pass(clock: Clock, seconds: float, step: float = 0.05) -> None:
    clock.pump([step] * round(seconds / step))


def test_says_nothing_before_it_measured() -> None:
    """All figures are zero at first, and the window and the interval are told."""
    info = Latency(Clock(), 0.25, 60).figures()
    assert (info.last, info.mean, info.worst, info.window, info.interval) == (0.0, 0.0, 0.0, 60.0, 0.25)


def test_a_reactor_that_is_in_time_is_not_late() -> None:
    """Delayed calls that are called when they are due make a latency of zero."""
    clock = Clock()
    latency = Latency(clock, 0.25)
    latency.start()
    _pass(clock, 10, 0.25)
    assert latency.figures().worst == 0.0


def test_agrees_with_a_blocking_call_once_the_reactor_turns() -> None:
    """A call that blocks for T is seen as a lateness of at least T less one interval, and at most T."""
    for offset in (0.0, 0.01, 0.03, 0.049):
        clock = Clock()
        latency = Latency(clock, 0.05)
        latency.start()
        _pass(clock, 2)
        clock.advance(offset)
        _block(clock, 0.7)
        clock.advance(0)
        info = latency.figures()
        assert 0.65 - 1e-6 <= info.worst <= 0.7 + 1e-6, offset
        assert info.last == info.worst


def test_agrees_with_a_blocking_call_in_the_same_turn() -> None:
    """Who asks in the very turn that was blocked, before the probe has been called, is told how overdue it is."""
    clock = Clock()
    latency = Latency(clock, 0.05)
    latency.start()
    _pass(clock, 2)
    _block(clock, 0.7)
    info = latency.figures()
    assert 0.65 - 1e-6 <= info.last <= 0.7 + 1e-6
    assert info.worst == info.last
    assert 0 < info.mean < info.worst


def test_the_mean_is_over_the_samples_of_the_window() -> None:
    """One late probe among a hundred weighs a hundredth."""
    clock = Clock()
    latency = Latency(clock, 0.05)
    latency.start()
    for _ in range(99):
        clock.advance(0.05)
    _block(clock, 1.05)
    clock.advance(0)
    assert abs(latency.figures().mean - 0.01) < 0.0005


def test_forgets_what_is_older_than_the_window() -> None:
    """A late turn is in the worst figure for the length of the window, and no longer."""
    clock = Clock()
    latency = Latency(clock, 0.05, window=10)
    latency.start()
    _block(clock, 3)
    clock.advance(0)
    _pass(clock, 9)
    assert latency.figures().worst > 2.9
    _pass(clock, 3)
    assert latency.figures().worst < 0.001


def test_a_clock_set_back_is_no_latency() -> None:
    """With a wall clock that jumps into the past, no figure is negative and the window starts anew."""
    clock = Clock()
    clock.advance(1000)
    latency = Latency(clock, 0.05)
    latency.start()
    _pass(clock, 5)
    clock.rightNow -= 500
    _pass(clock, 510)
    info = latency.figures()
    assert (info.last, info.worst) == (0.0, 0.0) or info.last < 0.001


def test_stops_and_starts_again() -> None:
    """After C{stop} nothing is left in the reactor; starting twice makes one probe."""
    clock = Clock()
    latency = Latency(clock)
    latency.start()
    latency.start()
    assert len(clock.getDelayedCalls()) == 1
    latency.stop()
    latency.stop()
    assert clock.getDelayedCalls() == []
    assert not latency.running
    _block(clock, 5)
    assert latency.figures().last == 0.0


def test_keeps_a_bounded_number_of_figures() -> None:
    """An hour of measuring keeps no more than one record for each second of the window."""
    clock = Clock()
    latency = Latency(clock, 0.5, window=60)
    latency.start()
    _pass(clock, 3600, 0.5)
    assert len(latency._seconds) <= 61

"""What has become of the requests, by command: L{twisted_qmon.core.tally}."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_qmon import GenericError, Monitor
from twisted_qmon.core import tally
from twisted_qmon.core.tally import BOUNDS, OTHER, UNKNOWN, Tallies, Tally
from twisted_qmon.providers.process import WATCH_PERIOD, Process
from twisted_qmon.testing import QMPConnection


def _fails() -> None:
    raise GenericError("no")


class _Served:
    """A monitor whose commands end in all ways, and a client."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.waits: list[Deferred[Any]] = []
        self.monitor.register_command("quick", lambda: 1)
        self.monitor.register_command("fails", _fails)
        self.monitor.register_command("wrong", lambda: object())
        self.monitor.register_command("waits", self._wait, timeout=100)
        self.client = QMPConnection(self.monitor)

    def _wait(self) -> Deferred[Any]:
        self.waits.append(Deferred())
        return self.waits[-1]

    def counts(self, name: str) -> list[int]:
        """How many requests for a command had which outcome."""
        used = self.monitor.registry.tallies.used()
        return used[name].counts() if name in used else [0, 0, 0, 0, 0]


def test_each_outcome_is_counted_once(flush_logged_errors: Any) -> None:
    """Done at once, failed, not valid as a result, done later, cancelled, timed out, refused; and in batches."""
    served = _Served()
    served.client.send(*[{"execute": "quick"}] * 100)
    served.client.send({"execute": "quick"})
    served.client.send({"execute": "fails"})
    served.client.send({"execute": "wrong"})
    assert flush_logged_errors()
    assert served.counts("quick") == [101, 0, 0, 0, 0]
    assert served.counts("fails") == served.counts("wrong") == [0, 1, 0, 0, 0]

    for number in range(4):
        served.client.send({"execute": "waits", "id": number})
    served.waits[0].callback(None)
    served.waits[1].errback(GenericError("later"))
    (request,) = [each for each in served.monitor.pending if each.id == 2]
    request.cancel()
    served.clock.advance(100)
    assert served.counts("waits") == [1, 1, 1, 1, 0]
    durations = served.monitor.registry.tallies.used()["waits"].waits
    assert (sum(durations.counts), durations.total) == (4, 100.0)
    assert durations.counts[0] == 3
    served.monitor.refuse()
    served.client.send({"execute": "quick"})
    assert served.counts("quick") == [101, 0, 0, 0, 1]


def test_requests_of_every_kind_of_caller_are_counted() -> None:
    """The program's own, those that take the request, those in a queue, and those out of band."""
    served = _Served()
    served.monitor.execute("quick")
    assert served.counts("quick") == [1, 0, 0, 0, 0]
    served.client.send({"execute": "waits"}, {"execute": "quick"})
    served.waits[0].callback(None)
    assert served.counts("quick") == [2, 0, 0, 0, 0]
    assert served.counts("waits") == [1, 0, 0, 0, 0]


def test_names_that_no_command_has_count_together() -> None:
    """A client may ask for any name; that makes no new counter."""
    served = _Served()
    served.client.send(*[{"execute": f"nonsense-{number}"} for number in range(1000)])
    assert served.counts(UNKNOWN) == [0, 1000, 0, 0, 0]
    assert set(served.monitor.registry.tallies.used()) == {UNKNOWN}


def test_those_of_a_command_that_is_taken_out_stay() -> None:
    """A counter never goes down, also when another command of the name comes, or covers it."""
    served = _Served()
    served.client.send({"execute": "quick"})
    served.monitor.unregister("quick")
    served.client.send({"execute": "quick"})
    served.monitor.register_command("quick", lambda: 2)
    served.client.send({"execute": "quick"})
    assert served.counts("quick") == [2, 1, 0, 0, 0]


def test_the_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands beyond the limit count together."""
    monkeypatch.setattr(tally, "MAX_TALLIES", 2)
    tallies = Tallies()
    first, second, third = (tallies.of_command(name) for name in ("a", "b", "c"))
    assert tallies.of_command("a") is first
    third.at_once += 1
    second.at_once += 1
    assert set(tallies.used()) == {"b", OTHER}


def test_some_calls_are_timed() -> None:
    """The first, and one after each time that the stop-watches are wound up; whatever becomes of it."""
    served = _Served()
    tallies = served.monitor.registry.tallies

    def timed(name: str) -> int:
        return sum(tallies.used()[name].calls.counts)

    served.client.send(*[{"execute": "quick"}] * 10)
    assert timed("quick") == 1
    tallies.arm()
    tallies.arm()
    served.client.send(*[{"execute": "quick"}] * 10)
    served.client.send(*[{"execute": "fails"}] * 10)
    assert (timed("quick"), timed("fails")) == (2, 1)
    assert served.counts("quick") == [20, 0, 0, 0, 0]


def test_they_are_wound_up_while_the_process_is_measured() -> None:
    """Each second: so a command that is called less often is timed each time."""
    served = _Served()
    process = Process(served.clock)
    served.monitor.register(process)
    for _ in range(5):
        served.client.send({"execute": "quick"})
        served.clock.advance(WATCH_PERIOD)
    assert sum(served.monitor.registry.tallies.used()["quick"].calls.counts) == 5
    served.monitor.unregister(process)


def test_a_command_that_is_gone_is_let_go() -> None:
    """Stop-watches keep no command alive."""
    served = _Served()
    served.client.send({"execute": "quick"})
    tallies = served.monitor.registry.tallies
    assert len(tallies._idle) == 1
    served.monitor.unregister("quick")
    gc.collect()
    assert len(tallies._idle) == 0


def test_durations_are_counted_in_groups() -> None:
    """Up to a bound is in its group; beyond the last one there is one more."""
    one = Tally()
    for bound in BOUNDS:
        one.timed(bound)
    one.timed(1e6)
    assert one.calls.counts == [1] * (len(BOUNDS) + 1)
    assert one.calls.total == pytest.approx(sum(BOUNDS) + 1e6)
    assert list(BOUNDS) == sorted(BOUNDS)

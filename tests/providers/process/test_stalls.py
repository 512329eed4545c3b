"""The record of the times in which the reactor did not run: L{twisted_qmon.providers.process.stalls}."""

from __future__ import annotations

import os
import sys
import tracemalloc
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

import twisted_qmon
from tests.support.stalls import FakePulse, place
from twisted_qmon import Monitor
from twisted_qmon.providers.process import stalls
from twisted_qmon.providers.process.latency import Latency
from twisted_qmon.providers.process.stalls import KEPT_STALLS, MAX_STALL_FRAMES, Noticed, Stalls, culprits
from twisted_qmon.testing import HMPConnection

MAIN = place("/usr/bin/twistd", "<module>")
RUN = place(f"{os.path.dirname(sys.modules['twisted'].__file__ or '')}/internet/base.py", "run")
LOOP = place(RUN.file, "mainLoop")
READ = place(RUN.file.replace("base.py", "tcp.py"), "doRead")
OURS = place(f"{os.path.dirname(twisted_qmon.__file__)}/core/dispatcher.py", "serve")
RENDER = place("/srv/shop/pages.py", "render", 12)
QUERY = place("/srv/shop/stock.py", "query", 34)


class StallsTests(SynchronousTestCase):
    """The reactor's side: stalls end, and are kept, logged and emitted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pulse = FakePulse()
        self.monitor = Monitor(clock=self.clock)
        self.stalls = Stalls(self.pulse, 0.5, monotonic=lambda: self.pulse.now, wall=lambda: 1_000_000.25)
        self.monitor.register(self.stalls)
        self.stalls.start()
        self.events: list[Any] = []
        self.monitor.subscribe(self.events.append, ["REACTOR_STALL"])
        self.log = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)

    def query(self) -> Any:
        return self.successResultOf(self.monitor.execute("query-stalls"))

    def notice(self, *stack: Any, frozen: bool = False) -> None:
        assert self.pulse.beat is not None
        self.stalls.noticed = Noticed(self.pulse.beat, 1_000_000.5, frozen, (MAIN, RUN, LOOP, READ, *stack))

    def lines(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.log if event["log_level"].name == "warn"]

    def test_none(self) -> None:
        """There is nothing to show of a reactor that runs."""
        self.assertEqual(self.query(), [])
        self.assertIn("the reactor has not stalled", HMPConnection(self.monitor).type("info stalls"))

    def test_over(self) -> None:
        """One that is over is kept, with its time and stack; there is one warning in the log, and one event."""
        self.notice(RENDER, OURS, QUERY)
        self.pulse.come_late(6.0)
        (info,) = self.query()
        self.assertEqual((info["number"], info["seconds"], info["over"], info["frozen"]), (1, 6.0, True, False))
        self.assertEqual(info["since"], {"seconds": 1_000_000, "microseconds": 500_000})
        stack = [
            {"file": "/srv/shop/pages.py", "line": 12, "function": "render"},
            {"file": "/srv/shop/stock.py", "line": 34, "function": "query"},
        ]
        self.assertEqual(info["stack"], stack)
        self.assertEqual([event["data"] for event in self.events], [{"seconds": 6.0, "stack": stack}])
        where = "it was at /srv/shop/stock.py:34 in query, called at /srv/shop/pages.py:12 in render"
        self.assertEqual(self.lines(), [f"the reactor did not run for 6.00 s; {where}"])

    def test_goingOn(self) -> None:
        """One that goes on is shown with its time so far, and with the number that it will have."""
        self.notice(RENDER)
        self.pulse.now += 2.05
        (info,) = self.query()
        self.assertEqual((info["number"], info["seconds"], info["over"]), (1, 2.0, False))
        self.assertEqual(self.events, [])
        self.pulse.now -= 2.05
        self.pulse.come_late(3.0)
        (info,) = self.query()
        self.assertEqual((info["number"], info["seconds"], info["over"]), (1, 3.0, True))

    def test_noticedTooLate(self) -> None:
        """What was noticed of a stall that had ended meanwhile is no stall that goes on, and not the next one."""
        self.notice(RENDER)
        noticed = self.stalls.noticed
        self.pulse.come_late(1.0)
        self.stalls.noticed = noticed
        self.assertEqual([info["over"] for info in self.query()], [True])
        self.pulse.come_late(2.0)
        self.assertEqual([len(info["stack"]) for info in self.query()], [1, 0])

    def test_notNoticed(self) -> None:
        """A stall that the other thread did not come to see is kept without a stack."""
        self.pulse.come_late(1.5)
        (info,) = self.query()
        self.assertEqual((info["seconds"], info["frozen"], info["stack"]), (1.5, True, []))
        self.assertEqual(info["since"], {"seconds": 999_998, "microseconds": 750_000})
        self.assertEqual(self.lines(), ["the reactor did not run for 1.50 s; where it was is not known"])

    def test_shortOnes(self) -> None:
        """Less than the limit is no stall."""
        self.pulse.come_late(0.499)
        self.assertEqual(self.query(), [])

    def test_stopped(self) -> None:
        """One that goes on when the watching ends is kept; later ones are not."""
        self.notice(RENDER)
        self.pulse.now += 4.05
        self.stalls.stop()
        self.pulse.come_late(9.0)
        self.assertEqual([info["seconds"] for info in self.query()], [4.0])
        self.stalls.stop()
        self.assertEqual(len(self.query()), 1)

    def test_latest(self) -> None:
        """The last twenty are kept; their numbers go on."""
        for _ in range(KEPT_STALLS + 5):
            self.pulse.come_late(1.0)
        self.assertEqual([info["number"] for info in self.query()], list(range(6, KEPT_STALLS + 6)))

    def test_memory(self) -> None:
        """A thousand stalls with deep stacks take no more memory than some."""
        frames = [place(f"/srv/shop/{number}.py", "deep") for number in range(40)]

        def stall(times: int) -> None:
            for _ in range(times):
                self.notice(*frames)
                self.pulse.come_late(1.0)
            self.events.clear()

        # Twisted keeps what is logged before logging begins.
        self.patch(stalls, "_log", Logger(observer=cast(Any, lambda event: None)))
        self.monitor.events.history.limit(10, None)
        tracemalloc.start()
        try:
            stall(1000)
            before, _ = tracemalloc.get_traced_memory()
            stall(1000)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(after - before, 30_000)

    def test_unregistered(self) -> None:
        """Without a monitor it is kept all the same."""
        self.monitor.unregister(self.stalls)
        self.pulse.come_late(1.0)
        self.assertEqual((len(self.stalls.kept), self.events), (1, []))

    def test_text(self) -> None:
        """A person sees when, how long, and where."""
        self.notice(RENDER, frozen=True)
        self.pulse.come_late(1.0)
        self.notice(QUERY)
        self.pulse.now += 2.05
        text = HMPConnection(self.monitor).type("info stalls")
        self.assertRegex(
            text, r"1  1970-01-1\d \S+  1.0 s; the watchdog did not run either\r\n  /srv/shop/pages.py:12 in render\r\n"
        )
        self.assertRegex(text, r"2  1970-01-1\d \S+  2.0 s so far\r\n  /srv/shop/stock.py:34 in query\r\n")

    def test_longStack(self) -> None:
        """In the log stand the innermost frames, and how many more there are."""
        self.notice(*[place(f"/srv/{number}.py", "f") for number in range(30)])
        self.pulse.come_late(1.0)
        self.assertEqual(len(self.query()[0]["stack"]), MAX_STALL_FRAMES)
        self.assertIn("it was at /srv/29.py:1 in f, called at /srv/28.py:1 in f", self.lines()[0])
        self.assertTrue(self.lines()[0].endswith("26.py:1 in f, and 16 more"), self.lines()[0])


@pytest.mark.parametrize("limit", [0, 0.01, -1.0, float("nan")])
def test_limit(limit: float) -> None:
    """A limit below the time between two beats is refused."""
    with pytest.raises(ValueError, match="a stall is at least 0.05 seconds"):
        Stalls(FakePulse(), limit)


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([MAIN, RUN, LOOP, READ, RENDER, OURS, QUERY], [RENDER, QUERY]),
        ([MAIN, RUN, LOOP, READ, RENDER, READ], [RENDER]),
        ([MAIN, RUN, LOOP, READ, OURS], [READ, OURS]),
        ([MAIN, RUN, LOOP, READ], [READ]),
        ([MAIN, RUN, LOOP], [LOOP]),
        ([MAIN, RENDER], [MAIN, RENDER]),
        ([], []),
    ],
)
def test_culprits(stack: Any, expected: Any) -> None:
    """What runs the reactor is left out, and frames of the frameworks are, unless there are no others."""
    assert culprits(stack) == expected


def test_the_beat_of_a_real_latency() -> None:
    """The probe of the latency has one late beat told, once, with the beat before it; and none while it does not measure."""
    clock, told = Clock(), list[Any]()
    latency = Latency(clock, 0.05, monotonic=clock.seconds)
    assert vars(latency)["beat"] is None
    latency.start()
    latency.on_late = lambda beat, late: told.append((round(beat, 3), round(late, 3)))
    latency.late_from = 0.5
    clock.pump([0.05] * 10)
    assert told == []
    assert latency.beat == clock.seconds()
    clock.advance(1.05)
    assert told == [(0.5, 1.0)]
    latency.stop()
    assert vars(latency)["beat"] is None

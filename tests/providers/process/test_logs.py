"""The monitor's own log: L{twisted_qmon.providers.process.logs}."""

from __future__ import annotations

import gc
import io
import sys
import warnings
from collections.abc import Mapping
from threading import Thread
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogBeginner, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure

from twisted_qmon.errors import GenericError
from twisted_qmon.providers.process import logs as _logs
from twisted_qmon.providers.process.logs import EMIT_AT_ONCE, EMIT_PERIOD, MAX_TEXT, Level, LogKeeper


class _Fixture:
    """A keeper between a publisher and a list."""

    def __init__(self, keep: int = 1000, *, start: bool = True) -> None:
        self.publisher = LogPublisher()
        self.reactor = MemoryReactorClock()
        self.emitted: list[dict[str, Any]] = []
        self.times: list[Mapping[str, int]] = []
        self.keeper = LogKeeper(self.publisher, self.reactor, self.emit, keep, tell=Level.INFO)
        if start:
            self.keeper.start()
        self.log = Logger("app.web", observer=self.publisher)

    def emit(self, data: dict[str, Any], timestamp: Mapping[str, int]) -> None:
        self.emitted.append(data)
        self.times.append(timestamp)

    def texts(self, **wanted: Any) -> list[str]:
        arguments: dict[str, Any] = {"limit": None, "level": None, "namespace": None, **wanted}
        return [info.text for info in self.keeper.last(**arguments)]

    def emitted_texts(self) -> list[str]:
        return [data["text"] for data in self.emitted]


def test_warnings_stay() -> None:
    """However much is logged after them, so many warnings and errors are kept; all are told once, in their order."""
    fixture = _Fixture(keep=10)
    for number in range(_logs.KEEP_WARNINGS + 1):
        fixture.log.emit(LogLevel.warn, "bad {number}", number=number)
        fixture.log.info("good {number}", number=number)
    for _ in range(50):
        fixture.log.info("good")
    found = fixture.keeper.last(None, None, None)
    assert [info.text for info in found[:2]] == ["bad 1", "bad 2"]
    assert [info.text for info in found[-10:]] == ["good"] * 10
    assert len(found) == _logs.KEEP_WARNINGS + 10
    numbers = [info.number for info in found]
    assert numbers == sorted(set(numbers))
    fixture.log.error("worse")
    assert fixture.texts(level=Level.WARN)[-2:] == [f"bad {_logs.KEEP_WARNINGS}", "worse"]
    assert fixture.texts(after=numbers[-1]) == ["worse"]


def test_keeps_what_is_logged_formatted() -> None:
    """An event is kept with time, level, namespace and its text, formatted at that moment."""
    fixture = _Fixture()
    things = ["one"]
    fixture.log.emit(LogLevel.warn, "there is {things}", things=things, log_time=12.000345)
    things.append("two")
    (info,) = fixture.keeper.last(None, None, None)
    assert info.text == "there is ['one']"
    assert (info.level, info.namespace) == (Level.WARN, "app.web")
    assert fixture.texts() == ["there is ['one']"]
    assert set(info.timestamp) == {"seconds", "microseconds"}


def test_the_timestamp_is_the_events() -> None:
    """The time is when it was logged, in whole seconds and microseconds."""
    event = {"log_time": 12.000345, "log_level": LogLevel.info, "log_namespace": "a", "log_format": "x"}
    assert _logs.make_info(event, 1).timestamp == {"seconds": 12, "microseconds": 345}


def test_keeps_the_last_ones() -> None:
    """No more than the limit is kept, and the oldest go first."""
    fixture = _Fixture(keep=3)
    for number in range(5):
        fixture.log.info("event {n}", n=number)
    assert fixture.texts() == ["event 2", "event 3", "event 4"]


def test_each_has_the_next_number() -> None:
    """Which stays with it, whatever is asked for."""
    fixture = _Fixture(keep=3)
    for _ in range(5):
        fixture.log.info("x")
    fixture.log.error("y")
    assert [info.number for info in fixture.keeper.last(None, None, None)] == [4, 5, 6]
    assert [info.number for info in fixture.keeper.last(1, Level.ERROR, None)] == [6]


def test_a_failure_has_its_traceback() -> None:
    """What C{log.failure} logs is kept with the traceback, as Twisted's own log files have it."""
    fixture = _Fixture()
    try:
        raise ValueError("bad")
    except ValueError:
        fixture.log.failure("while trying", Failure())
    (text,) = fixture.texts()
    assert text.startswith("while trying\nTraceback")
    assert "ValueError: bad" in text


def test_a_long_text_is_cut() -> None:
    """A text beyond the limit is cut, and says so."""
    fixture = _Fixture()
    fixture.log.info("{text}", text="x" * 100_000)
    (text,) = fixture.texts()
    assert len(text) == MAX_TEXT
    assert text.endswith("x...")


def test_a_text_that_can_not_be_formatted_is_kept_as_twisted_tells_it() -> None:
    """A broken format string does no harm."""
    fixture = _Fixture()
    fixture.log.info("{missing}")
    assert "Unable to format event" in fixture.texts()[0]


def test_a_text_that_json_can_not_say() -> None:
    """A file's name that is no UTF-8 is kept in escapes; anything else of any script as it is."""
    fixture = _Fixture()
    fixture.log.emit(LogLevel.warn, "no file {name}: \N{SNOWMAN}", name="a\udcff")
    fixture.reactor.advance(0)
    assert fixture.texts() == ["no file a\\udcff: \N{SNOWMAN}"]
    assert fixture.emitted_texts() == fixture.texts()


def test_what_has_no_level_or_namespace_is_passed_over() -> None:
    """Events that say neither are not told, as with Twisted's own filter."""
    fixture = _Fixture()
    fixture.publisher({"log_format": "bare"})
    assert fixture.texts() == []


class TestLevels:
    """The filter by namespace."""

    def test_info_and_above_at_first(self) -> None:
        """Debug is not kept until asked for."""
        fixture = _Fixture()
        fixture.log.debug("d")
        fixture.log.info("i")
        fixture.log.critical("c")
        assert fixture.texts() == ["i", "c"]

    def test_a_namespace_and_what_is_below_it(self) -> None:
        """A level set for C{app} holds for C{app.web}, not for C{apple}."""
        fixture = _Fixture()
        fixture.keeper.set_level(Level.DEBUG, "app")
        fixture.log.debug("mine")
        Logger("apple", observer=fixture.publisher).debug("other")
        assert fixture.texts() == ["mine"]
        fixture.keeper.set_level(Level.ERROR, "app.web")
        fixture.log.emit(LogLevel.warn, "no more")
        assert fixture.texts() == ["mine"]

    def test_everything_else(self) -> None:
        """The empty namespace is all that have no level of their own."""
        fixture = _Fixture()
        fixture.keeper.set_level(Level.CRITICAL, "")
        fixture.log.error("e")
        fixture.log.critical("c")
        assert fixture.texts() == ["c"]

    def test_are_listed(self) -> None:
        """The one for everything else comes first, then the namespaces by name."""
        fixture = _Fixture()
        fixture.keeper.set_level(Level.DEBUG, "b")
        fixture.keeper.set_level(Level.WARN, "a")
        listed = [(info.namespace, info.level.value) for info in fixture.keeper.levels()]
        assert listed == [("", "info"), ("a", "warn"), ("b", "debug")]

    def test_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond the limit a new namespace is refused; one that has a level can still change it."""
        monkeypatch.setattr(_logs, "MAX_NAMESPACES", 3)
        fixture = _Fixture()
        fixture.keeper.set_level(Level.WARN, "a")
        fixture.keeper.set_level(Level.WARN, "b")
        with pytest.raises(GenericError, match="More than 3 namespaces"):
            fixture.keeper.set_level(Level.WARN, "c")
        fixture.keeper.set_level(Level.DEBUG, "b")
        assert fixture.keeper.levels()[-1].level is Level.DEBUG

    def test_do_not_touch_other_observers(self) -> None:
        """The application's own observers get all that they got before."""
        fixture = _Fixture()
        seen: list[Any] = []
        fixture.publisher.addObserver(seen.append)  # type: ignore[arg-type]
        fixture.keeper.set_level(Level.CRITICAL, "")
        fixture.log.debug("d")
        assert len(seen) == 1


class TestAsking:
    """What C{query-log} can ask for."""

    def test_by_number_level_and_namespace(self) -> None:
        """The latest so many, of a level and above, of a namespace and below."""
        fixture = _Fixture()
        fixture.log.info("1")
        fixture.log.error("2")
        Logger("app", observer=fixture.publisher).warn("3")
        Logger("application", observer=fixture.publisher).warn("4")
        assert fixture.texts(limit=2) == ["3", "4"]
        assert fixture.texts(limit=0) == []
        assert fixture.texts(level=Level.WARN) == ["2", "3", "4"]
        assert fixture.texts(namespace="app") == ["1", "2", "3"]
        assert fixture.texts(namespace="app.web", level=Level.ERROR, limit=5) == ["2"]


class TestEmitting:
    """The C{LOG} events."""

    def test_go_out_in_the_next_turn(self) -> None:
        """Nothing is emitted from within the log call; in the reactor's next turn it is, with its own time."""
        fixture = _Fixture()
        fixture.log.info("hello")
        assert fixture.emitted == []
        fixture.reactor.advance(0)
        assert fixture.emitted == [{"level": Level.INFO, "namespace": "app.web", "text": "hello"}]
        assert fixture.times == [fixture.keeper.last(1, None, None)[0].timestamp]

    def test_from_warnings_upwards(self) -> None:
        """Unless a level is set, only warnings and worse are told; the rest is kept."""
        fixture = _Fixture()
        told: list[str] = []
        keeper = LogKeeper(fixture.publisher, fixture.reactor, lambda data, timestamp: told.append(data["text"]))
        keeper.start()
        fixture.log.info("1")
        fixture.log.error("2")
        keeper.set_level(Level.INFO, "app")
        fixture.log.info("3")
        Logger("other", observer=fixture.publisher).info("4")
        fixture.reactor.pump([EMIT_PERIOD] * 3)
        assert told == ["2", "3"]
        assert [info.text for info in keeper.last(None, None, None)] == ["1", "2", "3", "4"]
        keeper.stop()

    def test_without_traceback(self) -> None:
        """A failure's traceback is kept for who asks; the event has its first line."""
        fixture = _Fixture()
        try:
            raise ValueError("deep")
        except ValueError:
            fixture.log.failure("while {what}", what="diving")
        fixture.reactor.advance(0)
        assert fixture.emitted_texts() == ["while diving"]
        assert "Traceback" in fixture.texts()[0]

    def test_come_in_batches(self) -> None:
        """What comes within a period goes out at its end; a period without anything leaves no timer."""
        fixture = _Fixture()
        fixture.log.info("1")
        fixture.reactor.advance(0)
        fixture.log.info("2")
        fixture.log.info("3")
        fixture.reactor.advance(EMIT_PERIOD / 2)
        assert fixture.emitted_texts() == ["1"]
        fixture.reactor.advance(EMIT_PERIOD / 2)
        assert fixture.emitted_texts() == ["1", "2", "3"]
        fixture.reactor.advance(EMIT_PERIOD)
        assert fixture.reactor.getDelayedCalls() == []
        fixture.log.info("4")
        fixture.reactor.advance(0)
        assert fixture.emitted_texts() == ["1", "2", "3", "4"]

    def test_are_bounded(self) -> None:
        """Of a flood the latest go out, and the first of them says how many are missing. They are kept all the same."""
        fixture = _Fixture()
        for number in range(EMIT_AT_ONCE + 7):
            fixture.log.info("{n}", n=number)
        fixture.reactor.advance(0)
        assert fixture.emitted_texts() == [str(number) for number in range(7, EMIT_AT_ONCE + 7)]
        assert [data.get("suppressed") for data in fixture.emitted] == [7] + [None] * (EMIT_AT_ONCE - 1)
        assert len(fixture.texts()) == EMIT_AT_ONCE + 7

    def test_do_not_bring_forth_others(self) -> None:
        """What is logged while one is being emitted is kept, and not emitted."""
        fixture = _Fixture()
        emit = fixture.emit

        def noisy(data: dict[str, Any], timestamp: Mapping[str, int]) -> None:
            emit(data, timestamp)
            fixture.log.error("while emitting {text}", text=data["text"])

        fixture.keeper._emit = noisy
        fixture.log.info("hello")
        fixture.reactor.pump([EMIT_PERIOD] * 20)
        assert fixture.emitted_texts() == ["hello"]
        assert fixture.texts() == ["hello", "while emitting hello"]

    def test_leave_out_the_monitors_own_debugging(self) -> None:
        """What the monitor says at the debug level about its own work is kept, and not emitted."""
        fixture = _Fixture()
        fixture.keeper.set_level(Level.DEBUG, "")
        own = Logger("twisted_qmon.qmp.protocol", observer=fixture.publisher)
        own.debug("written")
        own.info("closed")
        Logger("twisted_qmonitor", observer=fixture.publisher).debug("no relative")
        fixture.reactor.advance(0)
        assert fixture.emitted_texts() == ["closed", "no relative"]
        assert fixture.texts() == ["written", "closed", "no relative"]

    def test_from_another_thread_go_out_in_the_reactors(self) -> None:
        """A log call in another thread emits nothing there; the reactor is asked to."""
        fixture = _Fixture()
        asked: list[Any] = []
        fixture.reactor.callFromThread = lambda call, *args: asked.append((call, args))  # type: ignore[attr-defined]

        def work() -> None:
            for number in range(3):
                fixture.log.info("{n}", n=number)

        thread = Thread(target=work)
        thread.start()
        thread.join(30)
        assert len(asked) == 1
        assert fixture.reactor.getDelayedCalls() == []
        call, args = asked[0]
        call(*args)
        fixture.reactor.advance(0)
        assert fixture.emitted_texts() == ["0", "1", "2"]

    def test_end_when_it_is_stopped(self) -> None:
        """After C{stop} nothing is kept or emitted, no timer is left, and it can be started again."""
        fixture = _Fixture()
        fixture.log.info("1")
        fixture.keeper.stop()
        fixture.keeper.stop()
        fixture.log.info("2")
        fixture.reactor.advance(1)
        assert fixture.emitted == []
        assert fixture.reactor.getDelayedCalls() == []
        fixture.keeper.start()
        fixture.keeper.start()
        fixture.log.info("3")
        fixture.reactor.advance(0)
        assert fixture.emitted_texts() == ["3"]
        assert fixture.texts() == ["1", "3"]

    def test_go_on_after_a_failing_emit(self) -> None:
        """If emitting fails, the next batch is emitted all the same."""
        fixture = _Fixture()
        emit = fixture.emit

        def broken(data: dict[str, Any], timestamp: Mapping[str, int]) -> None:
            raise ValueError("no")

        fixture.keeper._emit = broken
        fixture.log.info("1")
        with pytest.raises(ValueError, match="no"):
            fixture.reactor.advance(0)
        fixture.keeper._emit = emit
        fixture.log.info("2")
        fixture.reactor.advance(EMIT_PERIOD)
        assert fixture.emitted_texts() == ["2"]


class TestBeforeTheStart:
    """What is logged between the keeper's making and its start."""

    def test_it_is_kept_and_does_not_go_out(self) -> None:
        """From C{prepare()} on; after C{start()} each event is kept once."""
        fixture = _Fixture(start=False)
        fixture.log.info("too early")
        fixture.keeper.prepare()
        fixture.keeper.prepare()
        fixture.log.info("early")
        fixture.log.error("early, and bad")
        fixture.keeper.start()
        fixture.keeper.prepare()
        fixture.log.info("later")
        assert fixture.texts() == ["early", "early, and bad", "later"]
        fixture.reactor.advance(1)
        assert fixture.emitted_texts() == ["later"]
        fixture.keeper.stop()
        assert fixture.publisher._observers == []

    def test_when_logging_begins_later(self) -> None:
        """What Twisted publishes again when logging begins is kept once, in the order of time, numbered from 1."""
        fixture = _Fixture(start=False)
        beginner = LogBeginner(fixture.publisher, io.StringIO(), sys, warnings)
        fixture.log.info("before it is made")
        fixture.keeper.prepare()
        fixture.log.info("early")
        fixture.log.info("early")
        beginner.beginLoggingTo([], redirectStandardIO=False)
        fixture.keeper.start()
        fixture.log.info("later")
        kept = [(info.number, info.text) for info in fixture.keeper.last(None, None, None)]
        assert kept == [(1, "before it is made"), (2, "early"), (3, "early"), (4, "later")]

    def test_one_that_is_never_started_leaves_nothing_behind(self) -> None:
        """When the keeper goes, so does what observed for it."""
        fixture = _Fixture(start=False)
        fixture.keeper.prepare()
        assert len(fixture.publisher._observers) == 1
        del fixture.keeper
        gc.collect()
        assert fixture.publisher._observers == []

"""Which lines allocate: L{twisted_qmon.providers.diagnose.memory}."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.providers.diagnose.test_objects import Provided
from twisted_qmon import GenericError
from twisted_qmon.providers.diagnose import memory


@pytest.fixture(autouse=True)
def _stop() -> Iterator[None]:
    """Whatever a test leaves behind, the next one is not traced."""
    yield
    tracemalloc.stop()


def _leak(where: list[Any], count: int) -> None:
    where.extend([number] for number in range(count))


def _mine(result: Any) -> Any:
    return next(line for line in result["lines"] if line["file"] == __file__)


def test_a_leak_is_named_by_its_line() -> None:
    """What has been allocated there since the start, and from the second look on what has become more."""
    provided, leak = Provided(), list[Any]()
    started = provided.execute("memory-trace", action="start")
    assert (started["tracing"], started["lines"], started["seconds"]) == (True, [], 0.0)
    _leak(leak, 10_000)
    first = provided.execute("memory-trace", action="top", limit=3)
    assert "since" not in first
    assert (len(first["lines"]), first["blocks"] >= 10_000) == (3, True)
    line = _mine(first)
    assert (line["line"], "callers" in line) == (_leak.__code__.co_firstlineno + 1, False)
    assert line["count"] >= 10_000
    provided.clock.advance(1)
    _leak(leak, 10_000)
    second = provided.execute("memory-trace", action="top", limit=0)
    assert second["since"] == 1.0
    worst = second["lines"][0]
    assert (worst["file"], worst["line"]) == (__file__, line["line"])
    assert worst["count-change"] >= 10_000
    assert worst["size-change"] > 10_000 * 50
    assert len(second["lines"]) > 3
    assert not provided.execute("memory-trace", action="stop")["tracing"]
    assert provided.clock.getDelayedCalls() == []
    assert len(leak) == 20_000


def test_with_more_frames_the_callers_are_told() -> None:
    """Who called the line that allocated, the nearest first."""
    provided, leak = Provided(), list[Any]()
    provided.execute("memory-trace", action="start", frames=5)
    _leak(leak, 10_000)
    line = _mine(provided.execute("memory-trace", action="top", limit=0))
    assert line["callers"][0].startswith(f"{__file__}:")
    printed = provided.printed("memory-trace", action="top")
    assert f"  ~{__file__[-20:]}"[-20:] in printed


def test_it_ends_by_itself() -> None:
    """After its time nothing is traced; so it is when the provider is taken out."""
    provided = Provided()
    provided.execute("memory-trace", action="start", seconds=60)
    provided.clock.advance(59)
    assert tracemalloc.is_tracing()
    provided.clock.advance(1)
    assert not tracemalloc.is_tracing()
    provided.execute("memory-trace", action="start")
    provided.monitor.unregister(provided.provider)
    assert not tracemalloc.is_tracing()
    assert provided.clock.getDelayedCalls() == []


def test_one_that_was_begun_elsewhere_is_looked_at_and_left() -> None:
    """PYTHONTRACEMALLOC, or the program itself: C{top} works, and to be unregistered does not end it."""
    provided = Provided()
    tracemalloc.start()
    assert "seconds" not in provided.execute("memory-trace", action="top")
    provided.monitor.unregister(provided.provider)
    assert tracemalloc.is_tracing()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"action": "start", "frames": 0}, "Parameter 'frames' expects a number from 1 to 25"),
        ({"action": "start", "frames": 26}, "Parameter 'frames' expects a number from 1 to 25"),
        ({"action": "start", "seconds": 0}, "Parameter 'seconds' expects a number of seconds up to 86400"),
        ({"action": "start", "seconds": 1e9}, "Parameter 'seconds' expects a number of seconds up to 86400"),
        ({"action": "top"}, "Allocations are not traced: begin with 'memory-trace start'"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], words: str) -> None:
    """In words that say what is right."""
    with pytest.raises(GenericError) as caught:
        Provided().execute("memory-trace", **arguments)
    assert str(caught.value) == words


def test_it_can_not_begin_twice() -> None:
    """One trace at a time."""
    provided = Provided()
    provided.execute("memory-trace", action="start")
    with pytest.raises(GenericError, match="Allocations are being traced already"):
        provided.execute("memory-trace", action="start")


def test_one_that_ends_while_it_is_evaluated() -> None:
    """It has no lines."""
    assert memory._evaluate(10, None) == ([], {}, 0)


def test_without_the_quick_way() -> None:
    """If Python's snapshot is made in another way one day, what is public says the same."""
    leak = list[Any]()
    tracemalloc.start(3)
    _leak(leak, 1000)
    snapshot = tracemalloc.take_snapshot()
    public: Any = SimpleNamespace(traces=list(snapshot.traces))
    quick, slow = memory._by_line(snapshot), memory._by_line(public)
    assert {place: (line.size, line.count, line.largest) for place, line in quick.items()} == {
        place: (line.size, line.count, line.largest) for place, line in slow.items()
    }
    place = (__file__, _leak.__code__.co_firstlineno + 1)
    assert list(quick[place].trace) == list(slow[place].trace)


def test_what_a_person_sees() -> None:
    """A line or a table; nothing is wider than a terminal."""
    provided, leak = Provided(), list[Any]()
    assert provided.printed("memory-trace", action="stop") == "allocations are not traced"
    assert provided.printed("memory-trace", action="start").startswith("traced for 0.0 ms: ")
    _leak(leak, 1000)
    lines = provided.printed("memory-trace", action="top").splitlines()
    assert lines[2].split() == ["size", "blocks", "line"]
    provided.clock.advance(3)
    lines = provided.printed("memory-trace", action="top").splitlines()
    assert lines[1] == "changes since 3.0 s ago"
    assert lines[3].split() == ["size", "blocks", "change", "line"]
    assert max(map(len, lines)) <= 100

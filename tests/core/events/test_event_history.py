"""
The numbers of events, and the history of the latest.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.support.events import make, numbers
from twisted_qmon import Monitor
from twisted_qmon.core.events import Event, EventMessage, EventTable
from twisted_qmon.core.events.history import EventHistory, Resumed
from twisted_qmon.errors import EventError
from twisted_qmon.qmp._server.messages import encode_event


def message(data: Any = None) -> EventMessage:
    return EventMessage("A", {"seconds": 1, "microseconds": 2}, data)


def filled(events: int, **limits: int) -> EventHistory:
    """A history that has seen so many events without data."""
    history = EventHistory(**limits)
    for _ in range(events):
        event = message()
        history.add(event)
        history.weigh(event)
    return history


def kept(history: EventHistory) -> list[int]:
    """The numbers of the events that are kept."""
    return [event.number for event in history.after(0, 10_000)]


def test_numbers_begin_at_one() -> None:
    """Before the first event nothing is kept; the first one is number 1."""
    history = EventHistory()
    assert (history.first, history.last, kept(history)) == (1, 0, [])
    history = filled(3)
    assert (history.first, history.last, kept(history)) == (1, 3, [1, 2, 3])


def test_id() -> None:
    """Each monitor has a UUID of its own."""
    one, other = Monitor(clock=Clock()), Monitor(clock=Clock())
    assert str(UUID(one.events.history.id)) == one.events.history.id != other.events.history.id


def test_count() -> None:
    """Beyond the number that may be kept the oldest is dropped."""
    history = filled(10, count=4)
    assert (history.first, history.last, kept(history)) == (7, 10, [7, 8, 9, 10])


@pytest.mark.parametrize("limits", [{"count": 0}, {"size": 0}, {"count": 0, "size": 0}, {"size": 10}])
def test_off(limits: dict[str, int]) -> None:
    """With a limit of 0 nothing is kept, and the numbers go on; nor is an event kept that is larger than all may be."""
    history = filled(5, **limits)
    assert (history.first, history.last, history.bytes, kept(history)) == (6, 5, 0, [])
    assert history.resume(2, history.id) == Resumed(5, 6, 5, 3, False)


def test_bytes_of_what_was_encoded() -> None:
    """The bytes of an event that was encoded are those of its line."""
    history = EventHistory(size=1000)
    lines = []
    for n in range(20):
        event = message({"n": n, "text": "x" * 100})
        history.add(event)
        lines.append(len(encode_event(event)))
        history.weigh(event)
    number = len(kept(history))
    assert history.bytes == sum(lines[-number:]) <= 1000 < sum(lines[-number - 1 :])


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"actual": 1 << 40},
        {"status": "running", "id": "j0"},
        {"text": "x" * 5000},
        {"list": [{"name": f"device-{n}", "size": n, "ok": True} for n in range(50)]},
        {"pair": ("a", None), "deep": [[[[1.5]]]]},
    ],
)
def test_bytes_of_what_was_not(data: Any) -> None:
    """The bytes of an event that was not encoded are estimated, and it is not encoded for that."""
    history = EventHistory()
    event = message(data)
    history.add(event)
    history.weigh(event)
    assert event.encoded is None
    assert 0.5 < history.bytes / len(encode_event(event)) < 2


@pytest.mark.parametrize("data", [{1: {2: 3}}, {"set": {1, 2}}, {"object": object()}])
def test_bytes_of_anything(data: Any) -> None:
    """What JSON can't say has an estimate too: it is for the emitter of unchecked data to see to that."""
    history = EventHistory()
    event = message(data)
    history.add(event)
    history.weigh(event)
    assert 0 < history.bytes < 1000


def test_bytes_of_what_has_no_end() -> None:
    """Data that contains itself is too large."""
    history = EventHistory()
    data: dict[str, Any] = {}
    data["self"] = [data, data]
    event = message(data)
    history.add(event)
    history.weigh(event)
    assert (kept(history), history.bytes) == ([], 0)


def test_limits_changed() -> None:
    """With narrower limits what is too much is dropped at once; a limit that is not given stays."""
    history = filled(10)
    each = history.bytes // 10
    history.limit(size=each * 7)
    assert kept(history) == [4, 5, 6, 7, 8, 9, 10]
    history.limit(count=2)
    assert (kept(history), history.bytes) == ([9, 10], 2 * each)
    history.limit(0)
    assert (kept(history), history.bytes) == ([], 0)
    for limits in ({"count": -1}, {"size": -1}):
        with pytest.raises(ValueError, match="at least 0, not -1"):
            history.limit(**limits)
        with pytest.raises(ValueError, match="at least 0, not -1"):
            EventHistory(**limits)


@pytest.mark.parametrize(
    ("after", "mine", "resumed"),
    [
        (None, None, Resumed(10, 7, 10, 0, False)),
        (None, True, Resumed(10, 7, 10, 0, False)),
        (10, True, Resumed(10, 7, 10, 0, False)),
        (8, None, Resumed(8, 7, 10, 0, False)),
        (6, True, Resumed(6, 7, 10, 0, False)),
        (5, True, Resumed(6, 7, 10, 1, False)),
        (0, None, Resumed(6, 7, 10, 6, False)),
        (11, True, Resumed(6, 7, 10, 6, True)),
        (11, None, Resumed(6, 7, 10, 6, True)),
        (8, False, Resumed(6, 7, 10, 6, True)),
        (None, False, Resumed(6, 7, 10, 6, True)),
    ],
)
def test_resume(after: int | None, mine: bool | None, resumed: Resumed) -> None:
    """A reader goes on after its number; what it lost is told; a number of another monitor means the whole history."""
    history = filled(10, count=4)
    monitor = {None: None, True: history.id, False: EventHistory().id}[mine]
    assert history.resume(after, monitor) == resumed


def test_resume_before_the_first() -> None:
    """There is nothing to resume before the first event."""
    history = EventHistory()
    assert history.resume(None, None) == history.resume(0, history.id) == Resumed(0, 1, 0, 0, False)
    assert history.resume(1, history.id) == Resumed(0, 1, 0, 0, True)


@given(st.integers(0, 30), st.integers(0, 10), st.integers(-1, 40), st.integers(0, 10))
def test_after(count: int, limit: int, number: int, most: int) -> None:
    """A reader gets what is kept beyond its position, in order, as much as it asked for."""
    history = filled(count, count=limit)
    found = [event.number for event in history.after(number, most)]
    assert found == [n for n in range(1, count + 1) if n > max(number, count - limit)][:most]


# -- in the table


def test_numbered_as_they_leave_the_rate_limit() -> None:
    """An event that its rate limit drops has no number; one that it keeps gets its number when it is sent."""
    table, clock, seen = make(Event("A", n=int, rate_limit=1.0), Event("B", n=int))
    table.emit("A", {"n": 1})
    table.emit("A", {"n": 2})
    table.emit("A", {"n": 3})
    table.emit("B", {"n": 4})
    clock.advance(1)
    assert numbers(seen) == [1, 4, 3]
    assert [event.number for event in seen] == [1, 2, 3]
    assert list(table.history.after(0, 10)) == seen


def test_numbered_in_the_order_of_delivery() -> None:
    """Events that receivers emit are numbered in the order in which all receivers get them."""
    table, _, seen = make(Event("A", n=int))

    def echo(event: EventMessage) -> None:
        assert table.history.last == event.number
        if event.data["n"] < 3:
            table.emit("A", {"n": 2 * event.data["n"]})
            table.emit("A", {"n": 2 * event.data["n"] + 1})

    table.subscribe(echo)
    table.emit("A", {"n": 1})
    assert [event.number for event in seen] == numbers(seen) == [1, 2, 3, 4, 5]


def test_no_number_for_what_is_not_sent() -> None:
    """What is refused or muted is not numbered."""
    table, _, _ = make(Event("A", n=int))
    with pytest.raises(EventError):
        table.emit("A", {"n": "one"})
    table.mute()
    table.emit("A", {"n": 1})
    table.mute(False)
    table.emit("A", {"n": 2})
    assert (kept(table.history), table.history.last) == ([1], 1)


def test_bytes_without_receivers() -> None:
    """Events that no receiver encodes count, and stay as they are."""
    clock = Clock()
    table = EventTable(lambda: clock, EventHistory(size=1000))
    table.define([Event("A", text=str)])
    for _ in range(20):
        table.emit("A", {"text": "x" * 200})
    assert len(kept(table.history)) == 3
    assert [event.encoded for event in table.history.after(0, 10)] == [None] * 3


def test_upstream() -> None:
    """In front of a server each event has the number of its connection."""
    table, _, seen = make(Event("A"))
    table.emit("A")
    table.upstream = 1
    table.emit("A")
    table.forward("B")
    assert [event.upstream for event in seen] == [None, 1, 1]


def test_limits_of_a_monitor() -> None:
    """A monitor is given the limits of its history."""
    monitor = Monitor(clock=Clock(), event_history=2)
    for _ in range(3):
        monitor.emit("EVENTS_LOST", {"count": 1})
    assert kept(monitor.events.history) == [2, 3]
    monitor = Monitor(clock=Clock(), event_history_bytes=0)
    monitor.emit("EVENTS_LOST", {"count": 1})
    assert kept(monitor.events.history) == []
    with pytest.raises(ValueError, match="at least 0"):
        Monitor(event_history=-1)

"""
Events: definitions, emission, delivery.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.support.events import make, numbers
from twisted_qmon import CommandProvider, Monitor
from twisted_qmon.core.events import Event, EventMessage, EventTable, wire_timestamp
from twisted_qmon.core.events import table as events_module
from twisted_qmon.errors import EventError, RegistrationError

# -- definitions


@pytest.mark.parametrize("name", ["lower", "Mixed_CASE", "WITH-DASH", "", "1ST", "A B", "_A", "STOP\n"])
def test_name_refused(name: str) -> None:
    """The name of an event is UPPER_CASE."""
    with pytest.raises(RegistrationError, match="UPPER_CASE"):
        Event(name)


@pytest.mark.parametrize("name", ["STOP", "BALLOON_CHANGE", "A", "P9_X", "__ORG.QEMU_X"])
def test_name_taken(name: str) -> None:
    """QEMU's names will do, those of downstreams too."""
    assert Event(name).name == name


def test_foreign_name() -> None:
    """The name of an event that was defined elsewhere is taken as it is."""
    assert Event("__org.qemu_x-event", check=False).name == "__org.qemu_x-event"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate_limit": 0}, "above 0"),
        ({"rate_limit": -1.0}, "above 0"),
        ({"rate_limit": float("nan")}, "above 0"),
        ({"key": "id", "id": str}, "sequence"),
        ({"key": ("id",), "name": str}, "'id' is not a member"),
        ({"data": str}, "maps names"),
        ({"data": {"a": int}, "a": int}, "given twice"),
        ({"data": {"a-b": int}, "a_b": int}, "given twice"),
        ({"a": object()}, "STOP"),
    ],
)
def test_definition_refused(arguments: dict[str, Any], words: str) -> None:
    """A definition that makes no sense says why."""
    with pytest.raises(RegistrationError, match=words):
        Event("STOP", **arguments)


def test_members_of_any_name() -> None:
    """Members whose names are taken or have a dash are given as a mapping, beside the others."""
    event = Event("DONE", data={"key": str, "node-name": str, "check": bool}, size=int)
    assert sorted(member.name for member in event.members) == ["check", "key", "node-name", "size"]


def test_define_all_or_nothing() -> None:
    """If one name is taken, none of the events is defined."""
    table, _, _ = make(Event("OLD"))
    with pytest.raises(RegistrationError, match="OLD is already defined"):
        table.define([Event("NEW"), Event("OLD")])
    assert list(table.definitions) == ["OLD"]


def test_define_twice_at_once() -> None:
    """A name that comes twice in one go is taken, even for a shadow."""
    table, _, _ = make()
    for shadow in (False, True):
        with pytest.raises(RegistrationError, match="TWICE is already defined"):
            table.define([Event("TWICE"), Event("TWICE")], shadow=shadow)
    assert not table.definitions


def test_shadow() -> None:
    """A shadow covers an event until it is removed."""
    ours, theirs = Event("SHUTDOWN", reason=str), Event("SHUTDOWN", check=False)
    table, _, seen = make(ours)
    table.define([theirs], shadow=True)
    assert table.definitions["SHUTDOWN"] is theirs
    table.emit("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    table.remove([theirs])
    assert table.definitions["SHUTDOWN"] is ours
    with pytest.raises(EventError):
        table.emit("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    assert [message.data for message in seen] == [{"guest": True, "reason": "guest-shutdown"}]


def test_covered_removed_first() -> None:
    """An event that is covered can be removed; the one above stays."""
    ours, theirs = Event("SHUTDOWN"), Event("SHUTDOWN", check=False)
    table, _, _ = make(ours)
    table.define([theirs], shadow=True)
    table.remove([ours])
    assert table.definitions["SHUTDOWN"] is theirs
    table.remove([theirs])
    table.remove([theirs])
    assert not table.definitions


def test_definitions_are_read_only() -> None:
    """Nobody defines an event by the back door."""
    table, _, _ = make(Event("A"))
    with pytest.raises(TypeError):
        table.definitions["B"] = Event("B")  # type: ignore[index]


# -- emission


def test_message() -> None:
    """A message is as on the wire, in QEMU's order of members."""
    table, _, seen = make(Event("BALLOON_CHANGE", actual=int))
    table.emit("BALLOON_CHANGE", {"actual": 5})
    (message,) = seen
    assert message == {
        "timestamp": {"seconds": 1_700_000_000, "microseconds": 250_000},
        "event": "BALLOON_CHANGE",
        "data": {"actual": 5},
    }
    assert list(message) == ["timestamp", "event", "data"]
    assert (message.name, message.data, message.encoded) == ("BALLOON_CHANGE", {"actual": 5}, None)


@pytest.mark.parametrize("data", [None, {}])
@pytest.mark.parametrize("check", [True, False])
def test_no_data(data: dict[str, Any] | None, check: bool) -> None:
    """The data is left out if there is none."""
    table, _, seen = make(Event("STOP", check=check))
    table.emit("STOP", data)
    assert list(seen[0]) == ["timestamp", "event"]
    assert seen[0].data == {}


def test_dashed_member() -> None:
    """Members are emitted in Python's spelling or that of the wire, and come out in that of the wire."""
    for event in (Event("QUORUM_FAILURE", node_name=str), Event("QUORUM_FAILURE", data={"node-name": str})):
        table, _, seen = make(event)
        table.emit("QUORUM_FAILURE", {"node_name": "q"})
        table.emit("QUORUM_FAILURE", {"node-name": "q"})
        assert [message.data for message in seen] == [{"node-name": "q"}] * 2


def test_optional_member() -> None:
    """A member that may be absent is left out when it is."""
    table, _, seen = make(Event("DONE", id=str, error=str | None))
    table.emit("DONE", {"id": "a"})
    table.emit("DONE", {"id": "a", "error": "no"})
    assert [message.data for message in seen] == [{"id": "a"}, {"id": "a", "error": "no"}]


@pytest.mark.parametrize(
    "data", [None, {}, {"actual": "x"}, {"actual": 1, "more": 2}, {"actual": True}, {"actual": None}]
)
def test_wrong_data(data: dict[str, Any] | None) -> None:
    """Data that does not fit raises at the emitter, and nobody hears of it."""
    table, _, seen = make(Event("BALLOON_CHANGE", actual=int))
    with pytest.raises(EventError, match="BALLOON_CHANGE"):
        table.emit("BALLOON_CHANGE", data)
    assert not seen


def test_undefined() -> None:
    """An event that nobody defined raises at the emitter."""
    table, _, seen = make()
    with pytest.raises(EventError, match="NOPE is not defined"):
        table.emit("NOPE")
    assert not seen


def test_emit_before_registration() -> None:
    """A provider that is not registered, or not any more, says so when it emits; a registered one emits at its monitor."""

    class Lamp(CommandProvider):
        events = (Event("LAMP_CHANGE", level=int),)

    lamp, monitor = Lamp(), Monitor(clock=Clock())
    got: list[EventMessage] = []
    words = "event LAMP_CHANGE can't be emitted: Lamp is not registered with a monitor"
    with pytest.raises(EventError, match=words):
        lamp.emit("LAMP_CHANGE", {"level": 1})
    words_of_the_monitor = "event LAMP_CHANGE is not defined: no provider that is registered has it in its events"
    with pytest.raises(EventError, match=words_of_the_monitor):
        monitor.emit("LAMP_CHANGE", {"level": 1})
    monitor.register(lamp)
    monitor.subscribe(got.append)
    lamp.emit("LAMP_CHANGE", {"level": 2}, timestamp=5.0)
    assert [(message["data"], message["timestamp"]["seconds"]) for message in got] == [({"level": 2}, 5)]
    monitor.unregister(lamp)
    with pytest.raises(EventError, match=words):
        lamp.emit("LAMP_CHANGE", {"level": 3})


def test_forward() -> None:
    """An event from elsewhere is delivered as it is: undefined, or against our definition, and within our rate limit."""
    table, clock, seen = make(Event("OURS", degrees=int, rate_limit=1.0))
    when = {"seconds": 5, "microseconds": 6}
    table.forward("NOPE", {"x": [None]}, timestamp=when)
    for degrees in ("hot", "hotter"):
        table.forward("OURS", {"degrees": degrees})
    now = {"seconds": int(clock.seconds()), "microseconds": round(clock.seconds() % 1 * 1_000_000)}
    assert seen == [
        {"timestamp": when, "event": "NOPE", "data": {"x": [None]}},
        {"timestamp": now, "event": "OURS", "data": {"degrees": "hot"}},
        {"timestamp": now, "event": "OURS", "data": {"degrees": "hotter"}},
    ]
    with pytest.raises(EventError, match="is not a valid timestamp"):
        table.forward("NOPE", timestamp={"seconds": 5})


def test_unchecked() -> None:
    """The data of an event that was defined elsewhere is passed on as it is."""
    table, _, seen = make(Event("RESET", check=False))
    data = {"guest": True, "any": [None, {"x": 1.5}]}
    table.emit("RESET", data)
    assert seen[0]["data"] is data


@pytest.mark.parametrize(
    ("when", "seconds", "microseconds"),
    [
        (0, 0, 0),
        (1.000001, 1, 1),
        (1699999999.9999999, 1700000000, 0),
        (1700000000.123456, 1700000000, 123456),
        (-0.25, -1, 750000),
        ({"seconds": 5, "microseconds": 999999}, 5, 999999),
        ({"seconds": -1, "microseconds": -1}, -1, -1),
    ],
)
def test_timestamp(when: Any, seconds: int, microseconds: int) -> None:
    """A timestamp is given in seconds, or as on the wire."""
    table, _, seen = make(Event("STOP"))
    table.emit("STOP", timestamp=when)
    assert seen[0]["timestamp"] == {"seconds": seconds, "microseconds": microseconds}


@given(st.integers(min_value=0, max_value=4 * 10**15))
def test_timestamp_is_exact(microseconds: int) -> None:
    """To the microsecond, for any time of the next hundred years."""
    when = wire_timestamp(microseconds / 1_000_000)
    assert when["seconds"] * 1_000_000 + when["microseconds"] == microseconds
    assert 0 <= when["microseconds"] < 1_000_000


@pytest.mark.parametrize(
    "when",
    ["now", float("nan"), float("inf"), {}, {"seconds": 1}, {"seconds": 1.5, "microseconds": 0}, [1, 2], {1: 2, 3: 4}],
)
def test_wrong_timestamp(when: Any) -> None:
    """A timestamp that is none raises at the emitter."""
    table, _, seen = make(Event("STOP"))
    with pytest.raises(EventError, match="timestamp"):
        table.emit("STOP", timestamp=when)
    assert not seen


# -- delivery


def test_subscription_by_name() -> None:
    """A receiver that names events gets those and no others, each once."""
    table, _, every = make(Event("A"), Event("B"), Event("C"))
    some: list[EventMessage] = []
    table.subscribe(some.append, ["A", "C", "A"])
    for name in "ABCA":
        table.emit(name)
    assert [message.name for message in some] == ["A", "C", "A"]
    assert [message.name for message in every] == ["A", "B", "C", "A"]


def test_subscription_to_no_name() -> None:
    """No names: no events."""
    table, _, _ = make(Event("A"))
    none: list[EventMessage] = []
    table.subscribe(none.append, [])()
    table.subscribe(none.append, [])
    table.emit("A")
    assert not none


def test_subscription_names_string() -> None:
    """One string where names are expected is a mistake that would go unnoticed."""
    table, _, _ = make()
    with pytest.raises(TypeError, match="not one name"):
        table.subscribe(print, "STOP")


def test_subscribe_before_definition() -> None:
    """One can subscribe to an event that is defined later."""
    table, _, _ = make()
    some: list[EventMessage] = []
    table.subscribe(some.append, ["LATER"])
    table.define([Event("LATER")])
    table.emit("LATER")
    assert [message.name for message in some] == ["LATER"]


@pytest.mark.parametrize("names", [None, ["A"], ["A", "B"]])
def test_unsubscribe(names: list[str] | None) -> None:
    """After it nothing comes any more; twice does no harm; another subscription of the same receiver stays."""
    table, _, _ = make(Event("A"), Event("B"))
    some: list[EventMessage] = []
    table.subscribe(some.append, ["A"])
    unsubscribe = table.subscribe(some.append, names)
    table.emit("A")
    unsubscribe()
    unsubscribe()
    table.emit("A")
    assert len(some) == 3


def test_unsubscribed_names_are_forgotten() -> None:
    """Names that come and go leave nothing behind."""
    table, _, _ = make()
    for i in range(10):
        table.subscribe(print, [f"E{i}", "SAME"])()
    assert not table._named


def test_receiver_that_raises(flush_logged_errors: Callable[..., Any]) -> None:
    """It is logged, and the others get the event all the same."""
    clock = Clock()
    table = EventTable(lambda: clock)
    table.define([Event("A")])

    def bad(message: EventMessage) -> None:
        raise ValueError("bad receiver")

    seen: list[EventMessage] = []
    table.subscribe(bad)
    table.subscribe(seen.append)
    table.emit("A")
    table.emit("A")
    assert len(seen) == 2
    assert len(flush_logged_errors(ValueError)) == 2


@pytest.mark.parametrize("names", [None, ["A"]])
def test_unsubscribe_during_delivery(names: list[str] | None) -> None:
    """A receiver that another one unsubscribes gets nothing any more, not even what is being delivered."""
    table, _, _ = make(Event("A"))
    late: list[EventMessage] = []

    def first(message: EventMessage) -> None:
        unsubscribe_late()
        unsubscribe_first()

    unsubscribe_first = table.subscribe(first, names)
    unsubscribe_late = table.subscribe(late.append, names)
    last: list[EventMessage] = []
    table.subscribe(last.append, names)
    table.emit("A")
    table.emit("A")
    assert not late
    assert len(last) == 2


def test_subscribe_during_delivery() -> None:
    """A receiver that is subscribed during a delivery gets the next one."""
    table, _, _ = make(Event("A", n=int))
    new: list[EventMessage] = []

    def subscribing(message: EventMessage) -> None:
        if message.data["n"] == 0:
            table.subscribe(new.append)

    table.subscribe(subscribing)
    for n in range(3):
        table.emit("A", {"n": n})
    assert numbers(new) == [1, 2]


def test_emit_during_delivery() -> None:
    """What a receiver emits comes after the event that it was told of, at every receiver."""
    table, _, first = make(Event("A", n=int))

    def echo(message: EventMessage) -> None:
        n = message.data["n"]
        if n < 4:
            table.emit("A", {"n": 2 * n})
            table.emit("A", {"n": 2 * n + 1})

    table.subscribe(echo)
    last: list[EventMessage] = []
    table.subscribe(last.append)
    table.emit("A", {"n": 1})
    assert numbers(first) == numbers(last) == [1, 2, 3, 4, 5, 6, 7]


def test_too_many_during_delivery(monkeypatch: pytest.MonkeyPatch, flush_logged_errors: Callable[..., Any]) -> None:
    """A receiver that emits without end is told so, instead of filling the memory."""
    monkeypatch.setattr(events_module, "MAX_NESTED", 10)
    table, _, seen = make(Event("A"))

    def endless(message: EventMessage) -> None:
        unsubscribe()
        for _ in range(11):
            table.emit("A")

    unsubscribe = table.subscribe(endless)
    table.emit("A")
    assert len(seen) == 11
    assert len(flush_logged_errors(EventError)) == 1
    table.emit("A")
    assert len(seen) == 12


def test_interrupted_delivery() -> None:
    """Not even a KeyboardInterrupt in a receiver stops later deliveries."""
    table, _, _ = make(Event("A"))

    def interrupt(message: EventMessage) -> None:
        unsubscribe()
        raise KeyboardInterrupt

    unsubscribe = table.subscribe(interrupt)
    seen: list[EventMessage] = []
    table.subscribe(seen.append)
    with pytest.raises(KeyboardInterrupt):
        table.emit("A")
    table.emit("A")
    assert len(seen) == 1


def test_one_encoding_for_a_thousand_clients() -> None:
    """1,000 events to 1,000 receivers: each is encoded once, and every receiver has them in order."""
    table, _, _ = make(Event("A", n=int))
    encodings = 0
    position = [0] * 1000

    def encode(message: EventMessage) -> bytes:
        nonlocal encodings
        encodings += 1
        return b"%d" % message.data["n"]

    def client(number: int) -> Callable[[EventMessage], None]:
        def receive(message: EventMessage) -> None:
            encoded = message.encoded
            if encoded is None:
                encoded = message.encoded = encode(message)
            assert int(encoded) == position[number]
            position[number] += 1

        return receive

    for number in range(1000):
        table.subscribe(client(number))
    for n in range(1000):
        table.emit("A", {"n": n})
    assert position == [1000] * 1000
    assert encodings == 1000

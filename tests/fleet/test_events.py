"""
Events of members: in order, none twice, none missing without a word; and who is there.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fleet import World, all_may, recorder
from twisted_qmon.errors import CommandError
from twisted_qmon.fleet import member as limits
from twisted_qmon.fleet import positions
from twisted_qmon.fleet.interfaces import FleetGap, Publication
from twisted_qmon.fleet.remote import FOLLOW


def numbers(publications: list[Publication], member: str = "m1") -> list[int]:
    """:return: the C{n} of the events of a member"""
    messages: list[Any] = [each.message for each in publications if each.member == member]
    return [message["data"]["n"] for message in messages]


def test_events_of_all_members() -> None:
    """Who subscribes to the fleet gets the events of each member, in their order, with their numbers."""
    world = World()
    world.member("m1")
    world.member("m2")
    client = world.client()
    got: list[Publication] = []
    end = client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [1, 2])
    world.emit("m2", [7])
    world.emit("m1", [3])
    world.router.pump()
    assert (numbers(got), numbers(got, "m2")) == ([1, 2, 3], [7])
    assert got[0].monitor == world.monitors["m1"].events.history.id
    assert [each.number for each in got if each.member == "m1"] == [1, 2, 3]
    assert world.router.published[0].topic == "qmon.m1.event.TICK"
    end()
    end()
    world.router.pump()
    world.emit("m1", [4])
    world.router.pump()
    assert numbers(got) == [1, 2, 3]


def test_events_of_one_member() -> None:
    """A member's monitor gives its events, those of the names that are wanted; two who want them get each once."""
    world = World()
    world.member("m1")
    world.member("m2")
    client = world.client()
    some: list[Any] = []
    every: list[Any] = []
    ends = [
        client.member("m1").subscribe(some.append, ["ODD"]),
        client.member("m1").subscribe(every.append),
    ]
    client.subscribe(recorder([]))
    world.router.pump()
    world.emit("m1", [1])
    world.monitors["m1"].emit("ODD", {"any": "thing"})
    world.emit("m2", [2])
    world.router.pump()
    assert [each["event"] for each in some] == ["ODD"]
    assert [(each["event"], each["number"]) for each in every] == [("TICK", 1), ("ODD", 2)]
    assert set(every[0]) == {"event", "timestamp", "data", "number"}
    for end in ends:
        end()
        end()
    world.router.pump()
    world.emit("m1", [3])
    world.advance(FOLLOW)
    assert len(every) == 2
    with pytest.raises(TypeError, match="not one name"):
        client.member("m1").subscribe(every.append, "TICK")


def test_unsubscribing_at_once() -> None:
    """Who changes its mind before the router has answered gets nothing, and nothing is left behind."""
    world = World()
    world.member()
    client = world.client()
    got: list[Any] = []
    client.member("m1").subscribe(got.append)()
    client.subscribe(got.append)()
    world.router.pump()
    world.emit("m1", [1])
    world.router.pump()
    assert got == []
    assert [subscribers for topic, _, subscribers in world.router.subscriptions.values() if subscribers] == []


def test_events_above_observe() -> None:
    """Events above the level observe come only to those who follow a member, and may see them there."""
    world = World()
    world.router.tickets = {"high": "h", "low": "l"}
    rules = {"grant": [{"who": ["fleet:high"], "level": "operate"}, {"who": ["fleet:low"], "level": "observe"}]}
    from twisted_qmon.core.access.file import Access
    from twisted_qmon.core.access.rules import parse_rules

    world.member(access=Access(parse_rules(rules, "rules")))
    got: dict[str, list[Any]] = {"high": [], "low": [], "all": []}
    for name in ("high", "low"):
        world.client(authid=name, ticket=name[0]).member("m1").subscribe(got[name].append)
    world.client().subscribe(lambda publication: got["all"].append(publication.message))
    world.router.pump()
    world.emit("m1", [1])
    world.emit("m1", [2, 3], "SECRET")
    world.emit("m1", [4])
    world.router.pump()
    seen = {name: [each["data"]["n"] for each in events] for name, events in got.items()}
    assert seen == {"high": [1, 2, 3, 4], "low": [1, 4], "all": [1, 4]}


def test_without_rules_nothing_is_published() -> None:
    """Where a fleet may do nothing it sees nothing."""
    world = World()
    world.member(access=None)
    world.client().subscribe(recorder([]))
    world.emit("m1", [1])
    world.router.pump()
    assert world.router.published == []


def test_events_while_there_is_no_router() -> None:
    """What happens while the router is away is published when it is back; what the history has dropped is told by its number."""
    world = World()
    service = world.member(event_history=3)
    gaps: list[FleetGap] = []
    client = world.client(on_gap=gaps.append)
    got: list[Publication] = []
    client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [1])
    world.router.pump()
    world.router.kill()
    world.emit("m1", [2, 3])
    world.router.up = True
    world.advance(1)
    assert service.joined
    assert numbers(got) == [1, 2, 3]
    assert gaps == []
    world.router.kill()
    world.emit("m1", range(4, 10))
    world.router.up = True
    world.advance(1)
    assert numbers(got) == [1, 2, 3, 7, 8, 9]
    assert gaps == [FleetGap("m1", 3, False)]


def reads(wire: Any) -> bool:
    return bool(wire.reading)


def test_a_router_that_does_not_read() -> None:
    """Nothing is queued for a router that does not read, and nothing is read from it; then events go on from the history."""
    world = World()
    service = world.member()
    client = world.client()
    got: list[Publication] = []
    client.subscribe(recorder(got))
    running = client.member("m1").execute("wait", progress=lambda *_: None)
    world.router.pump()
    wire = world.router.of_member("m1").wire
    wire.producer.pauseProducing()
    assert not reads(wire)
    world.emit("m1", range(300))
    world.work["m1"].waiting[0][0].progress(1, 2)
    assert len(world.router.queue) == 0
    assert service._publisher.position == 0
    wire.producer.resumeProducing()
    wire.producer.stopProducing()
    assert reads(wire)
    world.router.pump()
    assert numbers(got) == list(range(300))
    world.work["m1"].finish()
    assert world.result(running) == 7


def test_the_connection_fills_while_it_catches_up() -> None:
    """Catching up stops where the connection is full, and goes on there."""
    world = World()
    world.member()
    client = world.client()
    got: list[Publication] = []
    client.subscribe(recorder(got))
    world.router.pump()
    link = world.router.of_member("m1")
    link.wire.producer.pauseProducing()
    world.emit("m1", range(10))
    link.full_after = 4
    link.wire.producer.resumeProducing()
    world.router.pump()
    assert numbers(got) == [0, 1, 2, 3]
    link.wire.producer.resumeProducing()
    world.router.pump()
    assert numbers(got) == list(range(10))


def test_a_member_that_is_restarted() -> None:
    """A member that comes back as another process says so by its monitor's id: its events begin anew."""
    world = World()
    first = world.member()
    gaps: list[FleetGap] = []
    client = world.client(on_gap=gaps.append)
    got: list[Publication] = []
    client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [1, 2])
    world.router.pump()
    world.result(first.stopService())
    world.member()
    world.emit("m1", [11])
    world.router.pump()
    assert numbers(got) == [1, 2, 11]
    assert gaps == [FleetGap("m1", 0, True)]
    world.emit("m1", [12])
    world.router.pump()
    assert numbers(got) == [1, 2, 11, 12]


def drop(world: World, count: int) -> None:
    """Lose events on their way to those who subscribed."""
    world.router.drop_events = count


@pytest.mark.parametrize("lost", [1, 3])
def test_events_that_got_lost(lost: int) -> None:
    """Events that were lost on their way are fetched from the member, and come in their place."""
    world = World()
    world.member()
    client = world.client()
    got: list[Publication] = []
    client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [0])
    world.router.pump()
    drop(world, lost)
    world.emit("m1", range(1, 6))
    world.router.pump()
    assert numbers(got) == [0, 1, 2, 3, 4, 5]


def test_the_last_event_got_lost() -> None:
    """Who follows a member finds out that the last event of all is missing."""
    world = World()
    world.member()
    got: list[Any] = []
    client = world.client()
    end = client.member("m1").subscribe(got.append)
    world.router.pump()
    drop(world, 1)
    world.emit("m1", [1])
    world.router.pump()
    assert got == []
    world.advance(FOLLOW)
    assert [each["data"]["n"] for each in got] == [1]
    world.advance(FOLLOW)
    assert len(got) == 1
    world.router.kill()
    world.advance(FOLLOW)
    end()
    world.advance(FOLLOW)
    world.result(client.close())
    assert len(got) == 1


def test_more_than_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not go into one answer is asked for again, while new events wait their turn."""
    monkeypatch.setattr(limits, "MAX_EVENTS", 3)
    monkeypatch.setattr(positions, "MAX_HELD", 2)
    world = World()
    world.member()
    client = world.client()
    got: list[Publication] = []
    client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [0])
    world.router.pump()
    drop(world, 8)
    world.emit("m1", range(1, 20))
    world.router.pump()
    assert numbers(got) == list(range(20))
    monkeypatch.setattr(limits, "MAX_EVENT_BYTES", 1)
    drop(world, 3)
    world.emit("m1", range(20, 30))
    world.router.pump()
    assert numbers(got) == list(range(30))


def test_a_member_that_does_not_tell() -> None:
    """Where a member refuses to tell what was missed, that is a gap, and the rest goes on."""
    world = World()
    world.member()
    gaps: list[FleetGap] = []
    client = world.client(on_gap=gaps.append)
    got: list[Publication] = []
    client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [0])
    world.router.pump()
    world.router.may = lambda authid, action, uri: not uri.endswith(".events")
    drop(world, 2)
    world.emit("m1", range(1, 5))
    world.router.pump()
    assert numbers(got) == [0, 3, 4]
    assert gaps == [FleetGap("m1", 2, False)]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"monitor": 1},
        {"monitor": "M", "last": 5, "lost": 0, "position": 0, "events": []},
        {"monitor": "M", "last": 5, "lost": 0, "position": 5, "events": None},
    ],
)
def test_answers_of_another_make(answer: Any) -> None:
    """An answer that is none counts as a refusal."""
    got: list[int] = []
    gaps: list[FleetGap] = []
    from twisted.internet.defer import succeed

    events = positions.Positions(lambda *_: succeed(answer), lambda each: got.append(each.number), gaps.append)
    for number, after in ((1, 0), (2, 1), (5, 4), (6, 5)):
        events.received(Publication("m1", "M", {"event": "E", "number": number}, after))
    assert got == [1, 2, 5, 6]
    assert gaps == [FleetGap("m1", 2, False)]


def test_a_lost_router_while_asking() -> None:
    """If the router is lost while a member is asked, the next event finds out again."""
    from twisted.internet.defer import fail, succeed

    from twisted_qmon.errors import ConnectionClosed

    got: list[int] = []
    answers: list[Any] = [fail(ConnectionClosed("gone"))]
    reply = {"monitor": "M", "last": 6, "lost": 0, "restarted": False, "position": 6}
    reply["events"] = [{"event": "E", "number": number} for number in (2, 3, 4, 5, 6)] + ["nothing"]
    answers.append(succeed(reply))
    events = positions.Positions(lambda *_: answers.pop(0), lambda each: got.append(each.number), lambda gap: None)
    for number, after in ((1, 0), (3, 2), (6, 5)):
        events.received(Publication("m1", "M", {"event": "E", "number": number}, after))
    assert got == [1, 2, 3, 4, 5, 6]


def test_positions_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit of the members whose positions are kept."""
    monkeypatch.setattr(positions, "MAX_MEMBERS", 2)
    got: list[str] = []
    from twisted.internet.defer import succeed

    events = positions.Positions(lambda *_: succeed(None), lambda each: got.append(each.member), lambda gap: None)
    for name in ("a", "b", "c", "a"):
        events.received(Publication(name, "M", {"event": "E", "number": 5}, 0))
    assert got == ["a", "b", "c", "a"]
    assert len(events._positions) == 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_histories(data: st.DataObject) -> None:
    """Whatever is lost, and whenever the router is: each event comes once, in order, or is told as lost."""
    world = World()
    size = data.draw(st.sampled_from([2, 5, 100]))
    world.member(event_history=size)
    gaps: list[FleetGap] = []
    client = world.client(on_gap=gaps.append)
    got: list[Any] = []
    client.member("m1").subscribe(got.append)
    world.router.pump()
    emitted = 0
    for step in data.draw(st.lists(st.sampled_from(["emit", "pump", "drop", "kill", "pause", "resume"]), max_size=40)):
        wire = world.router.of_member("m1").wire if world.router.registrations else None
        if step == "emit":
            emitted += 1
            world.emit("m1", [emitted])
        elif step == "pump":
            world.router.pump()
        elif step == "drop":
            world.router.drop_events = 1
        elif step == "kill":
            world.router.kill()
            world.router.up = True
            world.advance(1)
        elif wire is not None and wire.producer is not None:
            (wire.producer.pauseProducing if step == "pause" else wire.producer.resumeProducing)()
    world.router.drop_events = 0
    for link in world.router.links:
        link.wire.producer.resumeProducing()
    world.advance(1)
    world.advance(FOLLOW)
    world.advance(FOLLOW)
    seen = [each["number"] for each in got]
    assert seen == sorted(set(seen))
    assert not any(gap.restarted for gap in gaps)
    assert len(seen) + sum(gap.lost for gap in gaps) == emitted
    if size == 100:
        assert seen == list(range(1, emitted + 1))


def test_a_receiver_that_raises(flush_logged_errors: Any) -> None:
    """A receiver that raises is logged, and the others get the event."""
    world = World()
    world.member()
    client = world.client()
    got: list[Any] = []
    client.subscribe(lambda _: 1 / 0)
    client.subscribe(got.append)
    world.router.pump()
    world.emit("m1", [1])
    world.router.pump()
    assert len(got) == 1
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


def test_an_event_that_cant_be_sent() -> None:
    """An event that the router does not take is left out, and the next one comes."""
    world = World()
    world.member()
    got: list[Publication] = []
    world.client().subscribe(recorder(got))
    world.router.pump()
    world.monitors["m1"].emit("ODD", {"text": "x" * (1 << 20)})
    world.emit("m1", [2])
    world.router.pump()
    assert [each.number for each in got] == [2]


def test_what_is_published_by_others() -> None:
    """What is published in the place of an event, and is none, is passed over."""
    world = World()
    world.member()
    got: list[Publication] = []
    client = world.client()
    client.subscribe(recorder(got))
    other = world.client()
    world.router.pump()
    session = other.fleet.session  # type: ignore[union-attr]
    for values, keywords in (
        ([], {}),
        ([1], {}),
        ([{"event": "E"}], {"monitor": "M", "after": 0}),
        ([{"event": "E", "number": 1}], {}),
        ([{"event": 1, "number": 1}], {"monitor": "M", "after": 0}),
    ):
        session.publish("qmon.m1.event.E", *values, **keywords)
    world.router.pump()
    assert got == []


# -- who is there


def test_who_joins_and_leaves() -> None:
    """Who watches is told of those that are there, then of each that joins and leaves."""
    world = World()
    world.member("m1")
    client = world.client()
    told: list[tuple[str, bool]] = []
    end = client.watch(recorder(told))
    world.router.pump()
    second = world.member("m2")
    later: list[tuple[str, bool]] = []
    client.watch(recorder(later))
    assert later == [("m1", True), ("m2", True)]
    world.router.of_member("m1").lose()
    world.router.pump()
    assert told == [("m1", True), ("m2", True), ("m1", False)]
    assert world.result(client.members()) == ["m2"]
    end()
    world.result(second.stopService())
    assert told[-1] == ("m1", False)
    assert later[-1] == ("m2", False)


def test_watching_over_a_lost_router() -> None:
    """After the router was lost only what has changed is told."""
    world = World()
    world.member("m1")
    second = world.member("m2")
    client = world.client(retry_policy=lambda failures: 2.0)
    told: list[tuple[str, bool]] = []
    client.watch(recorder(told))
    world.router.pump()
    world.router.kill()
    world.result(second.stopService())
    world.router.up = True
    world.member("m3")
    world.advance(1)
    world.advance(1)
    assert told == [("m1", True), ("m2", True), ("m3", True), ("m2", False)]


def test_watching_before_connecting() -> None:
    """One may watch and subscribe before there is a connection."""
    world = World()
    world.member()
    from tests.support.fleet import URL
    from twisted_qmon.fleet.client import FleetClient

    client = FleetClient(world.clock, URL, connect=world.router.connect)
    told: list[tuple[str, bool]] = []
    got: list[Any] = []
    client.watch(recorder(told))
    client.subscribe(recorder(got))
    client.member("m1").subscribe(lambda event: None)
    world.result(client.connect())
    world.emit("m1", [1])
    world.router.pump()
    assert told == [("m1", True)]
    assert len(got) == 1


def test_a_router_that_does_not_allow_watching() -> None:
    """Who may not watch is told so; where no one asked for that, it is logged. So are subscriptions."""
    world = World()
    world.member()
    world.router.may = lambda authid, action, uri: action != "subscribe"
    client = world.client()
    failed: list[CommandError] = []
    told: list[Any] = []
    client.watch(recorder(told), failed.append)
    world.router.pump()
    assert "does not allow that" in failed[0].desc
    client.watch(recorder(told))
    client.subscribe(recorder(told))
    world.router.pump()
    assert told == []
    assert world.result(client.members()) == ["m1"]


def test_a_watcher_that_raises(flush_logged_errors: Any) -> None:
    """A watcher that raises is logged."""
    world = World()
    client = world.client()
    client.watch(lambda name, there: 1 / 0)
    world.router.pump()
    world.member()
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


def test_other_registrations_are_no_members() -> None:
    """What is registered beside members is not taken for one."""
    world = World()
    world.member()
    client = world.client()
    session = client.fleet.session  # type: ignore[union-attr]
    from twisted_qmon.fleet._autobahn import RegisterOptions

    for uri, match in (("qmon.a.b.", "prefix"), ("other.", "prefix"), ("qmon.x", "exact")):
        session.register(lambda: None, uri, options=RegisterOptions(match=match))
    told: list[Any] = []
    client.watch(recorder(told))
    world.router.pump()
    assert world.result(client.members()) == ["m1"]
    session.register(lambda: None, "qmon.c.d.", options=RegisterOptions(match="prefix"))
    world.router.pump()
    assert told == [("m1", True)]


def test_rules_with_less_than_observe() -> None:
    """What was missed is told to those only who may look."""
    world = World()
    access = all_may("none")
    world.member(access=access)
    with pytest.raises(CommandError, match="has no access here"):
        world.result(world.client().fleet.call("m1", "events", [0]))  # type: ignore[union-attr]

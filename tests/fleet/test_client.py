"""
The client of a fleet: how it is made, and what becomes of its connection.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectError

from tests.support.fleet import URL, World, recorder
from twisted_qmon._twistd import extras
from twisted_qmon.errors import ConnectionClosed
from twisted_qmon.fleet._connection import connect
from twisted_qmon.fleet._meta import DIRECTORY, MANY, Directory
from twisted_qmon.fleet.client import FleetClient
from twisted_qmon.fleet.errors import JoinRefused
from twisted_qmon.fleet.remote import FOLLOW


def test_what_is_not_valid() -> None:
    """A ticket needs an authid, and a way on which it can't be read."""
    world = World()
    with pytest.raises(ValueError, match="a ticket needs an authid"):
        FleetClient(world.clock, URL, ticket="secret")
    with pytest.raises(ValueError, match="use wss://"):
        FleetClient(world.clock, "ws://router", authid="ops", ticket="secret")
    with pytest.raises(ValueError, match="not a valid URL"):
        FleetClient(world.clock, "router")


def test_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Autobahn one line says what to install; with it a client connects to a WAMP router."""
    world = World()
    assert FleetClient(world.clock, URL)._make_connection is connect
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="twisted-qmon"):
        FleetClient(world.clock, URL)


def test_tickets_of_clients() -> None:
    """A client proves who it is with a ticket, or with what gives it the one that is valid now."""
    world = World()
    world.router.tickets = {"ops": "new"}
    world.router.anonymous = False
    with pytest.raises(JoinRefused, match="ticket in static WAMP-Ticket authentication is invalid"):
        world.client(authid="ops", ticket="old")
    tickets = ["new"]
    client = world.client(authid="ops", ticket=lambda: tickets[0])
    assert client.connected
    with pytest.raises(JoinRefused, match="cannot authenticate"):
        world.client()
    assert world.clock.getDelayedCalls() == []


def test_no_such_realm() -> None:
    """A realm that the router does not have is an error that names it."""
    world = World()
    with pytest.raises(JoinRefused, match="no realm 'lab' exists"):
        world.client(realm="lab")


def test_no_router() -> None:
    """Where no router is, the first attempt fails and says why, and no other is made."""
    world = World()
    world.router.up = False
    with pytest.raises(ConnectionClosed, match=f"can't connect to {URL}: Connection refused"):
        world.client()
    assert world.clock.getDelayedCalls() == []
    client = FleetClient(world.clock, URL, connect=lambda *_: fail(ConnectError(string="odd")))
    with pytest.raises(ConnectionClosed, match="odd"):
        world.result(client.connect())


def test_closing_while_it_connects() -> None:
    """A client that is closed before it has connected gives up."""
    world = World()
    client = FleetClient(world.clock, URL, connect=lambda *_: Deferred())
    outcomes: list[Any] = []
    client.connect().addErrback(lambda failure: outcomes.append(failure.value))
    world.result(client.close())
    assert isinstance(outcomes[0], ConnectionClosed)
    assert not isinstance(outcomes[0], CancelledError)


def test_closing_while_it_follows() -> None:
    """Closing ends what goes on."""
    world = World()
    world.member()
    client = world.client()
    client.member("m1").subscribe(lambda event: None)
    world.router.pump()
    world.result(client.close())
    assert [call for call in world.clock.getDelayedCalls() if "_follow_all" in str(call)] == []


def test_what_was_asked_for_before_there_is_a_connection() -> None:
    """Events can be asked for by their number only where there is a connection."""
    world = World()
    client = FleetClient(world.clock, URL, connect=world.router.connect)
    with pytest.raises(ConnectionClosed):
        world.result(client._ask("m1", 1, None))


def test_a_member_that_hangs_is_not_waited_for_long() -> None:
    """A member that does not say which events it has is asked again later."""
    world = World()
    world.member()
    client = world.client()
    got: list[Any] = []
    client.member("m1").subscribe(recorder(got))
    world.router.pump()
    link = world.router.of_member("m1")
    world.router.drop_events = 1
    world.emit("m1", [1])
    world.router.pump()
    link.stopped = True
    world.advance(FOLLOW)
    world.advance(FOLLOW)
    link.stopped = False
    world.advance(FOLLOW)
    world.advance(FOLLOW)
    assert [each["data"]["n"] for each in got] == [1]


def test_who_is_told_of_the_connection(flush_logged_errors: Any) -> None:
    """What is raised there is logged, and the client goes on."""
    world = World()
    client = world.client(on_connection=lambda there, reason: 1 / 0)
    assert client.connected
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


def test_gaps_are_logged() -> None:
    """Where no one wants to be told of lost events, that is logged."""
    world = World()
    world.member(event_history=1)
    client = world.client()
    got: list[Any] = []
    client.subscribe(recorder(got))
    world.router.pump()
    world.emit("m1", [1])
    world.router.pump()
    world.router.drop_events = 3
    world.emit("m1", [2, 3, 4, 5])
    world.router.pump()
    assert [each.number for each in got] == [1, 5]


class Router:
    """The router's own procedures, as a directory asks them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], Deferred[Any]]] = []
        self.topics: dict[str, Any] = {}

    def request(self, procedure: str, *arguments: Any) -> Deferred[Any]:
        """Remember what was asked."""
        deferred: Deferred[Any] = Deferred()
        self.asked.append((procedure, arguments, deferred))
        return deferred

    def subscribe_topic(self, received: Any, topic: str, match: str = "exact") -> Deferred[Any]:
        """Remember who listens."""
        self.topics[topic] = received
        from twisted.internet.defer import succeed

        return succeed(lambda: self.topics.pop(topic))

    def answer(self, value: Any) -> None:
        """Answer the oldest question."""
        _, _, deferred = self.asked.pop(0)
        (deferred.errback if isinstance(value, Exception) else deferred.callback)(value)


def registration(number: int, uri: str) -> dict[str, Any]:
    return {"id": number, "uri": uri, "match": "prefix"}


def test_changes_while_members_are_looked_up() -> None:
    """Who joins and leaves while the members are being looked up is counted once, and a second watcher waits for the same."""
    router = Router()
    directory = Directory(router)
    told: list[Any] = []
    directory.watch(recorder(told))
    directory.watch(recorder([]))
    created, deleted = router.topics["wamp.registration.on_create"], router.topics["wamp.registration.on_delete"]
    router.answer({"prefix": [1, 2, 3, "x"]})
    created(9, registration(4, "qmon.d."))
    created(9, registration(1, "qmon.a."))
    created(9)
    created(9, {"uri": 5})
    deleted(9, 2)
    deleted(9)
    router.answer(registration(1, "qmon.a."))
    router.answer(registration(2, "qmon.b."))
    router.answer(JoinRefused("no such registration"))
    assert told == [("a", True), ("d", True)]
    # It comes back before its first registration is gone.
    created(9, registration(5, "qmon.a."))
    deleted(9, 1)
    deleted(9, 77)
    assert told == [("a", True), ("d", True)]
    deleted(9, 5)
    assert told[-1] == ("a", False)
    members: Any = directory.members()
    assert members.result == ["d"]
    directory.end()


def test_the_router_is_lost_while_members_are_looked_up() -> None:
    """If the router is lost meanwhile, all who wait are told."""
    router = Router()
    directory = Directory(router)
    failures: list[Any] = []
    directory.watch(recorder([])).addErrback(lambda failure: failures.append(failure.value))
    directory.members().addErrback(lambda failure: failures.append(failure.value))
    router.answer({"prefix": [1]})
    router.answer("odd")
    router.answer(ConnectionClosed("gone"))
    assert router.topics == {}
    assert isinstance(failures[-1], ConnectionClosed)


def test_many_members_are_asked_for_at_once() -> None:
    """Of many the router of the documentation tells all in one answer; what that does not know is looked up."""
    router = Router()
    directory = Directory(router)
    members: Any = directory.members()
    numbers = list(range(MANY + 2))
    router.answer({"prefix": numbers})
    assert router.asked[0][0] == DIRECTORY
    known = [[number, f"qmon.m{number:02}."] for number in numbers[:-1]]
    router.answer([*known, [1], "odd", ["x", "qmon.x."], [0, "other."]])
    assert [each[:2] for each in router.asked] == [("wamp.registration.get", (numbers[-1],))]
    router.answer(registration(numbers[-1], "qmon.last."))
    assert members.result == sorted([f"m{number:02}" for number in numbers[:-1]] + ["last"])


@pytest.mark.parametrize("answer", [JoinRefused("no such procedure"), {"odd": 1}])
def test_a_router_that_can_not_tell_all_at_once(answer: Any) -> None:
    """It is asked for each, so many at a time."""
    router = Router()
    directory = Directory(router)
    directory.members()
    router.answer({"prefix": list(range(MANY + 1))})
    router.answer(answer)
    assert {each[0] for each in router.asked} == {"wamp.registration.get"}
    assert len(router.asked) == MANY + 1


def test_the_router_is_lost_while_it_is_asked_for_all() -> None:
    """That is no reason to ask for each."""
    router = Router()
    failures: list[Any] = []
    Directory(router).members().addErrback(lambda failure: failures.append(failure.value))
    router.answer({"prefix": list(range(MANY + 1))})
    router.answer(ConnectionClosed("gone"))
    assert isinstance(failures[0], ConnectionClosed)
    assert router.asked == []

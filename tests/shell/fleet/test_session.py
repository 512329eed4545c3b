"""A member as a QMP server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.shell.fleet.fakes import FakeFleet, event
from twisted_qmon.errors import CommandNotFound, ConnectionClosed, GenericError
from twisted_qmon.fleet.errors import JoinRefused, NoSuchMember
from twisted_qmon.fleet.router import Router
from twisted_qmon.qmp.client import QMPClient
from twisted_qmon.shell.fleet import session as session_module
from twisted_qmon.shell.fleet.login import Login
from twisted_qmon.shell.fleet.member import Member, MemberEndpoint
from twisted_qmon.shell.fleet.session import MemberSession

VERSION: dict[str, Any] = {"qemu": {"major": 0, "minor": 1, "micro": 0}, "package": "p"}


class _Client:
    """What a client sees of a session."""

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet = fleet
        self.transport = StringTransport()
        self.clock = Clock()
        self.session = MemberSession(self.clock, fleet, "m", VERSION)
        self.session.makeConnection(self.transport)
        fleet.subscribe(self.session.published, "m")
        self.greeting = self.got()

    def send(self, *messages: Any) -> list[Any]:
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.session.dataReceived(data + b"\n")
        return self.got()

    def got(self) -> list[Any]:
        lines = self.transport.value().splitlines()
        self.transport.clear()
        return [json.loads(line) for line in lines]


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet("m")


@pytest.fixture
def client(fleet: FakeFleet) -> _Client:
    return _Client(fleet)


def test_greeting_and_negotiation(client: _Client) -> None:
    """It greets with the member's version; the negotiation is its own affair."""
    assert client.greeting == [{"QMP": {"version": VERSION, "capabilities": ["oob"]}}]
    assert client.send({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}, "id": 1}) == [
        {"return": {}, "id": 1}
    ]
    assert client.fleet.calls == []
    assert verifyObject(IPushProducer, client.session)


def test_commands_go_to_the_member(client: _Client) -> None:
    """A command is executed there, and answered with its result or its error, also out of band."""
    client.fleet.answers = {"query-x": [1], "no": CommandNotFound("there is none")}
    assert client.send(
        {"execute": "query-x", "arguments": {"a": 1}, "id": "i"}, {"exec-oob": "query-x", "id": 2}, {"execute": "no"}
    ) == [
        {"return": [1], "id": "i"},
        {"return": [1], "id": 2},
        {"error": {"class": "CommandNotFound", "desc": "there is none"}},
    ]
    assert client.fleet.calls == [
        ("m", "execute", "query-x", {"a": 1}),
        ("m", "execute", "query-x", {}),
        ("m", "execute", "no", {}),
    ]


def test_what_is_no_command(client: _Client) -> None:
    """What is malformed is answered as a QMP server does."""
    [no_json, no_command] = client.send(b"{x}", {"id": 7})
    assert no_json["error"]["class"] == "GenericError"
    assert no_command == {"id": 7, "error": {"class": "GenericError", "desc": "QMP input lacks member 'execute'"}}


def test_cancelling(client: _Client) -> None:
    """A request is cancelled by its id: the call to the member is. By a number it is the member's affair."""
    client.fleet.answers = {"long": Deferred()}
    assert client.send({"execute": "long", "id": 1}) == []
    assert client.send({"exec-oob": "cancel-command", "arguments": {"id": 1}, "id": 2}) == [
        {"id": 1, "error": {"class": "GenericError", "desc": "The call was cancelled"}},
        {"return": {}, "id": 2},
    ]
    assert client.fleet.cancelled == ["m"]
    [none, both] = client.send(
        {"execute": "cancel-command", "arguments": {"id": 1}},
        {"execute": "cancel-command", "arguments": {"id": 1, "number": 1}},
    )
    assert none["error"]["desc"] == "There is no such request pending"
    assert both["error"]["desc"] == "Either 'id' or 'number' must be given"
    client.send({"execute": "cancel-command", "arguments": {"number": 5}})
    assert client.fleet.calls[-1] == ("m", "execute", "cancel-command", {"number": 5})


def test_an_id_that_comes_twice(client: _Client) -> None:
    """The second request with an id does not take the first one's place from it."""
    first: Deferred[Any] = Deferred()
    client.fleet.answers = {"first": first, "second": Deferred()}
    client.send({"execute": "first", "id": 1}, {"execute": "second", "id": 1})
    first.callback("done")
    assert client.got() == [{"return": "done", "id": 1}]
    assert client.send({"execute": "cancel-command", "arguments": {"id": 1}, "id": 2})[-1] == {"return": {}, "id": 2}


@pytest.mark.parametrize("error", [ConnectionClosed("The router has gone"), NoSuchMember("There is no member 'm'")])
def test_the_member_or_the_router_goes(client: _Client, error: Exception) -> None:
    """That ends the session, with the reason; it is no answer to a command."""
    client.fleet.answers = {"x": error}
    assert client.send({"execute": "x", "id": 1}) == []
    assert client.transport.disconnecting
    assert client.session.reason == str(error)
    client.session.end("another reason")
    assert client.session.reason == str(error)


def test_a_fault_ends_the_session(client: _Client) -> None:
    """What is no error of a command is no answer either."""
    client.fleet.answers = {"x": ValueError("odd")}
    client.send({"execute": "x"})
    assert client.session.reason == "odd"


def test_the_client_goes(client: _Client) -> None:
    """Its calls are cancelled, and its connection to the router is closed. What comes late is dropped."""
    client.fleet.answers = {"x": Deferred()}
    client.send({"execute": "x", "id": 1})
    client.session.connectionLost(Failure(ConnectionDone()))
    assert client.fleet.cancelled == ["m"]
    assert client.fleet.closed
    client.fleet.publish(event("m", 1))
    assert client.got() == []


# -- events


def test_events_without_numbers(client: _Client) -> None:
    """Until the client says otherwise it gets all events, as any client of QMP does."""
    client.fleet.publish(event("m", 5))
    client.fleet.publish(event("other", 1))
    [shown] = client.got()
    assert shown == {"event": "NEWS", "data": {"n": 5}, "timestamp": {"seconds": 1, "microseconds": 0}}
    assert client.send({"execute": "select-events", "arguments": {"names": ["OTHER"]}, "id": 1}) == [
        {"return": {}, "id": 1}
    ]
    client.fleet.publish(event("m", 6))
    assert client.got() == []
    assert client.send({"execute": "select-events", "arguments": {"names": "x"}, "id": 1})[0]["error"]


def _history(*numbers: int, last: int, position: int | None = None, **more: Any) -> dict[str, Any]:
    events = [dict(event("m", number).message) for number in numbers]
    position = last if position is None else position
    told = {"monitor": "M", "first": 1, "last": last, "lost": 0, "restarted": False, **more}
    return {**told, "events": events, "position": position}


def _select(client: _Client, **arguments: Any) -> list[Any]:
    return client.send({"execute": "select-events", "arguments": {"numbered": True, **arguments}, "id": 1})


def test_numbered_events(client: _Client) -> None:
    """First the answer, then what was missed, then what comes; none twice."""
    asked: Deferred[Any] = Deferred()
    client.fleet.answers = {"events": asked}
    assert _select(client, after=3, monitor="M") == []
    assert client.fleet.calls == [("m", "events", 3, "M")]
    client.fleet.publish(event("m", 5))
    client.fleet.publish(event("m", 6))
    asked.callback(_history(4, 5, last=5))
    [answer, *events] = client.got()
    assert answer == {"return": {"monitor": "M", "first": 1, "last": 5, "lost": 0}, "id": 1}
    assert [each["number"] for each in events] == [4, 5, 6]
    client.fleet.publish(event("m", 7))
    assert [each["number"] for each in client.got()] == [7]
    client.fleet.publish(event("m", 7))
    assert client.got() == []


def test_many_that_were_missed(client: _Client) -> None:
    """A member tells so many at a time: it is asked until it has told all, and the order is kept."""
    client.fleet.answers = {"events": _history(1, 2, last=4, position=2, restarted=True)}
    more: Deferred[Any] = Deferred()

    def second(*unused: Any) -> None:
        client.fleet.answers = {"events": more}

    assert client.fleet.receivers
    client.fleet.after_call = second
    [answer, *events] = _select(client, after=9, monitor="OLD")
    assert answer["return"]["restarted"] is True
    assert [each["number"] for each in events] == [1, 2]
    client.fleet.publish(event("m", 5))
    more.callback(_history(3, 4, last=4))
    assert [each["number"] for each in client.got()] == [3, 4, 5]
    assert client.fleet.calls[-1] == ("m", "events", 2, "M")


def test_what_was_not_published_is_asked_for(client: _Client) -> None:
    """An event whose predecessor did not come has the member asked."""
    client.fleet.answers = {"events": _history(last=2)}
    _select(client)
    client.fleet.answers = {"events": _history(3, 4, 5, 6, last=6)}
    client.fleet.publish(event("m", 6, after=5))
    client.fleet.publish(event("m", 7))
    assert [each["number"] for each in client.got()] == [3, 4, 5, 6, 7]
    assert client.fleet.calls[-1] == ("m", "events", 2, "M")


def test_a_hole_that_can_not_be_filled(client: _Client) -> None:
    """The session ends: the client comes back, and is told how many it has lost."""
    client.fleet.answers = {"events": _history(last=2)}
    _select(client)
    client.fleet.answers = {"events": _history(6, last=6, lost=3)}
    client.fleet.publish(event("m", 7, after=6))
    assert client.session.reason == "events were lost on the way"
    assert client.got() == []


def test_a_selection_that_is_refused(client: _Client) -> None:
    """The member's error is the answer; so is that its own is none."""
    client.fleet.answers = {"events": GenericError("no")}
    assert _select(client)[0]["error"]["desc"] == "no"
    client.fleet.publish(event("m", 6))
    assert [each["number"] for each in client.got()] == [6]
    client.fleet.answers = {"events": []}
    assert "does not say which events" in _select(client)[0]["error"]["desc"]


def test_another_monitor(client: _Client) -> None:
    """A member that was restarted is another server: the client comes back, and learns of it."""
    client.fleet.answers = {"events": _history(last=2)}
    _select(client)
    client.fleet.answers = {"events": _history(last=1, monitor="N", restarted=True)}
    client.fleet.publish(event("m", 1, monitor="N"))
    assert client.session.reason == "the member was restarted"


def test_a_selection_while_another_is_asked_for(client: _Client) -> None:
    """Both are answered, and events are told once."""
    first: Deferred[Any] = Deferred()
    client.fleet.answers = {"events": first}
    _select(client)
    client.fleet.publish(event("m", 3))
    assert _select(client) == []
    first.callback(_history(last=2))
    assert [each.get("number", "answer") for each in client.got()].count(3) == 1


def test_a_member_that_goes_is_noticed(client: _Client) -> None:
    """It is asked from time to time, also while nothing else happens, and that ends with the session."""
    client.fleet.answers = {"events": _history(last=2)}
    client.clock.advance(session_module.HEARTBEAT)
    assert client.fleet.calls == [("m", "events", None, None)]
    client.fleet.answers = {"events": NoSuchMember("There is no member 'm'")}
    client.clock.advance(session_module.HEARTBEAT)
    assert client.session.reason == "There is no member 'm'"
    client.session.connectionLost(Failure(ConnectionDone()))
    assert client.clock.getDelayedCalls() == []


def test_it_is_not_asked_twice(client: _Client) -> None:
    """While the client's own question is under way there is no other."""
    client.fleet.answers = {"events": Deferred()}
    _select(client)
    client.clock.advance(session_module.HEARTBEAT)
    assert len(client.fleet.calls) == 1


def test_a_client_that_does_not_read(client: _Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events wait while it does not read, in order; beyond a limit it is disconnected."""
    client.session.pauseProducing()
    for number in (1, 2):
        client.fleet.publish(event("m", number))
    assert client.got() == []
    client.session.resumeProducing()
    assert [each["data"]["n"] for each in client.got()] == [1, 2]
    monkeypatch.setattr(session_module, "MAX_QUEUED", 100)
    client.session.stopProducing()
    for number in (3, 4):
        client.fleet.publish(event("m", number))
    assert client.session.reason == "the events were not read as fast as they came"
    assert client.transport.disconnecting


# -- the endpoint


class _Reactor(Clock):
    """Builds the protocols of adopted connections; what one writes comes to the other when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[Any, StringTransport]] = []

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        """See C{IReactorSocket}."""
        assert descriptor >= 0
        protocol, transport = factory.buildProtocol(None), StringTransport()
        self.ends.append((protocol, transport))
        protocol.makeConnection(transport)

    def carry(self) -> None:
        """Carry everything over."""
        (one, from_one), (two, from_two) = self.ends
        while from_one.value() or from_two.value():
            for transport, other in ((from_one, two), (from_two, one)):
                data = transport.value()
                transport.clear()
                if data:
                    other.dataReceived(data)


def _endpoint(reactor: _Reactor, fleet: FakeFleet | Exception) -> MemberEndpoint:
    opened = fail(fleet) if isinstance(fleet, Exception) else succeed(fleet)
    endpoint = MemberEndpoint(reactor, "m", lambda: opened)
    assert verifyObject(IStreamClientEndpoint, endpoint)
    return endpoint


def test_a_client_at_a_member(fleet: FakeFleet) -> None:
    """A client that is connected to a member talks to it as to any server, and learns why it ended."""
    fleet.answers = {"query-version": VERSION, "query-name": {"name": "m"}}
    reactor = _Reactor()
    connecting = QMPClient.connect(_endpoint(reactor, fleet), clock=reactor)
    reactor.carry()
    client: Any = connecting.result
    assert client.greeting["version"] == VERSION
    asked = client.execute("query-name")
    reactor.carry()
    assert asked.result == {"name": "m"}
    lost = client.when_lost()
    fleet.lose(ConnectionClosed("The router has gone"))
    (told, _), (served, transport) = reactor.ends
    assert transport.disconnecting
    for end in (served, told):
        end.connectionLost(Failure(ConnectionDone()))
    assert "The router has gone" in str(lost.result)


def test_a_client_that_just_leaves(fleet: FakeFleet) -> None:
    """Where the session has no reason there is none."""
    fleet.answers = {"query-version": VERSION}
    reactor = _Reactor()
    reasons: list[Failure] = []

    class Plain(Protocol):
        def connectionLost(self, reason: Failure = connectionDone) -> None:
            reasons.append(reason)

    _endpoint(reactor, fleet).connect(Factory.forProtocol(Plain))
    reactor.ends[0][0].connectionLost(Failure(ConnectionDone()))
    assert reasons[0].check(ConnectionDone)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (NoSuchMember("There is no member 'm'"), NoSuchMember),
        ([], GenericError),
        (GenericError("Denied"), GenericError),
    ],
)
def test_no_member(fleet: FakeFleet, answer: Any, error: type[Exception]) -> None:
    """Without the member, or without its permission, there is no connection, and none is left to the router."""
    fleet.answers = {"query-version": answer}
    connecting = _endpoint(_Reactor(), fleet).connect(Factory())
    failed: list[Failure] = []
    connecting.addErrback(failed.append)
    assert failed[0].check(error)
    assert fleet.closed


def test_no_router() -> None:
    """What the router says is why there is no connection."""
    failed: list[Failure] = []
    _endpoint(_Reactor(), JoinRefused("wrong")).connect(Factory()).addErrback(failed.append)
    assert failed[0].check(JoinRefused)


def test_a_member_is_a_destination() -> None:
    """It has a name for messages, and an endpoint."""
    member = Member(Login(Router.parse("ws://127.0.0.1:1/ws")), "m")
    assert member.text == "m at ws://127.0.0.1:1/ws"
    assert isinstance(member.client_endpoint(Clock()), MemberEndpoint)

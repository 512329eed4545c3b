"""
Members and those who call them, over a router in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import provider
from zope.interface.verify import verifyObject

from tests.support.fleet import URL, World, all_may
from twisted_qmon import CommandError, CommandNotFound, GenericError, Monitor
from twisted_qmon.core.access.standing import Standing
from twisted_qmon.errors import CommandCancelled, CommandTimedOut, ConnectionClosed, InvalidArguments
from twisted_qmon.fleet import callers as limits
from twisted_qmon.fleet import member as member_module
from twisted_qmon.fleet._autobahn import (
    ApplicationError,
    PayloadExceededError,
    RegisterOptions,
    SerializationError,
    TransportLost,
    message,
)
from twisted_qmon.fleet._connection import CLOSE_TIMEOUT
from twisted_qmon.fleet._wamp import ERROR, to_command_error
from twisted_qmon.fleet.callers import Caller
from twisted_qmon.fleet.errors import NoSuchMember
from twisted_qmon.fleet.interfaces import IFleet, IFleetClient
from twisted_qmon.fleet.member import Member
from twisted_qmon.fleet.router import Router
from twisted_qmon.fleet.service import NAME_RETRY, MemberService, default_name, endpoint_of
from twisted_qmon.interfaces import IMonitor


def joined(service: MemberService) -> bool:
    return service.joined


def lines(into: list[str]) -> Any:
    @provider(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        into.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    return observe


def test_a_member_is_called_by_its_name() -> None:
    """What a member is told, it does; the result comes back."""
    world = World()
    world.member("m1")
    world.member("m2")
    client = world.client()
    assert world.result(client.members()) == ["m1", "m2"]
    assert world.result(client.member("m2").execute("query-name")) == {"name": "m2"}
    assert world.result(client.member("m1").execute("echo", {"value": {"a": [1, None, 2.5]}})) == {"a": [1, None, 2.5]}
    assert client.member("m1") is client.member("m1")
    assert client.connected
    verifyObject(IFleetClient, client)
    verifyObject(IMonitor, client.member("m1"))
    verifyObject(IFleet, client.fleet)


def test_errors_are_the_members() -> None:
    """An error has the class and the text that the member gave it."""
    world = World()
    world.member()
    member = world.client().member("m1")
    with pytest.raises(CommandNotFound, match="The command nix has not been found"):
        world.result(member.execute("nix"))
    with pytest.raises(GenericError, match="Parameter 'size' is missing"):
        world.result(member.execute("text"))


@pytest.mark.parametrize("name", ["m2", "", "a.b", "a b", "m1.execute"])
def test_no_such_member(name: str) -> None:
    """A call of a member that is not there fails and says so, whatever its name."""
    world = World()
    world.member()
    with pytest.raises(NoSuchMember):
        world.result(world.client().member(name).execute("query-name"))


def test_commands_are_described() -> None:
    """A caller learns a member's commands as of any monitor, once for each connection."""
    world = World()
    world.member()
    client = world.client()
    member = client.member("m1")
    infos = world.result(member.commands())
    assert infos["wait-for-me"].help == "the same, as long as the caller is there"
    assert member.commands().result is infos
    member.forget()
    assert world.result(member.commands()) is not infos


def test_json_text_is_decoded() -> None:
    """A result that a command made as JSON text arrives as what it says."""
    world = World()
    world.member()
    schema = world.result(world.client().member("m1").execute("query-qmp-schema"))
    assert any(entry.get("name") == "wait" for entry in schema)


def test_progress() -> None:
    """Progress arrives in order, and none once the command is answered."""
    world = World()
    world.member()
    told: list[tuple[int, int]] = []
    deferred = world.client().member("m1").execute("wait", progress=lambda *values: told.append(values))
    world.router.pump()
    request = world.work["m1"].waiting[0][0]
    request.progress(1, 3)
    request.progress(2, 3)
    world.router.pump()
    assert told == [(1, 3), (2, 3)]
    world.work["m1"].finish(5)
    assert world.result(deferred) == 5


def test_cancelling_cancels_the_command() -> None:
    """Cancelling a call cancels the command at the member, and fails the call at once."""
    world = World()
    world.member()
    deferred = world.client().member("m1").execute("wait-for-me")
    world.router.pump()
    deferred.cancel()
    with pytest.raises(CommandCancelled, match="'wait-for-me' was cancelled"):
        world.result(deferred)
    assert world.work["m1"].cancelled == 1
    assert len(world.monitors["m1"].pending) == 0


def test_a_result_that_crosses_with_its_cancellation() -> None:
    """A result that comes after its call was cancelled is dropped, and the connection stays."""
    world = World()
    world.member()
    client = world.client()
    told: list[Any] = []
    deferred = client.member("m1").execute("wait", progress=lambda *values: told.append(values))
    world.router.pump()
    world.work["m1"].waiting[0][0].progress(1, 2)
    world.work["m1"].finish()
    deferred.cancel()
    with pytest.raises(CommandCancelled):
        world.result(deferred)
    assert told == []
    assert world.result(client.member("m1").execute("query-name")) == {"name": "m1"}


def test_deadlines() -> None:
    """A call that takes too long fails, and its command is cancelled; that of the call goes before that of the client."""
    world = World()
    world.member()
    client = world.client(timeout=5)
    one = client.member("m1").execute("wait", timeout=2)
    other = client.member("m1").execute("wait")
    third = client.member("m1").execute("wait", timeout=float("inf"))
    world.advance(2)
    with pytest.raises(CommandTimedOut, match="Member 'm1': command 'wait' timed out after 2 s"):
        world.result(one)
    world.advance(3)
    with pytest.raises(CommandTimedOut, match="after 5 s"):
        world.result(other)
    world.advance(100)
    assert world.work["m1"].cancelled == 2
    world.work["m1"].waiting[2][1].callback(1)
    assert world.result(third) == 1
    assert world.result(client.member("m1").execute("query-name")) == {"name": "m1"}


def test_a_member_that_hangs_costs_its_own_timeout() -> None:
    """While one member does not answer the others do."""
    world = World()
    world.member("m1")
    world.member("m2")
    client = world.client(timeout=5)
    world.router.of_member("m1").stopped = True
    hanging = client.member("m1").execute("query-name")
    assert world.result(client.member("m2").execute("query-name")) == {"name": "m2"}
    world.advance(5)
    with pytest.raises(CommandTimedOut):
        world.result(hanging)


def test_a_caller_that_leaves() -> None:
    """What a caller has under way when it leaves is cancelled or runs on, as on a socket."""
    world = World()
    world.member()
    client = world.client()
    outcomes: list[Any] = []
    for name in ("wait", "wait-for-me"):
        client.member("m1").execute(name).addErrback(lambda f: outcomes.append(f.value))
    world.router.pump()
    world.result(client.close())
    assert [str(error) for error in outcomes] == ["The connection to the router was closed"] * 2
    work = world.work["m1"]
    assert work.cancelled == 1
    assert [request.name for request in world.monitors["m1"].pending] == ["wait"]
    work.finish()
    assert len(world.monitors["m1"].pending) == 0


def test_the_router_is_lost() -> None:
    """What was under way fails, the member lets go of it, and both come back by themselves."""
    world = World()
    service = world.member()
    told: list[tuple[bool, str]] = []
    client = world.client(on_connection=lambda *values: told.append(values))
    running = client.member("m1").execute("wait-for-me")
    world.router.pump()
    world.router.kill()
    with pytest.raises(ConnectionClosed, match="The connection to the router was lost"):
        world.result(running)
    assert world.work["m1"].cancelled == 1
    assert not joined(service)
    assert client.fleet is None
    assert world.monitors["m1"].guard.clients == {}
    with pytest.raises(ConnectionClosed, match="There is no connection to the router"):
        world.result(client.member("m1").execute("query-name"))
    with pytest.raises(ConnectionClosed):
        world.result(client.members())
    world.advance(1)
    assert not joined(service)
    world.router.up = True
    world.advance(1)
    assert joined(service)
    assert world.result(client.member("m1").execute("query-name")) == {"name": "m1"}
    assert [there for there, _ in told] == [True, False, True]


def test_the_member_is_lost() -> None:
    """A call of a member that goes before it answers fails and says so."""
    world = World()
    service = world.member()
    running = world.client().member("m1").execute("wait")
    world.router.pump()
    world.result(service.stopService())
    with pytest.raises(ConnectionClosed, match="Member 'm1' has gone before it answered"):
        world.result(running)


def test_a_program_may_leave_its_own_requests() -> None:
    """A session on top of a member's monitor that ends hears nothing any more."""
    world = World()
    world.member()
    member = world.client(timeout=3).member("m1")
    caller = Caller(Standing(), "")
    heard: list[Any] = []
    member.execute("wait", caller=caller).addBoth(heard.append)
    world.router.pump()
    world.work["m1"].finish(1)
    world.router.pump()
    member.execute("wait", caller=caller).addBoth(heard.append)
    world.router.pump()
    member.leave(caller)
    member.leave(caller)
    world.work["m1"].finish(2)
    world.advance(5)
    assert heard == [1]


# -- who may call


def test_without_rules_nothing_is_allowed() -> None:
    """A fleet may do nothing that no rule grants."""
    world = World()
    world.member(access=None)
    with pytest.raises(GenericError, match="Permission denied: fleet:ANON-.* has no access"):
        world.result(world.client().member("m1").execute("query-name"))
    assert world.monitors["m1"].guard.clients == {}


def test_rules_apply() -> None:
    """A caller of a fleet has the identity that the router gave it, and may do what the rules say."""
    world = World()
    world.router.tickets = {"ops": "o", "m1": "x"}
    world.member(access=all_may("observe"))
    member = world.client(authid="ops", ticket="o").member("m1")
    assert world.result(member.execute("query-whoami"))["identity"] == "fleet:ops"
    with pytest.raises(
        GenericError, match="Permission denied: 'cancel-command' with 'number' needs admin, fleet:ops has"
    ):
        world.result(member.execute("cancel-command", {"number": 1}))


def test_a_router_that_does_not_tell_who_calls() -> None:
    """Without an identity nothing is served."""
    world = World()
    world.router.disclose = False
    world.member()
    with pytest.raises(GenericError, match="the router does not tell who calls"):
        world.result(world.client().member("m1").execute("query-name"))


def test_a_caller_is_a_client() -> None:
    """Each session of a caller is one client of the monitor, until it has not called for a while."""
    world = World()
    world.member()
    one, other = world.client(), world.client()
    world.result(one.member("m1").execute("query-name"))
    with pytest.raises(CommandError):
        world.result(one.member("m1").execute("nix"))
    running = other.member("m1").execute("wait")
    world.router.pump()
    guard = world.monitors["m1"].guard
    described = [client.describe() for client in guard.clients.values()]
    assert [each["kind"] for each in described] == ["fleet", "fleet"]
    assert (described[0]["requests"], described[0]["errors"], described[0]["last-command"]) == (2, 1, "nix")
    assert {client.standing.endpoint for client in guard.clients.values()} == {"fleet:127.0.0.1:8080"}
    world.advance(limits.IDLE)
    world.advance(limits.IDLE)
    assert len(guard.clients) == 1
    world.work["m1"].finish()
    assert world.result(running) == 7
    world.advance(limits.IDLE)
    world.advance(limits.IDLE)
    assert guard.clients == {}
    assert [call for call in world.clock.getDelayedCalls() if call.active()] == []


@pytest.mark.parametrize("end", ["disconnect", "turn_away"])
def test_a_caller_can_be_disconnected(end: str) -> None:
    """A caller that is disconnected has its calls cancelled; it may call again."""
    world = World()
    world.member()
    member = world.client().member("m1")
    running = member.execute("wait")
    world.router.pump()
    (client,) = world.monitors["m1"].guard.clients.values()
    getattr(client, end)()
    with pytest.raises(GenericError, match="was cancelled"):
        world.result(running)
    assert world.monitors["m1"].guard.clients == {}
    assert world.result(member.execute("query-name")) == {"name": "m1"}


def test_limits_of_calls() -> None:
    """There are limits of what one session, and all, may have under way; what is beyond is refused, and then goes on."""
    world = World()
    world.member(in_flight=2, max_calls=3)
    one, other = world.client().member("m1"), world.client().member("m1")
    running = [one.execute("wait"), one.execute("wait")]
    with pytest.raises(GenericError, match="'ANON-.*' has 2 calls under way at this member"):
        world.result(one.execute("query-name"))
    running.append(other.execute("wait"))
    with pytest.raises(GenericError, match="There are 3 calls under way at this member"):
        world.result(other.execute("query-name"))
    for deferred in running:
        world.work["m1"].finish()
        assert world.result(deferred) == 7
    assert world.result(other.execute("query-name")) == {"name": "m1"}
    with pytest.raises(ValueError, match="at least 1"):
        world.member("m3", in_flight=0)


def test_limit_of_callers() -> None:
    """Beyond the limit the caller that has not called for longest is forgotten; if all are waiting, a new one is refused."""
    world = World()
    service = world.member()
    callers = service.member.callers
    callers.max_callers = 2
    first, second, third = (world.client().member("m1") for _ in range(3))
    running = first.execute("wait")
    world.result(second.execute("query-name"))
    world.result(third.execute("query-name"))
    assert len(callers) == 2
    waits = third.execute("wait")
    with pytest.raises(GenericError, match="2 callers have calls under way"):
        world.result(second.execute("query-name"))
    assert len(callers) == len(world.monitors["m1"].guard.clients) == 2
    world.work["m1"].finish()
    world.work["m1"].finish()
    assert (world.result(running), world.result(waits)) == (7, 7)


# -- what is not as it should be


def test_a_router_that_hangs_while_closing() -> None:
    """A router that does not end a session in order has some time for that, and no more."""
    world = World()
    service = world.member()
    world.router.of_member("m1").stopped = True
    stopped = service.stopService()
    world.router.pump()
    ended: list[None] = []
    stopped.addCallback(ended.append)
    assert ended == []
    world.advance(CLOSE_TIMEOUT)
    assert ended == [None]
    assert world.router.links == []


def test_closing_twice() -> None:
    """Closing a connection that is being closed ends it at once; one that is closed stays so."""
    world = World()
    client = world.client()
    fleet = client.fleet
    assert fleet is not None
    link = world.router.links[0]
    link.stopped = True
    first, second = fleet.close(), fleet.close()
    world.router.pump()
    assert first.called
    assert second.called
    assert fleet.close().called
    assert fleet.when_lost().called
    failing: list[Deferred[Any]] = [fleet.call("m1", "execute"), fleet.members(), fleet.watch(lambda *_: None)]
    for each in [*failing, fleet.subscribe(lambda _: None)]:
        with pytest.raises(ConnectionClosed):
            world.result(each)
    world.advance(CLOSE_TIMEOUT)


def test_a_router_that_ends_the_session() -> None:
    """A router that ends a session says why."""
    world = World()
    told: list[str] = []
    client = world.client(on_connection=lambda there, reason: told.append(reason))
    running = client.members()
    world.router.links[0].tell(message.Goodbye("wamp.close.killed"))
    with pytest.raises(ConnectionClosed, match="The router ended the session: wamp.close.killed"):
        world.result(running)
    assert told == ["", "The router ended the session: wamp.close.killed"]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ApplicationError("wamp.error.canceled"), ConnectionClosed("Member 'm1' has gone before it answered")),
        (ApplicationError("wamp.error.odd", "text"), GenericError("The router answers wamp.error.odd: text")),
        (ApplicationError("wamp.error.odd"), GenericError("The router answers wamp.error.odd: ")),
        (ApplicationError(ERROR), GenericError("The member gives no reason")),
        (ApplicationError(ERROR, "so", **{"class": "Odd"}), CommandError("so", "Odd")),
        (CancelledError(), CommandCancelled("The call was cancelled")),
        (TransportLost(), ConnectionClosed("There is no connection to the router")),
        (PayloadExceededError(), GenericError("The message is larger than the router takes")),
        (SerializationError(), GenericError("The message can't be encoded")),
        (ValueError("odd"), GenericError("ValueError: odd")),
    ],
)
def test_errors_of_the_way(error: Exception, answer: CommandError) -> None:
    """Whatever goes wrong on the way is an error of a command that says so."""
    found = to_command_error(error, "m1")
    assert (type(found), found.to_wire()) == (type(answer), answer.to_wire())


def test_a_call_that_cant_be_encoded() -> None:
    """Arguments that the wire has no form for are refused here."""
    world = World()
    world.member()
    with pytest.raises(GenericError, match="can't be encoded"):
        world.result(world.client().member("m1").execute("echo", {"value": object()}))  # type: ignore[dict-item]


def test_an_answer_that_cant_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that the wire has no form for is an error, and the session goes on."""
    world = World()
    world.member()
    member = world.client().member("m1")
    monkeypatch.setattr(member_module, "_plain", lambda result: object())
    with pytest.raises(GenericError, match="The answer can't be encoded"):
        world.result(member.execute("query-name"))
    monkeypatch.undo()
    assert world.result(member.execute("query-name")) == {"name": "m1"}


def test_progress_of_another_make() -> None:
    """Progress that is not two integers is passed over."""
    world = World()
    client = world.client()
    other = world.client()

    def odd(*values: Any, details: Any, **_: Any) -> int:
        for progress in ((1,), ("a", "b"), (1, 2)):
            details.progress(*progress)
        return 3

    options = RegisterOptions(match="prefix", details_arg="details")
    world.result(other.fleet.session.register(odd, "qmon.m9.", options=options))  # type: ignore[union-attr]
    told: list[Any] = []
    running = client.member("m9").execute("x", progress=lambda *values: told.append(values))
    assert world.result(running) == 3
    assert told == [(1, 2)]


def test_a_member_that_withdraws() -> None:
    """What was announced can be withdrawn, also when the connection has ended."""
    world = World()
    member = Member(Monitor("x", world.clock, access=all_may()), "fleet:r")
    fleet = world.client().fleet
    assert fleet is not None
    end = world.result(fleet.announce("m5", member))
    again = world.result(fleet.announce("m6", member))
    assert world.result(fleet.members()) == ["m5", "m6"]
    world.result(end())
    assert world.result(fleet.members()) == ["m6"]
    world.result(fleet.close())
    world.result(again())


def call(world: World, procedure: str, *values: Any) -> Any:
    client = next(link for link in world.router.links if link.session.is_attached())
    deferred: Deferred[Any] = client.session._owner.call("m1", procedure, values)
    return world.result(deferred)


@pytest.mark.parametrize(
    ("procedure", "values", "error"),
    [
        ("execute", (), "'execute' takes"),
        ("execute", (1,), "'execute' takes"),
        ("execute", ("query-name", None, 1), "'execute' takes"),
        ("execute", ("query-name", []), "plain JSON data"),
        ("execute", ("echo", {"value": b"x"}), "plain JSON data"),
        ("execute", ("echo", {"value": float("nan")}), "plain JSON data"),
        ("execute", ("echo", {"value": 1 << 70}), "plain JSON data"),
        ("events", ("x",), "'events' takes"),
        ("events", (-1,), "'events' takes"),
        ("events", (1, 2), "'events' takes"),
        ("events", (1, None, 3), "'events' takes two"),
        ("nix", (), "A member has no procedure 'nix'"),
    ],
)
def test_calls_that_are_not_valid(procedure: str, values: tuple[Any, ...], error: str) -> None:
    """A call of another make is answered with what is wrong, and no handler sees it."""
    world = World()
    world.member()
    world.client()
    with pytest.raises(CommandError, match=error) as raised:
        call(world, procedure, *values)
    assert not isinstance(raised.value, InvalidArguments)
    assert world.result(world.client().member("m1").execute("query-name")) == {"name": "m1"}


def test_answers_that_are_too_large() -> None:
    """An answer that the router does not take is an error, and the session goes on."""
    world = World()
    world.member()
    member = world.client().member("m1")
    with pytest.raises(GenericError, match="The answer is larger than the router takes"):
        world.result(member.execute("text", {"size": 1 << 20}))
    with pytest.raises(GenericError, match="The message is larger than the router takes"):
        world.result(member.execute("echo", {"value": "x" * (1 << 20)}))
    assert len(world.result(member.execute("text", {"size": 1000}))) == 1000


def test_a_fault_is_logged(monkeypatch: pytest.MonkeyPatch, flush_logged_errors: Any) -> None:
    """What goes wrong within the member is logged, and answered."""
    world = World()
    world.member()
    monkeypatch.setattr(limits.Callers, "session", lambda *_: 1 / 0)
    with pytest.raises(GenericError, match="failed for a reason that was logged"):
        world.result(world.client().member("m1").execute("query-name"))
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


# -- joining


def test_tickets_of_members(tmp_path: Path) -> None:
    """A member proves its name with the ticket of its file, which is read again when that is asked for."""
    world = World()
    world.router.tickets = {"m1": "new"}
    file = tmp_path / "ticket"
    file.write_text("old\n")
    service = world.member(ticket=file)
    assert not joined(service)
    file.write_text("new\n")
    world.advance(1)
    assert not joined(service)
    service.reread()
    world.advance(1)
    assert joined(service)
    assert world.router.of("m1").open
    file.write_text("")
    logged: list[str] = []
    observer = lines(logged)
    service.reread()
    globalLogPublisher.removeObserver(observer)
    assert logged == [f"{file}: a ticket is one line of at most 4096 bytes; the ticket stays as it was"]
    world.member("m2").reread()


def test_a_ticket_is_not_sent_in_the_open(tmp_path: Path) -> None:
    """Neither a member nor a client sends a ticket where it could be read."""
    world = World()
    file = tmp_path / "ticket"
    file.write_text("secret\n")
    monitor = Monitor(clock=world.clock)
    with pytest.raises(ValueError, match="use wss://"):
        MemberService(world.clock, monitor, Router.parse("ws://router"), "m1", ticket=file)
    with pytest.raises(ValueError, match="is not a name of a member"):
        MemberService(world.clock, monitor, Router.parse("ws://router"), "m.1")


def test_a_name_that_is_taken() -> None:
    """The second member of a name says so once, and has it when the router frees it."""
    world = World()
    first = world.member()
    logged: list[str] = []
    observer = lines(logged)
    second = world.member()
    for _ in range(5):
        world.advance(NAME_RETRY)
    assert not joined(second)
    world.result(first.stopService())
    world.advance(NAME_RETRY)
    globalLogPublisher.removeObserver(observer)
    assert joined(second)
    taken = [line for line in logged if "has the name m1" in line]
    assert taken == [f"another member of the fleet at {URL} has the name m1; trying again until it is free"]


def test_stopping_while_the_name_is_taken() -> None:
    """A member that waits for its name can be stopped, and can lose the router."""
    world = World()
    world.member()
    second = world.member()
    world.router.kill()
    world.router.up = True
    assert not joined(second)
    world.advance(1)
    assert len(world.router.registrations) == 1
    third = world.member()
    world.result(third.stopService())
    world.advance(20)
    assert not joined(third)


def test_a_router_that_does_not_allow_it() -> None:
    """A member that may not have its name tries again, and says why."""
    world = World()
    allowed: list[str] = []
    world.router.may = lambda authid, action, uri: action != "register" or bool(allowed)
    logged: list[str] = []
    observer = lines(logged)
    service = world.member()
    world.advance(0)
    globalLogPublisher.removeObserver(observer)
    assert not joined(service)
    assert any("does not allow that for 'm1': not authorized to register 'qmon.m1.'" in line for line in logged)
    allowed.append("yes")
    world.advance(1)
    assert joined(service)


def test_the_name_of_a_member_by_default() -> None:
    """A member without a name is called after its host, its monitor and its process."""
    assert default_name("shop").split("-")[-2] == "shop"
    assert default_name(None).split("-")[-2] == "qmon"
    world = World()
    monitor = Monitor("shop", world.clock)
    service = MemberService(world.clock, monitor, Router.parse(URL), connect=world.router.connect)
    assert service.member_name == ""
    service.startService()
    assert service.member_name == default_name("shop")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("ws://router", "fleet:router:80"),
        ("rs://[::1]:9", "fleet:[::1]:9"),
        ("rs://unix:/run/r.sock", "fleet:/run/r.sock"),
    ],
)
def test_what_rules_know_a_router_by(url: str, endpoint: str) -> None:
    """A rule may be for one router."""
    assert endpoint_of(Router.parse(url)) == endpoint


def test_restarting_a_member() -> None:
    """A member that was stopped can be started again; starting it twice does no harm."""
    world = World()
    service = world.member()
    world.result(service.stopService())
    assert world.result(world.client().members()) == []
    service.startService()
    assert world.result(service.when_joined()) is None
    assert world.result(world.client().members()) == ["m1"]

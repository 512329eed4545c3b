"""The command line of C{qmon fleet}, and its commands as wholes."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.shell.conftest import Qmon
from tests.shell.fleet.fakes import FakeFleet, event
from twisted_qmon.core.access.verdict import PermissionDenied
from twisted_qmon.errors import CommandError
from twisted_qmon.fleet.errors import JoinRefused
from twisted_qmon.fleet.interfaces import FleetGap, Publication
from twisted_qmon.fleet.router import Router
from twisted_qmon.shell.errors import NoConnection
from twisted_qmon.shell.fleet import running, words
from twisted_qmon.shell.fleet.login import VARIABLES, Login
from twisted_qmon.shell.fleet.member import Member
from twisted_qmon.shell.fleet.running import READER_PERIOD, Following, run
from twisted_qmon.shell.output import Output

URL = "ws://127.0.0.1:8080/ws"


class _Reactor(Clock):
    """Runs: what was to be done then is done, and after it what the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.begins: list[Callable[[], object]] = []
        self.then: Callable[[], object] = lambda: None
        self.running = False

    def callWhenRunning(self, begin: Callable[[], object]) -> None:
        self.begins.append(begin)

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def run(self, installSignalHandlers: bool = True) -> None:
        assert not installSignalHandlers
        self.running = True
        begins, self.begins = self.begins, []
        for begin in begins:
            begin()
        if self.running:
            self.then()
        assert not self.running

    def stop(self) -> None:
        self.running = False


class _Client:
    """What connects again and again."""

    def __init__(self, fleet: FakeFleet, error: Exception | None, told: Callable[[bool, str], object]) -> None:
        self.told = told
        self.fleet = fleet
        self.error = error
        self.closed = False

    def connect(self) -> Deferred[Any]:
        return succeed(self) if self.error is None else fail(self.error)

    def close(self) -> Deferred[None]:
        self.closed = True
        self.told(False, "It was closed")
        return succeed(None)

    def subscribe(self, receiver: Callable[[Publication], object]) -> None:
        self.fleet.subscribe(receiver)

    def watch(self, receiver: Callable[[str, bool], object], failed: Callable[[CommandError], object]) -> None:
        self.fleet.watch(receiver)
        self.failed = failed


class _World:
    """A fleet, and the reactor that C{qmon} runs."""

    def __init__(self) -> None:
        self.reactor = _Reactor()
        self.fleet = FakeFleet("db-1", "web-1", "web-2")
        self.error: Exception | None = None
        self.logins: list[Login] = []
        self.client: _Client | None = None
        self.gap: Callable[[FleetGap], object] | None = None
        self.connection: Callable[[bool, str], object] | None = None

    def connect(self, login: Login, reactor: object) -> Deferred[Any]:
        self.logins.append(login)
        return succeed(self.fleet) if self.error is None else fail(self.error)

    def make_client(self, login: Login, reactor: object, on_connection: Any, on_gap: Any = None) -> _Client:
        self.logins.append(login)
        self.connection = on_connection
        self.gap = on_gap
        self.client = _Client(self.fleet, self.error, on_connection)
        return self.client


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[_World]:
    made = _World()
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(running, "global_reactor", lambda: made.reactor)
    monkeypatch.setattr(running, "show_faults", lambda show: None)
    monkeypatch.setattr(words, "missing_modules", lambda extra: "")
    monkeypatch.setattr(Login, "connect", lambda login, reactor: made.connect(login, reactor))
    monkeypatch.setattr(Login, "client", lambda login, *arguments: made.make_client(login, *arguments))
    yield made


# -- which words mean what


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "the following arguments are required: URL"),
        ([URL], "the following arguments are required: ls | events"),
        (["http://x", "ls"], "'http://x' is not a valid URL of a router"),
        ([URL, "a.b", "exec", "x"], "'a.b' is not the name of a member"),
        ([URL, "web-*"], "with many members there is exec and events, not ''"),
        ([URL, "web-*", "top"], "with many members there is exec and events, not 'top'"),
        ([URL, "web-1", "frob"], "'frob' is not a command of qmon"),
        (["--ticket", "x", URL, "ls"], "--ticket is that of a name"),
        (["--authid", "a", "--ticket", "/none/such", URL, "ls"], "/none/such: No such file"),
        (["--ca=x", URL, "ls"], "a CA is for wss:// and rss://"),
        (["--frob", URL, "ls"], "unrecognized arguments: --frob"),
        (["-x", URL, "ls"], "unrecognized arguments: -x"),
        ([URL, "ls", "--timeout", "1"], "unrecognized arguments: --timeout"),
        ([URL, "*", "exec", "x", "y"], "'y' is not an argument"),
        ([URL, "*", "exec", "x", "--timeout", "0"], "invalid seconds value: '0'"),
    ],
)
def test_wrong_usage(qmon: Qmon, world: _World, given: list[str], reason: str) -> None:
    """Wrong words are one error that names them, with status 2, before anything is connected."""
    done = qmon("fleet", *given)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err
    assert world.logins == []


def test_a_ticket_is_not_sent_in_the_clear(qmon: Qmon, world: _World, tmp_path: Path) -> None:
    """Where it could be read on its way, it is refused."""
    (tmp_path / "t").write_text("secret\n")
    done = qmon("fleet", "--authid", "a", "--ticket", str(tmp_path / "t"), "ws://fleet.example/ws", "ls")
    assert done.status == 2
    assert "use wss:// or rss://" in done.err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """There is help for C{fleet} and for what it does with many."""
    for given, begins in (
        (["--help"], "usage: qmon fleet [OPTIONS] URL ls"),
        ([URL, "ls", "--help"], "usage: qmon fleet URL ls"),
        ([URL, "*", "exec", "--help"], "usage: qmon fleet URL PATTERN exec"),
        ([URL, "events", "--help"], "usage: qmon fleet URL [PATTERN] events"),
    ):
        with pytest.raises(SystemExit) as caught:
            words.run_fleet(given)
        assert caught.value.code == 0
        assert capsys.readouterr().out.startswith(begins)


def test_without_the_extra(qmon: Qmon, world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is one line."""
    monkeypatch.setattr(words, "missing_modules", lambda extra: f"{extra} is missing")
    done = qmon("fleet", URL, "ls")
    assert (done.status, done.err) == (1, "qmon: fleet is missing\n")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_who_connects(qmon: Qmon, world: _World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str) -> None:
    """Options may stand before and behind the URL; each has an environment variable."""
    (tmp_path / "t").write_text("secret\n")
    given = {"realm": "r", "authid": "ops-a", "ticket": str(tmp_path / "t")}
    if by == "option":
        done = qmon("fleet", "--realm=r", URL, "--authid", "ops-a", "--ticket", given["ticket"], "ls")
    else:
        for name, value in given.items():
            monkeypatch.setenv(VARIABLES[name], value)
        done = qmon("fleet", URL, "ls")
    assert done.status == 0
    [login] = world.logins
    assert (login.router.realm, login.authid, login.ticket) == ("r", "ops-a", "secret")


def test_one_member(qmon: Qmon, world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the name of a member is what follows an address elsewhere."""
    ran: list[Any] = []

    def run_at(member: Any, rest: list[str], usage: str) -> int:
        ran.append((member, rest))
        return 0

    monkeypatch.setattr(words, "run_at", run_at)
    assert qmon("fleet", URL, "web-1", "exec", "x", "--timeout", "3").status == 0
    [(member, rest)] = ran
    assert isinstance(member, Member)
    assert (member.name, rest) == ("web-1", ["exec", "x", "--timeout", "3"])


# -- ls


def test_ls(qmon: Qmon, world: _World) -> None:
    """The names, sorted: lines of JSON on a pipe, plain lines for a person; a pattern chooses."""
    assert qmon("fleet", URL, "ls").out == '{"member": "db-1"}\n{"member": "web-1"}\n{"member": "web-2"}\n'
    assert qmon("fleet", URL, "ls", "web-[1]", "--table").out == "web-1\n"
    assert world.fleet.closed


def test_ls_watch(qmon: Qmon, world: _World) -> None:
    """Those that are there first, then who joins and who leaves, until interrupted."""

    def then() -> None:
        for name, present in (("web-3", True), ("db-1", False), ("web-1", False)):
            for watcher in world.fleet.watchers:
                watcher(name, present)
        os.kill(os.getpid(), signal.SIGINT)

    world.reactor.then = then
    done = qmon("fleet", URL, "ls", "web-*", "--watch", "--table")
    assert (done.status, done.out) == (130, "+ web-1\n+ web-2\n+ web-3\n- web-1\n")
    assert world.client is not None
    assert world.client.closed
    done = qmon("fleet", URL, "ls", "db-*", "--watch")
    assert json.loads(done.out.splitlines()[0]) == {"member": "db-1", "present": True}


def test_who_is_there_is_not_told(qmon: Qmon, world: _World) -> None:
    """If the router does not allow to watch, that is the end."""

    def then() -> None:
        assert world.client is not None
        world.client.failed(PermissionDenied("not allowed"))

    world.reactor.then = then
    done = qmon("fleet", URL, "ls", "--watch")
    assert (done.status, done.err) == (1, "qmon: not allowed\n")


def test_the_router_goes_and_comes_back(qmon: Qmon, world: _World) -> None:
    """Both are noted; the first connection is not, nor is that C{qmon} itself closes it."""

    def then() -> None:
        assert world.connection is not None
        for there, reason in ((True, ""), (False, "The connection was lost"), (True, "")):
            world.connection(there, reason)
        os.kill(os.getpid(), signal.SIGINT)

    world.reactor.then = then
    done = qmon("fleet", URL, "events")
    assert done.err == "qmon: The connection was lost; reconnecting\nqmon: connected again\n"


@pytest.mark.parametrize("given", [["ls"], ["ls", "--watch"], ["events"], ["*", "exec", "x"]])
def test_no_connection(qmon: Qmon, world: _World, given: list[str]) -> None:
    """Without a router there is one line, and status 3."""
    world.error = NoConnection(f"no connection to {URL}: Connection refused")
    done = qmon("fleet", URL, *given)
    assert (done.status, done.err) == (3, f"qmon: no connection to {URL}: Connection refused\n")


def test_exec_at_many(qmon: Qmon, world: _World) -> None:
    """The command is executed at those that match."""
    world.fleet.answers = {"query-x": [1]}
    done = qmon("fleet", URL, "web-*", "exec", "query-x", "a=1", "--timeout", "3")
    assert [json.loads(line)["member"] for line in done.out.splitlines()] == ["web-1", "web-2"]
    assert world.fleet.calls[0] == ("web-1", "execute", "query-x", {"a": "1"})
    assert world.fleet.closed


# -- events


def test_events(qmon: Qmon, world: _World) -> None:
    """Events have the names of their members; members and events are chosen by name; what is missing is said."""

    def then() -> None:
        for publication in (event("web-1", 1), event("db-1", 2), event("web-2", 3, name="OTHER")):
            world.fleet.publish(publication)
        assert world.gap is not None
        for gap in (FleetGap("web-1", 5, False), FleetGap("web-2", 0, True), FleetGap("db-1", 1, False)):
            world.gap(gap)
        os.kill(os.getpid(), signal.SIGINT)

    world.reactor.then = then
    done = qmon("fleet", URL, "web-*", "events", "NEWS")
    assert done.status == 130
    [shown] = [json.loads(line) for line in done.out.splitlines()]
    assert (shown["member"], shown["event"], shown["number"]) == ("web-1", "NEWS", 1)
    assert done.err == "qmon: web-1: 5 events were lost\nqmon: web-2 was restarted: events may have been lost\n"
    qmon.terminal = True
    lines = qmon("fleet", URL, "events").out.splitlines()
    assert [line.split()[0] for line in lines] == ["web-1", "db-1", "web-2"]
    assert lines[0].endswith("NEWS  n=1 #1")


# -- what runs them


def _connecting(error: BaseException) -> Failure:
    failed: list[Failure] = []
    login = Login(Router.parse(URL))
    fail(error).addErrback(login._no_connection).addErrback(failed.append)
    return failed[0]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(osError=111), "Connection refused"),
        (JoinRefused("The router refuses the session"), "The router refuses the session"),
    ],
)
def test_why_there_is_no_connection(error: Exception, text: str) -> None:
    """The reason is told in a few words."""
    failure = _connecting(error)
    assert failure.check(NoConnection)
    assert str(failure.value) == f"no connection to {URL}: {text}"


def test_a_fault_is_raised(world: _World) -> None:
    """What a command fails with is what running it raises."""

    async def main(reactor: object) -> int:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        run(main, Output(stdout=io.StringIO(), stderr=io.StringIO()))


def test_nothing_is_written_without_a_reader() -> None:
    """When the output has no reader, that ends it, also while nothing happens."""
    reading, writing = os.pipe()
    clock = Clock()
    with os.fdopen(writing, "w") as stream:
        following = Following(clock, Output(stdout=stream, stderr=io.StringIO()))
        clock.advance(READER_PERIOD)
        assert not following.ended.called
        os.close(reading)
        clock.advance(READER_PERIOD)
        failed: list[Failure] = []
        following.ended.addErrback(failed.append)
        assert failed[0].check(BrokenPipeError)
        following.guarded(_full)()
    assert clock.getDelayedCalls() == []


def _full() -> None:
    raise OSError(28, "No space left on device")


def test_what_can_not_be_written_ends_it() -> None:
    """An error of the output ends what writes there."""
    clock = Clock()
    following = Following(clock, Output(stdout=io.StringIO(), stderr=sys.stderr))
    following.guarded(_full)()
    failed: list[Failure] = []
    following.ended.addErrback(failed.append)
    assert failed[0].check(OSError)
    assert clock.getDelayedCalls() == []

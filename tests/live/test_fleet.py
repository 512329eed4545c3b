"""A fleet behind a real router, C{qmon fleet}, and what happens when one of them goes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.fleet_process import PATIENCE_MANY, Caller, Members, Router
from tests.live.qmon_program import Qmon, environment, next_event
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, QMP, ROOT, until

pytestmark = pytest.mark.live

MANY = [f"m-{number:02}" for number in range(48)]
ALL = [*MANY, "one", "two"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all that this module starts."""
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def router(folder: Path) -> Iterator[Router]:
    """The router of all tests here, with tickets for its members and callers."""
    made = Router(folder / "router")
    for name in [*ALL, "spare"]:
        made.ticket(name, "member")
    for name, role in (("ops-me", "operator"), ("view-me", "observer"), ("admin-me", "admin")):
        made.ticket(name, role)
    with made:
        yield made


@pytest.fixture(scope="module")
def call(router: Router, folder: Path) -> Caller:
    """C{qmon fleet} as an operator."""
    return Caller(router, folder, "ops-me")


@pytest.fixture(scope="module")
def many(router: Router, folder: Path, call: Caller) -> Iterator[Members]:
    """Fifty members in two processes; this is the one with most of them."""
    with Members(router, folder / "many", MANY) as many, Members(router, folder / "few", ["one", "two"], ["one"]):
        until("all members", lambda: call.names() == sorted(ALL), many, PATIENCE_MANY)
        yield many


def _rows(out: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in out.splitlines()]
    return {row["member"]: row for row in rows}


@pytest.mark.usefixtures("many")
def test_one_command_at_many(call: Caller) -> None:
    """Each that matches is called once, and the exit status is that of the worst."""
    status, out, err = call("*", "exec", "query-status")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == len(ALL)
    assert {name: row["return"]["status"] for name, row in _rows(out).items()} == dict.fromkeys(ALL, "running")
    status, out, _ = call("m-0[0-4]", "exec", "query-failure", "text=no luck")
    assert (status, sorted(_rows(out))) == (1, MANY[:5])
    assert _rows(out)["m-00"]["error"] == {"class": "GenericError", "desc": "no luck"}
    status, out, _ = call("m-00", "exec", "query-echo", 'value:={"a": [1, null]}')
    assert (status, json.loads(out)) == (0, {"a": [1, None]})


@pytest.mark.usefixtures("many")
def test_who_may_what(router: Router, folder: Path, call: Caller) -> None:
    """The router proves who calls, the member's rules say what that one may do; a wrong ticket is refused at the router."""
    assert json.loads(call("one", "whoami")[1])["identity"] == "fleet:ops-me"
    view = Caller(router, folder, "view-me")
    assert view("one", "exec", "query-status")[0] == 0
    status, _, err = view("one", "exec", "news", "n:=1")
    assert status == 1
    assert "'news' needs operate, fleet:view-me has observe" in err
    (router.folder / "ops-me.wrong").write_text("wrong\n")
    wrong = Caller(router, folder, "ops-me")
    wrong.words[wrong.words.index("--ticket") + 1] = str(router.folder / "ops-me.wrong")
    status, _, err = wrong("ls")
    assert status == 3
    assert "refuses" in err
    assert "Traceback" not in err


# Joins as one member, and tries what it may not do.
_INTRUDER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted_qmon.errors import CommandError
from twisted_qmon.fleet._connection import connect
from twisted_qmon.fleet.router import Router

async def main():
    fleet = await connect(reactor, Router.parse(sys.argv[1]), "spare", open(sys.argv[2]).read().strip())
    for what in (
        lambda: fleet.announce("other", None),
        lambda: fleet.announce("spare.x", None),
        lambda: fleet.call("one", "execute", ("query-status", {})),
        lambda: fleet.subscribe(print),
        fleet.members,
    ):
        try:
            await what()
            print("allowed", flush=True)
        except CommandError as error:
            print(type(error).__name__, flush=True)
    await fleet.announce("spare", None)
    print("announced", flush=True)
    await fleet.close()

Deferred.fromCoroutine(main()).addErrback(lambda f: f.printTraceback()).addBoth(lambda _: reactor.stop())
reactor.run()
"""


@pytest.mark.usefixtures("many")
def test_a_member_offers_only_its_own(router: Router, folder: Path) -> None:
    """The router lets a member announce its own name, and do nothing else: not another's name, no call, no listening."""
    done = subprocess.run(
        [sys.executable, "-c", _INTRUDER, router.url, str(router.folder / "spare.ticket")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_MANY,
        env=environment(folder, PYTHONPATH=str(ROOT)),
    )
    *refused, own = done.stdout.split()
    # A dot in a name makes it an address below the member's own, which no one takes for a member's.
    assert (refused[0], refused[2:]) == ("PermissionDenied", ["PermissionDenied"] * 3), done.stderr
    assert own == "announced"


@pytest.mark.usefixtures("many")
def test_events(call: Caller) -> None:
    """Events have the names of their members, in the order of each. At one member those follow that were before, by number."""
    following = call.start("m-*", "events", "NEWS")
    try:
        # Until it follows.
        next_event(following, lambda: call("m-00", "exec", "news", "n:=0"))
        for n in (1, 2):
            assert call("m-0?", "exec", "news", f"n:={n}")[0] == 0
        heard: dict[str, list[int]] = {name: [] for name in MANY[:10]}
        while any(numbers[-2:] != [1, 2] for numbers in heard.values()):
            event = json.loads(_line(following))
            heard[event["member"]].append(event["data"]["n"])
    finally:
        following.kill()
        following.communicate()
    one = call.start("m-00", "events", "--after", "0", "NEWS")
    try:
        events = [json.loads(_line(one)) for _ in range(3)]
    finally:
        status, _, err = Qmon.interrupt(one)
    assert (status, err) == (130, "")
    assert [each["number"] for each in events] == sorted(each["number"] for each in events)
    assert events[0]["data"] == {"n": 0}


def _line(process: subprocess.Popen[str]) -> str:
    """:return: the next line that it writes; the whole test has a limit"""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it has ended"
    return line


@pytest.mark.usefixtures("many")
def test_a_prompt_at_a_member(router: Router, folder: Path, call: Caller) -> None:
    """All that a prompt has, it has here: completion, a line, a message; a member that is killed is said, and found again."""
    with Members(router, folder / "spare", ["spare"]) as spare:
        until("spare", lambda: "spare" in call.names(), spare, PATIENCE_MANY)
        with Terminal(folder, *call.words, "spare") as terminal:
            terminal.prompts()
            assert f"spare at {router.url}: twisted-qmon" in terminal.screen
            terminal.types("info versi" + "\t")
            terminal.shows("(qmon) info version")
            terminal.enters("")
            terminal.prompts()
            assert '"name": "spare"' in terminal.does('{"execute": "query-name"}')
            spare.popen.send_signal(signal.SIGKILL)
            spare.popen.wait(PATIENCE)
            terminal.enters("info name")
            terminal.prompts("(qmon: not connected)")
            assert "spare" in terminal.screen
            with Members(router, folder / "again", ["spare"]):
                terminal.shows("connected again")
                terminal.prompts()
                assert "spare" in terminal.does("info name")
            terminal.types("\x04")
            assert terminal.ends() == 0


@pytest.mark.usefixtures("many")
def test_a_member_that_is_killed_or_stopped(router: Router, folder: Path, call: Caller) -> None:
    """
    Who waits for one that is killed is told; one that is stopped costs its own time only. A second one of the same name says so
    once, and takes its place.
    """
    with Members(router, folder / "first", ["spare"]) as first:
        until("spare", lambda: "spare is a member" in first.output(), first, PATIENCE_MANY)
        with Members(router, folder / "second", ["spare"]) as second:
            waiting = call.start("spare", "exec", "query-never")
            until("the call", lambda: "query-never" in call("spare", "exec", "query-pending")[1], first, PATIENCE_MANY)
            until("the name is taken", lambda: "has the name spare" in second.output(), second, PATIENCE_MANY)
            first.popen.send_signal(signal.SIGSTOP)
            status, out, _ = call("[os]*", "exec", "query-echo", "value:=1", "--timeout", "2")
            assert status == 4
            rows = _rows(out)
            assert rows["one"]["return"] == 1
            assert rows["spare"]["error"]["desc"] == "Command 'query-echo' timed out after 2 s"
            first.popen.send_signal(signal.SIGKILL)
            out, err = waiting.communicate(timeout=PATIENCE_MANY)
            assert (waiting.returncode, out) == (3, "")
            assert err.count("\n") == 1
            until("it has the name", lambda: "spare is a member" in second.output(), second, PATIENCE_MANY)
            assert second.output().count("has the name spare") == 1
            assert json.loads(call("spare", "exec", "query-name")[1]) == {"name": "spare"}
    until("it is gone", lambda: "spare" not in call.names(), patience=PATIENCE_MANY)
    status, _, err = call("spare", "exec", "query-name")
    assert (status, err) == (3, f"qmon: no connection to spare at {router.url}: There is no member 'spare'\n")


def test_the_router_is_killed(router: Router, many: Members, folder: Path, call: Caller) -> None:
    """Who waits is told; the members' own sockets don't notice; all come back when it does, and so does who follows."""
    few = QMP(folder / "router" / "one.sock")
    watching = call.start("ls", "--watch")
    waiting = call.start("m-00", "exec", "query-never")
    try:
        first = [json.loads(_line(watching)) for _ in ALL]
        assert {row["member"] for row in first} == set(ALL)
        until("the call", lambda: "query-never" in call("m-00", "exec", "query-pending")[1], many, PATIENCE_MANY)
        router.kill()
        _, err = waiting.communicate(timeout=PATIENCE_MANY)
        assert waiting.returncode == 3
        assert err.startswith("qmon: ")
        status, _, err = call("ls")
        assert (status, err) == (3, f"qmon: no connection to {router.url}: Connection refused\n")
        assert few.execute("query-status")["running"] is True
        router.start()
        until("all members", lambda: call.names() == sorted(ALL), many, PATIENCE_MANY)
        assert call("*", "exec", "query-status")[0] == 0
        assert few.execute("query-status")["running"] is True
    finally:
        few.close()
        waiting.kill()
        waiting.communicate()
        status, _, err = Qmon.interrupt(watching)
    assert status == 130
    assert err.endswith("; reconnecting\nqmon: connected again\n")

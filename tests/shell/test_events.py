"""Following events and the log."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest

from tests.shell.conftest import Qmon
from tests.shell.scripted import ScriptedServer
from twisted_qmon.hmp.event_text import event_line, log_line, time_of_day
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.client import Client, connect
from twisted_qmon.shell.errors import NoConnection
from twisted_qmon.shell.oneshot import events, log
from twisted_qmon.shell.oneshot.log import LogReader
from twisted_qmon.shell.output import Output

ADDRESS = Address("./x", path="./x")
TIME = {"seconds": 1_700_000_000, "microseconds": 123_456}
SCHEMA = [{"name": name, "meta-type": "event", "arg-type": "0"} for name in ("STOP", "RESUME")]
NUMBERING = [
    *SCHEMA,
    {"name": "select-events", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
    {"name": "1", "meta-type": "object", "members": [{"name": "after", "type": "int", "default": None}]},
]


def _event(name: str, number: int | None = None, /, **data: Any) -> Any:
    event: dict[str, Any] = {"event": name, "timestamp": TIME}
    if data:
        event["data"] = data
    return event if number is None else {**event, "number": number}


class _Enough(Exception):
    pass


@pytest.fixture(autouse=True)
def stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would go on for ever is interrupted when the script has no further connection."""

    def sleep(seconds: float) -> None:
        pass

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(events, "reconnect", _reconnect)
    monkeypatch.setattr(log, "reconnect", _reconnect)


def _reconnect(address: Address) -> Any:
    try:
        return connect(address, keep_events=True)
    except IndexError:
        raise KeyboardInterrupt from None


def test_events_on_a_pipe(qmon: Qmon, server: ScriptedServer) -> None:
    """On a pipe each event is its message on a line; those before the answer to the first request count, too."""
    wanted = [_event("STOP"), _event("RESUME", a=1)]
    server.says(wanted[0], {"return": SCHEMA, "id": 2}, wanted[1])
    done = qmon("./x", "events")
    assert done.status == 130
    assert [json.loads(line) for line in done.out.splitlines()] == wanted


def test_events_at_a_terminal(qmon: Qmon, server: ScriptedServer) -> None:
    """At a terminal each event is a line of time, name and data; control characters are escapes."""
    server.says({"return": SCHEMA, "id": 2}, _event("STOP\x1b", None, **{"a\n": "\x07", "b": "c"}))
    qmon.terminal = True
    assert qmon("./x", "events").out == f"{time_of_day(TIME)}  STOP\\x1b  a\\n=\\x07 b=c\n"


def test_only_events_of_a_name(qmon: Qmon, server: ScriptedServer) -> None:
    """Names choose events. One that the server does not list is said, with the nearest, and waited for."""
    server.says({"return": SCHEMA, "id": 2}, _event("STOP"), _event("RESUME"), _event("STOPP"))
    done = qmon("./x", "events", "STOP", "STOPP")
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["STOP", "STOPP"]
    assert done.err.startswith("qmon: the server lists no event 'STOPP'; did you mean 'STOP'?\n")


def test_events_across_a_restart(qmon: Qmon, server: ScriptedServer) -> None:
    """A lost connection is told and made again."""
    server.says({"return": SCHEMA, "id": 2}, _event("STOP"))
    server.says({"return": SCHEMA, "id": 2}, _event("RESUME"))
    done = qmon("./x", "events")
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["STOP", "RESUME"]
    assert done.err.splitlines() == [
        "qmon: ./x: the server closed the connection; reconnecting",
        "qmon: ./x: connected again",
        "qmon: ./x: the server closed the connection; reconnecting",
    ]


def test_events_of_a_server_that_is_not_there(qmon: Qmon) -> None:
    """The first connection must be had: status 3."""
    assert qmon("./nothing/here", "events").status == 3


def test_after_needs_numbers(qmon: Qmon, server: ScriptedServer) -> None:
    """C{--after} at a server that does not number its events is a clear error."""
    server.says({"return": SCHEMA, "id": 2})
    done = qmon("./x", "events", "--after", "5")
    assert (done.status, done.err) == (
        1,
        "qmon: the server does not number its events: there is nothing that --after could refer to\n",
    )


def test_numbered_events_are_resumed(qmon: Qmon, server: ScriptedServer) -> None:
    """Where events have numbers, a new connection goes on behind the last one seen, of the same monitor."""
    answer = {"monitor": "u", "first": 1, "last": 7, "lost": 0}
    server.says({"return": NUMBERING, "id": 2}, {"return": answer, "id": 3}, _event("STOP", 8))
    server.says({"return": NUMBERING, "id": 2}, {"return": {**answer, "lost": 2}, "id": 3}, _event("RESUME", 11))
    server.says({"return": NUMBERING, "id": 2}, {"return": {"monitor": "v", "last": 3, "restarted": True}, "id": 3})
    server.says({"return": NUMBERING, "id": 2}, {"return": {}, "id": 3})
    done = qmon("./x", "events", "STOP", "RESUME", "OTHER")
    assert [json.loads(line)["number"] for line in done.out.splitlines()] == [8, 11]
    asked = [server.received()[2]["arguments"] for _ in range(4)]
    names = {"numbered": True, "names": ["RESUME", "STOP"]}
    assert asked == [
        names,
        {**names, "after": 8, "monitor": "u"},
        {**names, "after": 11, "monitor": "u"},
        # Of the other monitor nothing has been seen yet.
        {**names, "after": 0, "monitor": "v"},
    ]
    assert "qmon: 2 events were lost: the server does not keep them any more" in done.err
    assert "qmon: the server was restarted: its whole history of events follows" in done.err


def test_numbered_events_from_a_number(qmon: Qmon, server: ScriptedServer) -> None:
    """C{--after} asks for what was missed; without an event seen, a new connection begins at the last number told."""
    server.says({"return": NUMBERING, "id": 2}, {"return": {"monitor": "u", "last": 7}, "id": 3})
    server.says({"return": NUMBERING, "id": 2}, {"error": {"class": "GenericError", "desc": "no"}, "id": 3})
    done = qmon("./x", "events", "--after", "4")
    assert server.received()[2]["arguments"] == {"numbered": True, "after": 4}
    assert server.received()[2]["arguments"] == {"numbered": True, "after": 4, "monitor": "u"}
    assert done.status == 1
    assert "the server refuses to select events: no" in done.err


def test_reconnecting_backs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts come slower and slower, up to a limit, for as long as it takes."""
    client: Any = object()
    outcomes: list[Any] = [NoConnection("no")] * 12 + [client]

    def attempt(address: Address, **options: Any) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.undo()
    monkeypatch.setattr(events, "connect", attempt)
    slept: list[float] = []
    assert events.reconnect(ADDRESS, slept.append) is client
    assert slept[0] == events.FIRST_DELAY
    assert slept == sorted(slept)
    assert slept[-1] == events.MAX_DELAY


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (None, "--:--:--.---"),
        ({}, "--:--:--.---"),
        ({"seconds": -1, "microseconds": -1}, "--:--:--.---"),
        ({"seconds": 1 << 70}, "--:--:--.---"),
        ({"seconds": 0, "microseconds": "x"}, time.strftime("%H:%M:%S.000", time.localtime(0))),
        (TIME, time.strftime("%H:%M:%S.123", time.localtime(TIME["seconds"]))),
    ],
)
def test_time_of_day(timestamp: Any, text: str) -> None:
    """Local time with milliseconds; what is no time is shown as such."""
    assert time_of_day(timestamp) == text


def test_event_line() -> None:
    """Data is key=value, quoted where it could be misread; a number is at the end."""
    event = {"event": "E", "timestamp": None, "data": {"a": "x y", "b": 1, "c": "", "d": [True], "e": "z"}, "number": 4}
    assert event_line(event) == '--:--:--.---  E  a="x y" b=1 c="" d=[true] e=z #4'
    assert event_line({"event": "E"}) == "--:--:--.---  E"


# -- the log


def _entry(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "timestamp": TIME, "level": "info", "namespace": "n", "text": f"text {number}", **more}


def test_log(qmon: Qmon, server: ScriptedServer) -> None:
    """The log is JSON, an entry a line; of the level that was asked for."""
    entries = [_entry(1), _entry(2)]
    server.says({"return": entries, "id": 2})
    done = qmon("./x", "log", "--level", "warn")
    assert done.status == 0
    assert [json.loads(line) for line in done.out.splitlines()] == entries
    assert server.received()[1] == {"execute": "query-log", "arguments": {"level": "warn"}, "id": 2}


def test_log_for_a_person(qmon: Qmon, server: ScriptedServer) -> None:
    """An entry is a line with its time and level; further lines of it are indented, control characters are escapes."""
    server.says({"return": [_entry(1, text="a\x1b[2J\nTraceback\n")], "id": 2})
    assert qmon("./x", "log", "--table").out == f"{time_of_day(TIME)}  info      n: a\\x1b[2J\n    Traceback\n"
    assert log_line({}) == "--:--:--.---            : "


def test_log_of_a_qemu(qmon: Qmon, server: ScriptedServer) -> None:
    """A server without a log says so: status 1."""
    server.says({"error": {"class": "CommandNotFound", "desc": "no log"}, "id": 2})
    done = qmon("./x", "log", "--follow")
    assert (done.status, done.err) == (1, "qmon: no log\n")


def test_log_is_followed(qmon: Qmon, server: ScriptedServer) -> None:
    """Each entry is shown once; a LOG event is a reason to look; a restarted server is followed on."""
    told = {"event": "LOG", "data": {}}
    server.says(
        {"return": [_entry(1), _entry(2)], "id": 2},
        {"event": "OTHER"},
        told,
        {"return": [_entry(3)], "id": 3},
        told,
        {"return": [], "id": 4},
    )
    server.says({"return": [_entry(9)], "id": 2}, {"return": [_entry(9)], "id": 3})
    done = qmon("./x", "log", "--follow")
    assert done.status == 130
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["text 1", "text 2", "text 3", "text 9"]
    assert "reconnecting" in done.err
    asked = [message.get("arguments") for message in server.received()[1:]]
    assert asked[:3] == [None, {"after": 2}, {"after": 3}]
    assert [message.get("arguments") for message in server.received()[1:3]] == [{"after": 2}, None]


def test_log_without_events(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a LOG event the log is looked at from time to time."""
    monkeypatch.setattr(log, "PERIOD", 0.01)
    server.says({"return": [_entry(1)], "id": 2}, ends=False)
    looks = 0

    def new(self: LogReader, client: Any) -> list[dict[str, Any]]:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(LogReader, "new", new)
    assert qmon("./x", "log", "--follow").status == 130
    assert looks == 3


def test_the_same_log_on_a_new_connection(server: ScriptedServer) -> None:
    """It goes on behind the last entry seen, if that is still in its place; else all that there is is new."""
    two, other, three = _entry(2), _entry(2, text="of another process"), _entry(3)
    server.says({"return": [], "id": 2})
    server.says({"return": [_entry(1), two], "id": 2})
    server.says({"return": [two, three], "id": 2}, {"return": [], "id": 3})
    server.says({"return": [other, three], "id": 2}, {"return": [_entry(1), other, three], "id": 3})
    reader = LogReader("warn")
    with connect(ADDRESS) as client:
        assert reader.resume(client) == []
    with connect(ADDRESS) as client:
        assert reader.resume(client) == [_entry(1), two]
    with connect(ADDRESS) as client:
        assert reader.resume(client) == [three]
        assert reader.new(client) == []
    with connect(ADDRESS) as client:
        assert reader.resume(client) == [_entry(1), other, three]
    asked = [message["arguments"] for _ in range(4) for message in server.received()[1:]]
    assert [each.get("after") for each in asked] == [None, None, 1, 3, 2, None]
    assert {each["level"] for each in asked} == {"warn"}


def test_a_log_without_numbers(qmon: Qmon, server: ScriptedServer) -> None:
    """It can be shown, and not followed."""
    entry = {"timestamp": TIME, "text": "x"}
    server.says({"return": [entry], "id": 2})
    server.says({"return": [entry], "id": 2}, {"event": "LOG"})
    assert qmon("./x", "log").status == 0
    done = qmon("./x", "log", "--follow")
    assert (done.status, done.err) == (
        1,
        "qmon: the server does not number what it logs: there is no way to follow it\n",
    )


def test_events_that_come_later(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no further event at present the output is flushed; an answer that is none leaves the position as it is."""
    server.says({"return": NUMBERING, "id": 2}, {"return": "odd", "id": 3}, _event("STOP", 4))
    output = Output(True, io.StringIO(), io.StringIO())
    flushed: list[bool] = []
    monkeypatch.setattr(output, "flush", lambda: flushed.append(True))
    real = Client.next_event

    def late(self: Client, deadline: float | None = None) -> Any:
        if deadline is not None and not flushed:
            raise TimeoutError
        return real(self, deadline)

    monkeypatch.setattr(Client, "next_event", late)
    following = events.follow(ADDRESS, [], None, output)
    assert next(following)["event"] == "STOP"
    assert flushed == [True]
    following.close()  # type: ignore[attr-defined]


def test_a_log_that_is_not_followed(qmon: Qmon, server: ScriptedServer) -> None:
    """A connection that is lost is status 3."""
    server.says()
    assert qmon("./x", "log").status == 3

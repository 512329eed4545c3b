"""What the HTTP interface answers: commands, requests, sessions, the page's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from twisted.internet.defer import Deferred

from tests.conftest import FlushLogged
from tests.support.web import ADMIN, OBSERVER, OPERATOR, Server
from twisted_qmon.errors import CommandNotFound
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.web import kept, session
from twisted_qmon.web.pages import FOLDER


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server."""
    return Server(tmp_path)


ASYNC = {"prefer": "respond-async"}


def test_command(server: Server) -> None:
    """A command is answered with its result; arguments are a JSON object, or absent."""
    answer = server.ask("POST", "/api/commands/echo", {"text": "ä\0<script>", "times": 2})
    assert (answer.status, answer.json) == (200, {"return": "ä\0<script>" * 2})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert server.ask("POST", "/api/commands/query-status").json["return"]["status"] == "running"
    assert server.ask("POST", "/api/commands/query-name", {}).json == {"return": {"name": "test"}}


@pytest.mark.parametrize(
    ("name", "body", "status", "desc"),
    [
        ("nix", {}, 404, "The command nix has not been found"),
        ("echo", {}, 422, "Parameter 'text' is missing"),
        ("echo", {"text": 1}, 422, "Invalid parameter type for 'text', expected: string"),
        ("echo", {"text": "", "more": 1}, 422, "Parameter 'more' is unexpected"),
        ("echo", [], 422, "The arguments must be an object"),
        ("echo", b"5", 422, "The arguments must be an object"),
        ("echo", b"{", 400, "JSON parse error, expecting one value"),
        ("echo", b"  ", 400, "JSON parse error, expecting one value"),
        ("echo", b"{}" * 10_000, 400, "JSON parse error, expecting one value"),
        ("echo", b'{"a": 1, "a": 2}', 400, "JSON parse error, duplicate key"),
        ("echo", b"[" * 2000, 400, "JSON nesting depth limit exceeded"),
        ("echo", b"\xff", 400, "JSON parse error"),
        ("fail", {}, 500, "Command 'fail' failed for a reason that was logged"),
        ("query-command-help", {"name": "nix"}, 400, "The command nix has not been found"),
        ("select-events", {}, 400, "This session gets no events"),
    ],
)
def test_errors(
    server: Server, flush_logged_errors: FlushLogged, name: str, body: object, status: int, desc: str
) -> None:
    """Each kind of error has its status code, and the body of a QMP error."""
    answer = server.ask("POST", f"/api/commands/{name}", body)
    assert (answer.status, set(answer.json), set(answer.json["error"])) == (status, {"error"}, {"class", "desc"})
    assert answer.desc.startswith(desc)
    flush_logged_errors(ZeroDivisionError)


def test_permission(server: Server) -> None:
    """A command above the token's level is refused, before its arguments are looked at."""
    answer = server.ask("POST", "/api/commands/slow", {"x": 1}, token=OBSERVER)
    assert (answer.status, answer.desc) == (
        403,
        "Permission denied: 'slow' needs operate, web:eye has observe",
    )
    assert server.ask("POST", "/api/commands/query-whoami", token=OBSERVER).json["return"]["identity"] == "web:eye"
    answer = server.ask("POST", "/api/commands/slow", {"x": 1}, token=OBSERVER, **ASYNC)
    assert answer.status == 403


def test_slow_command(server: Server) -> None:
    """A connection waits for its command, and for nothing else; the next request on it comes after that."""
    waiting = server.connect()
    waiting.request("POST", "/api/commands/slow")
    waiting.request("POST", "/api/commands/query-status")
    assert waiting.answers() == []
    assert server.ask("POST", "/api/commands/query-status").status == 200
    server.slow.waiting[0].callback(JSONText(b'{"a":1}'))
    first, second = waiting.answers()
    assert first.json == {"return": {"a": 1}}
    assert second.json["return"]["status"] == "running"


def test_client_leaves(server: Server) -> None:
    """A client that leaves before its answer: the command runs on or is cancelled, as it says."""
    one, other, third = server.connect(), server.connect(), server.connect()
    one.request("POST", "/api/commands/slow")
    other.request("POST", "/api/commands/slow-with-caller")
    third.request("POST", "/api/commands/slow")
    one.close()
    other.close()
    assert [len(list(server.monitor.pending)), server.slow.waiting[0].called, server.slow.waiting[1].called] == [
        2,
        False,
        True,
    ]
    server.slow.waiting[1].addErrback(lambda _: None)
    server.slow.waiting[0].callback(None)
    server.slow.waiting[2].callback(None)
    assert [answer.status for answer in third.answers()] == [200]
    third.close()


def test_timeout_and_shutdown(server: Server) -> None:
    """A deadline that passed, and a monitor that takes no more requests, have status codes of their own."""
    late: Deferred[Any] = Deferred()
    server.monitor.register_command("late", lambda: late, timeout=2)
    waiting = server.connect()
    waiting.request("POST", "/api/commands/late")
    server.reactor.advance(2)
    [answer] = waiting.answers()
    assert (answer.status, answer.desc) == (504, "Command 'late' timed out after 2 s")
    server.monitor.refuse()
    assert server.ask("POST", "/api/commands/query-status").status == 503
    assert server.ask("POST", "/api/commands/query-status", **ASYNC).status == 503


def test_result_that_can_not_be_encoded(server: Server, flush_logged_errors: FlushLogged) -> None:
    """A result that no JSON can say is an error that was logged."""
    server.monitor.register_command("odd", lambda: JSONText(b"\xff"))
    answer = server.ask("POST", "/api/commands/odd")
    assert (answer.status, answer.desc) == (500, "The request failed for a reason that was logged")
    number = server.ask("POST", "/api/commands/odd", **ASYNC).json["number"]
    answer = server.ask("GET", f"/api/requests/{number}")
    assert (answer.json["state"], answer.desc) == ("failed", "The answer failed for a reason that was logged")
    flush_logged_errors()


# -- requests that no connection waits for


def test_asynchronous(server: Server) -> None:
    """A long command gives a number at once; under it its progress, and then its result, can be fetched."""
    answer = server.ask("POST", "/api/commands/slow", {}, prefer="wait=5, respond-async")
    assert (answer.status, answer.json) == (202, {"number": 1})
    assert answer.headers["location"] == "/api/requests/1"
    assert answer.headers["preference-applied"] == "respond-async"
    server.reactor.advance(2)
    assert server.ask("GET", "/api/requests/1").json == {
        "number": 1,
        "command": "slow",
        "state": "pending",
        "seconds": 2.0,
    }
    server.slow.requests[0].progress(3, 7)
    assert server.ask("GET", "/api/requests").json[0]["progress"] == {"current": 3, "total": 7}
    server.slow.waiting[0].callback([1, "<b>"])
    document = {"number": 1, "command": "slow", "state": "done", "progress": {"current": 3, "total": 7}}
    assert server.ask("GET", "/api/requests/1").json == {**document, "return": [1, "<b>"]}
    assert server.ask("GET", "/api/requests").json == [document]
    assert server.ask("DELETE", "/api/requests/1").json == {**document, "return": [1, "<b>"]}
    assert server.ask("GET", "/api/requests/1").status == 404
    assert server.ask("GET", "/api/requests").json == []


def test_asynchronous_at_once(server: Server) -> None:
    """A command that is done at once has a number all the same; one that fails at once has its error."""
    assert server.ask("POST", "/api/commands/echo", {"text": "x"}, **ASYNC).json == {"number": 1}
    assert server.ask("GET", "/api/requests/1").json == {
        "number": 1,
        "command": "echo",
        "state": "done",
        "return": "x",
    }
    assert server.ask("POST", "/api/commands/nix", {}, **ASYNC).status == 404
    assert server.ask("POST", "/api/commands/echo", {}, **ASYNC).status == 422
    assert server.ask("POST", "/api/commands/echo", b"{", **ASYNC).status == 400
    assert server.ask("POST", "/api/commands/echo", {"text": "x"}, prefer="not-respond-async").status == 200


def test_cancel(server: Server) -> None:
    """A pending request of the token's is cancelled by its number, whether a connection waits for it or not."""
    server.ask("POST", "/api/commands/slow", {}, **ASYNC)
    answer = server.ask("DELETE", "/api/requests/1")
    error = {"class": "GenericError", "desc": "Command 'slow' was cancelled"}
    assert answer.json == {"number": 1, "command": "slow", "state": "failed", "error": error}
    assert server.ask("GET", "/api/requests/1").json == answer.json
    waiting = server.connect()
    waiting.request("POST", "/api/commands/slow")
    number = server.slow.requests[1].number
    assert server.ask("GET", "/api/requests").json[1]["state"] == "pending"
    assert server.ask("DELETE", f"/api/requests/{number}").json["error"] == error
    assert [each.status for each in waiting.answers()] == [400]
    others = [server.connect() for _ in range(2)]
    for each in others:
        each.request("POST", "/api/commands/slow")
    number = server.slow.requests[3].number
    assert server.ask("GET", f"/api/requests/{number}").json["state"] == "pending"
    assert server.ask("DELETE", f"/api/requests/{number}").json["error"] == error
    server.slow.waiting[2].callback(None)
    for deferred in server.slow.waiting:
        deferred.addErrback(lambda _: None)


def test_pending_requests_are_forgotten(server: Server) -> None:
    """A token that is disconnected while a request is pending: its outcome goes to the log, and nothing is kept."""
    server.ask("POST", "/api/commands/slow-with-caller", {}, **ASYNC)
    server.ask("POST", "/api/commands/slow", {}, **ASYNC)
    server.ask("POST", "/api/commands/query-status", {}, **ASYNC)
    [client] = server.monitor.guard.clients.values()
    client.disconnect()
    server.slow.waiting[1].callback("late")
    assert [each.called for each in server.slow.waiting] == [True, True]
    assert server.ask("GET", "/api/requests").json == []
    server.slow.waiting[0].addErrback(lambda _: None)


def test_a_request_belongs_to_its_token(server: Server) -> None:
    """Another token neither sees nor cancels it, whatever its level."""
    server.ask("POST", "/api/commands/slow", {}, token=OPERATOR, **ASYNC)
    assert server.ask("GET", "/api/requests").json == []
    for method in ("GET", "DELETE"):
        answer = server.ask(method, "/api/requests/1")
        assert (answer.status, answer.desc) == (404, "There is no request 1 of 'root'")
    assert server.ask("GET", "/api/requests/1", token=OPERATOR).json["state"] == "pending"
    for number in ("0", "x", "-1", "9" * 30):
        assert server.ask("GET", f"/api/requests/{number}").status == 404


def test_outcomes_are_kept_for_a_while(server: Server) -> None:
    """An outcome is dropped after a time, and sooner once it was fetched."""
    for _ in range(2):
        server.ask("POST", "/api/commands/query-status", {}, **ASYNC)
    server.reactor.advance(kept.KEPT_AGE - 10)
    assert server.ask("GET", "/api/requests/1").status == 200
    server.reactor.advance(11)
    assert server.ask("GET", "/api/requests").json == []
    server.ask("POST", "/api/commands/query-status", {}, **ASYNC)
    server.ask("POST", "/api/commands/query-status", {}, **ASYNC)
    server.ask("GET", "/api/requests/3")
    server.reactor.advance(kept.FETCHED_AGE + 1)
    assert [each["number"] for each in server.ask("GET", "/api/requests").json] == [4]


def test_outcomes_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many outcomes, or too large ones, the oldest are dropped; the latest stays."""
    monkeypatch.setattr(kept, "MAX_KEPT", 2)
    monkeypatch.setattr(kept, "MAX_KEPT_BYTES", 10_000)
    for _ in range(3):
        server.ask("POST", "/api/commands/echo", {"text": "x"}, **ASYNC)
    assert [each["number"] for each in server.ask("GET", "/api/requests").json] == [2, 3]
    server.ask("POST", "/api/commands/echo", {"text": "x", "times": 20_000}, **ASYNC)
    assert [each["number"] for each in server.ask("GET", "/api/requests").json] == [4]


def test_pending_requests_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token can't have any number of requests pending."""
    monkeypatch.setattr(session, "MAX_PENDING", 2)
    server.ask("POST", "/api/commands/slow", {}, **ASYNC)
    waiting = server.connect()
    waiting.request("POST", "/api/commands/slow")
    answer = server.ask("POST", "/api/commands/query-status")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert server.ask("POST", "/api/commands/query-status", token=OPERATOR).status == 200
    server.slow.waiting[1].callback(None)
    assert server.ask("POST", "/api/commands/query-status").status == 200
    server.slow.waiting[0].errback(CommandNotFound("no"))
    assert server.ask("GET", "/api/requests/1").json["state"] == "failed"


# -- what else there is


def test_commands(server: Server) -> None:
    """The list has the commands that the token may run, each with its level."""
    everything = {each["name"]: each for each in server.ask("GET", "/api/commands").json}
    assert everything["slow"]["level"] == "operate"
    assert [each["name"] for each in everything["echo"]["parameters"]] == ["text", "times"]
    some = {each["name"] for each in server.ask("GET", "/api/commands", token=OBSERVER).json}
    assert {"echo", "query-status"} < some
    assert "slow" not in some


def test_openapi(server: Server) -> None:
    """The document is valid, has each command, and is made anew when commands come."""
    document = server.ask("GET", "/api/openapi.json").json
    validate(document)
    assert {f"/api/commands/{name}" for name in server.monitor.registry.infos()} < set(document["paths"])
    assert server.ask("GET", "/api/openapi.json").json == document
    server.monitor.register_command("another", lambda: None)
    assert "/api/commands/another" in server.ask("GET", "/api/openapi.json").json["paths"]


def test_no_such_address(server: Server) -> None:
    """What is not there is 404, and what has other methods is 405 and says which."""
    for path in ("/nix", "/api/nix", "/api//commands", "/static/nix", "/static/..%2Ftokens.py", "/static/"):
        assert server.ask("GET", path).status == 404, path
    answer = server.ask("PUT", "/api/session")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, POST")
    assert server.ask("OPTIONS", "/api/commands/echo").status == 405
    assert server.ask("GET", "/%ff").status == 400
    assert server.ask("HEAD", "/api/commands").body == b""


def test_page(server: Server) -> None:
    """The page needs a token, and shows where to give one; its files do not, and no other file can be had."""
    answer = server.ask("GET", "/", token=None)
    assert (answer.status, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert server.ask("GET", "/").body == answer.body == (FOLDER / "index.html").read_bytes()
    assert answer.headers["cache-control"] == "no-store"
    tag = server.ask("GET", "/static/app.js").headers["etag"]
    assert server.ask("GET", "/static/app.js", if_none_match=tag).status == 304
    for path in FOLDER.iterdir():
        assert server.ask("GET", f"/static/{path.name}", token=None).body == path.read_bytes()


def test_session(server: Server) -> None:
    """A token in the address of the page is exchanged for a cookie, which then is as good as the token."""
    answer = server.ask("GET", f"/?token={OBSERVER}", token=None)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert set(attributes) == {"Max-Age=86400", "Path=/", "HttpOnly", "SameSite=Strict"}
    assert OBSERVER not in cookie
    shown = server.ask("GET", "/api/session", token=None, cookie=f"other=1; {cookie}")
    assert shown.json == {
        "token": "eye",
        "identity": "web:eye",
        "level": "observe",
        "session": shown.json["session"],
        "monitor": server.monitor.events.history.id,
        "name": "test",
    }
    assert "set-cookie" not in shown.headers
    assert server.ask("GET", "/", token=None, cookie=cookie).status == 200
    ended = server.ask("DELETE", "/api/session", token=None, cookie=cookie)
    assert ended.status == 204
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert server.ask("GET", "/api/session", token=None, cookie=cookie).status == 401


def test_session_by_token(server: Server) -> None:
    """A program exchanges its token as well; a wrong one in the address is no session; an old cookie is renewed."""
    cookie = server.ask("POST", "/api/session", token=OPERATOR).headers["set-cookie"].split(";")[0]
    assert server.ask("GET", "/?token=wrong", token=None).status == 401
    assert server.ask("DELETE", "/api/session", token=OPERATOR).status == 204
    server.reactor.advance(80_000)
    renewed = server.ask("GET", "/api/session", token=None, cookie=cookie).headers["set-cookie"].split(";")[0]
    server.reactor.advance(80_000)
    assert server.ask("GET", "/api/session", token=None, cookie=cookie).status == 401
    assert server.ask("GET", "/api/session", token=None, cookie=renewed).status == 200


def test_secure_cookie(server: Server) -> None:
    """Over TLS the cookie is for TLS only."""
    connection = server.connect(None)
    connection.channel.isSecure = lambda: True
    answer = connection.ask("GET", f"/?token={ADMIN}")
    assert "; Secure" in answer.headers["set-cookie"]


def test_answers_are_json(server: Server) -> None:
    """Text of clients comes back as JSON that no browser takes for a page, in errors too."""
    answer = server.ask("POST", "/api/commands/%3Cscript%3E")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["error"]["desc"] == "The command <script> has not been found"

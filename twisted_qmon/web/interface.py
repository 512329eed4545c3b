"""
What the HTTP interface answers to.

::

    GET    /api/session           who the caller is; POST: a cookie for the token that it shows; DELETE: the end of that
    GET    /api/commands          the commands that the caller may run
    POST   /api/commands/NAME     run one; with "Prefer: respond-async" it answers at once, with a number
    GET    /api/requests          the caller's requests
    GET    /api/requests/NUMBER   one of them, with its result; DELETE: cancel it, or forget it
    GET    /api/events            events, as they happen (server-sent events)
    GET    /api/openapi.json      all of this, for programs
    GET    /, /static/NAME        the page
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.errors import LOGGED, CommandError, GenericError, InvalidArguments
from twisted_qmon.info import JSON
from twisted_qmon.qapi.schema import info_to_json
from twisted_qmon.qmp.json.fast import Malformed
from twisted_qmon.qmp.json.reader import MessageReader
from twisted_qmon.web.answers import (
    JSON_TYPE,
    Refusal,
    encode_document,
    encode_error,
    encode_return,
    status_of,
)
from twisted_qmon.web.cookies import COOKIE_AGE
from twisted_qmon.web.openapi import OpenAPI
from twisted_qmon.web.pages import Pages
from twisted_qmon.web.session import Caller, WebSession
from twisted_qmon.web.streams import EventStream, Wanted

if TYPE_CHECKING:
    from twisted_qmon.web.channel import WebRequest
    from twisted_qmon.web.factory import WebFactory

__all__ = ["Interface"]

_ASYNC = re.compile(rb"(?:^|[,;\s])respond-async(?:$|[,;\s])", re.IGNORECASE)

#: Digits of the largest number of a request that is looked for.
_NUMBER = re.compile(r"\d{1,18}")


class Interface:
    """
    The routes of the interface.

    :param factory: the server that it is part of
    """

    app = Klein()
    app.url_map.merge_slashes = False
    _log = Logger()

    def __init__(self, factory: WebFactory) -> None:
        self._factory = factory
        self._monitor = factory.monitor
        self._openapi = OpenAPI(factory.monitor)
        self._pages = Pages()

    # -- the page

    @app.route("/", methods=["GET"])
    def page(self, request: WebRequest) -> bytes:
        """The page. With a token in the address, which no other has, the browser gets a cookie and the address without it."""
        self._factory.admission.check_site(request, first_page=True)
        given = request.args.get(b"token")
        if given is not None:
            token = self._factory.tokens.find(given[0].decode("latin-1"))
            if token is not None:
                self._set_cookie(request, self._factory.admission.cookies.make(token))
                request.setHeader(b"Location", b"/")
                request.setResponseCode(303)
                return b""
        if given is not None or not self._has_session(request):
            # The same page, where a token can be given.
            request.setResponseCode(401)
        return self._pages.send(request, "index.html", keep=False)

    def _has_session(self, request: WebRequest) -> bool:
        try:
            self._factory.admission.check_token(request)
        except Refusal:
            return False
        return True

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: WebRequest, name: str) -> bytes:
        """A file of the page."""
        self._factory.admission.check_site(request, first_page=True)
        return self._pages.send(request, name)

    # -- sessions

    @app.route("/api/session", methods=["GET", "POST", "DELETE"])
    def session(self, request: WebRequest) -> bytes:
        """Who the caller is; a cookie instead of a token; the end of a session."""
        session = self._admit(request)
        assert request.shown is not None
        cookies = self._factory.admission.cookies
        cookie = request.shown.cookie
        if request.method == b"DELETE":
            if cookie:
                cookies.revoke(cookie)
            self._set_cookie(request, "", age=0)
            request.setResponseCode(204)
            return b""
        if request.method == b"POST" or (cookie and cookies.is_old(cookie)):
            self._set_cookie(request, cookies.make(request.shown.token))
        document = {
            "token": session.token.name,
            "identity": session.standing.identity.text,
            "level": str(session.standing.level),
            "session": session.name,
            "monitor": self._monitor.events.history.id,
            "name": self._monitor.name,
        }
        return self._send(request, 200, encode_document(document))

    def _set_cookie(self, request: WebRequest, value: str, *, age: int = COOKIE_AGE) -> None:
        name = self._factory.admission.cookies.name
        secure = "; Secure" if request.isSecure() else ""
        cookie = f"{name}={value}; Max-Age={age}; Path=/; HttpOnly; SameSite=Strict{secure}"
        request.cookies.append(cookie.encode("ascii"))

    # -- commands

    @app.route("/api/commands", methods=["GET"])
    def commands(self, request: WebRequest) -> bytes:
        """The commands that the caller may run."""
        session = self._admit(request)
        described = [
            {**info_to_json(info), "level": str(info.need.level)}
            for info in self._monitor.registry.infos().values()
            if session.standing.permits(info.need)
        ]
        return self._send(request, 200, encode_document(described))

    @app.route("/api/commands/<name>", methods=["POST"])
    def execute(self, request: WebRequest, name: str) -> bytes | Deferred[bytes]:
        """Run a command."""
        session = self._admit(request)
        session.began(name)
        try:
            arguments = _arguments(request)
            prefer = request.requestHeaders.getRawHeaders(b"Prefer")
            if prefer is not None and any(_ASYNC.search(each) for each in prefer):
                return self._start(request, session, name, arguments)
        except CommandError as error:
            return self._fail(request, session, name, error)
        caller = Caller(session.standing, _peer(request))
        result = self._monitor.serve(name, arguments, caller, ABSENT)
        if type(result) is not Request:
            return self._send(request, 200, encode_return(result))
        if result.done:
            return self._outcome(request, session, result)
        waiting: Deferred[bytes] = Deferred(lambda _: leave())
        leave = session.wait_for(result, caller, lambda done: waiting.callback(self._outcome(request, session, done)))
        return waiting

    def _start(
        self, request: WebRequest, session: WebSession, name: str, arguments: Mapping[str, JSON] | None
    ) -> bytes:
        started = session.start(name, arguments)
        if started.error is not None:
            return self._fail(request, session, name, started.error)
        request.setHeader(b"Location", b"/api/requests/%d" % started.number)
        request.setHeader(b"Preference-Applied", b"respond-async")
        return self._send(request, 202, encode_document({"number": started.number}))

    def _outcome(self, request: WebRequest, session: WebSession, done: Request) -> bytes:
        if done.error is None:
            return self._send(request, 200, encode_return(done.result))
        return self._fail(request, session, done.name, done.error)

    def _fail(self, request: WebRequest, session: WebSession, name: str, error: CommandError) -> bytes:
        session.errors += 1
        status = status_of(error, known=self._monitor.command(name) is not None)
        return self._send(request, status, encode_error(error))

    # -- requests

    @app.route("/api/requests", methods=["GET"])
    def requests(self, request: WebRequest) -> bytes:
        """The caller's requests."""
        return self._send(request, 200, encode_document(self._admit(request).documents()))

    @app.route("/api/requests/<number>", methods=["GET", "DELETE"])
    def one_request(self, request: WebRequest, number: str) -> bytes:
        """One request of the caller's."""
        session = self._admit(request)
        if not _NUMBER.fullmatch(number):
            raise Refusal(404, "There is no such request: it has a number")
        if request.method == b"DELETE":
            return self._send(request, 200, session.cancel(int(number)))
        return self._send(request, 200, session.document(int(number)))

    # -- events

    @app.route("/api/events", methods=["GET"])
    def events(self, request: WebRequest) -> bytes | Deferred[None]:
        """Events as they happen."""
        session = self._admit(request)
        position = request.getHeader("Last-Event-ID") or _argument(request, b"after")
        wanted = Wanted.of(_argument(request, b"names"), position)
        if wanted.names is not None:
            for name in sorted(wanted.names - self._monitor.events.definitions.keys()):
                raise Refusal(422, f"Event '{name}' is not defined")
        request.setHeader(b"Content-Type", b"text/event-stream")
        if request.method == b"HEAD":
            return b""
        # Proxies are asked not to hold it up.
        request.setHeader(b"X-Accel-Buffering", b"no")
        stream = EventStream(self._factory.streams, request, session, wanted)
        stream.begin()
        return stream.done

    @app.route("/api/openapi.json", methods=["GET"])
    def openapi(self, request: WebRequest) -> bytes:
        """All of this, for programs."""
        self._admit(request)
        return self._send(request, 200, self._openapi.document())

    # -- errors

    # Klein's annotations know no more of a request than its interface.
    @app.handle_errors(Refusal)  # type: ignore[arg-type]
    def refused(self, request: WebRequest, failure: Failure) -> bytes:
        """The request is not served."""
        refusal = failure.value
        assert isinstance(refusal, Refusal)
        for name, value in refusal.headers.items():
            request.setHeader(name, value)
        return self._send(request, refusal.status, encode_error(refusal.error))

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def not_routed(self, request: WebRequest, failure: Failure) -> bytes:
        """There is no such address, or not with this method."""
        error = failure.value
        assert isinstance(error, HTTPException)
        status = 405 if error.code == 405 else 404
        if isinstance(error, MethodNotAllowed) and error.valid_methods is not None:
            request.setHeader(b"Allow", ", ".join(sorted(error.valid_methods)).encode("ascii"))
        desc = "The method is not allowed here" if status == 405 else "There is no such address"
        return self._send(request, status, encode_error(GenericError(desc)))

    @app.handle_errors(Exception)  # type: ignore[arg-type]
    def unexpected(self, request: WebRequest, failure: Failure) -> bytes:
        """Something else went wrong."""
        self._log.failure("while answering a request", failure)
        return self._send(request, 500, encode_error(GenericError(f"The request {LOGGED}")))

    # -- parts of answers

    def _admit(self, request: WebRequest) -> WebSession:
        return self._factory.admit(request)

    def _send(self, request: WebRequest, status: int, body: bytes) -> bytes:
        if status != 200:
            request.setResponseCode(status)
        request.setHeader(b"Content-Type", JSON_TYPE)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body


def _peer(request: WebRequest) -> str:
    address = request.client
    host = getattr(address, "host", None)
    return f"{host}:{address.port}" if host is not None else "unix"


def _argument(request: WebRequest, name: bytes) -> str | None:
    values = request.args.get(name)
    return None if values is None else values[-1].decode("utf-8", "replace")


def _arguments(request: WebRequest) -> Mapping[str, JSON] | None:
    """
    :return: the arguments of a command: the body, or C{None} if there is none
    :raise CommandError: when that is not one JSON object
    """
    assert request.content is not None
    body = request.content.read()
    if not body:
        return None
    reader = MessageReader(max_message=request.channel.site.max_body)
    # The line end completes a number, and the second object shows what would have been the beginning of more.
    messages = reader.read(body + b"\n")
    while reader.chunk and len(messages) < 2:
        messages += reader.next_batch()
    for message in messages:
        if type(message) is Malformed:
            raise GenericError(message.desc)
    if len(messages) != 1 or reader.buffered:
        raise GenericError("JSON parse error, expecting one value")
    if type(messages[0]) is not dict:
        raise InvalidArguments("The arguments must be an object")
    return messages[0]

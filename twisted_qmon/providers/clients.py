"""
Who is connected: the commands that list clients, disconnect one, and read the rules of who may do what again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from twisted_qmon._text import printable, span, table
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.events import wire_timestamp
from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError

if TYPE_CHECKING:
    from twisted_qmon.core.guard import Client, Guard

__all__ = ["ClientInfo", "Clients", "Since"]


class Since(msgspec.Struct):
    """A time, as events have it: since the epoch."""

    seconds: int
    microseconds: int


class ClientInfo(msgspec.Struct):
    """
    One client, in C{query-connections-monitor}.

    :ivar session: the name of its session (C{"qmp-3"})
    :ivar kind: C{"qmp"} or C{"hmp"}
    :ivar endpoint: where it came in (C{"unix:qmp.sock"}); empty where that is not known
    :ivar identity: who it is
    :ivar level: what it may do
    :ivar since: when it connected
    :ivar idle: seconds in which nothing has come from it
    :ivar requests: how many commands it has sent
    :ivar errors: how many of them were answered with an error
    :ivar events_queued: bytes of events that wait for it
    :ivar last_command: the latest command; empty if there was none
    """

    session: str
    kind: str
    endpoint: str
    identity: str
    level: str
    since: Since
    idle: float
    requests: int
    errors: int
    events_queued: int
    last_command: str


#: Characters of a command's name that are shown: a client may send any.
MAX_NAME = 200


class Clients(CommandProvider):
    """The clients of the monitor it is registered with."""

    @command(level="operate", aliases=["clients"], thread_safe=True)
    def query_connections_monitor(self) -> list[ClientInfo]:
        """show the clients of this monitor"""
        # Copied in one step: it may be another thread that looks.
        return [_info(client) for client in list(self._guard().clients.values())]

    @query_connections_monitor.printer
    def _(self, infos: Sequence[Mapping[str, Any]]) -> str:
        return clients(infos)

    @command(level="admin")
    def client_disconnect(self, request: Request, session: str) -> None:
        """
        disconnect a client, once everything has been said to it

        :param session: the name of its session, as query-connections-monitor lists it
        """
        guard = self._guard()
        client = guard.clients.get(session)
        if client is None:
            raise GenericError(f"There is no client '{printable(session)[:MAX_NAME]}'")
        if client.standing is not guard.standing_of(request.caller):
            client.disconnect()
        elif self.monitor is not None:
            # A client that ends its own session gets the reply.
            self.monitor.clock.callLater(0, client.disconnect)

    @command(level="admin")
    def access_reload(self) -> None:
        """read the rules of who may do what again"""
        guard = self._guard()
        if guard.access is None:
            raise GenericError("There are no access rules")
        try:
            guard.reload()
        except AccessError as e:
            raise GenericError(str(e)) from e

    def _guard(self) -> Guard:
        if self.monitor is None:
            raise GenericError("The monitor is gone")
        return self.monitor.guard


def _info(client: Client) -> ClientInfo:
    standing = client.standing
    facts: dict[str, Any] = client.describe()
    return ClientInfo(
        session=standing.session,
        kind=facts["kind"],
        endpoint=standing.endpoint,
        identity=standing.identity.text,
        level=str(standing.level),
        since=Since(**wire_timestamp(facts["since"])),
        idle=facts["idle"],
        requests=facts["requests"],
        errors=facts["errors"],
        events_queued=facts["events-queued"],
        last_command=printable(facts["last-command"])[:MAX_NAME],
    )


def clients(infos: Sequence[Mapping[str, Any]]) -> str:
    """The text of C{query-connections-monitor}."""
    rows = [
        [
            info["session"],
            info["identity"],
            info["level"],
            info["endpoint"] or "-",
            datetime.fromtimestamp(info["since"]["seconds"]).isoformat(sep=" "),
            span(info["idle"]),
            str(info["requests"]),
            str(info["errors"]),
            str(info["events-queued"]),
            info["last-command"] or "-",
        ]
        for info in infos
    ]
    if not rows:
        return "no clients"
    return table(
        [
            "session",
            "identity",
            "level",
            "endpoint",
            "since",
            "idle",
            ">requests",
            ">errors",
            ">queued",
            "last command",
        ],
        rows,
    )

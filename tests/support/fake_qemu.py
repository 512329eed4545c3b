"""
A QEMU that the test plays: what a proxy sends to it is kept, what it says is up to the test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint, IUNIXTransport
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_qmon import Monitor
from twisted_qmon.providers.qemu import Qemu
from twisted_qmon.testing import MemoryTransport, QMPConnection

VERSION = {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}

#: Of each command whether it has arguments, and whether it may be executed out of band.
COMMANDS = {
    "qmp_capabilities": (True, True),
    "query-version": (False, False),
    "query-commands": (False, False),
    "query-qmp-schema": (False, False),
    "query-status": (False, False),
    "query-block": (False, False),
    "query-named-block-nodes": (True, False),
    "query-migrate": (False, False),
    "query-jobs": (False, False),
    "migrate": (True, False),
    "migrate_cancel": (False, False),
    "migrate-set-capabilities": (True, False),
    "migrate-pause": (False, True),
    "query-yank": (False, True),
    "human-monitor-command": (True, False),
    "quit": (False, False),
    **dict.fromkeys(("snapshot-save", "snapshot-load", "snapshot-delete"), (True, False)),
    **dict.fromkeys(("job-dismiss", "job-cancel", "job-complete"), (True, False)),
    **dict.fromkeys(("block-stream", "drive-backup", "drive-mirror", "block-commit"), (True, False)),
    **dict.fromkeys(("getfd", "closefd", "add-fd", "remove-fd"), (True, False)),
    "x-debug-query-block-graph": (False, False),
}
EVENTS = ("STOP", "RESUME", "MIGRATION", "JOB_STATUS_CHANGE", "SHUTDOWN")


def make_schema(
    extra: dict[str, tuple[bool, bool]] | None = None, without: Collection[str] = ()
) -> list[dict[str, Any]]:
    """A schema with these commands and events."""
    entries: list[dict[str, Any]] = []
    commands = {**COMMANDS, **(extra or {})}
    for name in without:
        del commands[name]
    for name, (takes, oob) in commands.items():
        entry = {"name": name, "meta-type": "command", "arg-type": "1" if takes else "0", "ret-type": "any"}
        entries.append({**entry, "allow-oob": True} if oob else entry)
    entries += [{"name": name, "meta-type": "event", "arg-type": "0"} for name in EVENTS]
    return [
        *entries,
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "1", "meta-type": "object", "members": [{"name": "x", "type": "any", "default": None}]},
        {"name": "any", "meta-type": "builtin", "json-type": "value"},
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
    ]


@implementer(IUNIXTransport)
class UnixTransport(MemoryTransport):
    """
    A transport that takes descriptors, as a unix socket's does.

    :ivar received: those that QEMU has got; it closes them
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: list[int] = []
        self._queued: list[int] = []

    def sendFileDescriptor(self, descriptor: int) -> None:
        self._queued.append(descriptor)

    def _take(self) -> None:
        if self.value():
            self.received += map(os.dup, self._queued)
            self._queued.clear()
        super()._take()


class FakeConnection:
    """QEMU's end of one connection."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = UnixTransport()
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def say(self, *messages: Any) -> None:
        """Send messages, in one piece: JSON values, or bytes as they are."""
        lines = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
        self.protocol.dataReceived(b"".join(line + b"\r\n" for line in lines))

    def asked(self) -> list[Any]:
        """The requests that came since the last call."""
        found = [json.loads(each) for each in bytes(self.transport.taken).splitlines()]
        self.transport.taken.clear()
        return found

    def answer(self, request: Any, result: Any) -> None:
        """Reply to a request; an exception's text is an error."""
        if isinstance(result, Exception):
            self.say({"id": request["id"], "error": {"class": "GenericError", "desc": str(result)}})
        else:
            self.say({"return": result, "id": request["id"]})

    def greet(self, *, oob: bool = True) -> None:
        """Greet, and accept the negotiation."""
        self.say({"QMP": {"version": VERSION, "capabilities": ["oob"] if oob else []}})
        (request,) = self.asked()
        assert request["execute"] == "qmp_capabilities"
        self.answer(request, {})

    def introduce(self, extra: dict[str, tuple[bool, bool]] | None = None, without: Collection[str] = ()) -> None:
        """Answer what the proxy asks first: it has some commands more, or is without some."""
        answers = {
            "query-qmp-schema": make_schema(extra, without),
            "migrate-set-capabilities": {},
            "human-monitor-command": "stop|s  -- stop emulation\r\n",
        }
        while requests := self.asked():
            for request in requests:
                self.answer(request, answers[request["execute"]])

    def event(self, name: str, data: dict[str, Any] | None = None) -> None:
        """An event, with a timestamp of its own."""
        message: dict[str, Any] = {"timestamp": {"seconds": 17, "microseconds": 4}, "event": name}
        self.say({**message, "data": data} if data is not None else message)

    def die(self) -> None:
        """The connection is lost."""
        self.transport.disconnect(ConnectionLost())


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """
    Where the QEMU is, or is not.

    :ivar there: it accepts connections
    :ivar error: what a connection fails with where it does not
    :ivar connections: all so far
    """

    def __init__(self) -> None:
        self.there = True
        self.error: Exception = ConnectionRefusedError()
        self.connections: list[FakeConnection] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        if not self.there:
            return fail(self.error)
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        self.connections.append(FakeConnection(protocol))
        return succeed(protocol)


class Proxy:
    """
    A monitor in front of a fake QEMU.

    :ivar clock: the clock of all of them
    :ivar provider: the monitor's provider of QEMU's commands
    :ivar events: what a subscriber of the monitor has seen

    :param options: those of L{Qemu}
    """

    def __init__(self, *, start: bool = True, connect: bool = True, **options: Any) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint()
        self.monitor = Monitor(clock=self.clock)
        self.provider = Qemu(self.endpoint, self.clock, retry_policy=lambda _: 1.0, **options)
        self.monitor.register(self.provider)
        self.events: list[Any] = []
        self.monitor.subscribe(lambda message: self.events.append(dict(message)))
        if start:
            self.provider.service.startService()
        if start and connect:
            self.qemu.greet()
            self.qemu.introduce()
            self.events.clear()

    @property
    def qemu(self) -> FakeConnection:
        """QEMU's end of the latest connection."""
        return self.endpoint.connections[-1]

    def client(self, *, oob: bool = False) -> QMPConnection:
        """One more client of the proxy."""
        return QMPConnection(self.monitor, oob=oob)

    def client_at_once(self) -> QMPConnection:
        """One that does not negotiate: it may have to wait for its greeting."""
        return QMPConnection(self.monitor, negotiate=False)

    def event_names(self) -> list[str]:
        """The events since the last call."""
        names = [event["event"] for event in self.events]
        self.events.clear()
        return names

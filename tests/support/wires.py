"""
Connections in memory for the comparison of servers with QEMU, and servers that are wrong in one way each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from twisted_qmon.testing import FakeQEMU, Recording
from twisted_qmon.testing.connections import Connection

__all__ = ["FAULTS", "MemoryWire", "small_fake"]

KEPT = {
    *("query-name", "query-version", "query-commands", "query-qmp-schema", "query-status", "query-iothreads"),
    *("query-yank", "migrate-pause", "query-balloon", "set_link", "netdev_del", "eject", "block-job-set-speed"),
    *("stop", "cont", "query-stats", "qom-set", "blockdev-create", "human-monitor-command"),
}


def small_fake(**options: Any) -> FakeQEMU:
    """A fake QEMU with a few commands."""
    recorded = Recording.load("7.2")
    entries: dict[str, Any] = {entry["name"]: entry for entry in recorded.schema}  # type: ignore[misc]
    wanted = [name for name in entries if name in KEPT]
    for name in wanted:
        entry = entries[name]
        used = [entry[key] for key in ("arg-type", "ret-type", "element-type") if key in entry]
        used += [m["type"] for key in ("members", "variants") for m in entry.get(key, ()) if "type" in m]
        wanted += [each for each in used if each not in wanted]
    schema = [entries[name] for name in wanted] + [entries[name] for name in ("STOP", "RESUME")]
    if "0" not in wanted:
        schema.append(entries["0"])
    answers = {
        **recorded.answers,
        "query-qmp-schema": {"return": schema},
        "query-commands": {"return": [{"name": name} for name in wanted if name in KEPT]},
    }
    recording = Recording(recorded.greeting, answers, recorded.lines, recorded.details)
    return FakeQEMU(recording, clock=Clock(), **{"one_client": True, **options})


class MemoryWire:
    """A connection to a fake QEMU, whose bytes a subclass may change."""

    def __init__(self, fake: FakeQEMU) -> None:
        self.fake = fake
        self.connection = Connection(fake.factory)
        self.waiting = b""

    def send(self, data: bytes) -> None:
        if self.connection.closed:
            raise EOFError("closed")
        self.connection.send_bytes(self.sent(data))

    def line(self, seconds: float | None = None) -> bytes:
        self.waiting += self.came(self.connection.take_bytes())
        line, end, rest = self.waiting.partition(b"\n")
        if not end and not self.connection.closed:
            raise TimeoutError
        self.waiting = rest
        return line + end

    def end_input(self) -> None:
        self.connection.half_close()

    def close(self) -> None:
        if not self.connection.closed:
            self.connection.lose()

    def sent(self, data: bytes) -> bytes:
        """What the server gets of what the client sends."""
        return data

    def came(self, data: bytes) -> bytes:
        """What the client gets of what the server sends."""
        return b"".join(self.reply(line) for line in data.splitlines(keepends=True))

    def reply(self, line: bytes) -> bytes:
        """What the client gets of a line."""
        return line


#: By what is wrong: makes a connection to such a server, and in which group or at which check it shows.
FAULTS: dict[str, tuple[Callable[[FakeQEMU], MemoryWire], str]] = {}


def _fault(where: str) -> Callable[[type[MemoryWire]], type[MemoryWire]]:
    def enter(cls: type[MemoryWire]) -> type[MemoryWire]:
        assert cls.__doc__
        FAULTS[cls.__doc__] = (cls, where)
        return cls

    return enter


def _replacing(what: str, old: bytes, new: bytes, where: str) -> None:
    def reply(self: MemoryWire, line: bytes) -> bytes:
        return re.sub(old, new, line)

    FAULTS[what] = (type("Replacing", (MemoryWire,), {"reply": reply}), where)


NOPE = b'"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}'
_DESC = b'"error": {"class": "GenericError", "desc": "[^"]*%b[^"]*"}'

_replacing("another error class", b'"class": "CommandNotFound"', b'"class": "GenericError"', "random")
_replacing("a class that QEMU does not have", b'"class": "DeviceNotFound"', b'"class": "NoSuchDevice"', "recorded")
_replacing("other words", b"has not been found", b"is unknown", "recorded")
_replacing("errors have no id", rb'"id": [^{]*, (?="error")', b"", "an id comes back as it was sent")
_replacing("an id that is null is left out", b'"id": null, ', b"", "an id comes back as it was sent")
_replacing("true is 1", b'"id": true', b'"id": 1', "an id comes back as it was sent")
_replacing("large integers are rounded", rb"(\d{15})\d\d+", rb"\g<1>e3", "an id comes back as it was sent")
_replacing("few digits", rb"(\d\.\d{5})\d+", rb"\1", "replies have blanks|numbers are written|an id comes back")
_replacing("lines end in LF", b"\r\n", b"\n", "")
_replacing("lone surrogates are taken", _DESC % b"not a valid Unicode character", NOPE, "recorded")
_replacing("members may be there twice", _DESC % b"duplicate key", NOPE, "numbers, surrogates")
_replacing("control characters in strings are taken", _DESC % b"stray", NOPE, "recorded")
_replacing("nesting has no limit", _DESC % b"nesting", NOPE, "nesting of 1024")
_replacing("a greeting without a version", b'"version"', b'"Version"', "")
_replacing("arguments of wrong types are taken", _DESC % b"Invalid parameter type", b'"return": {}', "arguments")
_replacing("missing arguments are taken", _DESC % b"is missing", b'"return": {}', "arguments")
_replacing("unexpected arguments are taken", _DESC % b"is unexpected", b'"return": {}', "arguments")
_replacing("an unknown member is taken", _DESC % b"QMP input member", NOPE, "what is wrong with a message")
_replacing(
    "it can be negotiated again", b'"error": {[^}]*already complete[^}]*}', b'"return": {}', "the negotiation is made"
)
_replacing("an unknown capability is taken", _DESC % b"does not accept", b'"return": {}', "an unknown capability")
_replacing("an error and a result", b'"error": ', b'"return": {}, "error": ', "an id comes back as it was sent")
_replacing("an event has no timestamp", b'{"timestamp": {[^}]*}, ', b"{", "stop and cont")
_replacing("a command is missing from the list", b'{"name": "query-name"}, ', b"", "query-commands and the schema")
_replacing("another version", b'"return": {"qemu": {"micro": 22', b'"return": {"qemu": {"micro": 21', "query-version")
_replacing("no blanks", b'": ', b'":', "replies have blanks")


@_fault("")
class NoGreeting(MemoryWire):
    """there is no greeting"""

    def reply(self, line: bytes) -> bytes:
        return b"" if line.startswith(b'{"QMP"') else line


@_fault("nothing is executed before the negotiation")
class NoNegotiation(MemoryWire):
    """commands are executed without a negotiation"""

    def __init__(self, fake: FakeQEMU) -> None:
        super().__init__(fake)
        self.negotiated = False

    def sent(self, data: bytes) -> bytes:
        if self.negotiated or b"qmp_capabilities" in data:
            self.negotiated = True
            return data
        self.negotiated = True
        self.connection.send_bytes(b'{"execute":"qmp_capabilities","id":"own"}')
        return data

    def reply(self, line: bytes) -> bytes:
        return b"" if b'"own"' in line else line


@_fault("an id comes back as it was sent|random")
class RawUnicode(MemoryWire):
    """replies are not ASCII"""

    def reply(self, line: bytes) -> bytes:
        return re.sub(rb"\\u00E9", "é".encode(), line)


@_fault("replies come in the order")
class OutOfOrder(MemoryWire):
    """the replies of a batch come in any order"""

    def came(self, data: bytes) -> bytes:
        return b"".join(reversed(data.splitlines(keepends=True)))


@_fault("replies come in the order")
class IdsSwapped(MemoryWire):
    """the ids of two replies are swapped"""

    def came(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        for at in range(0, len(lines) - 1, 2):
            one, other = (json.loads(line.replace(b"inf", b"0")) for line in lines[at : at + 2])
            if "id" in one and "id" in other:
                one["id"], other["id"] = other["id"], one["id"]
                lines[at : at + 2] = [json.dumps(each).encode() + b"\r\n" for each in (one, other)]
        return b"".join(lines)


@_fault("stop and cont")
class EventsTwice(MemoryWire):
    """events come twice"""

    def reply(self, line: bytes) -> bytes:
        return line * 2 if line.startswith(b'{"timestamp"') else line


@_fault("stop and cont")
class EventsInReplies(MemoryWire):
    """an event comes in the middle of a reply"""

    def came(self, data: bytes) -> bytes:
        event, end, reply = data.partition(b"\r\n")
        if not event.startswith(b'{"timestamp"'):
            return data
        return reply[:5] + event + end + reply[5:]


@_fault("after an error the session goes on|recorded")
class NoReset(MemoryWire):
    """a control byte does not end what was begun"""

    def sent(self, data: bytes) -> bytes:
        return data.replace(b"\xff", b" ")


@_fault("messages may come in any pieces")
class NeedsLineEnds(MemoryWire):
    """a message is read at its line end only"""

    held = b""

    def sent(self, data: bytes) -> bytes:
        lines, end, self.held = (self.held + data).rpartition(b"\n")
        return lines + end


@_fault("after an error the session goes on")
class ClosesOnErrors(MemoryWire):
    """an error in the JSON ends the connection"""

    def reply(self, line: bytes) -> bytes:
        if b"JSON parse error" in line:
            self.close()
        return line


@_fault("replies come in the order|random")
class Hangs(MemoryWire):
    """after ten replies it hangs"""

    count = 0

    def reply(self, line: bytes) -> bytes:
        self.count += 1
        return line if self.count <= 10 else b""


@_fault("an id comes back as it was sent")
class Pretty(MemoryWire):
    """a reply has many lines"""

    def reply(self, line: bytes) -> bytes:
        if not line.startswith(b'{"id"'):
            return line
        return json.dumps(json.loads(line.replace(b"inf", b"0")), indent=1).replace("\n", "\r\n").encode() + b"\r\n"


@_fault("replies come in the order")
class SaysMore(MemoryWire):
    """it says more than it was asked for"""

    def came(self, data: bytes) -> bytes:
        return data + b'{"return": {}}\r\n' * (data.count(b"\n") > 2)


@_fault("what was asked is answered")
class ForgetsAtHalfClose(MemoryWire):
    """what was asked is not answered when the client sends no more"""

    def end_input(self) -> None:
        self.connection.take_bytes()
        self.connection.lose()


@_fault("a message of a mebibyte")
class SmallMessages(MemoryWire):
    """long messages are refused"""

    def sent(self, data: bytes) -> bytes:
        return data if len(data) < 100_000 else b"\xff"


@_fault("the schema has all the types")
class TornSchema(MemoryWire):
    """the schema lacks a type"""

    def reply(self, line: bytes) -> bytes:
        if b'"meta-type": "command"' not in line:
            return line
        reply = json.loads(line)
        reply["return"] = [entry for entry in reply["return"] if entry.get("json-type") != "boolean"]
        return json.dumps(reply).encode() + b"\r\n"

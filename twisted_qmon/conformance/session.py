"""
What a session must do, one check after the other: greeting, negotiation, ids, order, framing, events, the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted_qmon.conformance.comparing import (
    BLANKS,
    CLIENTS,
    CONTROL,
    ELEMENT,
    NUMBERS,
    TOKEN,
    canonical,
    equal_but_for,
)
from twisted_qmon.conformance.reference import Reference
from twisted_qmon.conformance.talk import QUIET, Differs, NotPossible, Talk, expect
from twisted_qmon.conformance.wire import Connect

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["CHECKS", "INTRUSIVE", "Check"]

#: Looks at one thing.
Check = Callable[[Connect, Reference], None]

#: The checks by name.
CHECKS: dict[str, Check] = {}

#: Those that change the state of the machine for a moment.
INTRUSIVE: dict[str, Check] = {}

_NOPE: Mapping[str, JSON] = {"class": "CommandNotFound", "desc": "The command nope has not been found"}
_FIRST: Mapping[str, JSON] = {
    "class": "CommandNotFound",
    "desc": "Expecting capabilities negotiation with 'qmp_capabilities'",
}


def _check(name: str, checks: dict[str, Check] = CHECKS) -> Callable[[Check], Check]:
    def enter(check: Check) -> Check:
        checks[name] = check
        return check

    return enter


# -- the beginning


@_check("the greeting has a version and capabilities")
def _greeting(connect: Connect, _: Reference) -> None:
    with Talk(connect, negotiate=False) as talk:
        line = talk.greeting
        if not line.endswith(b"\r\n") or not line.isascii():
            raise Differs(f"no line of ASCII that ends in CR LF: {line!r}")
        try:
            greeting = json.loads(line)
            version, capabilities = greeting["QMP"]["version"], greeting["QMP"]["capabilities"]
            numbers = [version["qemu"][part] for part in ("major", "minor", "micro")]
            fine = all(type(n) is int for n in numbers) and isinstance(version["package"], str)
            fine = fine and all(isinstance(each, str) for each in capabilities) and set(greeting) == {"QMP"}
        except (ValueError, KeyError, TypeError):
            fine = False
        if not fine:
            raise Differs(f"this is no greeting: {line!r}")
        talk.quiet()


@_check("nothing is executed before the negotiation")
def _before(connect: Connect, _: Reference) -> None:
    with Talk(connect, negotiate=False) as talk:
        expect({"id": 1, "error": dict(_FIRST)}, talk.ask({"execute": "query-version", "id": 1}))
        expect({"return": {}, "id": 2}, talk.ask({"execute": "qmp_capabilities", "id": 2}))
        expect({"id": 3, "error": dict(_NOPE)}, talk.ask({"execute": "nope", "id": 3}))


@_check("the negotiation is made once, in each session")
def _once(connect: Connect, _: Reference) -> None:
    done = {"class": "CommandNotFound", "desc": "Capabilities negotiation is already complete, command ignored"}
    with Talk(connect) as talk:
        expect({"error": done}, talk.ask({"execute": "qmp_capabilities"}))
    with Talk(connect, negotiate=False) as talk:
        expect({"error": dict(_FIRST)}, talk.ask({"execute": "nope"}))


@_check("an unknown capability is refused")
def _unknown_capability(connect: Connect, reference: Reference) -> None:
    message: JSON = {"execute": "qmp_capabilities", "arguments": {"enable": ["no-such"]}}
    expected = [canonical(line) for line in reference.lines([json.dumps(message).encode()])]
    with Talk(connect, negotiate=False) as talk:
        talk.send(message)
        came = [canonical(talk.line())]
        if equal_but_for(expected, came, ()) is None:
            known = ELEMENT if equal_but_for(expected, came, [ELEMENT]) else None
            raise Differs(f"expected: {expected}\ncame:     {came}", known)
        expect({"error": dict(_FIRST)}, talk.ask({"execute": "nope"}))


@_check("out-of-band execution must be negotiated")
def _oob(connect: Connect, _: Reference) -> None:
    with Talk(connect) as talk:
        if "oob" not in json.loads(talk.greeting)["QMP"]["capabilities"]:
            raise NotPossible("the server has no out-of-band execution")
        error = {"class": "GenericError", "desc": "QMP input member 'exec-oob' is unexpected"}
        expect({"id": 1, "error": error}, talk.ask({"exec-oob": "nope", "id": 1}))
    with Talk(connect, enable=["oob"]) as talk:
        expect({"id": 1, "error": dict(_NOPE)}, talk.ask({"exec-oob": "nope", "id": 1}))


# -- what the server says of itself


@_check("query-version has the version of the greeting")
def _version(connect: Connect, reference: Reference) -> None:
    if "query-version" not in reference.commands:
        raise NotPossible("the server has no query-version")
    with Talk(connect) as talk:
        expect({"return": json.loads(talk.greeting)["QMP"]["version"]}, talk.ask({"execute": "query-version"}))


@_check("query-commands and the schema have the same commands")
def _commands(connect: Connect, reference: Reference) -> None:
    if "query-commands" not in reference.commands:
        raise NotPossible("the server has no query-commands")
    with Talk(connect) as talk:
        reply: Any = talk.ask({"execute": "query-commands"})
    names = sorted(entry["name"] for entry in reply["return"])
    # Which commands are hidden from the schema is the server's choice; one that negotiates need not be in it.
    expect(sorted(reference.commands | {"qmp_capabilities"}), sorted({*names, "qmp_capabilities"}))


@_check("the schema has all the types that it uses")
def _schema(connect: Connect, reference: Reference) -> None:
    entries: Any = reference.recording.schema
    there = {entry["name"] for entry in entries if entry["meta-type"] not in ("command", "event")}
    used: set[str] = set()
    for entry in entries:
        used.update(entry[key] for key in ("arg-type", "ret-type", "element-type") if key in entry)
        for key in ("members", "variants"):
            used.update(member["type"] for member in entry.get(key, ()) if "type" in member)
    expect([], sorted(used - there))


# -- requests and replies


@_check("an id comes back as it was sent")
def _ids(connect: Connect, _: Reference) -> None:
    ids: list[Any] = [
        *("", "a:b", "é", "\U0001f600", "\x00\x7f\u2028", '"\\', "x" * 5000),
        *(0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 0.5, 1e300, 5e-324, 0.1),
        *(None, True, False, [], {}, [1, [2, {"a": None}]], {"a": {"b": [1.5, "c"]}, "é": 0}),
    ]
    with Talk(connect) as talk:
        for id in ids:
            talk.send({"execute": "nope", "id": id})
            expect(canonical(json.dumps({"error": _NOPE, "id": id}).encode()), canonical(talk.line()))
        expect({"error": dict(_NOPE)}, talk.ask({"execute": "nope"}))


@_check("replies come in the order of their requests")
def _order(connect: Connect, reference: Reference) -> None:
    name = "query-version" if "query-version" in reference.commands else "query-commands"
    for with_id in (False, True):
        requests: list[dict[str, JSON]] = [{"execute": "nope" if n % 3 else name} for n in range(60)]
        if with_id:
            requests = [{**request, "id": n} for n, request in enumerate(requests)]
        with Talk(connect) as talk:
            talk.send(*requests)
            replies: list[Any] = talk.replies(len(requests))
            expect([r["execute"] == "nope" for r in requests], ["error" in reply for reply in replies])
            expect([request.get("id") for request in requests], [reply.get("id") for reply in replies])
            talk.quiet()


@_check("messages may come in any pieces, and need no line end")
def _pieces(connect: Connect, _: Reference) -> None:
    message = b'{"execute":"nope","id":"\xc3\xa9 {[\\"}]"}'
    with Talk(connect) as talk:
        for byte in message:
            talk.send(bytes([byte]))
        expected: JSON = {"id": 'é {["}]', "error": dict(_NOPE)}
        expect(expected, talk.reply())
        talk.send(message * 3)
        expect([expected] * 3, talk.replies(3))


@_check("after an error the session goes on")
def _goes_on(connect: Connect, _: Reference) -> None:
    with Talk(connect) as talk:
        for rubbish in (b"}\n", b'{"execute": \n\xff', b"nonsense\n", b'"\x01', b"[1,2\xff"):
            talk.send(rubbish, b'\xff{"execute":"nope","id":"after"}\n')
            while (reply := talk.reply()) != {"id": "after", "error": dict(_NOPE)}:
                if not isinstance(reply, dict) or "error" not in reply:
                    raise Differs(f"after {rubbish!r} this came: {reply!r}")


def _like_reference(talk: Talk, reference: Reference, data: bytes) -> None:
    """Send bytes in a session that was negotiated, and compare the replies with the reference's."""
    negotiation = b'{"execute":"qmp_capabilities"}\n'
    expected = [canonical(line) for line in reference.lines([negotiation, data])[1:]]
    talk.send(data)
    expect(list(expected), [canonical(talk.line()) for _ in expected])


@_check("nesting of 1024 is taken, and more is refused")
def _depth(connect: Connect, reference: Reference) -> None:
    with Talk(connect) as talk:
        for depth in (1000, 1021, 1022, 1023, 1024, 1025):
            data = b'{"execute":"nope","id":1,"arguments":{"a":' + b"[" * depth + b"]" * depth + b"}}\n"
            _like_reference(talk, reference, data + b'\xff{"execute":"nope","id":"end"}\n')


@_check("a message of a mebibyte is taken")
def _long(connect: Connect, reference: Reference) -> None:
    with Talk(connect) as talk:
        id = "é" * (1 << 19)
        talk.send(b'{"execute":"nope","id":"' + id.encode() + b'"}')
        reply: Any = talk.reply()
        expect(id == reply.get("id"), True)
        _like_reference(talk, reference, b'{"execute":"nope","arguments":{"a":[' + b"1," * (1 << 17) + b'2]},"id":7}')


@_check("numbers, surrogates and escapes are read as QEMU reads them")
def _values(connect: Connect, reference: Reference) -> None:
    texts = [
        *("9223372036854775807", "18446744073709551615", "18446744073709551616", "-9223372036854775809"),
        *("1e308", "-0", "-0.0", "0.1e1", "01", "1.", "+1", ".5", "0x1", "1E5", "NaN", "Infinity"),
        *(r'"\ud83d\ude00"', r'"\ud83d"', r'"\ude00"', r'"\ud83dx"', r'"\u0000"', r'"\ufffe"', r'"\x41"', r'"\/"'),
        *(
            "'single'",
            '"it\\\'s"',
            "nul",
            "True",
            "null",
            "[1,]",
            "[,1]",
            '{"a":1,}',
            '{"a":1,"a":2}',
            "{a:1}",
            "/**/1",
        ),
    ]
    with Talk(connect) as talk:
        for text in texts:
            data = b'{"execute":"nope","id":' + text.encode() + b"}"
            _like_reference(talk, reference, data + b'\n\xff{"execute":"nope","id":"end"}\n')


@_check("what is wrong with a message is said in QEMU's words")
def _structure(connect: Connect, reference: Reference) -> None:
    texts = [
        *("1", "[]", '"x"', "null", "{}", '{"id":1}', '{"execute":1,"id":2}', '{"execute":"nope","bogus":1}'),
        *('{"execute":"nope","arguments":1,"id":3}', '{"execute":"nope","arguments":null}', '{"Execute":"nope"}'),
        *('{"exec-oob":"nope"}', '{"execute":"","id":4}', '{"execute":"nope","exec-oob":"nope"}'),
    ]
    with Talk(connect) as talk:
        for text in texts:
            _like_reference(talk, reference, text.encode() + b"\n")


# -- the form of replies


def _form(connect: Connect, id: bytes, expected: bytes) -> tuple[bytes, bytes]:
    """:return: the reply with that id as QEMU writes it, and as it came"""
    with Talk(connect) as talk:
        talk.send(b'{"execute":"nope","id":' + id + b"}")
        line = talk.line()
    error = b'"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}'
    return b'{"id": ' + expected + b", " + error + b"}\r\n", line


@_check("replies have blanks behind colons and commas")
def _blanks(connect: Connect, _: Reference) -> None:
    expect(*_form(connect, b'["a","b"]', b'["a", "b"]'), BLANKS)


@_check("numbers are written with 17 digits")
def _numbers(connect: Connect, _: Reference) -> None:
    expected, line = _form(connect, b"[0.1,1.0,1e300]", b"[0.10000000000000001, 1, 1.0000000000000001e+300]")
    expect(expected.replace(b" ", b""), line.replace(b" ", b""), NUMBERS)


@_check("control characters are written in capitals")
def _control(connect: Connect, _: Reference) -> None:
    expected, line = _form(connect, rb'"\u000b\u007f\u00e9"', rb'"\u000B\u007F\u00E9"')
    expect(expected.replace(b" ", b""), line.replace(b" ", b""), CONTROL)


@_check("a bad token is shown whole")
def _token(connect: Connect, _: Reference) -> None:
    token = b"'" + b"x" * ((1 << 20) + 1000) + b"!"
    with Talk(connect) as talk:
        reply: Any = talk.ask(token + b"\x01")
        desc = reply["error"]["desc"]
        if "x!" not in desc:
            raise Differs(f"of a token of {len(token)} bytes this came: {desc[:60]}... ({len(desc)} characters)", TOKEN)


# -- clients


@_check("one client is served at a time, the next one waits")
def _clients(connect: Connect, _: Reference) -> None:
    with Talk(connect) as first:
        second = connect()
        try:
            try:
                line = second.line(QUIET)
            except TimeoutError:
                first.wire.close()
                line = second.line()
                if not line.startswith(b'{"QMP"'):
                    raise Differs(f"no greeting when its turn had come: {line!r}") from None
                return
            known = CLIENTS if line.startswith(b'{"QMP"') else None
            raise Differs(f"the second client was not to get anything yet: {line!r}", known)
        finally:
            second.close()


@_check("what was asked is answered although the client sends no more")
def _half_closed(connect: Connect, _: Reference) -> None:
    with Talk(connect) as talk:
        talk.send({"execute": "nope", "id": 1}, {"execute": "nope", "id": 2})
        talk.wire.end_input()
        expect([{"id": n, "error": dict(_NOPE)} for n in (1, 2)], talk.replies(2))


# -- events


@_check("stop and cont send their events, once each, in order", INTRUSIVE)
def _events(connect: Connect, reference: Reference) -> None:
    status = _running(connect, reference)
    if status is not True:
        raise NotPossible("the machine does not run")
    with Talk(connect) as talk:
        talk.send({"execute": "stop", "id": 1}, {"execute": "cont", "id": 2}, {"execute": "nope", "id": 3})
        replies: list[Any] = talk.replies(3)
        talk.quiet()
        expect([1, 2, 3], [reply.get("id") for reply in replies])
        expect(["STOP", "RESUME"], [event.get("event") for event in talk.events])
        for event in talk.events:
            if set(event) != {"event", "timestamp"} or set(event["timestamp"]) != {"seconds", "microseconds"}:
                raise Differs(f"this is no event: {event!r}")


@_check("a client gets no events before it has negotiated", INTRUSIVE)
def _no_events(connect: Connect, reference: Reference) -> None:
    if _running(connect, reference) is not True:
        raise NotPossible("the machine does not run")
    with Talk(connect) as talk:
        shy = connect()
        try:
            try:
                shy.line(QUIET)
            except TimeoutError:
                raise NotPossible("the server has one client at a time") from None
            talk.send({"execute": "stop"}, {"execute": "cont"})
            talk.replies(2)
            try:
                line = shy.line(QUIET)
            except TimeoutError:
                return
            raise Differs(f"nothing was to come before the negotiation: {line!r}")
        finally:
            shy.close()


def _running(connect: Connect, reference: Reference) -> JSON:
    if not {"query-status", "stop", "cont"} <= reference.commands:
        raise NotPossible("the server has no machine to stop")
    with Talk(connect) as talk:
        reply: Any = talk.ask({"execute": "query-status"})
    return bool(reply["return"]["running"])

"""
Random input for QMP servers: valid requests, mutated ones, rubbish, in random framing. The same seed gives the same cases.

The requests are queries, and commands for devices that there are not: they change nothing.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["HARMLESS", "MODES", "TOKENS", "cut", "make_case"]

#: How a session begins.
MODES = {
    "none": b"",
    "plain": b'{"execute":"qmp_capabilities"}\n',
    "oob": b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}\n',
}

#: Bytes and short runs of them that mean something to one of the parsers.
TOKENS = [
    *(bytes([byte]) for byte in b"{}[]:,\"'\\ \t\r\n0-.eE%/@\x00\x01\x0b\x1f\x7f\x80\xc0\xed\xfe\xff"),
    *(b"true false null tru nulll 0e1 -0 -0.0 1e400 -1e400 1.5 10e1 00 01 -01 1. 1.e3 1e+ 0.0e1".split()),
    *(
        b"9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809".split()
    ),
    *(b"1234567890123456789012345678901234567890 0.1 123456789.123456789e-7 5e-324 1e-400".split()),
    *(
        b'{"execute":"x","id":1} {"a":1,"a":2} {"a":{"b":[1,2,{"c":null}]}} [1,2,3,4,5,6] {"id":"a:b"} {"a":"b"}'.split()
    ),
    *(
        b'"a" "b" \'a\' "a":1, "b":[ "a":{ "\\u0061" "\\u003a" "\\ud83d\\ude00" "\\ud800" "\\uFFFE" "\\u00e9" "\\n"'.split()
    ),
    *(b'"\\u12x" "\\z" "\\\'" "\\"" "\\\\" "\\/" "\\b\\f\\r\\t" "\\u0000" "a:b"'.split()),
    *('"é" "€" "😀" "\ufffe" "\ufdd0" "\U0001ffff" "\ufffd" "\ufdcf"'.encode().split()),
    b'"\xc0\x80"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xe2\x82"',
    b'"\x80\x80"',
    b'}\n{"execute":"y"}\n',
    b"\xef\xbb\xbf",
    b"[[[[",
    b"]]]]",
]

#: A name that no device has.
_DEVICE = "no-such-device"

_REQUESTS: list[tuple[str, dict[str, JSON]]] = [
    ("query-name", {}),
    ("query-version", {}),
    ("query-iothreads", {}),
    ("query-balloon", {}),
    ("set_link", {"name": _DEVICE, "up": True}),
    ("netdev_del", {"id": _DEVICE}),
    ("eject", {"device": _DEVICE, "force": False}),
    ("eject", {}),
    ("block-job-set-speed", {"device": _DEVICE, "speed": 1}),
    ("nope", {"a": {"b": [1]}}),
]

#: The commands of these requests that succeed.
HARMLESS = ("query-name", "query-iothreads", "query-yank", "query-version", "query-status")

_OOB_REQUESTS = ["query-yank", "migrate-pause", "query-name", "nope"]
_NEGOTIATIONS: list[JSON] = [
    {},
    {"enable": []},
    {"enable": ["oob"]},
    {"enable": "oob"},
    {"enable": [1]},
    {"bogus": 1},
]
_TEXTS = ["", "no-such", "a:b", "é", "\U0001f600", "\x00", "\x7f", "\n", "'", '"', "\\", "\u2028", "long " * 20]
_NUMBERS = [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 0.5, 1e300, 5e-324, 1e20]
_SPACE = [b"", b"\n", b"\r\n", b" ", b"\n\n", b"\t"]


def _value(rng: random.Random, depth: int = 0) -> JSON:
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind <= 2:
        return rng.choice(_NUMBERS)
    if kind <= 5:
        return rng.choice(_TEXTS)
    items = [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return items if kind == 6 else {rng.choice("abcdefgh") + str(n): item for n, item in enumerate(items)}


def _request(rng: random.Random, oob: bool) -> dict[str, JSON]:
    if oob and rng.random() < 0.3:
        message: dict[str, JSON] = {"exec-oob": rng.choice(_OOB_REQUESTS)}
    elif rng.random() < 0.03:
        message = {"execute": "qmp_capabilities", "arguments": rng.choice(_NEGOTIATIONS)}
    else:
        name, arguments = rng.choice(_REQUESTS)
        message = {"execute": name}
        arguments = dict(arguments)
        if arguments and rng.random() < 0.25:
            arguments[rng.choice(list(arguments))] = _value(rng)
        if rng.random() < 0.1:
            arguments[rng.choice(["bogus", "é"])] = _value(rng)
        if arguments and rng.random() < 0.1:
            del arguments[rng.choice(list(arguments))]
        if arguments or rng.random() < 0.1:
            message["arguments"] = arguments
    if rng.random() < 0.8:
        message["id"] = rng.randrange(1000) if rng.random() < 0.5 else _value(rng)
    if rng.random() < 0.07:
        message[rng.choice(["execute", "exec-oob", "arguments", "id", "bogus", "Execute"])] = _value(rng)
    return message


def _written(rng: random.Random, message: JSON) -> bytes:
    separators = rng.choice([(",", ":"), (", ", ": "), (" , ", "\t:\n")])
    text = json.dumps(message, ensure_ascii=rng.random() < 0.5, separators=separators)
    if rng.random() < 0.15 and "\\" not in text and "'" not in text:
        text = text.replace('"', "'")
    return text.encode()


def _mutated(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(data) + 1)
        until = min(len(data), at + rng.choice([0, 0, 1, 1, 2, 5]))
        kind = rng.randrange(5)
        if kind <= 2:
            put = rng.choice(TOKENS)
        elif kind == 3:
            put = bytes([rng.randrange(256)])
        else:
            put = data[at : at + rng.randrange(1, 12)] * 2
        data = data[:at] + put + data[until:]
    return data


def make_case(rng: random.Random, oob: bool) -> bytes:
    """
    The input of one case: a few messages, good and bad.

    :param oob: with out-of-band requests
    """
    kind = rng.randrange(12)
    if kind == 0:
        return b"".join(rng.choices(TOKENS, k=rng.randrange(1, 16)))
    if kind == 1:
        return rng.randbytes(rng.randrange(1, 40))
    if kind == 2:
        return _written(rng, _value(rng)) + rng.choice(_SPACE)
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        data = _written(rng, _request(rng, oob))
        if kind < 9 and rng.random() < 0.6:
            data = _mutated(rng, data)
        parts += [data, rng.choice(_SPACE)]
    return b"".join(parts)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """Cut bytes into the pieces in which they arrive."""
    kind = rng.randrange(4)
    if kind == 0:
        return [data]
    pieces = []
    at = 0
    while at < len(data):
        size = 1 if kind == 1 else rng.randrange(1, 60) if kind == 2 else rng.randrange(1, 4000)
        pieces.append(data[at : at + size])
        at += size
    return pieces

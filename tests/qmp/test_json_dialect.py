"""What QEMU's JSON takes and what it refuses, case by case: the tables of its own tests, and recordings of a running QEMU."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.json_samples import errors, exact, read
from twisted_qmon.conformance.run import recorded_cases
from twisted_qmon.qmp.json.reader import Malformed

GOLDEN = recorded_cases()


def _golden_errors(lines: list[str]) -> list[str]:
    """What the recorded replies say of the JSON: its errors, and an empty text for a reply to something that was JSON."""
    replies = [json.loads(line).get("error", {}).get("desc", "") for line in lines]
    return [reply if reply.startswith("JSON ") else "" for reply in replies]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("size", [0, 1, 3])
def test_golden(fast: bool, size: int) -> None:
    """Whatever QEMU answered to the recorded input, it saw the same messages and errors in it, in the same order."""
    for case in GOLDEN:
        data = case["input"].encode("latin-1")
        pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
        seen = [message.desc if isinstance(message, Malformed) else "" for message in read(*pieces, fast=fast)]
        assert seen == _golden_errors(case["out"]), case["name"]
        after = read(*pieces, b'\xff{"execute":"nope","id":"END"}', fast=fast)[len(seen) :]
        assert [m.desc for m in after[:-1]] == _golden_errors(case["after_ff"])[:-1], case["name"]
        assert after[-1] == {"execute": "nope", "id": "END"}, case["name"]


def test_golden_is_there() -> None:
    """The recordings were found."""
    assert len(GOLDEN) > 150


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (rb'"\b\f\n\r\t\\\""', '\b\f\n\r\t\\"'),
        (rb'"\/\'"', "/'"),
        (rb"'\/\"'", '/"'),
        (rb'"\u0020"', " "),
        (rb'"\u00A2\u20ac"', "\u00a2\u20ac"),
        (rb'"\uD834\uDD1E"', "\U0001d11e"),
        (rb'"\u12345"', "\u12345"),
        (rb'"\u0000x"', "\0x"),
        (b'"the bee\'s knees"', "the bee's knees"),
        (b"'double quote \"'", 'double quote "'),
        (b"'it\\'s'", "it's"),
        (b'"100%"', "100%"),
        (b'"%s"', "%s"),
        (b'"\x7f"', "\x7f"),
        (b'"\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80"', "\u0080\u0800\U00010000"),
        (b'"\xdf\xbf\xef\xbf\xbc\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd"', "\u07ff\ufffc\ud7ff\ue000\ufffd"),
        (b'"\xf4\x8f\xbf\xbd"', "\U0010fffd"),
        (b'"\xc0\x80"', "\0"),
        (b'"a\xc0\x80\xc3\xa9b"', "a\0\u00e9b"),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_strings(token: bytes, value: str, fast: bool) -> None:
    """What a string may hold, alone, in an object and as a key."""
    assert read(token, fast=fast) == [value]
    assert read(b'{"a":' + token + b"}", fast=fast) == [{"a": value}]
    assert read(b"{" + token + b":1}", fast=fast) == [{value: 1}]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        *((b"\\" + bytes([char]), "invalid escape sequence in string") for char in b"zxU0ave%1"),
        (rb"\ux", r"\ux" + "QUOTE is not a valid Unicode character"),
        (rb"\u1x", r"\u1x" + "QUOTE is not a valid Unicode character"),
        (rb"\u12x", r"\u12x" + "QUOTE is not a valid Unicode character"),
        (rb"\u123x", r"\u123x is not a valid Unicode character"),
        (b"\\u1\xc3\xa9xyz", "\\u1\u00e9x is not a valid Unicode character"),
        (b"\\u12x\xc3\xa9", "\\u12x\ufffd is not a valid Unicode character"),
        (rb"\uD800", r"\uD800 is not a valid Unicode character"),
        (rb"\uD800\uCAFE", r"\uD800 is not a valid Unicode character"),
        (rb"\uD800\uD801\uDC02", r"\uD800 is not a valid Unicode character"),
        (rb"\uDC00", r"\uDC00 is not a valid Unicode character"),
        (rb"\uDC00\uD800", r"\uDC00 is not a valid Unicode character"),
        (rb"\uFDD0", r"\uFDD0 is not a valid Unicode character"),
        (rb"\uFDEF", r"\uFDEF is not a valid Unicode character"),
        (rb"\ufffe", r"\ufffe is not a valid Unicode character"),
        (rb"\uD87F\uDFFE", r"\uD87F\uDFFE is not a valid Unicode character"),
        (rb"\uDC3F\uDFFF", r"\uDC3F is not a valid Unicode character"),
        *(
            (bytes.fromhex(text), "invalid UTF-8 sequence in string")
            for text in [
                "F888808080",
                "FC8480808080",
                "F7BFBFBF",
                "FBBFBFBFBF",
                "FDBFBFBFBFBF",
                "F4908080",
                "80",
                "BF",
                "8080",
                "8080808080",
                "C020",
                "DF20",
                "E020",
                "EF20",
                "F020",
                "F720",
                "F820",
                "FB20",
                "FC20",
                "FD20",
                "C0",
                "E080",
                "F08080",
                "F8808080",
                "FC80808080",
                "DF",
                "EFBF",
                "F7BFBF",
                "FBBFBFBF",
                "FDBFBFBFBF",
                "C0AF",
                "E080AF",
                "F08080AF",
                "F8808080AF",
                "FC80808080AF",
                "C1BF",
                "E09FBF",
                "F08FBFBC",
                "F887BFBFBF",
                "FC83BFBFBFBF",
                "E08080",
                "F0808080",
                "F880808080",
                "FC8080808080",
                "EDA080",
                "EDADBF",
                "EDAE80",
                "EDAFBF",
                "EDB080",
                "EDBE80",
                "EDBFBF",
                "EDA080EDB080",
                "EFBFBE",
                "EFBFBF",
                "EFB790",
                "EFB7AF",
                "F09FBFBE",
                "F09FBFBF",
                "F48FBFBE",
                "F48FBFBF",
                "C3A9EFBFBE61",
            ]
        ),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_bad_strings(body: bytes, error: str, fast: bool, quote: str) -> None:
    """What a string must not hold; each is one error, and what follows is read."""
    token = quote.encode() + body + quote.encode()
    error = error.replace("QUOTE", quote)
    assert errors(token + b"[]", fast=fast) == [error, ""]
    assert errors(b"[" + token + b"]", fast=fast) == [error]


@pytest.mark.parametrize("byte", [*range(0x20), 0xFE, 0xFF])
@pytest.mark.parametrize("fast", [True, False])
def test_bytes_that_end_a_string(byte: int, fast: bool) -> None:
    """Control bytes, FE and FF are no part of a string, raw or escaped: what there is of it is stray."""
    shown = "" if byte == 0 else "\ufffd" if byte >= 0xFE else chr(byte)
    assert errors(b'"ab' + bytes([byte]), fast=fast)[0] == f"stray '\"ab{shown}'"
    assert errors(b"'ab\\" + bytes([byte]), fast=fast)[0] == f"stray ''ab\\{shown}'"
    assert errors(b'{"ab' + bytes([byte]) + b"\n{}", fast=fast)[-1] == ""


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"0", 0),
        (b"1234", 1234),
        (b"-32", -32),
        (b"-0", 0),
        (b"9223372036854775807", 9223372036854775807),
        (b"-9223372036854775808", -9223372036854775808),
        (b"9223372036854775808", 9223372036854775808),
        (b"18446744073709551615", 18446744073709551615),
        (b"18446744073709551616", 1.8446744073709552e19),
        (b"-9223372036854775809", -9.2233720368547758e18),
        (b"1" * 400, float("inf")),
        (b"9" * 30, 1e30),
        (b"32.43", 32.43),
        (b"-32.12313", -32.12313),
        (b"-32.20e-10", -3.22e-09),
        (b"0.0", 0.0),
        (b"-0.0", -0.0),
        (b"0.0e1", 0.0),
        (b"10e1", 100.0),
        (b"1E+2", 100.0),
        (b"1e400", float("inf")),
        (b"-1e400", float("-inf")),
        (b"1e-400", 0.0),
        (b"true", True),
        (b"false", False),
        (b"null", None),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_scalars(token: bytes, value: Any, fast: bool) -> None:
    """Numbers are int64, else uint64, else double; they need a delimiter."""
    assert read(token, fast=fast) == []
    for end in b" \n,]}:{[":
        assert exact(read(token + bytes([end]), fast=fast)[0]) == exact(value)
    assert exact(read(b'{"a":%b}' % token, fast=fast)) == exact([{"a": value}])
    assert exact(read(b'{"a":{"b":[%b,{"c":%b}]}}' % (token, token), fast=fast)) == exact(
        [{"a": {"b": [value, {"c": value}]}}]
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\n \t\r", []),
        (b"@", ["stray '@'"]),
        (b"00 ", ["stray '00'"]),
        (b"-01 ", ["stray '-01'"]),
        (b"--1 ", ["stray '--'"]),
        (b"[1e]", ["stray '1e]'"]),
        (b"1e+ ", ["stray '1e+ '"]),
        (b"1.e3 ", ["stray '1.e'"]),
        (b"0e1 ", ["", "invalid keyword 'e'", ""]),
        (b"0E1 ", ["", "stray 'E'"]),
        (b"truer ", ["invalid keyword 'truer'"]),
        (b"nul ", ["invalid keyword 'nul'"]),
        (b"TRUE ", ["stray 'T'"]),
        (b"%p", ["stray '%'"]),
        (b"false true ", ["", ""]),
        (b"} true ", ["expecting value", ""]),
        (b'"a" "b"', ["", ""]),
        (b"{},{}", ["", "expecting value", ""]),
        (b"{]", ["expecting value"]),
        (b"[}", ["expecting value"]),
        (b"[1,,2]", ["expecting value"]),
        (b"[,]", ["expecting value"]),
        (b"[1,]", ["expecting value"]),
        (b"{,}", ["expecting value"]),
        (b'{"a":}', ["expecting value"]),
        (b"{'abc':32,}", ["expecting value"]),
        (b'{"a"}', ["missing : in object pair"]),
        (b'{"a" 1}', ["missing : in object pair"]),
        (b'{"a" tru}', ["missing : in object pair"]),
        (b'{"a":1 "b":2}', ["expected separator in dict"]),
        (b'{"a":1 "\\z":2}', ["expected separator in dict"]),
        (b"[1 2]", ["expected separator in list"]),
        (b"[1}", ["expected separator in list"]),
        (b"{32:'abc'}", ["key is not a string in object"]),
        (b"{null:1}", ["key is not a string in object"]),
        (b"{[]:1}", ["key is not a string in object"]),
        (b"{{}:1}", ["key is not a string in object"]),
        (b"{[1,,2]:1}", ["expecting value"]),
        (b"{a:1}", ["invalid keyword 'a'"]),
        (b'{"a":1,"a":1}', ["duplicate key"]),
        (b'{"a":1,"\\u0061":1}', ["duplicate key"]),
        (b'{"a":1,"a":[1,,2]}', ["expecting value"]),
        (b'{"a":1,"a":1 "b"}', ["duplicate key"]),
        (b'[{"a":1,"b":{"c":1,"c":2}}]', ["duplicate key"]),
        (b'{"a":1;"b":2}', ["stray ';'", "expecting value", "", "expecting value"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", ["stray 'G'", "stray 'H'", "expecting value", "invalid keyword 'x'"]),
        (b"\xef\xbb\xbf{}", ["stray '\ufffd'", ""]),
        (b"\xff\xfb\x01{}", ["stray '\ufffd'", "stray '\x01'", ""]),
        (b"/* x */{}", ["stray '/'", ""]),
        (b"[0\xff]", ["stray '\ufffd'", "expecting value"]),
        (b'{"execute":"x","id":[}', []),
        (b'{"a":tru,"b":\x01{}', ["stray '\x01'", ""]),
        (b'"abc', []),
        (b"[32", []),
        (b"{'abc':32,", []),
        (b"\x00", ["stray ''"]),
        (b'"a\x00', ["stray '\"a'"]),
        (b"\x0b\x0c", ["stray '\x0b'", "stray '\x0c'"]),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_errors(data: bytes, expected: list[str], fast: bool) -> None:
    """What is wrong, in QEMU's words, and where reading goes on afterwards."""
    assert errors(data, fast=fast) == expected


def test_long_numbers() -> None:
    """A number may have any number of digits; it is a double."""
    assert read(b"[" + b"1" * 20000 + b"]") == [[float("inf")]]
    assert read(b"[0." + b"0" * 20000 + b"1]") == [[0.0]]
    assert read(b"[-" + b"1" * 20000 + b"e-19999]") == [[-1.1111111111111112]]


@pytest.mark.parametrize("fast", [True, False])
def test_large_object(fast: bool) -> None:
    """Objects with objects and lists inside, ten levels deep, are read."""
    value: Any = [*range(100)]
    for level in range(10):
        value = {f"key{n}": value if n == level else [n] * 100 for n in range(10)}
    assert read(json.dumps(value).encode(), fast=fast) == [value]

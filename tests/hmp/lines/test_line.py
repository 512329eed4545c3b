"""Typed lines: arguments by args_type, and arguments that follow from types."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon import Alternate, Size, UInt64
from twisted_qmon.core.command import Command, CommandOptions
from twisted_qmon.hmp.lines.args import Format
from twisted_qmon.hmp.lines.expression import Cursor, LineError
from twisted_qmon.hmp.lines.line import parse_arguments
from twisted_qmon.info import ArgsItem, CommandInfo


def parse(info: CommandInfo, line: str, sticky: Format | None = None) -> dict[str, Any]:
    return parse_arguments(info, Cursor(line), info.name, sticky)


def by_args_type(args_type: str) -> CommandInfo:
    def handler(**arguments: Any) -> None: ...

    return Command(handler, CommandOptions("cmd", args_type)).info


def by_types(handler: Any) -> CommandInfo:
    return Command(handler, CommandOptions("cmd")).info


@pytest.mark.parametrize(
    ("args_type", "line", "arguments"),
    [
        ("a:s", ' "x \\"y\\"\\n\\\\ \\\'"', {"a": 'x "y"\n\\ \''}),
        ("a:s", " 'x'", {"a": "'x'"}),
        ("a:F,b:B", "f d", {"a": "f", "b": "d"}),
        ("a:S", "  all of this  ", {"a": "all of this  "}),
        ("a:S?", "  ", {}),
        ("a:i", "0xffffffff", {"a": 2**32 - 1}),
        ("a:l", "-1", {"a": -1}),
        ("a:i,b:i.", "1 .2", {"a": 1, "b": 2}),
        ("a:i,b:i.", "1", {"a": 1}),
        ("a:M", "2", {"a": 2 << 20}),
        ("a:o", "1.5G", {"a": 3 << 29}),
        ("a:T", "5ms", {"a": 0.005}),
        ("a:b", "on", {"a": True}),
        ("a:b?", "", {}),
        ("f:-f,a:s", "-f x", {"f": True, "a": "x"}),
        ("f:-f,a:s", "x", {"a": "x"}),
        ("n:-n,v:-v,a:B?", "-v -n", {"v": True, "a": "-n"}),
        ("n:-n,v:-v", "-n -v", {"n": True, "v": True}),
        ("d:-ds,a:s", "-d 1 x", {"d": "1", "a": "x"}),
        ("d:-ds,a:s", "-d1 x", {"d": "1", "a": "x"}),
        ("o:O", "e1000,id=x,,y,on=z", {"o": {"e1000": "on", "id": "x,y", "on": "z"}}),
        ("o:O", "", {"o": {}}),
        ("o:O?", "", {}),
        ("fmt:/,a:l", "/10dw 5", {"count": 10, "format": "d", "size": 4, "a": 5}),
        ("fmt:/,a:l", "5", {"count": 1, "format": "x", "size": 4, "a": 5}),
        ("fmt:/,a:l", "/i 5", {"count": 1, "format": "i", "size": -1, "a": 5}),
        ("", "", {}),
    ],
)
def test_letters_and_marks(args_type: str, line: str, arguments: dict[str, Any]) -> None:
    """Every letter of QEMU's grammar, and every mark."""
    assert parse(by_args_type(args_type), line) == arguments


@pytest.mark.parametrize(
    ("args_type", "line", "error"),
    [
        ("a:s", "", "cmd: string expected"),
        ("a:F", "", "cmd: filename expected"),
        ("a:B", "", "cmd: block device name expected"),
        ("a:S", " ", "cmd: string expected"),
        ("a:s", '"x', "cmd: string expected"),
        ("a:s", '"\\x"', "cmd: string expected"),
        ("a:i", "4294967296", "'cmd' has failed: integer is for 32-bit values"),
        ("a:M", "-1", "enter a positive value"),
        ("a:M", "99999999999999", "number too large"),
        ("a:o", "x", "invalid size"),
        ("a:T", "x", "Number expected"),
        ("a:b", "ON", "Expected 'on' or 'off'"),
        ("f:-f", "-q", "cmd: unsupported option -q"),
        ("f:-f", "-", "cmd: unsupported option -"),
        ("d:-ds", "-d", "cmd: value expected for -d"),
        ("fmt:/", "/q", "invalid char in format: 'q'"),
        ("", "x", "cmd: extraneous characters at the end of line"),
    ],
)
def test_what_does_not_fit(args_type: str, line: str, error: str) -> None:
    """In QEMU's words."""
    with pytest.raises(LineError) as caught:
        parse(by_args_type(args_type), line)
    assert caught.value.text == error


def test_a_letter_that_is_none() -> None:
    """A remote monitor may know letters that this one does not."""
    with pytest.raises(LineError) as caught:
        parse(CommandInfo("cmd", items=(ArgsItem("a", "c"),)), "x")
    assert caught.value.text == "cmd: unknown type 'c'"


def test_formats_stick() -> None:
    """What C{/} was given last is the default of the next, but C{i} keeps the size."""
    info, sticky = by_args_type("fmt:/"), Format()
    assert parse(info, "/dg", sticky) == {"count": 1, "format": "d", "size": 8}
    assert parse(info, "", sticky) == {"count": 1, "format": "d", "size": 8}
    assert parse(info, "/i", sticky) == {"count": 1, "format": "i", "size": -1}
    assert parse(info, "/3x", sticky) == {"count": 3, "format": "x", "size": 8}


class Device(TypedDict, total=False):
    driver: str
    port: int
    hot: bool
    memory: Size


def test_options_by_declared_members() -> None:
    """A first word without C{=} is the first member's value; others become what the members' types say."""

    def handler(device: Device) -> None: ...

    info = Command(handler, CommandOptions("cmd", "device:O")).info
    assert parse(info, "e1000,port=0x10,hot,memory=1M") == {
        "device": {"driver": "e1000", "port": 16, "hot": True, "memory": 1 << 20}
    }
    for line, error in (
        ("e1000,cold", "Invalid parameter 'cold'"),
        ("e1000,port=x", "Parameter 'port' expects a number"),
        ("e1000,port=1x", "Parameter 'port' expects a number"),
        ("e1000,hot=maybe", "Parameter 'hot' expects 'on' or 'off'"),
    ):
        with pytest.raises(LineError) as caught:
            parse(info, line)
        assert caught.value.text == error


class Inner(TypedDict, total=False):
    b: int
    deep: Device


def _typed(
    text: str,
    number: int = 0,
    size: Size = 0,
    big: UInt64 = 0,
    ratio: float = 0.0,
    flag: bool = False,
    mode: Literal["fast", "slow"] = "fast",
    a: Inner | None = None,
    words: list[str] | None = None,
    numbers: list[int] | None = None,
    things: list[Device] | None = None,
    anything: Any = None,
    either: Annotated[int | str, Alternate()] = 0,
) -> None: ...


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("x", {"text": "x"}),
        ('"x y" 1 + 2', {"text": "x y", "number": 3}),
        ("x 10 -0", None),
        ("x 1 2k -1 .5 on slow", {"text": "x", "number": 1, "size": 2048, "big": 2**64 - 1, "ratio": 0.5, "flag": True,
                                  "mode": "slow"}),
        ("flag=on text=x", {"text": "x", "flag": True}),
        ("flag=true x 5", {"text": "x", "flag": True, "number": 5}),
        ('text="a=b c"', {"text": "a=b c"}),
        ("no=name", {"text": "no=name"}),
        ("x a.b=5", {"text": "x", "a": {"b": 5}}),
        ("x a.b=5 a.deep.driver=y a.deep.hot=off", {"text": "x", "a": {"b": 5, "deep": {"driver": "y", "hot": False}}}),
        ('x a={"b": 1, "c": [2, 3]}', {"text": "x", "a": {"b": 1, "c": [2, 3]}}),
        ("x a=b=5", {"text": "x", "a": {"b": 5}}),
        ("x words=p,q", {"text": "x", "words": ["p", "q"]}),
        ('x words=["p, q"]', {"text": "x", "words": ["p, q"]}),
        ("x numbers=1,0x10", {"text": "x", "numbers": [1, 16]}),
        ('x things=[{"port": 1}] number=2', {"text": "x", "things": [{"port": 1}], "number": 2}),
        ("x anything=null", {"text": "x", "anything": None}),
        ("x anything=1.5", {"text": "x", "anything": 1.5}),
        ("x anything=word", {"text": "x", "anything": "word"}),
        ("x anything.y.z=1", {"text": "x", "anything": {"y": {"z": 1}}}),
        ("x either=5", {"text": "x", "either": 5}),
        ("x either=five", {"text": "x", "either": "five"}),
        ("x anything.b=1 anything.c=2", {"text": "x", "anything": {"b": 1, "c": 2}}),
        ("x things=[]", {"text": "x", "things": []}),
        ("x anything=5x", {"text": "x", "anything": "5x"}),
        ("x numbers=1,2 on", None),
        ("x either=null", {"text": "x", "either": "null"}),
        ("x number=10 -5", None),
    ],
)  # fmt: skip
def test_arguments_that_follow_from_types(line: str, arguments: dict[str, Any] | None) -> None:
    """Positional in declared order, any as name=value, members with dots, JSON where it is needed."""
    if arguments is None:
        with pytest.raises(LineError):
            parse(by_types(_typed), line)
    else:
        assert parse(by_types(_typed), line) == arguments


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", "cmd: text: string expected"),
        ("number=1", "cmd: text: string expected"),
        ("x y", "cmd: number: integer expected, got 'y'"),
        ("x 1 2 3 4 maybe", "cmd: flag: 'on' or 'off' expected, got 'maybe'"),
        ("x number=1 number=2", "cmd: parameter 'number' is given twice"),
        ("x a.b=1 a.b=2", "cmd: parameter 'a.b' is given twice"),
        ("x a.c=1", "cmd: unexpected parameter 'a.c'"),
        ("x number.c=1", "cmd: unexpected parameter 'number.c'"),
        ('x a={"b": }', "cmd: a: invalid JSON: Expecting value"),
        ("x a={}5", "cmd: a: invalid JSON: text after its end"),
        ("x a=" + "[" * 100_000, "cmd: a: invalid JSON: it is nested too deeply"),
        ("x a=", "cmd: a: value expected"),
        ("x things=y", "cmd: things: JSON array expected, got 'y'"),
        ("x ratio=inf", "cmd: ratio: number expected, got 'inf' (Bad number)"),
        ('"x"y', "cmd: text: string expected, got '\"x\"y'"),
        ("x number=5y", "cmd: number: integer expected, got '5y'"),
        ("x numbers=1y", "cmd: numbers: integer expected, got '1y'"),
        ("x numbers=1,y", "cmd: numbers: integer expected, got 'y'"),
        ("x anything=5 anything.b=1", "cmd: parameter 'anything.b' is given twice"),
        ("x either.b=1", "cmd: unexpected parameter 'either.b'"),
        ('x anything="y', "cmd: anything: value expected, got '\"y'"),
        ("x things=5", "cmd: things: JSON array expected, got '5'"),
        ("x 1/0", "cmd: number: integer expected, got '1/0' (division by zero)"),
        ("x number=" + "y" * 41, f"cmd: number: integer expected, got '{'y' * 40}...'"),
        ("x size=much", "cmd: size: size expected, got 'much'"),
    ],
)
def test_types_that_do_not_fit(line: str, error: str) -> None:
    """QEMU's words where it has some."""
    with pytest.raises(LineError) as caught:
        parse(by_types(_typed), line)
    assert caught.value.text == error


def test_too_many_words() -> None:
    """What is left over is refused."""

    def handler(a: str) -> None: ...

    with pytest.raises(LineError) as caught:
        parse(by_types(handler), "x y")
    assert caught.value.text == "cmd: extraneous characters at the end of line"


def test_a_command_that_takes_anything() -> None:
    """Then there are only names: each value is JSON if it can be, else a word."""

    def handler(**arguments: Any) -> None: ...

    assert parse(by_types(handler), 'a=1 b=x c={"d": []} e.f=true') == {
        "a": 1, "b": "x", "c": {"d": []}, "e": {"f": True},
    }  # fmt: skip


@given(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=60))
def test_any_line_is_read_or_refused(line: str) -> None:
    """Whatever is typed, there is an answer for the person, and nothing else is raised."""
    for info in (by_types(_typed), by_args_type("fmt:/,f:-f,v:-vs,a:s,b:o?,c:O?"), by_args_type("a:T,b:l?,c:b?")):
        try:
            assert isinstance(parse(info, line), dict)
        except LineError as error:
            assert error.text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_can_be_quoted(text: str) -> None:
    """Between double quotes with the escapes, a string comes through unchanged."""

    def handler(a: str) -> None: ...

    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(by_types(handler), f' "{quoted}" ') == {"a": text}

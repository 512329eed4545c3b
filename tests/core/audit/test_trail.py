"""
The audit's records: what each says, how long it may be, and that each is whole JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from twisted_qmon.core.access.identity import certificate_identity, unix_identity
from twisted_qmon.core.access.standing import Standing
from twisted_qmon.core.audit.record import MAX_LINE, CallerLines, LineMaker, members
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.errors import CommandCancelled, CommandTimedOut, DeviceNotFound, GenericError

STANDING = Standing(unix_identity(1000, 4711, [], {1000: "alice"}, {}), "qmp-3", "unix:qmp.sock")


class Trail:
    """An audit with a file, and what is in it."""

    def __init__(self, folder: Path, required: bool = False) -> None:
        self.path = folder / "audit"
        self.clock = Clock()
        self.clock.advance(1_790_000_000.25)
        self.audit = Audit(str(self.path), self.clock.seconds, required=required)
        self.audit.open()

    def lines(self) -> list[dict[str, Any]]:
        """The lines, decoded."""
        self.audit.close()
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def test_command_has_two_lines(tmp_path: Path) -> None:
    """The start says who asks for what with which arguments, the end what came of it; the number joins them."""
    trail = Trail(tmp_path)
    trail.audit.begin(STANDING, 7, "balloon", {"value": 1 << 29})
    trail.clock.advance(1.5)
    trail.audit.end(STANDING, 7, "balloon", 1.5, None)
    caller = {"identity": "uid:1000(alice) pid:4711", "session": "qmp-3", "endpoint": "unix:qmp.sock"}
    assert trail.lines() == [
        {
            "time": "2026-09-21T14:13:20.250000Z",
            "phase": "start",
            "number": 7,
            **caller,
            "command": "balloon",
            "arguments": {"value": 536870912},
        },
        {
            "time": "2026-09-21T14:13:21.750000Z",
            "phase": "end",
            "number": 7,
            **caller,
            "command": "balloon",
            "outcome": "ok",
            "seconds": 1.5,
        },
    ]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CommandCancelled("x"), "cancelled"),
        (CommandTimedOut("x"), "timed-out"),
        (DeviceNotFound("no such disk"), {"class": "DeviceNotFound", "desc": "no such disk"}),
        (GenericError("a\nb" + "c" * 600), {"class": "GenericError", "desc": r"a\nb" + "c" * 506 + "..."}),
    ],
)
def test_outcome(tmp_path: Path, error: GenericError, outcome: object) -> None:
    """An outcome tells cancellation and timeout from errors, which have their class and, bounded, their words."""
    trail = Trail(tmp_path)
    trail.audit.end(STANDING, 7, "stop", 0.0, error)
    assert trail.lines()[0]["outcome"] == outcome


def test_of_what_was_not_run_only_names_are_kept(tmp_path: Path) -> None:
    """A refusal, an unknown command and an invalid one are one line each, with at most 16 names of arguments and no value."""
    trail = Trail(tmp_path)
    arguments = {f"a{n}": "marker" for n in range(40)}
    trail.audit.refused(STANDING, 8, "quit", arguments, GenericError("Permission denied"))
    trail.audit.rejected(STANDING, 9, "quti", {"x" * 100: "marker"}, GenericError("no such command"))
    refused, rejected = trail.lines()
    assert refused["phase"] == "refused"
    assert refused["outcome"] == "refused"
    assert refused["arguments"] == [f"a{n}" for n in range(16)]
    assert rejected["phase"] == "end"
    assert rejected["arguments"] == ["x" * 61 + "..."]
    assert "marker" not in trail.path.read_text()


def test_connections(tmp_path: Path) -> None:
    """The beginning and the end of a session are a line each, and so is who was turned away."""
    trail = Trail(tmp_path)
    trail.audit.connected(STANDING)
    trail.audit.disconnected(STANDING)
    trail.audit.turned_away(STANDING)
    assert [line["phase"] for line in trail.lines()] == ["connect", "disconnect", "refused"]


def test_without_a_file_there_is_only_the_log() -> None:
    """An audit without a file writes none and refuses nothing, required or not."""
    audit = Audit(None, Clock().seconds, required=True)
    audit.open()
    audit.begin(STANDING, 1, "stop", None)
    audit.end(STANDING, 1, "stop", 0.0, None)
    audit.close()
    assert audit.file is None


def test_required_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    """With a required audit nothing starts that has no line; with another it starts all the same."""
    folder = tmp_path / "later"
    for required in (True, False):
        audit = Audit(str(folder / "audit"), Clock().seconds, required=required)
        audit.open()
        if required:
            with pytest.raises(GenericError, match="'stop' is refused: the audit can't be written"):
                audit.begin(STANDING, 1, "stop", None)
        else:
            audit.begin(STANDING, 1, "stop", None)
        assert audit.file is not None
        assert audit.file.lost == 1
    folder.mkdir()
    audit = Audit(str(folder / "audit"), Clock().seconds, required=True)
    audit.begin(STANDING, 1, "stop", None)
    audit.close()


_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(categories=["L", "C", "Z"]))),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@settings(max_examples=60, deadline=None)
@given(
    arguments=st.one_of(st.dictionaries(st.text(), _values), st.dictionaries(st.text(), st.text(min_size=3000))),
    name=st.text(st.characters()),
    subject=st.text(st.characters(), max_size=3000),
)
def test_line_is_whole_json_and_bounded(arguments: dict[str, Any], name: str, subject: str) -> None:
    """Whatever a client sends, a line is JSON, has at most 16 KiB, and says so if something is missing."""
    caller = members({"identity": certificate_identity(subject).text, "session": "qmp-1", "endpoint": "e" * 5000})
    line = LineMaker().line(
        1.0, b"start", 1, caller, name, arguments, {"outcome": {"class": "X" * 64, "desc": "\x01" * 512}}
    )
    assert len(line) <= MAX_LINE
    assert line.endswith(b"}\n")
    assert b"\n" not in line[:-1]
    decoded = json.loads(line)
    if "truncated" not in decoded and arguments:
        expected = json.loads(json.dumps(arguments), parse_constant=lambda _: None)
        assert decoded["arguments"] == expected


@settings(max_examples=60, deadline=None)
@given(arguments=st.dictionaries(st.text(), _values, max_size=20), name=st.text(), seconds=st.floats(0, 1e9))
def test_quick_lines_are_the_same(arguments: dict[str, Any], name: str, seconds: float) -> None:
    """The lines that are made quickly are, byte for byte, those that are made of their parts."""
    maker, caller = LineMaker(), CallerLines("uid:1", "qmp-1", "100%d%")
    same = caller.members
    assert maker.start(seconds, 7, caller, name, arguments) == maker.line(seconds, b"start", 7, same, name, arguments)
    end = json.loads(maker.success(seconds, 7, caller, name, 0.25))
    assert end == json.loads(maker.line(seconds, b"end", 7, same, name, None, {"outcome": "ok", "seconds": 0.25}))


def test_prepared_lines_are_bounded() -> None:
    """A caller of many commands does not keep lines for all of them."""
    maker, caller = LineMaker(), CallerLines("uid:1", "qmp-1", "e")
    for number in range(1000):
        assert f'"command":"x{number}"' in maker.start(1.0, 7, caller, f"x{number}", None).decode()
    assert len(caller.templates) <= 256


@pytest.mark.parametrize(
    "arguments", [{"a": "x" * 20_000}, {"a": list(range(20_000))}, {"a": "\ud800"}, {"a": object()}]
)
def test_what_does_not_fit_is_named_only(arguments: dict[str, Any]) -> None:
    """Of arguments that are too long, or that JSON can't say, the names are kept, and the line says that something is missing."""
    decoded = json.loads(LineMaker().line(1.0, b"start", 1, b"", "x", arguments))
    assert decoded["arguments"] == ["a"]
    assert decoded["truncated"] is True


def test_far_too_long_is_found_out_soon() -> None:
    """A long list costs no more than its limit: it is not encoded to learn that it does not fit."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert json.loads(LineMaker().line(1.0, b"start", 1, b"", "x", {"a": deep}))["truncated"] is True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, b"1970-01-01T00:00:00.000000Z"),
        (1.9999999, b"1970-01-01T00:00:01.999999Z"),
        (1.5, b"1970-01-01T00:00:01.500000Z"),
    ],
)
def test_time(seconds: float, text: bytes) -> None:
    """Times are those of RFC 3339, to the microsecond."""
    assert LineMaker().time(seconds) == text

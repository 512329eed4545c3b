"""Recordings: how they are made, kept and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from twisted_qmon.errors import CommandError
from twisted_qmon.testing import FakeQEMU, Recording
from twisted_qmon.testing.recording import record, versions


def record_fake(fake: FakeQEMU) -> Recording:
    """Record a fake QEMU, as a real one is recorded."""
    client = fake.connect()

    def execute(name: str, arguments: Mapping[str, Any]) -> Any:
        client.received()
        reply = client.execute(name, arguments)
        if "error" in reply:
            raise CommandError.from_wire(reply["error"]["class"], reply["error"]["desc"])
        return reply["return"]

    return record(client.greeting["QMP"], execute, "a fake")


def test_round(tmp_path: Path) -> None:
    """A recording of a fake is the recording that the fake was made of; and a file of it is the same."""
    original = Recording.load("7.2")
    fake = FakeQEMU(clock=Clock())
    again = record_fake(fake)
    assert again.details == original.details
    assert again.schema == original.schema
    assert again.answers == original.answers
    assert again.lines == original.lines
    refused = [each for each in fake.requests if each.error]
    assert len(refused) > 200
    executed = {each.name for each in fake.requests if each.error is None}
    assert all(name.startswith("query-") or name == "human-monitor-command" for name in executed)
    path = tmp_path / "x.json.gz"
    again.save(path)
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first
    loaded = Recording.load(path)
    assert loaded.source == "a fake"
    assert loaded.details == original.details
    assert loaded.version == (7, 2, 22)


def test_what_ships() -> None:
    """The version that is the default ships, is small, and says where it is from."""
    assert versions() == ["7.2"]
    recording = Recording.load("7.2")
    assert "Debian" in recording.source
    assert recording.details.alternates["518"] == "BlockdevRef"


def test_without_human_monitor(tmp_path: Path) -> None:
    """A server without C{human-monitor-command} is recorded without lines."""
    original = Recording.load("7.2")
    kept = {"query-version", "query-qmp-schema", "query-block"}
    schema = [
        entry for entry in original.schema if entry["meta-type"] not in ("command", "event") or entry["name"] in kept
    ]
    fake = FakeQEMU(
        Recording(original.greeting, {**original.answers, "query-qmp-schema": {"return": schema}}), clock=Clock()
    )
    again = record_fake(fake)
    assert again.lines == {}
    assert set(again.answers) == kept


def test_no_recording(tmp_path: Path) -> None:
    """What is no recording is one clear error."""
    for content in (b"", b"x", b"\x1f\x8b", None):
        path = tmp_path / "bad"
        if content is None:
            path = tmp_path / "not-there"
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match="recording|recorded"):
            Recording.load(path)
    import gzip

    (tmp_path / "new").write_bytes(gzip.compress(b'{"format": 99}'))
    with pytest.raises(ValueError, match="its format is 99"):
        Recording.load(tmp_path / "new")

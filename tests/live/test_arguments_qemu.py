"""
The words for wrong arguments, and the schema, against a running QEMU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.plain_qemu import PlainQEMU
from tests.support.qemu_commands import QEMUCommands
from twisted_qmon.errors import CommandError
from twisted_qmon.qapi.schema import build_schema, commands_from_schema

pytestmark = pytest.mark.live

CASES = json.loads((Path(__file__).parent.parent / "data" / "qemu-arguments.json").read_text())


@pytest.fixture(scope="module")
def qemu() -> Iterator[PlainQEMU]:
    """A QEMU for all the tests here."""
    with PlainQEMU() as running:
        yield running


def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """:return: what the command of ours answers"""
    command = next(command for command in QEMUCommands().commands() if command.name == name)
    try:
        return {"return": command.finish(command.invoke(None, arguments))}
    except CommandError as e:
        return {"error": e.to_wire()}


def test_words(qemu: PlainQEMU) -> None:
    """QEMU still answers what was recorded, which is what we answer."""
    for case in CASES:
        name, arguments = case["execute"], case["arguments"]
        if "return" in answer(name, arguments) or name == "query-yank":
            continue  # what a command that succeeds answers depends on more than its arguments
        assert qemu.execute(name, arguments) == answer(name, arguments), case


def test_negative_sizes(qemu: PlainQEMU) -> None:
    """QEMU takes a negative size for a large one; we refuse it."""
    arguments = {"id": "x", "boundaries": [-1]}
    name = "block-latency-histogram-set"
    assert qemu.execute(name, arguments)["error"]["desc"] == "Device 'x' not found"
    assert answer(name, arguments)["error"]["desc"] == "Parameter 'boundaries[0]' expects uint64"


def test_schema(qemu: PlainQEMU) -> None:
    """The whole of QEMU's schema is read, and written again with as many commands and with the same shape."""
    entries = qemu.execute("query-qmp-schema")["return"]
    infos = commands_from_schema(entries)
    commands = {entry["name"]: entry for entry in entries if entry["meta-type"] == "command"}
    assert list(infos) == list(commands)
    written: Any = build_schema(
        [(name, info, commands[name].get("allow-oob", False), ()) for name, info in infos.items()], []
    )
    again = {entry["name"]: entry for entry in written}
    theirs = {entry["name"]: entry for entry in entries}
    for name, entry in commands.items():
        assert again[name].get("allow-oob") == entry.get("allow-oob")
        for member in ("arg-type", "ret-type"):
            own, other = again[again[name][member]], theirs[entry[member]]
            assert own["meta-type"] == other["meta-type"]
            assert [m["name"] for m in own.get("members", ())] == [m["name"] for m in other.get("members", ())], name
            assert own.get("tag") == other.get("tag")
            assert [v["case"] for v in own.get("variants", ())] == [v["case"] for v in other.get("variants", ())]

"""Types out of a recorded schema: they take and refuse what QEMU does, in its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twisted_qmon.qapi.from_schema import SchemaDetails, SchemaTypes
from twisted_qmon.qapi.types.errors import ArgumentError
from twisted_qmon.testing.recording import Recording

CASES = json.loads((Path(__file__).parent.parent / "data" / "qemu-arguments.json").read_text())

# Errors that are not about types, and a width that neither the schema nor a harmless request tells.
BEYOND = ("not found", "expects a CPU number", "must be specified", "postcopy", "uint8_t")


@pytest.fixture(scope="module")
def types() -> SchemaTypes:
    return Recording.load("7.2").types


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps([case["execute"], case["arguments"]])[:60])
def test_words(case: Any, types: SchemaTypes) -> None:
    """What QEMU answered to wrong arguments, the types that were made of its schema say."""
    desc = case.get("error", {}).get("desc")
    try:
        types.arguments(case["execute"]).decode(case["arguments"])
    except ArgumentError as error:
        assert str(error) == desc
    else:
        assert desc is None or any(text in desc for text in BEYOND)


def test_every_type_can_be_made(types: SchemaTypes) -> None:
    """All commands and events have their types, and each refuses what is no object, or takes it."""
    for name in types.commands:
        assert types.arguments(name).info.kind == "object"
        types.result(name)
    for name in types.events:
        types.data(name)


def test_order_of_a_union(types: SchemaTypes) -> None:
    """The members that all variants have come first, in their order: a wrong one is named before a missing tag's variant."""
    blockdev_add = types.arguments("blockdev-add")
    for arguments, desc in (
        ({"driver": "raw", "node-name": 1, "size": "x"}, "Invalid parameter type for 'node-name', expected: string"),
        ({"driver": "raw"}, "Parameter 'file' is missing"),
        ({"driver": "host_cdrom", "filename": "x", "file": "x"}, "Parameter 'file' is unexpected"),
        ([], "Invalid parameter type for '', expected: object"),
    ):
        with pytest.raises(ArgumentError) as caught:
            blockdev_add.decode(arguments)  # type: ignore[arg-type]
        assert str(caught.value) == desc


def test_a_tag_without_members_of_its_own() -> None:
    """A value of the tag that has no variant takes the common members only."""
    schema: list[dict[str, Any]] = [
        {"name": "c", "meta-type": "command", "arg-type": "u", "ret-type": "e"},
        {"name": "u", "meta-type": "object", "tag": "t", "variants": [{"case": "a", "type": "v"}],
         "members": [{"name": "t", "type": "tags"}]},
        {"name": "v", "meta-type": "object", "members": [{"name": "x", "type": "int"}]},
        {"name": "tags", "meta-type": "enum", "values": ["a", "b"]},
        {"name": "int", "meta-type": "builtin", "json-type": "int"},
        {"name": "e", "meta-type": "object", "members": []},
    ]  # fmt: skip
    types = SchemaTypes(schema)
    assert types.arguments("c").decode({"t": "b"}) == {"t": "b"}
    assert types.arguments("c").decode({"t": "a", "x": 2**64 - 1}) == {"t": "a", "x": 2**64 - 1}
    with pytest.raises(ArgumentError, match="unexpected"):
        types.arguments("c").decode({"t": "b", "x": 1})
    assert types.type("not there").decode([1]) == [1]


def test_unsigned_integers(types: SchemaTypes) -> None:
    """QEMU takes a negative number for an unsigned one, and says so of what is none."""
    set_speed = types.arguments("migrate-set-parameters")
    assert set_speed.decode({"max-bandwidth": -1}) == {"max-bandwidth": -1}
    for value in (True, 1.0, 2**64, "1"):
        with pytest.raises(ArgumentError, match="Parameter 'max-bandwidth' expects uint64"):
            set_speed.decode({"max-bandwidth": value})


def test_commands_that_take_more() -> None:
    """C{device_add} takes what its schema does not have: the properties of the device."""
    types = Recording.load("7.2").types
    assert "device_add" in SchemaDetails().open
    arguments = {"driver": "virtio-net", "mac": "52:54:00:12:34:56"}
    assert types.arguments("device_add").decode(arguments) == arguments
    assert types.arguments("device_add") is types.arguments("device_add")
    with pytest.raises(ArgumentError, match="driver"):
        types.arguments("device_add").decode({"mac": "x"})

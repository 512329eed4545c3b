"""
The schema that C{query-qmp-schema} answers, against QEMU's own; and commands as C{query-command-help} describes them.
"""

from __future__ import annotations

import enum
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.qemu_commands import QEMUCommands, StatsFilter
from twisted_qmon.core.command import Command
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.qapi.schema import build_schema, commands_from_schema, info_from_json, info_to_json
from twisted_qmon.qapi.signature import compile_members, compile_signature
from twisted_qmon.qapi.types import Size, UInt8

DATA = Path(__file__).parent.parent / "data"
Entries = dict[str, dict[str, Any]]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass
class Tree:
    value: UInt8
    children: list[Tree] = field(default_factory=list)


def _draw(points: list[Point], color: Color = Color.RED, extra: Any = None) -> None: ...
def _fill(point: Point, color: Color) -> bool: ...  # type: ignore[empty-body]
def _plant(tree: Tree, sizes: list[Size], widths: list[UInt8]) -> Tree: ...  # type: ignore[empty-body]
def _anything(**arguments: Any) -> dict[str, int]: ...  # type: ignore[empty-body]


def schema(*handlers: Any, events: Any = (), oob: bool = False, features: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """:return: the schema of commands named after their handlers"""
    return build_schema(
        [(handler.__name__.strip("_"), compile_signature(handler), oob, features) for handler in handlers], events
    )


def test_format() -> None:
    """Commands come first, then events, then types by first use, breadth first, with masked names."""
    events = [("CHANGED", compile_members({"color": Color, "at": int | None}).members), ("STOP", ())]
    assert schema(_draw, events=events, oob=True, features=("unstable",)) == [
        {
            "name": "draw",
            "meta-type": "command",
            "arg-type": "1",
            "ret-type": "0",
            "allow-oob": True,
            "features": ["unstable"],
        },
        {"name": "CHANGED", "meta-type": "event", "arg-type": "2"},
        {"name": "STOP", "meta-type": "event", "arg-type": "0"},
        {"name": "0", "meta-type": "object", "members": []},
        {
            "name": "1",
            "meta-type": "object",
            "members": [
                {"name": "points", "type": "[3]"},
                {"name": "color", "type": "4", "default": None},
                {"name": "extra", "type": "any", "default": None},
            ],
        },
        {
            "name": "2",
            "meta-type": "object",
            "members": [{"name": "color", "type": "4"}, {"name": "at", "type": "int", "default": None}],
        },
        {"name": "[3]", "meta-type": "array", "element-type": "3"},
        {
            "name": "3",
            "meta-type": "object",
            "members": [{"name": "x", "type": "int"}, {"name": "y", "type": "number", "default": None}],
        },
        {"name": "4", "meta-type": "enum", "members": [{"name": "red"}, {"name": "blue"}], "values": ["red", "blue"]},
        {"name": "any", "meta-type": "builtin", "json-type": "value"},
        {"name": "int", "meta-type": "builtin", "json-type": "int"},
        {"name": "number", "meta-type": "builtin", "json-type": "number"},
    ]


def test_shared_types() -> None:
    """A type that several commands use is there once, also one that refers to itself; all integers are one."""
    entries = schema(_draw, _fill, _plant, _plant)
    names = [entry["name"] for entry in entries if entry["meta-type"] != "command"]
    assert len(names) == len(set(names))
    kinds = [entry["meta-type"] for entry in entries]
    assert kinds.count("enum") == 1
    # Nothing, the arguments of three commands, Point and Tree.
    assert kinds.count("object") == 6
    assert [entry["name"] for entry in entries if entry["meta-type"] == "array"] == ["[5]", "[int]", "[4]"]


def test_any_arguments() -> None:
    """What QAPI has no type for, any arguments or any members, is shown as the empty object."""
    (command, empty) = schema(_anything)
    assert (command["arg-type"], command["ret-type"]) == ("0", "0")
    assert empty == {"name": "0", "meta-type": "object", "members": []}


def test_no_commands() -> None:
    """A schema of nothing has the empty object only."""
    assert build_schema([], []) == [{"name": "0", "meta-type": "object", "members": []}]


@functools.cache
def ours() -> Entries:
    """:return: the schema of the test's commands of QEMU, by name"""
    commands = [(command.name, command.info, command.oob, ()) for command in QEMUCommands().commands()]
    return {str(entry["name"]): entry for entry in build_schema(commands, [])}


@functools.cache
def theirs() -> Entries:
    """:return: what a QEMU says of these commands, by name"""
    return {entry["name"]: entry for entry in json.loads((DATA / "qemu-schema.json").read_text())}


#: Commands of which the test has a part only: of the drivers, of the members.
PARTIAL = {"blockdev-add", "migrate-set-parameters", "migrate-set-capabilities"}


def differences(a: str, b: str, exact: bool, seen: set[tuple[str, str]]) -> list[str]:
    """:return: how the type C{a} of ours differs from QEMU's type C{b}; C{exact}: what is not in ours is one too"""
    if (a, b) in seen:
        return []
    seen.add((a, b))
    own, other = ours()[a], theirs()[b]
    if own["meta-type"] != other["meta-type"] or own.keys() != other.keys() - {"features"}:
        return [f"{own} is not of the form of {other}"]
    kind = own["meta-type"]
    if kind == "builtin":
        return [] if own == other else [f"{own} is not {other}"]
    if kind == "array":
        assert own["name"] == f"[{own['element-type']}]"
        return differences(own["element-type"], other["element-type"], exact, seen)
    if kind == "enum":
        assert own["values"] == [member["name"] for member in own["members"]]
        unknown = set(own["values"]).symmetric_difference(other["values"])
        return [] if not unknown or (not exact and unknown <= set(other["values"])) else [f"values {unknown}"]
    if kind == "alternate":
        pairs = {json_type(ours(), m["type"]): m["type"] for m in own["members"]}
        others = {json_type(theirs(), m["type"]): m["type"] for m in other["members"]}
        if pairs.keys() != others.keys():
            return [f"{set(pairs)} is not {set(others)}"]
        return [d for key, name in pairs.items() for d in differences(name, others[key], exact, seen)]
    return object_differences(own, other, exact, seen)


def json_type(entries: Entries, name: str) -> str:
    """:return: what tells an option of an alternate from the others"""
    entry = entries[name]
    return str(entry.get("json-type", entry["meta-type"]))


def object_differences(
    own: dict[str, Any], other: dict[str, Any], exact: bool, seen: set[tuple[str, str]]
) -> list[str]:
    """:return: how two objects differ"""
    found = []
    members = {member["name"]: member for member in other["members"]}
    if exact and set(members) != {member["name"] for member in own["members"]}:
        found.append(f"members {own['members']} are not {other['members']}")
    for member in own["members"]:
        counterpart = members[member["name"]]
        if ("default" in member) != ("default" in counterpart):
            found.append(f"{member} is not as optional as {counterpart}")
        found += differences(member["type"], counterpart["type"], exact, seen)
    if own.get("tag") != other.get("tag"):
        found.append(f"tag {own.get('tag')} is not {other.get('tag')}")
    variants = {variant["case"]: variant["type"] for variant in other.get("variants", ())}
    if exact and set(variants) != {variant["case"] for variant in own.get("variants", ())}:
        found.append(f"variants {own.get('variants')} are not {variants}")
    for variant in own.get("variants", ()):
        found += differences(variant["type"], variants[variant["case"]], exact, seen)
    return found


@pytest.mark.parametrize("name", [command.name for command in QEMUCommands().commands()])
def test_as_in_qemu(name: str) -> None:
    """The signatures of QEMU's commands, written in Python, give what QEMU's own schema says."""
    own, other = ours()[name], theirs()[name]
    assert own.keys() == other.keys() - {"features"}
    assert own.get("allow-oob") == other.get("allow-oob")
    for member in ("arg-type", "ret-type"):
        assert differences(own[member], other[member], name not in PARTIAL, set()) == []


# -- and back


def test_commands_from_schema() -> None:
    """QEMU's schema gives what can be known of its commands."""
    infos = commands_from_schema(theirs().values())
    assert set(infos) == {command.name for command in QEMUCommands().commands()}
    hmc = infos["human-monitor-command"]
    assert [(p.name, p.type.kind, p.optional) for p in hmc.parameters or ()] == [
        ("command-line", "str", False),
        ("cpu-index", "int", True),
    ]
    assert hmc.params == "command-line [cpu-index]"
    assert hmc.returns is not None
    assert hmc.returns.kind == "str"
    stats = infos["query-stats"]
    assert stats.params == "target [...]"
    assert [(p.name, p.optional) for p in stats.parameters or ()] == [
        ("target", False),
        ("providers", True),
        ("vcpus", True),
    ]
    assert stats.boxed is not None
    assert stats.boxed.tag == "target"
    assert (stats.parameters or ())[0].type.values == ("vm", "vcpu")
    assert infos["query-yank"].parameters == ()


def test_schema_there_and_back() -> None:
    """A schema that is made of what was read out of one is the same schema."""
    commands = {command.name: command for command in QEMUCommands().commands()}
    entries = build_schema([(name, command.info, command.oob, ()) for name, command in commands.items()], [])
    infos = commands_from_schema(entries)
    again = build_schema([(name, info, commands[name].oob, ()) for name, info in infos.items()], [])
    assert again == entries


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{}],
        [{"name": 1}],
        [{"name": "x", "meta-type": "what"}],
        [{"name": "0", "meta-type": "object", "members": [{"name": "a", "type": "gone"}]}],
    ],
)
def test_broken_schema(entries: list[dict[str, Any]]) -> None:
    """What a schema lacks is any type; what it has besides is passed over."""
    infos = commands_from_schema([*entries, {"name": "c", "meta-type": "command", "arg-type": "0", "ret-type": "1"}])
    assert list(infos) == ["c"]
    assert infos["c"].returns is not None
    assert infos["c"].returns.kind == "any"


# -- query-command-help


def _help(path: str, tree: Tree, other: Tree, freq: int | None = None, **more: Any) -> dict[str, Color]: ...  # type: ignore[empty-body]


def test_described() -> None:
    """A description says what a client can know, and of a type that comes again only the name."""
    info = CommandInfo(
        name="help",
        parameters=compile_signature(_help, args_type="path:F,tree:O,other:O,freq:i?").parameters,
        args_type="path:F,tree:O,other:O,freq:i?",
        params="path",
        help="one line",
        aliases=("h",),
        hidden=True,
        confirm="this ends all",
        doc="more",
        returns=compile_signature(_help).returns,
        origin="qemu",
    )
    described = info_to_json(info)
    assert json.loads(json.dumps(described)) == described
    tree = {
        "kind": "object",
        "name": "Tree",
        "members": [
            {"name": "value", "type": {"kind": "int", "name": "uint8"}},
            {
                "name": "children",
                "type": {"kind": "list", "element": {"kind": "object", "name": "Tree"}},
                "optional": True,
            },
        ],
    }
    assert described == {
        "name": "help",
        "parameters": [
            {"name": "path", "type": {"kind": "str"}},
            {"name": "tree", "type": tree},
            {"name": "other", "type": {"kind": "object", "name": "Tree"}},
            {"name": "freq", "type": {"kind": "int"}, "optional": True},
        ],
        "args-type": "path:F,tree:O,other:O,freq:i?",
        "params": "path",
        "help": "one line",
        "doc": "more",
        "origin": "qemu",
        "aliases": ["h"],
        "hidden": True,
        "confirm": "this ends all",
        "returns": {"kind": "object", "element": {"kind": "enum", "name": "Color", "values": ["red", "blue"]}},
    }


@pytest.mark.parametrize("command", QEMUCommands().commands(), ids=lambda command: command.name)
def test_described_there_and_back(command: Command) -> None:
    """What is read out of a description gives the same description, and the same schema."""
    described = json.loads(json.dumps(info_to_json(command.info)))
    info = info_from_json(described)
    assert info_to_json(info) == described
    assert build_schema([("x", info, False, ())], []) == build_schema([("x", command.info, False, ())], [])


def test_read_back() -> None:
    """A type that comes again is the same type again; what is left out is empty."""
    info = info_from_json(info_to_json(CommandInfo("c", compile_signature(_plant).parameters)))
    parameters = info.parameters or ()
    tree = parameters[0].type
    assert tree.members is not None
    assert tree.members[1].type.element is tree
    assert (info.args_type, info.items, info.help, info.aliases, info.returns) == (None, None, "", (), None)
    assert info_from_json({"name": "c"}).parameters is None


def test_two_types_of_one_name() -> None:
    """Two types that only share a name don't stand for each other."""
    types = [TypeInfo("object", "T", members=(ParameterInfo(name, TypeInfo("str")),)) for name in ("a", "b", "c")]
    order = [types[0], types[1], types[0], types[1], types[1], types[2]]
    parameters = tuple(ParameterInfo(f"p{i}", info) for i, info in enumerate(order))
    info = info_from_json(info_to_json(CommandInfo("c", parameters)))
    names = [parameter.type.members[0].name for parameter in info.parameters or () if parameter.type.members]
    assert names == ["a", "b", "a", "b", "b", "c"]


def test_args_type_of_another_version() -> None:
    """A declaration that this version does not understand is left out: the parameters tell enough."""
    info = info_from_json({"name": "c", "parameters": [], "args-type": "a:Z"})
    assert (info.args_type, info.items) == (None, None)
    understood = info_from_json({"name": "c", "parameters": [], "args-type": "a:s"})
    assert understood.items is not None
    assert understood.items[0].key == "a"


@pytest.mark.parametrize(
    "described",
    [{}, {"name": "c", "parameters": 1}, {"name": "c", "parameters": [{}]}, {"name": "c", "returns": []}, []],
)
def test_not_described(described: Any) -> None:
    """What is no description at all is a ValueError."""
    with pytest.raises(ValueError, match="not the description of a command"):
        info_from_json(described)


def test_union_shared_with_arguments() -> None:
    """A flat union as an argument, as a result and as all arguments is one type."""

    def one(filter: StatsFilter) -> StatsFilter: ...  # type: ignore[empty-body]
    def two(kind: Literal["a"]) -> list[StatsFilter]: ...  # type: ignore[empty-body]

    entries = schema(one, two)
    assert [entry.get("tag") for entry in entries].count("target") == 1

"""The commands that run and end."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.shell.conftest import Qmon
from tests.shell.scripted import ScriptedServer
from twisted_qmon.shell.oneshot import execute

HOSTILE = "".join(map(chr, range(32))) + "\x7f\x80\x9b\u202e\ud800"


def _error(number: int, error_class: str = "CommandNotFound", desc: str = "The command has not been found") -> Any:
    return {"error": {"class": error_class, "desc": desc}, "id": number}


# -- exec


def test_exec_on_a_pipe(qmon: Qmon, server: ScriptedServer) -> None:
    """On a pipe the result is JSON on a line."""
    server.says({"return": {"a": [1, "ä"]}, "id": 2})
    done = qmon("./x", "exec", "foo", "b=1", "c:=2", "--timeout", "5")
    assert (done.status, done.out) == (0, '{"a": [1, "\\u00e4"]}\n')
    assert server.received()[1] == {"execute": "foo", "arguments": {"b": "1", "c": 2}, "id": 2}


def test_exec_options_anywhere(qmon: Qmon, server: ScriptedServer) -> None:
    """Options may stand between the arguments; two dashes end them."""
    server.says({"return": {}, "id": 2})
    assert qmon("./x", "exec", "foo", "--json", "b=1", "--", "--c=2").status == 0
    assert server.received()[1]["arguments"] == {"b": "1", "--c": "2"}


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours(
    qmon: Qmon,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    coloured: bool,
) -> None:
    """A terminal gets colours unless C{NO_COLOR} is set or it is a dumb one."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    server.says({"return": {"a": 1}, "id": 2})
    qmon.terminal = True
    assert ("\x1b[" in qmon("./x", "exec", "foo").out) == coloured


def test_without_rich(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the table is plain."""
    monkeypatch.setitem(sys.modules, "twisted_qmon.shell.tables", None)
    server.says({"return": {"a": 1}, "id": 2})
    qmon.terminal = True
    assert qmon("./x", "exec", "foo").out == "a: 1\n"


def test_exec_at_a_terminal(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal it is a table or a tree, or JSON over several lines with C{--json}."""
    monkeypatch.setenv("NO_COLOR", "1")
    result = [{"name": "a", "size": 1}, {"name": "b", "size": 20}]
    server.says({"return": result, "id": 2})
    server.says({"return": result, "id": 2})
    qmon.terminal = True
    lines = [line.split() for line in qmon("./x", "exec", "foo").out.splitlines()]
    assert lines[0] == ["name", "size"]
    assert lines[-2:] == [["a", "1"], ["b", "20"]]
    done = qmon("./x", "exec", "foo", "--json")
    assert json.loads(done.out) == result
    assert done.out.count("\n") > 5


def test_exec_table_on_a_pipe(qmon: Qmon, server: ScriptedServer) -> None:
    """C{--table} holds on a pipe, too; an empty result is nothing."""
    server.says({"return": {"name": "a"}, "id": 2})
    server.says({"return": {}, "id": 2})
    assert qmon("./x", "exec", "foo", "--table").out == "name: a\n"
    assert qmon("./x", "exec", "foo", "--table").out == ""


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("option", ["--json", "--table"])
def test_nothing_of_a_result_reaches_the_terminal_raw(
    qmon: Qmon, server: ScriptedServer, terminal: bool, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters in keys and values, in a table, a tree or JSON, become escapes."""
    monkeypatch.setenv("NO_COLOR", "1")
    results = [HOSTILE, {HOSTILE: HOSTILE}, [{HOSTILE: HOSTILE}], {HOSTILE: {HOSTILE: [{HOSTILE: [HOSTILE, []]}, 1]}}]
    qmon.terminal = terminal
    for result in results:
        server.says({"return": result, "id": 2})
        done = qmon("./x", "exec", "foo", option)
        assert done.status == 0
        assert not {c for c in done.out if not c.isprintable()} - {"\n", "\t"}


def test_exec_timed_out(qmon: Qmon, server: ScriptedServer) -> None:
    """A command that takes longer than C{--timeout} ends with status 4."""
    server.says(_error(3), ends=False)
    done = qmon("./x", "exec", "foo", "--timeout", "0.01")
    assert (done.status, done.err) == (4, "qmon: Command 'foo' timed out after 0.01 s\n")


def test_exec_connection_lost(qmon: Qmon, server: ScriptedServer) -> None:
    """A server that goes before it answers is no connection: status 3."""
    server.says()
    done = qmon("./x", "exec", "foo")
    assert (done.status, done.err) == (3, "qmon: the server closed the connection\n")


def test_no_wait(qmon: Qmon, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """C{--no-wait} does not wait for the result, but tells of an error that comes at once."""
    monkeypatch.setattr(execute, "GRACE", 0.05)
    server.says(ends=False)
    done = qmon("./x", "exec", "foo", "--no-wait")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert server.received()[1:] == [{"execute": "foo", "id": 2}]
    server.says(_error(2), ends=False)
    done = qmon("./x", "exec", "foo", "--no-wait")
    assert (done.status, done.err) == (1, "qmon: The command has not been found\n")


# -- commands, schema, whoami

SCHEMA = [
    {"name": "stop", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
    {"name": "eject", "meta-type": "command", "arg-type": "1", "ret-type": "[2]", "allow-oob": True},
    {"name": "add", "meta-type": "command", "arg-type": "4", "ret-type": "str"},
    {"name": "STOP", "meta-type": "event", "arg-type": "1"},
    {"name": "0", "meta-type": "object", "members": []},
    {
        "name": "1",
        "meta-type": "object",
        "members": [{"name": "id", "type": "str"}, {"name": "f", "type": "3", "default": None}],
    },
    {
        "name": "2",
        "meta-type": "object",
        "members": [{"name": "inner", "type": "2", "default": None}, {"name": "n", "type": "int"}],
    },
    {"name": "3", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "5"}]},
    {
        "name": "4",
        "meta-type": "object",
        "members": [{"name": "kind", "type": "5"}],
        "tag": "kind",
        "variants": [{"case": "on", "type": "1"}, {"case": "off", "type": "0"}],
    },
    {"name": "5", "meta-type": "enum", "values": ["on", "off"]},
    {"name": "[2]", "meta-type": "array", "element-type": "2"},
    {"name": "[5]", "meta-type": "array", "element-type": "5"},
    {"name": "str", "meta-type": "builtin", "json-type": "string"},
    {"name": "int", "meta-type": "builtin", "json-type": "int"},
]
HELP = [
    {"name": "stop", "parameters": [], "help": "stop it", "params": ""},
    {"name": "query-status", "parameters": [], "help": "show it", "params": ""},
    {"name": "secret", "parameters": [], "help": "", "params": "", "hidden": True},
]


def test_commands_of_a_qemu(qmon: Qmon, server: ScriptedServer) -> None:
    """Where the schema is all there is, it is what commands are listed from: one a line, sorted."""
    server.says(_error(2), {"return": SCHEMA, "id": 3})
    done = qmon("./x", "commands")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"name": "add", "params": "kind [...]", "help": ""},
        {"name": "eject", "params": "id [f]", "help": ""},
        {"name": "stop", "params": "", "help": ""},
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [((), ["query-status", "stop"]), (("sto",), ["stop"]), (("*st*s",), ["query-status"]), (("x",), [])],
)
def test_commands_of_ours(qmon: Qmon, server: ScriptedServer, pattern: tuple[str, ...], names: list[str]) -> None:
    """A server of ours has help. A pattern is a part of the name, or has stars."""
    server.says({"return": HELP, "id": 2})
    assert [json.loads(line)["name"] for line in qmon("./x", "commands", *pattern).out.splitlines()] == names


def test_commands_as_a_table(qmon: Qmon, server: ScriptedServer) -> None:
    """For a person, the parameters stand behind the name, and the help beside it if there is any."""
    server.says({"return": HELP, "id": 2})
    assert qmon("./x", "commands", "--table").out.splitlines()[1] == "query-status  show it"
    server.says(_error(2), {"return": SCHEMA, "id": 3})
    assert qmon("./x", "commands", "eject", "--table").out.splitlines() == ["command       help", "eject id [f]"]


def test_schema_as_json(qmon: Qmon, server: ScriptedServer) -> None:
    """As JSON it is the entry in the server's schema, and those of the types it refers to, no others."""
    server.says({"return": SCHEMA, "id": 2})
    entries = json.loads(qmon("./x", "schema", "eject").out)
    assert entries[0] == SCHEMA[1]
    assert {entry["name"] for entry in entries[1:]} == {"1", "[2]", "2", "3", "5", "str", "int"}


def test_schema_as_a_tree(qmon: Qmon, server: ScriptedServer) -> None:
    """For a person, types stand where they are used; one that refers to itself is written once."""
    server.says({"return": SCHEMA, "id": 2})
    assert qmon("./x", "schema", "eject", "--table").out.splitlines() == [
        "command:   eject",
        "allow-oob: true",
        "arguments:",
        "  id: str",
        "  f (optional):",
        "    or 1: str",
        "    or 2: on|off",
        "returns:",
        "  list of:",
        "    inner (optional): (as above)",
        "    n:                int",
    ]


def test_schema_of_a_union_and_an_event(qmon: Qmon, server: ScriptedServer) -> None:
    """The variants of a union are told apart by their tag; an event has data."""
    server.says({"return": SCHEMA, "id": 2})
    assert qmon("./x", "schema", "add", "--table").out.splitlines()[:5] == [
        "command: add",
        "arguments:",
        "  kind=on:",
        "    kind: on",
        "    id:   str",
    ]
    server.says({"return": SCHEMA, "id": 2})
    assert qmon("./x", "schema", "STOP", "--table").out.splitlines()[:3] == ["event: STOP", "data:", "  id: str"]


def test_schema_of_nothing(qmon: Qmon, server: ScriptedServer) -> None:
    """An unknown name gets the nearest one as a hint; the name of a type is unknown."""
    server.says({"return": SCHEMA, "id": 2})
    done = qmon("./x", "schema", "ejet")
    assert (done.status, done.err) == (1, "qmon: the server has no command or event 'ejet'; did you mean 'eject'?\n")
    server.says({"return": SCHEMA, "id": 2})
    assert qmon("./x", "schema", "[5]").err == "qmon: the server has no command or event '[5]'\n"


def test_no_schema(qmon: Qmon, server: ScriptedServer) -> None:
    """A server whose schema is none is told, and nothing breaks."""
    server.says({"return": [{"odd": 1}], "id": 2})
    done = qmon("./x", "schema", "stop")
    assert (done.status, done.err) == (1, "qmon: the server's query-qmp-schema does not return a schema\n")


def test_whoami(qmon: Qmon, server: ScriptedServer) -> None:
    """What the server knows of the caller."""
    server.says({"return": {"identity": "uid:0(root)", "level": "admin"}, "id": 2})
    assert qmon("./x", "whoami", "--table").out == "identity: uid:0(root)\nlevel:    admin\n"
    server.says(_error(2, desc="The command query-whoami has not been found"))
    assert qmon("./x", "whoami").status == 1

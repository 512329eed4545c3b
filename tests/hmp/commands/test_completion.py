"""What could come next in a typed line."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_qmon.hmp.commands.command_index import Names, make_names
from twisted_qmon.hmp.commands.completion import Candidate, complete, quote
from twisted_qmon.hmp.commands.help import parse_upstream
from twisted_qmon.hmp.lines.args import read_word
from twisted_qmon.hmp.lines.expression import Cursor
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.qapi.args_type import parse_args_type

STR = TypeInfo("str")
INT = TypeInfo("int")
BOOL = TypeInfo("bool")
COLOUR = TypeInfo("enum", values=("red", "green", "greenish-blue"))
FILE = TypeInfo("object", members=(ParameterInfo("driver", COLOUR), ParameterInfo("filename", STR)))
UNION = TypeInfo("object", members=(ParameterInfo("kind", COLOUR),), options=(FILE,), tag="kind")
SWITCH = TypeInfo("alternate", options=(BOOL, TypeInfo("null")))


def _info(name: str, *parameters: tuple[str, TypeInfo] | tuple[str, TypeInfo, bool], **more: Any) -> CommandInfo:
    return CommandInfo(name, tuple(ParameterInfo(*each) for each in parameters), **more)


COMMANDS = {
    info.name: info
    for info in (
        _info("query-status", help="show the status", aliases=("st",)),
        _info("query-log", ("level", COLOUR, True), ("limit", INT, True)),
        _info(
            "paint", ("colour", COLOUR), ("coats", INT, True), ("glossy", BOOL, True), help="paint it", aliases=("p",)
        ),
        _info("pause", ("target", STR)),
        _info("mix", ("colours", TypeInfo("list", element=COLOUR)), ("switch", SWITCH)),
        _info("add", ("name", STR, True), ("file", FILE, True), ("extra", UNION, True), ("level", COLOUR)),
        _info(
            "load",
            ("file", STR),
            ("now", BOOL),
            ("mode", COLOUR),
            items=tuple(parse_args_type("now:-n,as:-as,file:F,mode:s?,on:b?")),
        ),
        _info("secret", hidden=True),
        _info("any"),
        CommandInfo("whatever", None),
    )
}
OURS = make_names(COMMANDS)

HELP = """\
cont|c  -- resume emulation
change device [-f] filename [format [read-only-mode]] -- change a removable medium, optional format, use -f to
\t\t\tforce it
dump-guest-memory [-p] [-d] [-z|-l] filename [begin length] -- dump guest memory
i /fmt addr -- I/O port read
migrate_set_capability capability state -- Enable/Disable the usage of a capability for migration
migrate_set_parameter parameter value -- Set the parameter for migration
nbd_server_add nbd_server_add [-w] device [name] -- export a block device via NBD
netdev_add [user|tap],id=str[,prop=value][,...] -- add host network device
set_link name on|off -- change the link status of a network adapter
x-colo mode -- set it
"""
INFO = """\
info block [-n] [-v] [device] -- show info of one block device or all block devices
info status  -- show the current VM status (running|paused)
"""
QEMU_COMMANDS = {
    info.name: info
    for info in (
        _info("human-monitor-command", ("command-line", STR), origin="qemu"),
        _info("query-status", origin="qemu"),
        _info("cont", origin="qemu"),
        _info("x-colo", ("mode", COLOUR), origin="qemu"),
        _info("blockdev-mirror", ("target", STR), ("sync", COLOUR), origin="qemu"),
        _info("migrate-set-parameters", ("max-bandwidth", INT, True), ("downtime-limit", INT, True), origin="qemu"),
        _info(
            "migrate-set-capabilities",
            (
                "capabilities",
                TypeInfo(
                    "list",
                    element=TypeInfo(
                        "object", members=(ParameterInfo("capability", COLOUR), ParameterInfo("state", BOOL))
                    ),
                ),
            ),
            origin="qemu",
        ),
    )
}
QEMU = make_names(QEMU_COMMANDS, parse_upstream(HELP, INFO))


def _texts(names: Names, line: str) -> list[str]:
    return [line[: complete(names, line).start] + each.text for each in complete(names, line).candidates]


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("pa", ["paint", "pause"]),
        ("  pai", ["  paint"]),
        ("sec", []),
        ("inf", ["info"]),
        ("info ", ["info log", "info st", "info status"]),
        ("info sta", ["info status"]),
        ("help pai", ["help paint"]),
        ("? pai", ["? paint"]),
        ("help info lo", ["help info log"]),
        ("help paint ", []),
        (
            "paint ",
            ["paint red", "paint green", "paint greenish-blue", "paint colour=", "paint coats=", "paint glossy="],
        ),
        ("paint gr", ["paint green", "paint greenish-blue"]),
        ("paint c", ["paint colour=", "paint coats="]),
        ("paint colour=gr", ["paint colour=green", "paint colour=greenish-blue"]),
        ("paint red ", ["paint red coats=", "paint red glossy="]),
        ("paint red 2 ", ["paint red 2 on", "paint red 2 off", "paint red 2 glossy="]),
        (
            "paint coats=2 ",
            [f"paint coats=2 {each}" for each in ("red", "green", "greenish-blue", "colour=", "glossy=")],
        ),
        ("paint red coats=2 o", ["paint red coats=2 on", "paint red coats=2 off"]),
        ("paint red 2 on ", []),
        ("paint x=", []),
        ('paint "re', []),
        ("p gr", ["p green", "p greenish-blue"]),
        ("mix red,gr", ["mix red,green", "mix red,greenish-blue"]),
        ("mix red ", ["mix red on", "mix red off", "mix red switch="]),
        ("add ", [f"add {each}" for each in ("red", "green", "greenish-blue", "level=", "name=", "file.", "extra.")]),
        ("add file.", ["add file.driver=", "add file.filename="]),
        ("add file.driver=r", ["add file.driver=red"]),
        ("add extra.d", ["add extra.driver="]),
        ("add extra.driver=red extra.k", ["add extra.driver=red extra.kind="]),
        ("add file.nothing=", []),
        ("add nothing.x", []),
        ("info log g", ["info log green", "info log greenish-blue"]),
        ("load -", ["load -n", "load -a"]),
        ("load -n -", ["load -n -a"]),
        ("load -a word x r", ["load -a word x red"]),
        ("load x red o", ["load x red on", "load x red off"]),
        ("progress ", ["progress on", "progress off"]),
        ("nothing ", []),
        ("info nothing ", []),
        ("whatever ", []),
        ("any ", []),
        ("", ["?", "add", "any", "help", "info", "load", "mix", "paint", "pause", "progress", "whatever", "p"][1:-1]),
    ],
)
def test_ours(line: str, texts: list[str]) -> None:
    """Commands, sub-commands of info, parameters and their values, by declaration."""
    if line:
        assert _texts(OURS, line) == texts
    else:
        assert [text for text in _texts(OURS, line) if len(text) > 1] == texts


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("c", ["change", "cont", "c"]),
        ("info b", ["info block"]),
        ("info block ", ["info block -n", "info block -v"]),
        ("blockdev-mirror x ", ["blockdev-mirror x red", "blockdev-mirror x green", "blockdev-mirror x greenish-blue"]),
        ("change x -", ["change x -f"]),
        ("set_link x ", ["set_link x on", "set_link x off"]),
        ("set_link x on ", []),
        ("dump-guest-memory -", [f"dump-guest-memory -{c}" for c in "pdzl"]),
        ("migrate_set_capability r", ["migrate_set_capability red"]),
        ("migrate_set_capability red ", ["migrate_set_capability red on", "migrate_set_capability red off"]),
        ("migrate_set_parameter ", ["migrate_set_parameter max-bandwidth", "migrate_set_parameter downtime-limit"]),
        ("x-colo r", ["x-colo red"]),
        ("netdev_add u", ["netdev_add user"]),
        ("i/4x ", []),
        ("cont ", []),
    ],
)
def test_qemu(line: str, texts: list[str]) -> None:
    """In front of a QEMU: its own human commands by its help, their values also by its schema."""
    assert _texts(QEMU, line)[: len(texts) or None] == texts


def test_qemu_that_has_not_answered_yet() -> None:
    """Before a QEMU has told its help, there is what the schema has."""
    names = make_names(QEMU_COMMANDS)
    assert "info status" in _texts(names, "info ")
    assert _texts(names, "cont x") == []


@pytest.mark.parametrize(
    ("names", "line", "path"),
    [
        (OURS, "load /et", "/et"),
        (OURS, "load -n ", ""),
        (OURS, 'load "/a b', "/a b"),
        (OURS, 'load "/a \\"b\\\\"', '/a "b\\'),
        (OURS, "pause x", "x"),
        (OURS, "pause target=x", "x"),
        (OURS, "add file.filename=y", "y"),
        (OURS, "paint x", None),
        (QEMU, "change ide0 ./x", "./x"),
        (QEMU, "dump-guest-memory -p ", ""),
        (QEMU, "nbd_server_add dev name x", None),
    ],
)
def test_files(names: Names, line: str, path: str | None) -> None:
    """Where a file name is expected, its beginning is given, unquoted, and where it begins in the line."""
    found = complete(names, line)
    assert found.path == path
    if path is not None:
        assert line[found.start :].startswith(('"', path))


def test_candidates_have_help() -> None:
    """A command comes with its help, an alias with what it stands for."""
    assert complete(OURS, "paint").candidates == (Candidate("paint", "paint it"),)
    assert complete(OURS, "st").candidates == ()
    found = {each.text: each.help for each in complete(OURS, "p").candidates}
    assert found["p"] == "paint|p  -- paint it"
    assert complete(QEMU, "set_").candidates == (Candidate("set_link", "change the link status of a network adapter"),)


@pytest.mark.parametrize("text", ["a", "a b", 'a"b', "a\\b", "", "a\nb\tc\rd", "ä ö"])
def test_quoted_words_are_read_back(text: str) -> None:
    """A quoted word is read as the text that it was made of."""
    assert read_word(Cursor(quote(text) + " x")) == text


PERSON = make_names(COMMANDS, interactive=True)


@pytest.mark.parametrize(
    ("line", "start", "texts"),
    [
        ("ex", 0, ["exit"]),
        ("lo", 0, ["load", "log", "logout"]),
        ("events ", 7, ["on", "off"]),
        ("events of", 7, ["off"]),
        ("events on ", 10, []),
        ("events on A,", 12, []),
        ("events off ", 11, []),
        ("log ", 4, ["follow"]),
        ("exit ", 5, []),
        ("watch pai", 6, ["paint"]),
        ("watch 0.5 pai", 10, ["paint"]),
        ("  watch 2 paint gr", 16, ["green", "greenish-blue"]),
        ("watch info st", 11, ["st", "status"]),
        ("help wat", 5, ["watch"]),
    ],
)
def test_words_of_the_session(line: str, start: int, texts: list[str]) -> None:
    """Where a person is at the other end they are completed too; behind C{watch}, the line that is repeated."""
    found = complete(PERSON, line)
    assert (found.start, [each.text for each in found.candidates]) == (start, texts)


def test_no_words_of_the_session() -> None:
    """A machine has none, and a command of that name comes first."""
    assert complete(OURS, "ex").candidates == ()
    names = make_names({**COMMANDS, "events": _info("events", ("colour", COLOUR))}, interactive=True)
    assert [each.text for each in complete(names, "events gr").candidates] == ["green", "greenish-blue"]


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("events on ", ""),
        ("events on ST", "ST"),
        ("events on A,ST", "ST"),
        ("events on A ST", "ST"),
        ("events o", None),
        ("events off ", None),
        ("watch events on S", "S"),
        ("paint ", None),
    ],
)
def test_names_of_events(line: str, event: str | None) -> None:
    """Where the name of an event is expected that is said, with what there is of it: the caller can learn the names."""
    assert complete(make_names(COMMANDS, interactive=True), line).event == event
    assert complete(OURS, line).event is None

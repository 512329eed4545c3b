"""
The rules: what a file may say, what is wrong with one that can't be used, and the verdict on a caller.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.access_reference import LEVELS, matches_identity, may
from twisted_qmon.core.access.file import MAX_FILE, Access, load_rules
from twisted_qmon.core.access.identity import Identity
from twisted_qmon.core.access.rules import AccessError, Grant, Rules, endpoint_name, parse_rules
from twisted_qmon.info import Level, Need, default_level

ALICE = Identity("uid:1000(alice) pid:7", "uid:1000(alice)", ("uid:1000", "uid:alice", "gid:27", "gid:ops"), "uid:1000")

EXAMPLE = """
default = "none"
[[grant]]
who = ["uid:alice", "gid:ops", "cert:CN=backup,*", "ssh:SHA256:abc", "web:dashboard", "fleet:ops-*"]
level = "operate"
also = ["quit"]
never = ["service-*"]
endpoint = "unix:ops.sock:mode=660"
"""


def load(tmp_path: Path, text: str | bytes) -> Rules:
    """The rules of a file with this text, read in its folder's name so that errors are short."""
    path = tmp_path / "access.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rules(str(path))


def test_example_of_the_documentation(tmp_path: Path) -> None:
    """Each key of a grant has its effect: level, also, never, and only at the endpoint."""
    rules = load(tmp_path, EXAMPLE)
    verdict = rules.verdict(ALICE, "unix:ops.sock")
    assert verdict.level is Level.OPERATE
    assert verdict.allows(Need(Level.OPERATE, "stop"))
    assert verdict.allows(Need(Level.ADMIN, "quit"))
    assert not verdict.allows(Need(Level.ADMIN, "migrate"))
    assert not verdict.allows(Need(Level.OBSERVE, "service-list"))
    assert rules.verdict(ALICE, "unix:other.sock").level is Level.NONE


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("default = 'root'", "default: 'root' is not a level: none, observe, operate or admin"),
        ("default = 'ADMIN'", "default: 'ADMIN' is not a level: none, observe, operate or admin"),
        ("default = 3", "default: 3 is not a level: none, observe, operate or admin"),
        ("defualt = 'none'", "defualt: there is no such key; there are default, grant"),
        ("grant = 1", "grant: each grant is a table of its own: [[grant]]"),
        ("grant = [1]", "grant: each grant is a table of its own: [[grant]]"),
        ("[grant]\nwho = ['*']", "grant: each grant is a table of its own: [[grant]]"),
        ("[[grant]]\nlevel = 'admin'", "grant[1].who: at least one identity is expected"),
        ("[[grant]]\nwho = 'uid:0'", "grant[1].who: a list of strings is expected, not 'uid:0'"),
        ("[[grant]]\nwho = [7]", "grant[1].who: a list of strings is expected, with 7 in it"),
        ("[[grant]]\nwho = ['']", "grant[1].who: a list of strings is expected, with '' in it"),
        (
            "[[grant]]\nwho = ['*']\n[[grant]]\nwho = ['user:alice']",
            "grant[2].who: 'user:alice' is not a pattern for an identity: "
            "uid:..., gid:..., cert:..., ssh:..., web:..., fleet:..., tcp:..., tls:..., local or *",
        ),
        ("[[grant]]\nwho = ['*']\nlevels = 'admin'", None),
        ("[[grant]]\nwho = ['*']\nalso = 'quit'", "grant[1].also: a list of strings is expected, not 'quit'"),
        ("[[grant]]\nwho = ['*']\nendpoint = ''", "grant[1].endpoint: a string is expected, not ''"),
        ("[[grant]]\nwho = ['*']\nendpoint = 1", "grant[1].endpoint: a string is expected, not 1"),
        ('"a\\nb" = 1', "a\\nb: there is no such key; there are default, grant"),
        ("default = ", "not TOML: Invalid value (at end of document)"),
        (b"default = '\xff'", "not UTF-8 at byte 11"),
        ("a = " + "[" * 3000, "not TOML"),
    ],
)
def test_invalid_file_is_one_line(tmp_path: Path, text: str | bytes, error: str | None) -> None:
    """A file that can't be used is refused with its name, the key and the reason, on one line."""
    with pytest.raises(AccessError) as raised:
        load(tmp_path, text)
    said = str(raised.value)
    if error is None:
        error = "grant[1].levels: there is no such key; there are who, level, also, never, endpoint"
    assert said.startswith(f"{tmp_path}/access.toml: {error}")
    assert said.isprintable()


@pytest.mark.parametrize("who", ["uid:", "unix", "local:x", "pid:1", ":", "?ert:CN=x", "uid"])
def test_who_names_a_kind(who: str) -> None:
    """A pattern names the kind of identity literally: a misspelt one would match nobody without a word."""
    with pytest.raises(AccessError, match=r"is not a pattern for an identity"):
        parse_rules({"grant": [{"who": [who]}]}, "rules")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that can't be opened is one line with the system's reason."""
    with pytest.raises(AccessError, match=r"/none.toml: No such file or directory$"):
        load_rules(str(tmp_path / "none.toml"))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AccessError, match=r": Is a directory$"):
        load_rules(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("path", "error"), [("fifo", "not a regular file"), ("/dev/zero", "not a regular file"), ("long", "longer than ")]
)
def test_file_that_would_hold_the_process_up(tmp_path: Path, path: str, error: str) -> None:
    """A FIFO that no process writes to, a device without an end and a file that is far too long are refused at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(AccessError, match=error):
        load_rules(str(tmp_path / path))


def test_empty_file_gives_nothing(tmp_path: Path) -> None:
    """Without C{default}, who matches nothing may do nothing."""
    assert load(tmp_path, "").verdict(ALICE).level is Level.NONE


def test_reload_keeps_the_old_rules_when_the_new_are_invalid(tmp_path: Path) -> None:
    """Reading the file again takes the new rules, or raises and leaves the old ones in force."""
    path = tmp_path / "access.toml"
    path.write_text("default = 'observe'")
    access = Access(path)
    assert access.verdict(ALICE).level is Level.OBSERVE
    path.write_text("default = 'operate'")
    access.reload()
    assert access.verdict(ALICE).level is Level.OPERATE
    path.write_text("default = 'everything'")
    with pytest.raises(AccessError):
        access.reload()
    assert access.verdict(ALICE).level is Level.OPERATE


def test_rules_without_a_file_are_reloaded_in_vain() -> None:
    """Rules made by a program stay as they are."""
    access = Access(Rules(Level.OBSERVE))
    access.reload()
    assert access.verdict(ALICE).level is Level.OBSERVE


def test_grant_without_level_leaves_it_to_the_default() -> None:
    """A grant that only forbids, or only adds, does not take the default's level away."""
    rules = parse_rules({"default": "observe", "grant": [{"who": ["*"], "never": ["quit"]}]}, "rules")
    assert rules.verdict(ALICE).level is Level.OBSERVE


def test_level_of_the_endpoint_caps_also() -> None:
    """What a grant adds is no more than the endpoint gives."""
    rules = Rules(Level.OBSERVE, (Grant(("*",), also=("quit", "stop")),))
    verdict = rules.verdict(ALICE, "", Level.OPERATE)
    assert verdict.allows(Need(Level.OPERATE, "stop"))
    assert not verdict.allows(Need(Level.ADMIN, "quit"))


def test_denial_says_what_is_needed_and_what_the_caller_has() -> None:
    """The error of a refused command names the command, the level it needs, the caller and the caller's level."""
    verdict = Rules(Level.OPERATE, (Grant(("*",), never=("service-*",)),)).verdict(ALICE)
    assert (
        verdict.denial(ALICE.name, Need(Level.ADMIN, "quit")).desc
        == "Permission denied: 'quit' needs admin, uid:1000(alice) has operate"
    )
    assert (
        verdict.denial(ALICE.name, Need(Level.OPERATE, "service-stop")).desc
        == "Permission denied: 'service-stop' is never allowed to uid:1000(alice)"
    )


def test_alias_gets_the_verdict_of_its_command() -> None:
    """A pattern that matches one of a command's names matches the command."""
    verdict = Rules(Level.OPERATE, (Grant(("*",), also=("q",), never=("migrate",)),)).verdict(ALICE)
    assert verdict.allows(Need(Level.ADMIN, "quit", ("q",)))
    assert not verdict.allows(Need(Level.OPERATE, "qmon-migrate", ("migrate",)))


def test_verdict_remembers_a_bounded_number_of_names() -> None:
    """Words that come from a client don't pile up in its verdict."""
    verdict = Rules(Level.OBSERVE, (Grant(("*",), also=("x*",)),)).verdict(ALICE)
    for number in range(10_000):
        assert verdict.allows(Need(Level.ADMIN, f"x{number}"))
    assert len(verdict._answers) <= 4096


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("unix:ops.sock", "unix:ops.sock"),
        ("unix:ops.sock:mode=660:level=observe", "unix:ops.sock"),
        ("unix:mode=660:address=ops.sock", "unix:ops.sock"),
        ("tcp:4444:interface=127.0.0.1", "tcp:4444"),
        ("tcp:interface=127.0.0.1:port=4444", "tcp:4444"),
        (r"unix:a\:b.sock", "unix:a:b.sock"),
        ("systemd:domain=UNIX:index=0", "systemd:UNIX"),
        ("guest-7.qmp", "guest-7.qmp"),
        ("haproxy:unix:ops.sock:mode=660", "haproxy:unix:ops.sock"),
        ("haproxy:tcp:4444:interface=::1", "haproxy:tcp:4444"),
    ],
)
def test_endpoint_is_named_by_type_and_first_argument(description: str, name: str) -> None:
    """An endpoint's further options make no difference to the rules."""
    assert endpoint_name(description) == name


@pytest.mark.parametrize(
    ("pattern", "attribute", "matches"),
    [
        ("cert:CN=backup,*", "cert:CN=backup,O=ops", True),
        ("cert:CN=backup,*", "cert:CN=backup,O=ops,C=DE", True),
        ("cert:CN=backup,*", "cert:CN=backup", False),
        ("cert:CN=*,O=ops", "cert:CN=alice,O=ops", True),
        ("cert:CN=*,O=ops", r"cert:CN=alice\,O=ops", False),
        ("cert:CN=*,O=ops", "cert:CN=alice,O=evil,O=ops", False),
        ("cert:CN=alice*", "cert:CN=alice,O=ops", False),
        ("cert:*,O=ops", "cert:CN=alice,OU=a,O=ops", True),
        (r"cert:CN=Smith\, J,O=ops", r"cert:CN=Smith\, J,O=ops", True),
        ("cert:*", "cert:CN=alice,O=ops", True),
        ("*", "cert:CN=alice,O=ops", True),
        ("uid:al*", "uid:alice", True),
        ("uid:*", "gid:27", False),
        ("cert:*", "uid:0", False),
    ],
)
def test_patterns_match_whole_attributes(pattern: str, attribute: str, matches: bool) -> None:
    """C{*} within one attribute of a subject never reaches into the next: a comma in a name is no way into O=ops."""
    assert matches_identity(pattern, attribute) is matches
    rules = Rules(Level.NONE, (Grant((pattern,), Level.ADMIN),))
    assert (rules.verdict(Identity("x", "x", (attribute,))).level is Level.ADMIN) is matches


@pytest.mark.parametrize(("name", "level"), [("query-status", "observe"), ("quit", "operate"), ("query", "operate")])
def test_default_level(name: str, level: str) -> None:
    """A command that does not say its level is C{observe} if it only asks, else C{operate}."""
    assert str(default_level(name)) == f"{default_level(name)}" == level


def test_levels_contain_each_other() -> None:
    """The levels compare, and are known by their names in small letters only."""
    assert [Level.of(name) for name in LEVELS] == sorted(Level) == list(Level)
    assert Level.of(Level.ADMIN) is Level.ADMIN
    for wrong in ("Admin", "root", "", 1):
        with pytest.raises(ValueError, match="is not a level"):
            Level.of(wrong)  # type: ignore[arg-type]


# -- against the second implementation

_attribute = st.sampled_from(
    [
        "uid:0",
        "uid:al",
        "uid:bob",
        "gid:a",
        "web:al",
        "cert:CN=al,O=a",
        "cert:CN=al",
        r"cert:CN=a\,O=a,O=b",
        "cert:O=a,O=a",
    ]
)
_glob = st.text("abl*?[]!", min_size=1, max_size=4)
_rdn = st.one_of(
    st.just("*"), _glob.map("CN=".__add__), _glob.map("O=".__add__), st.sampled_from(["CN=al", "O=a", r"CN=a\,O=a"])
)
_who = st.one_of(
    st.just("*"),
    _attribute,
    st.tuples(st.sampled_from(["uid", "gid", "web"]), _glob).map(":".join),
    st.lists(_rdn, min_size=1, max_size=3).map(lambda parts: "cert:" + ",".join(parts)),
)
_name = st.sampled_from(["quit", "q", "stop", "query-status", "service-stop", "service-start"])
_pattern = st.one_of(_name, st.sampled_from(["*", "q*", "service-*", "*-st*", "[qs]*", "?", "[!q]*"]))
_level = st.sampled_from(LEVELS)
_endpoint = st.sampled_from(["unix:a.sock", "tcp:4444"])
_grant = st.fixed_dictionaries(
    {"who": st.lists(_who, min_size=1, max_size=3)},
    optional={
        "level": _level,
        "also": st.lists(_pattern, max_size=2),
        "never": st.lists(_pattern, max_size=2),
        "endpoint": _endpoint,
    },
)
_document = st.fixed_dictionaries({"grant": st.lists(_grant, max_size=4)}, optional={"default": _level})


@settings(max_examples=1000, deadline=None)
@given(
    document=_document,
    attributes=st.lists(_attribute, max_size=3, unique=True),
    endpoint=_endpoint,
    cap=_level,
    command=st.lists(_name, min_size=1, max_size=2, unique=True),
    needed=_level,
)
def test_verdict_is_that_of_the_slow_way(
    document: dict[str, Any], attributes: list[str], endpoint: str, cap: str, command: list[str], needed: str
) -> None:
    """For any rules, caller and command the verdict is what a plain reading of the documentation gives; never wins over all."""
    verdict = parse_rules(document, "rules").verdict(Identity("x", "x", tuple(attributes)), endpoint, Level.of(cap))
    need = Need(Level.of(needed), command[0], tuple(command[1:]))
    allowed = verdict.allows(need)
    assert allowed is may(document, attributes, endpoint, cap, command, needed)
    assert allowed is verdict.allows(need)
    if verdict.unlimited:
        assert allowed

"""The router of docs/examples/fleet: its rules, its configurations, and the fleet to play with."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.live.fleet_process import PATIENCE_MANY, crossbar
from tests.live.qmon_program import COMMAND, environment
from tests.live.twistd_process import PATIENCE, ROOT, until
from twisted_qmon.core.access.file import load_rules
from twisted_qmon.core.access.identity import fleet_identity
from twisted_qmon.info import Level

FLEET = ROOT / "docs" / "examples" / "fleet"


@pytest.fixture
def rules() -> Any:
    """The module of the router."""
    return SimpleNamespace(**runpy.run_path(str(FLEET / "fleet_router.py"), run_name="fleet_router"))


def test_a_ticket_is_kept_as_a_hash(rules: Any, tmp_path: Path) -> None:
    """A ticket opens for its own name and role, another does not; the file is for its owner, and has none in it."""
    path = tmp_path / "tickets.toml"
    tickets = rules.Tickets(path)
    assert tickets.role("web-1", "") == ""
    made = {name: tickets.add(name, role) for name, role in (("web-1", "member"), ("ops-a", "operator"))}
    assert tickets.role("web-1", made["web-1"]) == "member"
    assert tickets.role("ops-a", made["ops-a"]) == "operator"
    assert tickets.role("web-1", made["ops-a"]) == ""
    assert tickets.role("web-2", made["web-1"]) == ""
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(ticket in path.read_text() for ticket in made.values())


def test_the_file_is_read_again(rules: Any, tmp_path: Path) -> None:
    """What is changed by hand holds from then on; a role that the name can't have does not."""
    path = tmp_path / "tickets.toml"
    tickets = rules.Tickets(path)
    ticket = tickets.add("web-1", "member")
    assert tickets.role("web-1", ticket) == "member"
    path.write_text(path.read_text().replace("member", "operator") + "# another size")
    assert tickets.role("web-1", ticket) == ""
    path.write_text("")
    assert tickets.role("web-1", ticket) == ""


@pytest.mark.parametrize(
    ("name", "role", "reason"),
    [
        ("a.b", "member", "is not a name"),
        ("", "member", "is not a name"),
        ("web-1", "king", "is not a role"),
        ("alice", "operator", "begins with 'ops-'"),
        ("ops-alice", "member", "does not begin with"),
        ("taken", "member", "has a ticket"),
    ],
)
def test_names_that_get_no_ticket(rules: Any, tmp_path: Path, name: str, role: str, reason: str) -> None:
    """A name fits its role, and has one ticket."""
    tickets = rules.Tickets(tmp_path / "tickets.toml")
    tickets.add("taken", "member")
    with pytest.raises(ValueError, match=reason):
        tickets.add(name, role)


@pytest.mark.parametrize(
    ("action", "uri", "match", "allowed"),
    [
        ("register", "qmon.web-1.", "prefix", True),
        ("register", "qmon.web-1.execute", "exact", True),
        ("register", "qmon.web-1", "prefix", False),
        ("register", "qmon.web-10.", "prefix", False),
        ("register", "qmon.", "prefix", False),
        ("register", "qmon.web-1.execute", "wildcard", False),
        ("publish", "qmon.web-1.event.NEWS", "exact", True),
        ("publish", "qmon.web-1.other", "exact", False),
        ("publish", "qmon.web-2.event.NEWS", "exact", False),
        ("call", "qmon.web-1.execute", "exact", False),
        ("subscribe", "qmon.web-1.event.", "prefix", False),
    ],
)
def test_what_a_member_may(rules: Any, action: str, uri: str, match: str, allowed: bool) -> None:
    """It offers and publishes what begins with its own name, and does nothing else."""
    assert rules.may("web-1", action, uri, match) is allowed


def test_the_authenticator(rules: Any, tmp_path: Path) -> None:
    """It is what the router asks: who has a ticket gets its role, another an error that the router understands."""
    exceptions = pytest.importorskip("autobahn.wamp.exception", reason="a fleet needs Autobahn, and Python 3.11")
    ticket = rules.Tickets(tmp_path / "t.toml").add("web-1", "member")
    authenticate = rules.create_authenticator({"tickets": str(tmp_path / "t.toml")}, None)
    assert authenticate("qmon", "web-1", {"ticket": ticket}) == {"realm": "qmon", "authid": "web-1", "role": "member"}
    for name in ("web-2", None):
        with pytest.raises(exceptions.ApplicationError, match="is not valid"):
            authenticate("qmon", name, {"ticket": ticket})


def test_the_authorizer(rules: Any) -> None:
    """Its answers are never cached: the router's cache does not know the name."""
    pytest.importorskip("autobahn", reason="a fleet needs Autobahn, and Python 3.11")
    authorize = rules.Authorizer().authorize
    session = {"authid": "web-1"}
    for uri, options, allowed in (
        ("qmon.web-1.", {"match": "prefix"}, True),
        ("qmon.web-1.execute", None, True),
        ("qmon.web-2.", {"match": "prefix"}, False),
    ):
        assert authorize(session, uri, "register", options) == {"allow": allowed, "disclose": True, "cache": False}


def test_the_directory(rules: Any) -> None:
    """It knows the members that there are, by their registrations, and nothing else."""
    pytest.importorskip("autobahn", reason="a fleet needs Autobahn, and Python 3.11")
    directory = rules.Directory()
    directory.registrations = {}
    for number, uri, match in ((1, "qmon.a.", "prefix"), (2, "qmon.b.", "prefix"), (3, "fleet_router.x", "exact")):
        directory.created(9, {"id": number, "uri": uri, "match": match})
    directory.deleted(9, 1)
    directory.deleted(9, 3)
    assert directory.members() == [[2, "qmon.b."]]


def _config(name: str) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((FLEET / name).read_text())


def test_the_configurations_differ_in_their_transport_alone() -> None:
    """What is tried with C{router.yaml} holds for C{router-tls.yaml}, but for the port and TLS."""
    plain, tls = (_config(name)["workers"][0] for name in ("router.yaml", "router-tls.yaml"))
    endpoints = [worker["transports"][0].pop("endpoint") for worker in (plain, tls)]
    assert plain == tls
    assert endpoints[0] == {"type": "tcp", "interface": "127.0.0.1", "port": 8080}
    assert set(endpoints[1]) - set(endpoints[0]) == {"tls"}
    opened = _config("router-open.yaml")["workers"][0]["transports"][0]
    assert opened["endpoint"]["interface"] == "127.0.0.1"


def test_who_calls_is_told() -> None:
    """Each role that may call has its callers disclosed, without which members refuse."""
    for name in ("router.yaml", "router-open.yaml"):
        roles = _config(name)["workers"][0]["realms"][0]["roles"]
        for role in roles:
            for each in role.get("permissions", ()):
                if each["uri"] in ("qmon.", ""):
                    assert each["disclose"]["caller"] is True


def test_levels_are_those_of_the_roles(rules: Any) -> None:
    """The members' rules give each role's names its level, others none; and the page shows this very file."""
    access = load_rules(str(FLEET / "access.toml"))
    levels = {"observer": Level.OBSERVE, "operator": Level.OPERATE, "admin": Level.ADMIN}
    for role, prefix in rules.PREFIXES.items():
        assert access.verdict(fleet_identity(f"{prefix}x"), "fleet:router:1", Level.ADMIN).level == levels[role]
    assert access.verdict(fleet_identity("web-1"), "fleet:router:1", Level.ADMIN).level == Level.NONE
    [shown] = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs" / "fleet.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for line in (FLEET / "access.toml").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in shown.splitlines() if line] == [line for line in lines if line]


def test_making_tickets_as_a_command(tmp_path: Path) -> None:
    """It prints the ticket, or one line that says why there is none."""
    program = tmp_path / "fleet_router.py"
    program.write_text((FLEET / "fleet_router.py").read_text())

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, str(program), *words], capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    status, out, _ = run("web-1", "member")
    assert status == 0
    assert len(out.strip()) > 40
    assert run("web-1", "member")[:2] == (1, "")
    assert run("web-1")[0] == 2


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The fleet to play with, smaller."""
    variables = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "QMON_CROSSBAR": crossbar()}
    with subprocess.Popen(
        [sys.executable, str(FLEET / "play.py"), "--members", "2"],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


@pytest.mark.live
def test_playing(playing: subprocess.Popen[str]) -> None:
    """What it says to try works: the command lines are those that it prints."""
    assert playing.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("    kill"):
        line = playing.stdout.readline()
        assert line, "it has ended"
        lines.append(line)
    folder = Path(lines[1].split()[4].rstrip("."))
    [exports] = [line.split()[1:] for line in lines if line.strip().startswith("export")]
    [ls] = [line.split() for line in lines if line.rstrip().endswith(" ls")]
    variables = dict(each.split("=", 1) for each in exports)

    def listed() -> list[str]:
        done = subprocess.run(
            [*COMMAND, *ls[1:], "--table"],
            cwd=folder,
            env=environment(folder, **variables),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout.split()

    until("both members", lambda: listed() == ["play-01", "play-02"], patience=PATIENCE_MANY)

"""
The level of each of QEMU's commands, and of the lines that people type at it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import Proxy
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import unix_identity
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.info import Level
from twisted_qmon.providers.qemu.levels import ADMIN, OBSERVE, OPERATE, command_level, is_known, read_line
from twisted_qmon.testing import HMPConnection, QMPConnection

#: What QEMU 7.2's C{query-commands} lists.
COMMANDS = json.loads((Path(__file__).parents[2] / "data" / "qemu-commands.json").read_text())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_qemu_has_a_level(name: str) -> None:
    """Each command of QEMU 7.2 was thought about: none is C{admin} only because nobody has."""
    assert is_known(name)


def test_table_is_of_qemus_commands() -> None:
    """The table names no command that QEMU does not have, and none twice."""
    assert (OBSERVE | OPERATE | ADMIN) - set(COMMANDS) == set()
    assert not OBSERVE & OPERATE
    assert not (OBSERVE | OPERATE) & ADMIN


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("query-status", "observe"),
        ("query-block", "observe"),
        ("x-query-roms", "observe"),
        ("qom-list", "observe"),
        ("stop", "operate"),
        ("cont", "operate"),
        ("system_reset", "operate"),
        ("system_powerdown", "operate"),
        ("job-cancel", "operate"),
        ("block-job-pause", "operate"),
        ("balloon", "operate"),
        ("quit", "admin"),
        ("human-monitor-command", "admin"),
        ("migrate", "admin"),
        ("migrate_cancel", "admin"),
        ("migrate-set-parameters", "admin"),
        ("blockdev-add", "admin"),
        ("object-add", "admin"),
        ("chardev-add", "admin"),
        ("device_add", "admin"),
        ("qom-get", "admin"),
        ("screendump", "admin"),
        ("guest-shutdown", "admin"),
        ("no-such-command", "admin"),
        ("qmp_capabilities", "none"),
    ],
)
def test_level(name: str, level: str) -> None:
    """Looking is C{observe}, changing the guest's work C{operate}, and all else C{admin}, what is not known included."""
    assert command_level(name) is Level.of(level)


@pytest.mark.parametrize(
    ("line", "words", "level", "names"),
    [
        ("info block", "info block", "observe", {"query-block", "info"}),
        ("  info\tblock_jobs -v", "info block_jobs", "observe", {"query-block-jobs", "info"}),
        ("info", "info", "observe", {"info"}),
        ("help system_reset", "help", "observe", {"help"}),
        ("?", "?", "observe", {"help", "?"}),
        ("", "", "observe", {""}),
        ("stop", "stop", "operate", {"stop"}),
        ("s", "s", "operate", {"stop", "s"}),
        ("c", "c", "operate", {"cont", "c"}),
        ("system_reset", "system_reset", "operate", {"system_reset", "system-reset"}),
        ("block_job_cancel -f x", "block_job_cancel", "operate", {"block_job_cancel", "block-job-cancel"}),
        ("sendkey ctrl-alt-f1", "sendkey", "operate", {"send-key", "sendkey"}),
        ("nmi", "nmi", "operate", {"inject-nmi", "nmi"}),
        ("mouse_move 1 1", "mouse_move", "operate", {"mouse_move", "mouse-move"}),
        ("q", "q", "admin", {"quit", "q"}),
        ("quit", "quit", "admin", {"quit"}),
        ("\n quit", "quit", "admin", {"quit"}),
        ("x/10i $pc", "x", "admin", {"x"}),
        ("change vnc password marker", "change", "admin", {"change"}),
        ("object_add secret,id=a,data=marker", "object_add", "admin", {"object_add", "object-add"}),
        ("info\xa0block", "info\xa0block", "admin", {"info\xa0block"}),
        ("stop\0", "stop\0", "admin", {"stop\0"}),
        ("INFO block", "INFO", "admin", {"INFO"}),
    ],
)
def test_line(line: str, words: str, level: str, names: set[str]) -> None:
    """A typed line has the level of its word, found as QEMU finds it; rules see the QMP command's name and the word itself."""
    read = read_line(line)
    assert read.words == words
    assert read.need.level is Level.of(level)
    assert {read.need.name, *read.need.aliases} == names


ALICE = unix_identity(1000, 1, [1000], {1000: "alice"}, {})


class ProxyTests(SynchronousTestCase):
    """Rules in front of a QEMU."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def connect(self, rules: dict[str, Any]) -> tuple[Proxy, QMPConnection, HMPConnection]:
        """A proxy, and a machine and a person at it."""
        proxy = Proxy()
        proxy.monitor.set_guard(access=Access(parse_rules(rules, "rules")))
        return proxy, QMPConnection(proxy.monitor, identity=ALICE), HMPConnection(proxy.monitor, identity=ALICE)

    def test_observe(self) -> None:
        """A caller at observe may ask, and see what C{info} prints; QEMU does not hear of the rest, by whatever way."""
        proxy, machine, person = self.connect({"default": "observe"})
        machine.send({"execute": "query-block", "id": 1})
        [request] = proxy.qemu.asked()
        self.assertEqual(request["execute"], "query-block")
        proxy.qemu.answer(request, [])
        machine.received()
        for name in ("quit", "migrate", "snapshot-save", "job-cancel", "qmon-savevm"):
            self.assertIn("Permission denied", machine.execute(name)["error"]["desc"])
        for line in ("quit", "q", "stop", "savevm x", "system_reset", "migrate -d x", "nonsense"):
            answer = machine.execute("human-monitor-command", {"command-line": line})
            self.assertIn("Permission denied", answer["error"]["desc"])
            self.assertIn("Permission denied", person.type(line))
        self.assertEqual(proxy.qemu.asked(), [])
        person.type("info block")
        machine.send({"execute": "human-monitor-command", "arguments": {"command-line": "info block"}})
        # What QEMU's help does not list is asked for in QMP.
        self.assertEqual(
            [request["execute"] for request in proxy.qemu.asked()], ["query-block", "human-monitor-command"]
        )

    def test_operate(self) -> None:
        """A caller at operate may stop the guest, typed or not, and not end QEMU."""
        proxy, machine, person = self.connect({"default": "operate", "grant": [{"who": ["*"], "never": ["cont"]}]})
        person.type("stop")
        self.assertEqual([request["arguments"]["command-line"] for request in proxy.qemu.asked()], ["stop"])
        self.assertEqual(
            machine.execute("human-monitor-command", {"command-line": "c"})["error"]["desc"],
            "Permission denied: 'cont' is never allowed to uid:1000(alice)",
        )
        self.assertIn("'quit' needs admin", machine.execute("quit")["error"]["desc"])

    def test_lists(self) -> None:
        """C{query-commands} and C{help} leave out what the caller may not run."""
        _, machine, person = self.connect({"default": "observe"})
        names = {entry["name"] for entry in machine.execute("query-commands")["return"]}
        self.assertEqual(names & {"quit", "migrate", "query-block", "query-whoami"}, {"query-block", "query-whoami"})
        self.assertNotIn("stop", person.type("help"))

    def test_arguments_in_the_audit(self) -> None:
        """Secrets are not shown, of what QEMU does not have only the names are, and of typed lines only the word."""
        path = self.folder / "audit"
        proxy = Proxy(connect=False)
        proxy.qemu.greet()
        proxy.qemu.introduce({"object-add": (True, False)})
        audit = Audit(str(path), proxy.clock.seconds)
        proxy.monitor.set_guard(audit=audit)
        machine = QMPConnection(proxy.monitor, identity=ALICE)
        machine.send(
            {"execute": "object-add", "arguments": {"data": "marker"}, "id": 1},
            {"execute": "migrate", "arguments": {"x": "file"}, "id": 2},
            {"execute": "human-monitor-command", "arguments": {"command-line": "change vnc password marker"}, "id": 3},
            {"execute": "human-monitor-command", "arguments": {"command-line": "info block marker"}, "id": 4},
        )
        audit.close()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual(
            [(line["command"], line.get("arguments")) for line in lines if line["phase"] == "start"],
            [("object-add", ["data"]), ("migrate", {"x": "file"}), ("change", None)],
        )
        self.assertNotIn("marker", path.read_text())

"""
People at the proxy of a real QEMU: its human monitor, and what takes long there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.real_qemu import Person, RealQemu
from tests.live.twistd_process import QMP, Twistd, until

pytestmark = pytest.mark.live


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[RealQemu]:
    """A running QEMU."""
    with RealQemu(tmp_path) as qemu:
        yield qemu


@pytest.fixture
def proxy(tmp_path: Path, qemu: RealQemu) -> Iterator[Twistd]:
    """A proxy to it, for machines and people."""
    with Twistd(
        tmp_path, ["--qemu", f"unix:{qemu.socket}", "--qmp", "unix:qmp.sock", "--hmp", "unix:hmp.sock"]
    ) as proxy:
        client = proxy.qmp()
        until("QEMU behind the proxy", lambda: "return" in client.answer("query-block"), proxy)
        yield proxy


@pytest.fixture
def people(proxy: Twistd) -> Iterator[tuple[Person, Person]]:
    """Two of them."""
    with Person(proxy.folder / "hmp.sock") as one, Person(proxy.folder / "hmp.sock") as two:
        yield one, two


def test_lines_go_to_qemu(qemu: RealQemu, people: tuple[Person, Person]) -> None:
    """What a person types is run by QEMU, word for word; what QEMU prints is printed."""
    person, _ = people
    direct = QMP(qemu.other)
    try:
        lines = [
            "info version",
            "info block",
            "print 1+0x10",
            "info nope",
            "nope",
            "info  name",
            "x /2x 0",
            "help stop",
            "info",
        ]
        for line in lines:
            text = direct.execute("human-monitor-command", {"command-line": line}).replace("\r\n", "\n")
            if line == "info":
                # Ours stand beside QEMU's own there.
                assert set(text.splitlines()) <= set(person.does(line).splitlines())
            else:
                assert person.does(line) == text, line
    finally:
        direct.reader.close()
        direct.socket.close()


def test_snapshots(people: tuple[Person, Person]) -> None:
    """C{savevm}, C{loadvm}, C{delvm}; one of the same name is replaced; errors are QEMU's."""
    person, _ = people
    assert person.does("savevm a") == ""
    assert person.does("savevm a") == ""
    listed = person.does("info snapshots")
    assert [line.split()[1] for line in listed.splitlines() if line.startswith("--  ")] == ["a"]
    assert person.does("loadvm a") == ""
    assert person.does("loadvm nope") == "Error: Snapshot 'nope' does not exist in one or more devices\n"
    assert person.does("savevm") == ""
    assert "vm-20" in person.does("info snapshots")
    assert person.does("delvm a") == ""
    assert " a " not in person.does("info snapshots")


def test_migration(proxy: Twistd, people: tuple[Person, Person]) -> None:
    """One migrates for seconds and sees how far it is; another person and a machine are answered meanwhile; it is cancelled."""
    one, two = people
    machine = proxy.qmp()
    machine.execute("migrate-set-parameters", {"max-bandwidth": 50_000})
    one.does("progress on")
    one.types(f"migrate exec:cat>{proxy.folder}/state")
    until(
        "progress", lambda: [each for each in machine.execute("query-pending") if each.get("progress", {}).get("total")]
    )
    assert "VM status: paused" in two.does("info status")
    assert machine.execute("query-status")["status"] == "prelaunch"
    (pending,) = (each for each in machine.execute("query-pending") if each["command"] == "qmon-migrate")
    assert pending["progress"]["total"] > 60 << 20
    assert "%" in one.waits(2.5)
    assert "active" in two.does("info migrate")
    machine.execute("cancel-command", {"number": pending["number"]})
    assert "cancelled" in one.reads()
    until("the migration's end", lambda: machine.execute("query-migrate")["status"] == "cancelled")
    assert machine.execute("query-pending") == []


def test_migration_fails(people: tuple[Person, Person]) -> None:
    """A migration that fails prints QEMU's error, at once or later."""
    person, _ = people
    assert person.does("migrate bogus").startswith("Error: ")
    text = person.does("migrate tcp:127.0.0.1:1")
    assert text == "Error: Failed to connect to '127.0.0.1:1': Connection refused\n"


def test_migration_completes(proxy: Twistd, people: tuple[Person, Person]) -> None:
    """Two at once: the second is refused by QEMU; a machine waits for the whole of it with one request."""
    person, _ = people
    machine = proxy.qmp()
    machine.execute("migrate-set-parameters", {"max-bandwidth": 50_000})
    machine.socket.sendall(
        json.dumps(
            {"execute": "qmon-migrate", "arguments": {"uri": f"exec:cat>{proxy.folder}/state"}, "id": "m"}
        ).encode()
    )
    other = proxy.qmp()
    until("the migration", lambda: other.execute("query-migrate").get("status") == "active")
    assert "already" in person.does("migrate exec:cat>/dev/null") or "in progress" in person.does(
        "migrate exec:cat>/dev/null"
    )
    other.execute("migrate-set-parameters", {"max-bandwidth": 1 << 30})
    while "id" not in (message := machine._read()):
        machine.events.append(message)
    assert message["return"]["status"] == "completed"
    assert (proxy.folder / "state").stat().st_size > 100_000
    assert "completed" in [each["data"]["status"] for each in machine.events if each["event"] == "MIGRATION"]


def test_detached(proxy: Twistd, people: tuple[Person, Person]) -> None:
    """C{-d} does not wait."""
    person, _ = people
    machine = proxy.qmp()
    machine.execute("migrate-set-parameters", {"max-bandwidth": 50_000})
    began = time.monotonic()
    assert person.does(f"migrate -d exec:cat>{proxy.folder}/state") == ""
    # To its end it would take twenty minutes.
    assert time.monotonic() - began < 20
    assert machine.execute("query-migrate")["status"] in ("setup", "active")
    assert person.does("migrate_cancel") == ""


def test_block_jobs(qemu: RealQemu, people: tuple[Person, Person]) -> None:
    """C{drive_backup}, C{drive_mirror}, C{commit} and C{block_stream} end when they are done, and leave no job behind."""
    person, _ = people
    backup = qemu.folder / "backup.qcow2"
    assert person.does(f"drive_backup -f hd0 {backup} qcow2") == ""
    assert backup.stat().st_size > 0
    assert person.does("info block-jobs") == "No active jobs\n"
    assert person.does(f"drive_mirror -f hd0 {qemu.folder}/mirror.qcow2 qcow2") == ""
    assert "Type mirror, device hd0" in person.does("info block-jobs")
    assert person.does("block_job_cancel hd0") == ""
    until("the mirror's end", lambda: person.does("info block-jobs") == "No active jobs\n")
    assert person.does("commit hd0") == ""
    assert "not found" in person.does("commit nope")
    assert "Backing file" in person.does("info block")
    assert person.does("block_stream hd0") == ""
    assert "Backing file" not in person.does("info block")
    assert "nope" in person.does("block_stream nope")


def test_qemu_goes_and_comes(qemu: RealQemu, people: tuple[Person, Person]) -> None:
    """A person at the prompt is told when QEMU goes and when it is back, in a line above a new prompt."""
    person, _ = people
    version = ".".join(re.findall(r"\d+", person.does("info version"))[:3])
    qemu.kill()
    assert re.fullmatch(r"\nQEMU disconnected: The connection to the monitor was lost: [^\n]+\n", person.reads())
    qemu.start()
    assert person.reads() == f"\nQEMU {version} connected\n"
    assert "VM status" in person.does("info status")


def test_quit(qemu: RealQemu, proxy: Twistd, people: tuple[Person, Person]) -> None:
    """C{quit} typed by a person ends QEMU; the person is still there."""
    person, other = people
    person.does("quit")
    assert qemu.ends() == 0
    until("the end of QEMU", lambda: "not connected" in other.does("info status"))
    qemu.start()
    until("the next QEMU", lambda: "VM status" in other.does("info status"))
    assert "VM status" in person.does("info status")

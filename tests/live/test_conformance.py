"""
C{qmon conformance} with a real QEMU, a real storage daemon, the server of this package, and a fake QEMU.

The comparison with QEMU is also the proof that the dialect here is QEMU's: what is expected is said by this package's own
session.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.real_qemu import StorageDaemon
from tests.live.twistd_process import PATIENCE, Twistd, until
from twisted_qmon.conformance.comparing import KINDS
from twisted_qmon.testing import FakeQEMU, Recording

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
COUNT = 2100


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Path]:
    """A QEMU without a machine."""
    path = tmp_path / "qmp"
    words = ["-nodefaults", "-machine", "none", "-display", "none", "-qmp", f"unix:{path},server=on,wait=off"]
    process = subprocess.Popen([need("qemu-system-x86_64"), *words], stdin=subprocess.DEVNULL)
    try:
        until("QEMU's socket", path.exists)
        yield path
    finally:
        process.kill()
        process.wait(PATIENCE)


def conformance(address: object, *words: str) -> subprocess.CompletedProcess[str]:
    """Run C{qmon conformance}."""
    seed = os.environ.get("QMON_SEED", str(random.SystemRandom().randrange(1 << 32)))
    return subprocess.run(
        [sys.executable, "-m", "twisted_qmon", "conformance", str(address), "--timeout", "60", "--seed", seed, *words],
        capture_output=True,
        text=True,
        timeout=20 * PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_qemu(qemu: Path, tmp_path: Path) -> None:
    """A real QEMU has no differences in any group, two thousand random cases and its events included."""
    done = conformance(qemu, "--count", str(COUNT), "--stop", "--junit", str(tmp_path / "report.xml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("looked at, no differences\n")
    assert "known differences" not in done.stdout
    assert re.search(rf"^random +{COUNT} ok$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^recorded +197 ok$", done.stdout, re.MULTILINE), done.stdout
    assert 'name="random" errors="0" tests="2100" failures="0"' in (tmp_path / "report.xml").read_text()


def test_storage_daemon(tmp_path: Path) -> None:
    """Nor has qemu-storage-daemon."""
    with StorageDaemon(tmp_path / "daemon") as daemon:
        done = conformance(daemon.socket, "--count", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(compared as qemu-storage-daemon)" in done.stdout
    assert done.stdout.endswith("looked at, no differences\n")


def test_this_package(tmp_path: Path) -> None:
    """The server of this package has those that the documentation lists, and no other."""
    with Twistd(tmp_path, []) as program:
        program.qmp().execute("query-version")
        done = conformance(tmp_path / "qmp.sock", "--count", "700")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("known differences: ")]
    found = set(line.partition(": ")[2].split("; "))
    listed = set(re.findall(r"^- (.*)$", (ROOT / "docs" / "conformance.md").read_text(), re.MULTILINE))
    assert listed == {known.name for known in KINDS["twisted-qmon"]}
    # Whether a random case has an infinite number is a matter of the seed.
    assert found | {"an infinite number in a reply"} == listed


def test_fake() -> None:
    """The fake QEMU passes for a QEMU, but for a token of more than a mebibyte."""
    with FakeQEMU(one_client=True) as fake:
        done = conformance(fake.address, "--count", "100", "--stop")
    assert done.returncode == 1
    assert "session: a bad token is shown whole" in done.stdout
    assert done.stdout.endswith("looked at, 1 difference\n"), done.stdout


def test_record(qemu: Path, tmp_path: Path) -> None:
    """A real QEMU is recorded, and a fake is made of that."""
    path = tmp_path / "recorded.json.gz"
    done = conformance(qemu, "--record", str(path))
    assert done.returncode == 0, done.stderr
    recording = Recording.load(path)
    fake = FakeQEMU(recording).connect()
    assert fake.greeting == {"QMP": recording.greeting}
    if recording.version[:2] == (7, 2):
        assert recording.details == Recording.load("7.2").details

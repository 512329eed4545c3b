"""The fake QEMU and the server in a thread, at real sockets; the pytest plugin in a pytest of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE
from tests.support.balloon import Balloon
from twisted_qmon.errors import RegistrationError
from twisted_qmon.testing import Answer, FakeQEMU, MonitorServer, Silence, thread

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
INSTALLED = any(each.name == "twisted_qmon" for each in entry_points(group="pytest11"))


class Client:
    """A plain socket."""

    def __init__(self, address: str, *, negotiate: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.file = self.socket.makefile("rwb")
        if negotiate:
            assert "QMP" in self.read()
            assert self.execute("qmp_capabilities") == {"return": {}}

    def read(self) -> Any:
        line = self.file.readline()
        return json.loads(line) if line else None

    def send(self, name: str, **arguments: Any) -> None:
        self.file.write(json.dumps({"execute": name, "arguments": arguments}).encode())
        self.file.flush()

    def execute(self, name: str, **arguments: Any) -> Any:
        self.send(name, **arguments)
        while "event" in (reply := self.read()):
            pass
        return reply

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def fake() -> Iterator[FakeQEMU]:
    with FakeQEMU() as fake:
        yield fake


def test_in_a_thread(fake: FakeQEMU) -> None:
    """What the test says holds for a client at the socket at once; the end of it is the end of all."""
    client = Client(fake.address)
    fake.answer("query-name", {"name": "x"})
    assert client.execute("query-name") == {"return": {"name": "x"}}
    fake.emit("STOP")
    assert client.read()["event"] == "STOP"
    assert fake.clients == 1
    client.send("query-uuid")
    assert fake.wait_for("query-uuid", PATIENCE).client == fake.requests[0].client
    with pytest.raises(RuntimeError, match="served already"):
        fake.start()
    address = fake.address
    fake.stop()
    client.read()
    assert client.read() is None
    client.close()
    assert not Path(address).exists()


def test_it_dies_and_comes_back(fake: FakeQEMU) -> None:
    """Connections are lost, and new ones are taken; after C{quit} they are not."""
    client = Client(fake.address)
    fake.once("query-block", Silence())
    client.send("query-block")
    fake.wait_for("query-block", PATIENCE)
    fake.disconnect()
    assert client.read() is None
    client.close()
    client = Client(fake.address)
    assert client.execute("quit") == {"return": {}}
    assert client.read() is None
    client.close()
    client = Client(fake.address, negotiate=False)
    assert client.read() is None
    client.close()


def test_one_client(tmp_path: Path) -> None:
    """The second waits, as at a real monitor; the socket has the path that was asked for, and is gone afterwards."""
    path = tmp_path / "qmp"
    fake = FakeQEMU(one_client=True).start(path)
    first, second = Client(str(path)), Client(str(path), negotiate=False)
    second.send("qmp_capabilities")
    assert first.execute("query-status")["return"]["running"] is True
    first.close()
    assert "QMP" in second.read()
    assert second.read() == {"return": {}}
    second.close()
    fake.stop()
    assert not path.exists()


def test_it_can_be_started_again(tmp_path: Path) -> None:
    """A fake that was stopped starts anew, with what it was told; one that can't listen says so, and may try again."""
    fake = FakeQEMU()
    fake.answer("query-name", {"name": "kept"})
    with pytest.raises(Exception, match="listen"):
        fake.start(tmp_path / "no" / "such" / "folder")
    for _ in range(2):
        fake.start()
        client = Client(fake.address)
        assert client.execute("query-name") == {"return": {"name": "kept"}}
        client.close()
        fake.stop()


def test_monitor_server(tmp_path: Path) -> None:
    """A monitor with commands of the test's own; errors of the thread arrive in the test."""
    with MonitorServer(tmp_path / "qmp", name="mine", in_flight=1) as server:
        server.register(Balloon())
        server.register_command("double", lambda value: 2 * value)
        client = Client(server.address)
        assert client.execute("double", value=4) == {"return": 8}
        assert client.execute("query-name") == {"return": {"name": "mine"}}
        assert server.wait(lambda: server.monitor.execute("query-name")) == {"name": "mine"}
        server.emit("BALLOON_CHANGE", {"actual": 1})
        assert client.read()["event"] == "BALLOON_CHANGE"
        with pytest.raises(RegistrationError):
            server.register_command("double", lambda value: value)
        with pytest.raises(Exception, match="nope"):
            server.wait(lambda: server.monitor.execute("nope"))
        with pytest.raises(ZeroDivisionError):
            server.wait(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        # In the thread itself nothing waits.
        inside = server.call(lambda: server.call(lambda: 5))
        assert inside == 5
        with pytest.raises(RuntimeError, match="own thread"):
            server.call(lambda: server.wait(lambda: server.monitor.execute("query-name")))
        client.close()


def test_no_reactor_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be no thread with a reactor, that is said."""
    monkeypatch.setattr(thread, "unusable", lambda: "it needs Linux")
    with pytest.raises(RuntimeError, match="it needs Linux"):
        FakeQEMU().start()


def test_a_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that does not come back is given up."""
    from twisted.internet.defer import Deferred

    with MonitorServer() as server:
        monkeypatch.setattr(thread, "CALL_TIMEOUT", 0.05)
        never: Deferred[None] = Deferred()
        with pytest.raises(TimeoutError):
            server.wait(lambda: never)
        monkeypatch.undo()


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own."""
    plugin = [] if INSTALLED else ["-p", "twisted_qmon.pytest_plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, *options],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )


def test_examples(tmp_path: Path) -> None:
    """The tests that the documentation shows pass."""
    shutil.copy(ROOT / "docs" / "examples" / "test_fake_qemu.py", tmp_path)
    done = run_pytest(tmp_path, "-q", "--strict-markers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_plugin_does_not_disturb(tmp_path: Path) -> None:
    """Who does not use the plugin imports neither Twisted nor this package's parts, and can do without it."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_nothing_is_imported():\n"
        "    names = {n for n in sys.modules if n.split('.')[0] in ('twisted', 'twisted_qmon', 'msgspec')}\n"
        "    assert names <= {'twisted_qmon', 'twisted_qmon.pytest_plugin'}, names\n"
        "def test_no_fixture(request):\n"
        "    assert not {'fake_qemu', 'qmp_server'} & set(request.fixturenames)\n"
    )
    done = run_pytest(tmp_path, "-q", "-W", "error", "-p", "no:hypothesispytest")
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    if INSTALLED:
        assert "fake_qemu" not in run_pytest(tmp_path, "--fixtures", "-p", "no:twisted_qmon").stdout
    assert "fake_qemu" in run_pytest(tmp_path, "--fixtures").stdout


def test_real_qemu_says_the_same(fake: FakeQEMU, tmp_path: Path) -> None:
    """A short session with a real QEMU of the recorded version gets the same bytes as with the fake, times aside."""
    program = need("qemu-system-x86_64")
    session = [
        {"execute": "qmp_capabilities"},
        *({"execute": name} for name in ("query-status", "stop", "query-status", "cont", "system_reset")),
        {"execute": "human-monitor-command", "arguments": {"command-line": "info status"}},
        {"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "é\x7f", "size": "x"}},
        {"execute": "query-jobs", "arguments": {"x": 1}},
        {"execute": "quit", "id": [1.5, {"a": None}]},
    ]
    qemu = tmp_path / "qemu"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(qemu))
    listener.listen(1)
    listener.settimeout(PATIENCE)
    process = subprocess.Popen(
        [program, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", f"unix:{qemu}"],
        stdin=subprocess.DEVNULL,
    )
    try:
        connection, _ = listener.accept()
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(fake.address)
        real, faked = (talk(each, session) for each in (connection, ours))
    finally:
        process.kill()
        process.wait(PATIENCE)
        listener.close()
    if b'"major": 7' not in real[0] or b'"minor": 2' not in real[0]:
        pytest.skip("not the recorded version")
    # The package's version and the order of members, which is that of QEMU's hash table, may differ.
    assert [sorted(line.split()) for line in real[1:]] == [sorted(line.split()) for line in faked[1:]]


def talk(connection: socket.socket, session: list[Any]) -> list[bytes]:
    """What the other end sends in a session, without times."""
    import re

    lines = []
    connection.settimeout(PATIENCE)
    with connection, connection.makefile("rb") as file:
        lines.append(file.readline())
        for message in session:
            connection.sendall(json.dumps(message, ensure_ascii=False).encode())
            while True:
                line = re.sub(rb'"(micro)?seconds": -?\d+', b"", file.readline())
                lines.append(line)
                if not line.startswith(b'{"timestamp"'):
                    break
    return lines


def test_answer_of_a_script(fake: FakeQEMU) -> None:
    """Steps are checked in the test's thread, where the error can be seen."""
    with pytest.raises(ValueError, match="can't return"):
        fake.once("query-name", Answer([]))

"""twistd qmon as a whole process: its sockets, its bad options, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from tests.live.twistd_process import QMP, SLOW, Twistd, free_port, until

pytestmark = pytest.mark.live


def test_defaults(tmp_path: Path) -> None:
    """Without options both sockets are served, for their owner only."""
    with Twistd(tmp_path, []) as process:
        client = process.qmp()
        assert client.execute("query-status")["running"] is True
        for name in ("qmp.sock", "hmp.sock"):
            mode = os.lstat(tmp_path / name).st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


def test_many_endpoints(tmp_path: Path) -> None:
    """Several endpoints, several clients at each, each with a session of its own."""
    port = free_port()
    arguments = [
        "--qmp",
        "unix:a",
        "--qmp",
        "unix:b:mode=660",
        "--qmp",
        f"tcp:{port}:interface=127.0.0.1",
        "--name",
        "n7",
    ]
    with Twistd(tmp_path, arguments) as process:
        clients = [process.qmp(name) for name in ("a", "a", "b", "b")]
        assert [client.execute("query-name") for client in clients] == [{"name": "n7"}] * 4
        assert stat.S_IMODE(os.lstat(tmp_path / "b").st_mode) == 0o660
        with socket.create_connection(("127.0.0.1", port), 10) as tcp:
            assert b"QMP" in tcp.recv(1000)
        assert not (tmp_path / "qmp.sock").exists()
        assert not (tmp_path / "hmp.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--qmp", "nope:1"], "nope"),
        (["--qmp", "tcp:x"], "tcp:x"),
        (["--hmp", ""], "--hmp"),
        (["--in-flight", "0"], "at least 1"),
        (["--slow-client", "wait"], "drop-oldest"),
        (["--provider", "no.such.thing"], "no.such.thing"),
        (["--provider", "nosuchplugin"], "nosuchplugin"),
        (["--qemu", "nope"], "nope"),
        (["--qemu", "unix"], "'unix' is not a valid client endpoint: it lacks 'path'"),
        (["--qmp", "tcp:y"], "'tcp:y' is not a valid server endpoint: 'y' is not a number"),
        (["--unheard-of"], "unheard-of"),
        (["nosuchplugin"], "nosuchplugin"),
    ],
)
def test_bad_options(arguments: list[str], words: str, tmp_path: Path) -> None:
    """A bad option is the usage, one line that says why, and status 1; never a traceback."""
    with Twistd(tmp_path, arguments) as process:
        assert process.ends() == 1
        output = process.output()
    assert "Usage:" in output
    assert "Traceback" not in output
    assert words in output.rstrip().splitlines()[-1]


def test_busy_port(tmp_path: Path) -> None:
    """A busy port is one line and status 1."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with Twistd(tmp_path, ["--qmp", f"tcp:{port}:interface=127.0.0.1"]) as process:
            assert process.ends() == 1
            output = process.output()
    assert "Traceback" not in output
    assert "can't listen" in output


def test_no_socket(tmp_path: Path) -> None:
    """A file that is no socket is named as that, and stays."""
    (tmp_path / "qmp.sock").write_text("precious")
    with Twistd(tmp_path, ["--qmp", "unix:qmp.sock"]) as process:
        assert process.ends() == 1
        line = f"twistd qmon: can't listen at unix:qmp.sock: {tmp_path}/qmp.sock is not a socket\n"
        assert process.output().endswith(line)
    assert (tmp_path / "qmp.sock").read_text() == "precious"


def test_stale_and_live_sockets(tmp_path: Path) -> None:
    """A live socket is left to the process that serves it; after a kill -9 the file is taken over."""
    with Twistd(tmp_path, ["--qmp", "unix:qmp.sock"]) as first:
        first.qmp()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with Twistd(elsewhere, ["--qmp", f"unix:{tmp_path}/qmp.sock"]) as second:
            assert second.ends() == 1
            assert "another process serves this socket" in second.output()
            assert "Traceback" not in second.output()
        assert first.qmp().execute("query-name") == {}
        first.popen.kill()
        first.popen.wait(10)
    assert (tmp_path / "qmp.sock").exists()
    (tmp_path / "twistd.pid").unlink(missing_ok=True)
    with Twistd(tmp_path, ["--qmp", "unix:qmp.sock"]) as third:
        assert third.qmp().execute("query-name") == {}


def read_to_the_end(client: QMP) -> list[str]:
    """What comes before the end of file: names of events, returns of replies. Warnings in the log are left out."""
    messages = [json.loads(line) for line in client.reader]
    return [m.get("event") or str(m.get("return", m.get("error"))) for m in messages if m.get("event") != "LOG"]


def test_quit(tmp_path: Path) -> None:
    """quit: SHUTDOWN, its reply, the end of file, and status 0 or what twistd makes of it; the sockets are gone."""
    with Twistd(tmp_path, []) as process:
        client, other = process.qmp(), process.qmp()
        client.socket.sendall(b'{"execute":"quit"}')
        assert read_to_the_end(client) == ["SHUTDOWN", "{}"]
        assert read_to_the_end(other) == ["SHUTDOWN"]
        assert process.ends() == 0
        assert "Traceback" not in process.output()
    # The locks' files stay: the next process takes the same.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hmp.sock.lock", "output", "qmp.sock.lock"]


def test_drain(tmp_path: Path) -> None:
    """SIGTERM: what is pending gets its time, what is left is cancelled and answered; then SHUTDOWN and the end."""
    (tmp_path / "slow_provider.py").write_text(SLOW)
    arguments = ["--qmp", "unix:qmp.sock", "--provider", "slow_provider.Slow", "--drain", "2"]
    with Twistd(tmp_path, arguments, paths=[tmp_path]) as process:
        client = process.qmp()
        client.socket.sendall(b'{"execute":"never","id":1}{"execute":"soon","id":2}')
        until("two pending requests", lambda: len(process.qmp().execute("query-pending")) == 2)
        began = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        soon, cancelled, shutdown = read_to_the_end(client)
        assert (soon, shutdown) == ("done", "SHUTDOWN")
        assert "Command 'never' was cancelled" in cancelled
        assert 1.5 < time.monotonic() - began < 15
        process.ends()
        assert "1 of 2 pending requests cancelled" in process.output()

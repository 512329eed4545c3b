"""
A process whose options come from a file, under a manager that speaks systemd's protocol.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.live.twistd_process import PATIENCE, TWISTD, Twistd, until

pytestmark = pytest.mark.live

LAUNCH = """
import os, sys
os.environ.update(NOTIFY_SOCKET=sys.argv[1], WATCHDOG_USEC="200000", WATCHDOG_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_life_under_a_manager(tmp_path: Path) -> None:
    """
    The process says when it serves, gives signs of life but while it is stopped, reads its files again at SIGHUP, and says that
    it ends. All of its options come from a file.
    """
    (tmp_path / "qmon.toml").write_text('qmp = "unix:qmp.sock"\nname = "guest-7"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.settimeout(PATIENCE)
        launcher = [sys.executable, "-c", LAUNCH, address, *TWISTD]
        with Twistd(tmp_path, ["--config", "qmon.toml"], twistd=launcher) as server:
            assert manager.recv(1000) == b"READY=1\nSTATUS=serving unix:qmp.sock"
            assert server.qmp().execute("query-name") == {"name": "guest-7"}
            assert [manager.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            os.kill(server.popen.pid, signal.SIGSTOP)
            time.sleep(0.3)
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    manager.recv(1000)
            manager.settimeout(0.5)
            with pytest.raises(TimeoutError):
                manager.recv(1000)
            manager.settimeout(PATIENCE)
            os.kill(server.popen.pid, signal.SIGCONT)
            assert manager.recv(1000) == b"WATCHDOG=1"
            server.popen.send_signal(signal.SIGHUP)
            until("the reading", lambda: "reading access rules" in server.output(), server)
            server.popen.terminate()
            while (message := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert message == b"STOPPING=1\nSTATUS=0 pending requests have 5 s"
            server.ends()

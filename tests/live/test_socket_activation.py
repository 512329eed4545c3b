"""
Sockets that systemd made: C{twistd qmon} takes them through Twisted's own endpoint, as the documentation says.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.needs import need

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent

# What systemd does: the sockets from descriptor 3 on, and the process told that they are meant for it.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="qmp", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_socket_activation(tmp_path: Path) -> None:
    """The client that connected before there was a server is served by the one that is given the socket."""
    twist = need("twist")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        # An address in the abstract namespace: it needs no folder, and goes with its last user.
        listening.bind("")
        listening.listen()
        client.connect(listening.getsockname())
        client.settimeout(30)
        command = [sys.executable, twist, "qmon", "--qmp", "systemd:domain=UNIX:index=0"]
        server = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(listening.fileno()), *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            with client.makefile("rw") as stream:
                assert "QMP" in json.loads(stream.readline())
                stream.write('{"execute": "qmp_capabilities"}')
                stream.flush()
                assert json.loads(stream.readline()) == {"return": {}}
        finally:
            server.terminate()
            server.wait(30)

"""
C{--hmp-style qemu} beside QEMU's own human monitor.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, Twistd, until
from tests.support.qemu_hmp_session import KEYS, exchange

pytestmark = pytest.mark.live

RECORDING = Path(__file__).parent.parent / "data" / "qemu-hmp-session.json"


@pytest.fixture
def monitors() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection to QEMU's human monitor, and one to that of a proxy in front of the same QEMU."""
    with tempfile.TemporaryDirectory(prefix="qmon-") as name:
        folder = Path(name)
        command = [need("qemu-system-x86_64"), "-M", "none", "-display", "none", "-nodefaults", "-S"]
        for option, path in (("-monitor", "direct"), ("-qmp", "qemu")):
            command += [option, f"unix:{folder / path},server=on,wait=off"]
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            until("QEMU's sockets", lambda: (folder / "direct").exists() and (folder / "qemu").exists())
            words = ["--qemu", f"unix:{folder / 'qemu'}", "--hmp-style", "qemu"]
            with Twistd(folder, words) as proxy:
                client = proxy.qmp()
                until("QEMU behind the proxy", lambda: "return" in client.answer("query-block"), proxy)
                with closing(connect(folder / "direct")) as theirs, closing(connect(folder / "hmp.sock")) as ours:
                    yield theirs, ours
        finally:
            qemu.kill()
            qemu.wait(PATIENCE)


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    return connection


def test_session(monitors: tuple[socket.socket, socket.socket]) -> None:
    """A session of 50 lines is the same, byte for byte; and it is what was recorded, where that is the same version."""
    theirs, ours = monitors
    recorded = [text.encode("latin-1") for _, text in json.loads(RECORDING.read_text())]
    assert len(KEYS) == 50
    texts = []
    for keys in (b"", *KEYS):
        texts.append(exchange(theirs, keys))
        assert exchange(ours, keys) == texts[-1], keys
    if texts[0] == recorded[0]:
        assert texts == recorded


_PIECES = [
    *(b"g", b"y", b"z", b" ", b"gyz", b"\n", b"\r", b"\x7f", b"\x08", b"\x01", b"\x04", b"\x05", b"\x0c", b"\x17"),
    *(
        b"\x1b[" + key
        for key in (b"A", b"B", b"C", b"D", b"E", b"F", b"H", b"1~", b"2~", b"3~", b"4~", b"13~", b"1;5C")
    ),
    *(b"\x1bO" + key for key in b"A B C D F H".split()),
    *(b"\x1bx", b"\x9b", b"\x1b\x1b[A", b"\x1b[1\n"),
    *(bytes([key]) for key in (0, 2, 3, 6, 7, 11, 14, 15, 16, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30, 31)),
]


def test_keys(monitors: tuple[socket.socket, socket.socket]) -> None:
    """Random keys are shown in the same way, and give the same lines."""
    theirs, ours = monitors
    assert exchange(ours, b"") == exchange(theirs, b"")
    chance = random.Random(20104)
    # So few that QEMU's history does not get full.
    for number in range(18):
        # The tilde ends what is begun; then the line ends, and a last one says so.
        keys = b"".join(chance.choices(_PIECES, k=25)) + b"~\n\nQ%d;\n" % number
        end = b"unknown command: 'Q%d;'\r\n(qemu) " % number
        texts = []
        for connection in (theirs, ours):
            connection.sendall(keys)
            text = b""
            while not text.endswith(end):
                text += connection.recv(65536)
            texts.append(text)
        assert texts[1] == texts[0], (keys, *texts)

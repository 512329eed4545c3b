"""
A session of 50 lines at QEMU's human monitor, as a program would send it. As a command it records one::

    python -m tests.support.qemu_hmp_session > tests/data/qemu-hmp-session.json
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["KEYS", "PROMPT", "exchange", "record"]

PROMPT = b"(qemu) "

#: What is sent, piece by piece: after each with a line end one prompt comes back.
KEYS: list[bytes] = [
    b"info status\n", b"info name\n", b"info version\n", b"info kvm\n", b"info uuid\n", b"\n", b"\r", b"   \n",
    b"info block\n", b"info mice\n", b"info cpus\n", b"info jit-no\n", b"info qtree\n", b"info nonsense\n", b"help stop\n",
    b"help info status\n", b"? cont\n", b"print 1+1\n", b"p/d 7*6\n", b"print /c 65\n", b"print\n", b"x\n", b"nonsense\n",
    b"nonsense with words\n", b"  info   status  \n", b"info status extra\n", b"stop\n", b"cont extra\n", b"stop extra words\n",
    b"info stat\x7f\x7f\x7f\x7fname\n", b"foo\x08\x08\x08info status\n", b"nfo status\x01i\x05\n", b"info status\x01\x04\x04\n",
    b"one two\x17\x17info name\n", b"info \x1b[D\x1b[D\x1b[C\x1b[4~status\n", b"bar\x1b[1~foo\x1b[3~\n", b"\x1b[A\n",
    b"\x1b[A\x1b[A\x1b[B\n", b"info status\x0c\n", b"caf\xc3\xa9\n", b"in\x03fo st\x15atus\n", b'print "1\n', b"balloon 100\n",
    b"eject nothing\n", b"device_del nothing\n", b"set_link nothing on\n", b"info snapshots\n", b"info tpm\n",
    b"info migrate\n", b"info status\n",
]  # fmt: skip


def exchange(connection: socket.socket, keys: bytes) -> bytes:
    """Send keys. :return: what comes back up to the next prompt"""
    if keys:
        connection.sendall(keys)
    text = b""
    # Ctrl-L shows a prompt of its own, within the line.
    while not (text.endswith(b"\r\n" + PROMPT)):
        data = connection.recv(65536)
        assert data, text
        text += data
    return text


def record(path: Path) -> list[list[str]]:
    """:return: of a human monitor at this socket, what was sent and what came back; first the banner. In Latin-1"""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        return [[keys.decode("latin-1"), exchange(connection, keys).decode("latin-1")] for keys in (b"", *KEYS)]


def main() -> None:
    """Start a QEMU, and record."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "monitor"
        command = ["qemu-system-x86_64", "-M", "none", "-display", "none", "-nodefaults", "-S"]
        qemu = subprocess.Popen([*command, "-monitor", f"unix:{path},server=on,wait=off"])
        try:
            while not path.exists():
                time.sleep(0.05)
            json.dump(record(path), sys.stdout, indent=0)
        finally:
            qemu.kill()
            qemu.wait()


if __name__ == "__main__":
    main()

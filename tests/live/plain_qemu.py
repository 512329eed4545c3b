"""
A QEMU to compare with, spoken to over a plain blocking socket: nothing of ours is between the test and the bytes.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.live.needs import need

__all__ = ["PlainQEMU"]

#: Seconds after which QEMU is taken to be stuck.
PATIENCE = 20.0


class PlainQEMU:
    """
    A QEMU without a machine, as a context manager.

    :ivar folder: a folder of its own
    :ivar messages: all that it sent so far, replies and events in order, each with the time of its arrival (C{time.time()})
    """

    def __init__(self) -> None:
        program = need("qemu-system-x86_64")
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        path = self.folder / "qmp"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(PATIENCE)
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self._buffer = b""
        self._number = 0
        self._process = subprocess.Popen(
            [program, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", f"unix:{path}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._socket, _ = listener.accept()
            self._receive(PATIENCE)
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise
        finally:
            listener.close()

    def __enter__(self) -> PlainQEMU:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(PATIENCE)
        if hasattr(self, "_socket"):
            self._socket.close()
        self._folder.cleanup()

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            data = self._socket.recv(65536)
            assert data, "QEMU has closed the connection"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        self.messages.append((time.time(), message))
        return message

    def execute(self, name: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """:return: the reply, without its id"""
        self._number += 1
        command = {"execute": name, "arguments": arguments or {}, "id": self._number}
        self._socket.sendall(json.dumps(command).encode())
        while True:
            message = self._receive(PATIENCE)
            assert message is not None, f"no reply to {name}"
            if message.get("id") == self._number:
                del message["id"]
                return message

    def wait(self, seconds: float) -> None:
        """Take what comes in that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._receive(left)

    def events(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        """:return: the events of that name so far, with the time of their arrival"""
        return [(when, message) for when, message in self.messages if message.get("event") == name]

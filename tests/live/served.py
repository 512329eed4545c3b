"""
Each kind of server that C{qmon} is for, with what a test does to it behind the back of C{qmon}.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from tests.live.real_qemu import RealQemu, StorageDaemon
from tests.live.twistd_process import PATIENCE, QMP, Twistd, until
from twisted_qmon.info import JSON

__all__ = ["OTHERS", "Served", "serve"]

#: The kinds that are not ours.
OTHERS = ("qemu", "proxy", "storage-daemon")


class Served(Protocol):
    """
    A server.

    :ivar address: as C{qmon} is given it
    """

    address: str

    def execute(self, name: str, arguments: Mapping[str, JSON] | None = None) -> JSON:
        """Execute a command as another client."""

    def freeze(self) -> None:
        """Let it answer nothing that takes a QEMU."""

    def thaw(self) -> None:
        """Let it go on."""

    def kill(self) -> None:
        """Let it die on the spot."""

    def start(self) -> None:
        """Start it again."""


class _Client:
    """Executes commands at a socket."""

    def __init__(self) -> None:
        self._qmp: QMP | None = None

    def at(self, path: Path) -> QMP:
        """:return: a client there"""
        if self._qmp is None:
            self._qmp = QMP(path)
        return self._qmp

    def close(self) -> None:
        """Disconnect; the next command connects again."""
        qmp, self._qmp = self._qmp, None
        if qmp is not None:
            qmp.close()


class _Qemu:
    """A plain QEMU, or with C{proxied} one behind C{twistd qmon}, which is what dies then."""

    def __init__(self, folder: Path, stack: ExitStack, *, proxied: bool) -> None:
        self._folder = folder
        self._qemu = stack.enter_context(RealQemu(folder))
        self._client = _Client()
        stack.callback(self._client.close)
        self.address = "./qmp.sock" if proxied else str(self._qemu.socket)
        self._stack = stack
        self._proxy: Twistd | None = None
        if proxied:
            self._start_proxy()

    def _start_proxy(self) -> None:
        self._proxy = self._stack.enter_context(Twistd(self._folder, ["--qemu", f"unix:{self._qemu.socket}"]))
        client = self._proxy.qmp()
        until("the QEMU", lambda: "query-block" in str(client.execute("query-commands")))

    def execute(self, name: str, arguments: Mapping[str, JSON] | None = None) -> JSON:
        found: JSON = self._client.at(self._qemu.other).execute(name, arguments)
        return found

    def freeze(self) -> None:
        self._qemu.freeze()

    def thaw(self) -> None:
        self._qemu.thaw()

    def kill(self) -> None:
        self._client.close()
        if self._proxy is not None:
            self._proxy.popen.kill()
            self._proxy.popen.wait(PATIENCE)
        else:
            self._qemu.kill()

    def start(self) -> None:
        if self._proxy is not None:
            self._start_proxy()
        else:
            self._qemu.start()


class _Daemon:
    """A qemu-storage-daemon."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._daemon = StorageDaemon(folder / "daemon")
        self._client = _Client()
        self._stack = stack
        stack.callback(self._client.close)
        self.address = str(self._daemon.socket)
        self.start()

    def execute(self, name: str, arguments: Mapping[str, JSON] | None = None) -> JSON:
        found: JSON = self._client.at(self._daemon.other).execute(name, arguments)
        return found

    def freeze(self) -> None:
        os.kill(self._daemon._popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._daemon._popen.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._client.close()
        self._daemon._popen.kill()
        self._daemon._popen.wait(PATIENCE)

    def start(self) -> None:
        self._stack.enter_context(self._daemon)


@contextmanager
def serve(kind: str, folder: Path) -> Iterator[Served]:
    """
    :param kind: one of L{OTHERS}
    :return: a server of that kind
    """
    with ExitStack() as stack:
        if kind == "storage-daemon":
            yield _Daemon(folder, stack)
        else:
            yield _Qemu(folder, stack, proxied=kind == "proxy")

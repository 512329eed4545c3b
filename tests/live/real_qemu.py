"""
A whole QEMU with a small machine and disks, in front of which a proxy is put; and a person at its human monitor.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, until

__all__ = ["Person", "RealQemu", "StorageDaemon"]


class RealQemu:
    """
    A QEMU with a C{pc} machine that does not run, and a qcow2 disk with a backing image, as a context manager.

    :param disk: another one's disk, for a migration; by default it makes its own
    :param options: further options of the program
    :ivar socket: where its QMP server is
    :ivar other: where its second one is, for those who don't go through the proxy
    :ivar disk: the disk's image
    """

    def __init__(self, folder: Path, *options: str, disk: Path | None = None) -> None:
        self.folder = folder
        self._options = options
        self.socket = folder / "qemu"
        self.other = folder / "qemu-too"
        self.disk = folder / "disk.qcow2"
        self._program = need("qemu-system-x86_64")
        self._popen: subprocess.Popen[bytes] | None = None
        image = need("qemu-img")
        if disk is not None:
            self.disk = disk
            return
        base = folder / "base.qcow2"
        subprocess.run([image, "create", "-q", "-f", "qcow2", base, "32M"], check=True, timeout=PATIENCE)
        subprocess.run(
            [image, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", self.disk], check=True, timeout=PATIENCE
        )

    def __enter__(self) -> RealQemu:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, again if it has ended; return when it listens."""
        for path in (self.socket, self.other):
            path.unlink(missing_ok=True)
        monitors = [word for path in (self.socket, self.other) for word in ("-qmp", f"unix:{path},server=on,wait=off")]
        with (self.folder / "qemu.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [
                    *(self._program, "-machine", "pc", "-m", "64", "-accel", "tcg"),
                    *("-nodefaults", "-display", "none", "-S"),
                    *("-drive", f"if=ide,id=hd0,file={self.disk},format=qcow2"),
                    *monitors,
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until("QEMU's sockets", lambda: self.socket.exists() and self.other.exists())

    def kill(self) -> None:
        """Let it die on the spot, if it has not ended yet."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(PATIENCE)

    def ends(self) -> int:
        """Wait for its end. :return: its exit status"""
        assert self._popen is not None
        return self._popen.wait(PATIENCE)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._popen is not None
        return self._popen.pid

    def freeze(self) -> None:
        """Stop it where it is."""
        assert self._popen is not None
        os.kill(self._popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._popen is not None
        os.kill(self._popen.pid, signal.SIGCONT)


class StorageDaemon:
    """
    A C{qemu-storage-daemon}, which has QEMU's block layer and nothing else, as a context manager.

    :param socket: where its QMP server is to be
    :ivar other: where its second one is, for those who don't go through the proxy
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.other = socket.with_name(f"{socket.name}-daemon")
        self._program = need("qemu-storage-daemon")

    def __enter__(self) -> StorageDaemon:
        words: list[str] = []
        for name, path in (("one", self.socket), ("two", self.other)):
            path.unlink(missing_ok=True)
            words += ["--chardev", f"socket,id={name},path={path},server=on,wait=off", "--monitor", f"chardev={name}"]
        self._popen = subprocess.Popen([self._program, *words], stdin=subprocess.DEVNULL)
        until("the storage daemon's sockets", lambda: self.socket.exists() and self.other.exists())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._popen.kill()
        self._popen.wait(PATIENCE)


class Person:
    """
    A person at a human monitor.

    :ivar banner: what it said first
    """

    def __init__(self, path: Path, prompt: str = "(qmon) ") -> None:
        self._prompt = prompt.encode()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.banner = self.reads()

    def __enter__(self) -> Person:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.socket.close()

    def types(self, line: str) -> None:
        """Type a line."""
        self.socket.sendall(line.encode() + b"\n")

    def reads(self) -> str:
        """:return: what is printed before the next prompt"""
        text = b""
        while not text.endswith(self._prompt):
            data = self.socket.recv(65536)
            assert data, text
            text += data
        return text.removesuffix(self._prompt).decode().replace("\r\n", "\n")

    def does(self, line: str) -> str:
        """:return: what a line prints; what was printed before it is passed over"""
        self.hears()
        self.types(line)
        return self.reads()

    def hears(self) -> str:
        """:return: what has been printed without having been asked for"""
        text = b""
        while select.select([self.socket], [], [], 0)[0] and (data := self.socket.recv(65536)):
            text += data
        return text.decode().replace("\r\n", "\n")

    def waits(self, seconds: float) -> str:
        """:return: what is printed within that time; no prompt"""
        text = b""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                text += self.socket.recv(65536)
            except TimeoutError:
                break
        self.socket.settimeout(PATIENCE)
        assert self._prompt not in text, text
        return text.decode()

"""
A host whose QEMUs come and go at random, under one C{--qemu-folder}: C{python -m tests.support.qemu_folder --minutes 3}.

Each QEMU is a real one, without a machine. At each step one is started, ends by itself, or is killed; its socket may stay behind,
or be that of the next QEMU of the same name. At the end of each round everything is looked at: each QEMU that is there answers
through its own proxy as what it is, and no proxy is there without a socket.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Host", "PATIENCE"]

#: Seconds that anything may take.
PATIENCE = 60.0


class Host:
    """
    A folder of QEMUs and the process that is a proxy for all of them, as a context manager.

    :param folder: where the folders of both are made
    :param qemu: the program
    :ivar source: the folder of QEMU's sockets
    :ivar target: that of the proxies'
    :ivar started: how many QEMUs have been started
    """

    def __init__(self, folder: Path, qemu: str, seed: int) -> None:
        self.source, self.target = folder / "from", folder / "to"
        self._folder = folder
        self._qemu = qemu
        self._random = random.Random(seed)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.started = 0

    def __enter__(self) -> Host:
        self.source.mkdir()
        self.target.mkdir()
        self.serve()
        return self

    def serve(self) -> None:
        """Start the process."""
        with (self._folder / "twistd.out").open("ab") as log:
            self.proxy = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                    *("-n", "qmon", "--qmp", "unix:qmp.sock", "--qemu-folder", "from", "--proxy-folder", "to"),
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(PATIENCE)
        self.proxy.kill()
        self.proxy.wait(PATIENCE)

    def output(self) -> str:
        """:return: what the proxy has logged"""
        return (self._folder / "twistd.out").read_text()

    def start(self, name: str) -> None:
        """Start a QEMU of that name; one that a QEMU has left behind is taken over."""
        self.started += 1
        path = self.source / f"{name}.sock"
        self._running[name] = subprocess.Popen(
            [
                *(self._qemu, "-M", "none", "-nodefaults", "-display", "none", "-name", f"{name}-{self.started}"),
                *("-qmp", f"unix:{path},server=on,wait=off"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self, name: str) -> None:
        """End a QEMU: it removes its socket, or not."""
        process = self._running.pop(name)
        number = self._random.choice((signal.SIGTERM, signal.SIGKILL))
        process.send_signal(number)
        process.wait(PATIENCE)
        if number == signal.SIGKILL and self._random.random() < 0.5:
            (self.source / f"{name}.sock").unlink(missing_ok=True)

    def step(self, names: list[str], most: int) -> None:
        """Something happens."""
        name = self._random.choice(names)
        if name in self._running:
            self.end(name)
            if self._random.random() < 0.3:
                self.start(name)
        elif len(self._running) < most:
            self.start(name)
        if self._random.random() < 0.2:
            (self.source / f"{name}.txt").write_text("not a socket")

    def wrong(self) -> list[str]:
        """:return: what is not as it should be, at this moment"""
        found = []
        for name, process in self._running.items():
            assert process.poll() is None, f"QEMU {name} has ended by itself"
            said = ask(self.target / f"{name}.qmp", "query-name")
            if said != {"name": self._name(process)}:
                found.append(f"{name}: {said}")
        sockets = {path.stem for path in self.source.glob("*.sock")}
        doors = {path.name for path in self.target.glob("*.?mp")}
        missing = {name + suffix for name in self._running for suffix in (".qmp", ".hmp")} - doors
        over = {door for door in doors if door.rpartition(".")[0] not in sockets}
        return [
            *found,
            *(f"missed: {door}" for door in sorted(missing)),
            *(f"left over: {door}" for door in sorted(over)),
        ]

    def _name(self, process: subprocess.Popen[bytes]) -> str:
        arguments: Any = process.args
        name: str = arguments[arguments.index("-name") + 1]
        return name

    def settle(self) -> float:
        """
        Wait until everything is as it should be.

        :return: how long that took, in seconds
        :raise AssertionError: when it does not come to that
        """
        began = time.monotonic()
        while wrong := self.wrong():
            assert self.proxy.poll() is None, self.output()
            assert time.monotonic() - began < PATIENCE, (wrong, self.output()[-4000:])
            time.sleep(0.1)
        return time.monotonic() - began

    def end_all(self) -> None:
        """End all QEMUs, and remove what they leave."""
        for name in list(self._running):
            self.end(name)
        for path in self.source.glob("*.sock"):
            path.unlink()


def ask(path: Path, command: str) -> Any:
    """:return: what a QMP server answers; C{None} if it does not"""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            reader = connection.makefile("rb")
            reader.readline()
            connection.sendall(b'{"execute": "qmp_capabilities"} {"execute": "%s"}\n' % command.encode())
            for line in reader:
                answer = json.loads(line)
                if "return" in answer and answer["return"] != {}:
                    return answer["return"]
                if "error" in answer:
                    return None
        except OSError:
            pass
    return None


def main() -> None:
    """Parse the command line, and let QEMUs come and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--qemus", type=int, default=50, help="that are there at a time, at most")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    names = [f"vm{number}" for number in range(options.qemus * 3 // 2)]
    end = time.monotonic() + 60 * options.minutes
    rounds, longest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder, Host(Path(folder), options.qemu, options.seed) as host:
        while time.monotonic() < end:
            for _ in range(options.qemus):
                host.step(names, options.qemus)
            longest = max(longest, host.settle())
            rounds += 1
        host.end_all()
        longest = max(longest, host.settle())
        print(
            f"{host.started} QEMUs in {rounds} rounds: none missed, no proxy left over; settled within {longest:.1f} s"
        )


if __name__ == "__main__":
    main()

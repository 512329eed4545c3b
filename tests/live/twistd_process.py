"""
A C{twistd -n qmon} of our own, and a QMP client that waits: for live tests that look at a whole process from outside.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["PATIENCE", "QMP", "ROOT", "SLOW", "TWISTD", "Program", "Twistd", "free_port", "until"]

ROOT = Path(__file__).parent.parent.parent

#: The command C{twistd}, run by the Python that runs the tests.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

#: A module with commands that take their time, and one whose result is long.
SLOW = """
from twisted.internet.defer import Deferred

from twisted_qmon import CommandProvider, command


class Slow(CommandProvider):
    @command
    def never(self):
        return Deferred()

    @command
    def soon(self):
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        return deferLater(reactor, 0.5, lambda: "done")

    @command
    def big(self) -> str:
        return "x" * (1 << 20)
"""

#: Seconds that anything may take.
PATIENCE = 60.0


def free_port() -> int:
    """:return: a TCP port of the loopback interface that nobody has at this moment"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(what: str, holds: Any, process: Program | None = None, patience: float = PATIENCE) -> Any:
    """
    Ask again and again.

    :param what: what is waited for, for the report
    :param holds: called until it gives something true
    :param process: whose end ends the waiting
    :param patience: seconds that it may take
    :return: what it gave
    :raise AssertionError: when it does not come to hold
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        result = holds()
        if result:
            return result
        if process is not None and process.popen.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience} s. {process.output() if process else ''}")


class QMP:
    """
    A QMP client at a unix socket, negotiated.

    :ivar events: the events that came while it waited for replies, oldest first
    """

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.reader = self.socket.makefile("rb")
        self.events: list[Any] = []
        try:
            self.socket.connect(str(path))
            self.greeting = self._read()
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def _read(self) -> Any:
        line = self.reader.readline()
        if not line:
            raise EOFError("the server has closed the connection")
        return json.loads(line)

    def answer(self, name: str, arguments: Any = None) -> Any:
        """:return: the whole reply to a command"""
        message = {"execute": name} if arguments is None else {"execute": name, "arguments": arguments}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            message = self._read()
            if "event" not in message:
                return message
            self.events.append(message)

    def execute(self, name: str, arguments: Any = None) -> Any:
        """
        :return: what the command returns
        :raise AssertionError: when it fails
        """
        answer = self.answer(name, arguments)
        assert "return" in answer, answer
        return answer["return"]

    def error(self, name: str, arguments: Any = None) -> str:
        """
        :return: the words of the error that the command is answered with
        :raise AssertionError: when it is not
        """
        answer = self.answer(name, arguments)
        assert "error" in answer, answer
        desc: str = answer["error"]["desc"]
        return desc

    def event(self, name: str) -> Any:
        """Wait for an event, or take one that has come. :return: its message"""
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            self.events.append(self._read())

    def close(self) -> None:
        """Disconnect."""
        self.reader.close()
        self.socket.close()


class Program:
    """
    A process with a monitor, ended with the C{with} statement.

    :param folder: where it runs, and where its sockets are
    :param command: the program and its arguments
    :param paths: folders in which it finds modules and plugins, besides ours
    """

    def __init__(self, folder: Path, command: Iterable[str], *, paths: Iterable[Path] = ()) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
        self.folder = folder
        self._clients: list[QMP] = []
        self.log = folder / "output"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                list(command),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for client in self._clients:
            client.close()
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(PATIENCE)

    def output(self) -> str:
        """:return: what it has printed and logged"""
        return self.log.read_text(errors="replace")

    def qmp(self, name: str = "qmp.sock") -> QMP:
        """:return: a client, connected as soon as it serves, closed at the end"""
        path = self.folder / name

        def connect() -> QMP | None:
            try:
                return QMP(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return None

        client: QMP = until(f"QMP at {name}", connect, self)
        self._clients.append(client)
        return client

    def ends(self) -> int:
        """Wait for its end. :return: its exit status"""
        return self.popen.wait(PATIENCE)


class Twistd(Program):
    """
    A process of C{twistd -n qmon}.

    :param arguments: what follows C{qmon}
    :param options: what comes before it, options of C{twistd} itself
    :param twistd: the command
    """

    def __init__(
        self,
        folder: Path,
        arguments: Iterable[str],
        *,
        paths: Iterable[Path] = (),
        options: Iterable[str] = (),
        twistd: Iterable[str] = TWISTD,
    ) -> None:
        super().__init__(folder, [*twistd, "-n", *options, "qmon", *arguments], paths=paths)

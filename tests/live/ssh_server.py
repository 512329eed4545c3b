"""
C{twistd qmon --ssh}, and Debian's own C{ssh} to talk to it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.live.needs import need
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, Twistd, free_port

__all__ = ["SSH", "SSHServer"]

#: A provider with an event that comes as often as is asked, and a result that is long.
PROVIDER = """
from twisted.internet import reactor, task
from twisted_qmon import CommandProvider, Event, command

class Loud(CommandProvider):
    events = [Event("TICK", number=int)]

    @command
    def tick(self, rate: int) -> None:
        if not rate:
            self.loop.stop()
            return
        self.number = 0
        def some(count):
            for _ in range(count * rate // 50):
                self.number += 1
                self.monitor.emit("TICK", {"number": self.number})
        self.loop = task.LoopingCall.withCount(some)
        self.loop.start(0.02)

    @command
    def query_big(self, lines: int) -> str:
        return "\\n".join(f"line {n} " + "x" * 50 for n in range(lines))
"""


class SSH:
    """
    The command C{ssh} for a server.

    :param folder: where the client's files are
    :param port: the server's
    :param key: the file of the private key
    """

    def __init__(self, folder: Path, port: int, key: str = "id") -> None:
        self.folder = folder
        self.words = [
            need("ssh"), "-F", "/dev/null", "-p", str(port), "-i", str(folder / key), "-o", "IdentitiesOnly=yes",
            "-o", "IdentityAgent=none", "-o", f"UserKnownHostsFile={folder / 'known'}", "-o", "StrictHostKeyChecking=no",
            "-o", "LogLevel=ERROR", "-o", "PasswordAuthentication=no",
        ]  # fmt: skip

    def command(self, *words: str) -> list[str]:
        """:return: the command, with more words; options among them"""
        return [*self.words, "someone@127.0.0.1", *words]

    def run(self, *words: str, stdin: str | bytes = b"", options: Sequence[str] = ()) -> tuple[int, str, str]:
        """:return: its exit status, what it wrote, and its errors"""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [self.words[0], *options, *self.command(*words)[1:]], input=data, capture_output=True, timeout=PATIENCE
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def terminal(self, columns: int = 80, lines: int = 24, variables: dict[str, str] | None = None) -> Terminal:
        """:return: a session in a pseudo-terminal"""
        return Terminal(self.folder, columns=columns, lines=lines, variables=variables, program=self.command())


class SSHServer(Twistd):
    """
    C{twistd qmon --ssh}, ended with the C{with} statement.

    :ivar port: where it listens
    :ivar ssh: a client whose key is authorized
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "loud.py").write_text(PROVIDER)
        make_key(folder / "id", "alice@desk")
        (folder / "keys").write_bytes((folder / "id.pub").read_bytes())
        (folder / "keys").chmod(0o600)
        self.port = free_port()
        self.ssh = SSH(folder, self.port)
        super().__init__(
            folder,
            [
                "--provider", "loud.Loud", "--provider", "tests.support.shop.Shop", "--qmp", "unix:qmp.sock",
                "--ssh", f"tcp:{self.port}:interface=127.0.0.1:backlog=1024",
                "--ssh-host-key", "host_key", "--ssh-authorized-keys", "keys", *arguments,
            ],
            paths=[folder],
        )  # fmt: skip


def make_key(path: Path, comment: str, kind: str = "ed25519") -> None:
    """Make a key pair."""
    subprocess.run(
        [need("ssh-keygen"), "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)],
        check=True,
        timeout=PATIENCE,
    )

"""
File descriptors through the proxy, by the thousand: C{python -m tests.live.descriptors --count 10000}.

They are sent as libvirt, qemu.qmp, ganeti and go-qemu send them, used or not, with clients, proxies and QEMUs that die meanwhile.
In the end neither QEMU nor the proxy may have one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.live.real_qemu import RealQemu
from tests.live.twistd_process import QMP, Twistd, until

__all__ = ["Passer", "Passing", "open_copies"]


class Passer(QMP):
    """A client that sends descriptors."""

    def send(self, data: bytes, *numbers: int) -> None:
        """Send descriptors with the first byte of some bytes."""
        if numbers:
            socket.send_fds(self.socket, [data], list(numbers))
        else:
            self.socket.sendall(data)

    def passes(self, name: str, arguments: Any = None, *numbers: int, blank: bool = False) -> Any:
        """
        Send descriptors with a command, or with a C{blank} ahead of it.

        :return: the reply
        """
        message = json.dumps({"execute": name} if arguments is None else {"execute": name, "arguments": arguments})
        if blank:
            self.send(b" ", *numbers)
            self.send(message.encode())
        else:
            self.send(message.encode() + b"\n", *numbers)
        while "event" in (reply := self._read()):
            pass
        return reply


def open_copies(pid: int, path: Path) -> int:
    """:return: how many descriptors of a file a process has"""
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += Path(os.readlink(each)) == path
        except OSError:
            continue
    return count


class Passing:
    """
    A QEMU that runs, a proxy in front of it, and a file whose descriptors are passed.

    :param folder: where they are
    :ivar qemu: the QEMU
    :ivar proxy: the proxy
    :ivar passed: how many descriptors have been sent so far
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "passed"
        self.file.write_bytes(bytes(1 << 16))
        self.passed = 0
        self.number = os.open(self.file, os.O_RDWR)
        self.qemu = RealQemu(folder)
        self.qemu.start()
        self.proxy = self._start()

    def __enter__(self) -> Passing:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__(None, None, None)
        self.qemu.kill()
        os.close(self.number)

    def _start(self) -> Twistd:
        proxy = Twistd(
            self.folder, ["--qemu", f"unix:{self.qemu.socket}", "--qmp", "unix:qmp.sock", "--hmp", "unix:hmp.sock"]
        )
        # It closes what is removed from a set only while the guest runs.
        until("QEMU behind the proxy", lambda: "return" in proxy.qmp().answer("cont"), proxy)
        return proxy

    def client(self) -> Passer:
        """:return: a client of the proxy"""
        return Passer(self.folder / "qmp.sock")

    def copies(self) -> tuple[int, int]:
        """:return: how many descriptors of the file QEMU and the proxy have"""
        return open_copies(self.qemu.pid, self.file), open_copies(self.proxy.popen.pid, self.file)

    def is_clean(self) -> bool:
        """:return: whether they have none"""
        return self.copies() == (0, 0)

    # -- one round each

    def gets(self, client: Passer, *, blank: bool) -> None:
        """Send one with a name, another of the same name, and close it."""
        for _ in range(2):
            assert client.passes("getfd", {"fdname": "one"}, self.number, blank=blank) == {"return": {}}
            self.passed += 1
        assert client.passes("closefd", {"fdname": "one"}) == {"return": {}}

    def adds(self, client: Passer, *, blank: bool) -> None:
        """Send one for a set, and remove it."""
        reply = client.passes("add-fd", {"opaque": "x"}, self.number, blank=blank)
        self.passed += 1
        assert client.passes("remove-fd", reply["return"]) == {"return": {}}

    def uses_set(self, client: Passer, *, blank: bool) -> None:
        """Open an image by a descriptor, as libvirt does, and close it."""
        number = client.passes("add-fd", None, self.number, blank=blank)["return"]["fdset-id"]
        self.passed += 1
        node = {"driver": "file", "node-name": "passed", "filename": f"/dev/fdset/{number}"}
        assert client.passes("blockdev-add", node) == {"return": {}}
        assert client.passes("remove-fd", {"fdset-id": number}) == {"return": {}}
        assert client.passes("blockdev-del", {"node-name": "passed"}) == {"return": {}}

    def is_wrong(self, client: Passer, *, blank: bool) -> None:
        """Send some that are of no use."""
        name = {"fdname": "two"}
        for command, arguments, count in (
            ("getfd", None, 1),
            ("query-status", None, 1),
            ("getfd", name, 3),
            ("nope", None, 1),
        ):
            reply = client.passes(command, arguments, *[self.number] * count, blank=blank and command != "query-status")
            assert command == "query-status" or "error" in reply
            self.passed += count
        assert "error" in client.passes("getfd", name)

    def leaves(self, client: Passer, *, blank: bool) -> None:
        """A client sends many at once, and goes in the middle of it."""
        other = self.client()
        for number in range(random.randrange(1, 12)):
            name = json.dumps({"execute": "getfd", "arguments": {"fdname": f"left-{number}"}, "id": number}).encode()
            if blank:
                other.send(b" ", self.number)
            other.send(name, *([] if blank else [self.number]))
            self.passed += 1
        other.close()

    def play(self, client: Passer, chance: random.Random) -> None:
        """One round of any kind."""
        kind = chance.choice((self.gets, self.gets, self.adds, self.adds, self.uses_set, self.is_wrong, self.leaves))
        kind(client, blank=chance.random() < 0.5)

    # -- who dies

    def qemu_dies(self) -> None:
        """QEMU is killed while it has descriptors, and more are on their way; another one takes its place."""
        client = self.client()
        for number in range(8):
            client.send(b'{"execute":"getfd","arguments":{"fdname":"n%d"},"id":%d}' % (number, number), self.number)
            self.passed += 1
        self.qemu.kill()
        until("the proxy's end of it", lambda: open_copies(self.proxy.popen.pid, self.file) == 0, self.proxy)
        self.qemu.start()
        until("the next QEMU", lambda: "return" in client.passes("cont"), self.proxy)
        client.close()

    def proxy_dies(self, *, killed: bool) -> None:
        """The proxy ends, or is killed, likewise; then QEMU has what the proxy passed on, as of any client that is killed."""
        client = self.client()
        for number in range(8):
            client.send(b'{"execute":"getfd","arguments":{"fdname":"n%d"},"id":%d}' % (number, number), self.number)
            self.passed += 1
        if killed:
            self.proxy.popen.kill()
        self.proxy.__exit__(None, None, None)
        client.close()
        if not killed:
            until("QEMU's end of it", lambda: open_copies(self.qemu.pid, self.file) == 0)
        self.proxy = self._start()
        client = self.client()
        for number in range(8):
            client.passes("closefd", {"fdname": f"n{number}"})
        client.close()


def main() -> None:
    """Pass as many as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many descriptors to pass")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    random.seed(options.seed)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Passing(Path(folder)) as passing:
        client = passing.client()
        deaths = 0
        while passing.passed < options.count:
            for _ in range(200):
                passing.play(client, chance)
            client.close()
            until("the end of them all", passing.is_clean, passing.proxy)
            chance.choice(
                (passing.qemu_dies, lambda: passing.proxy_dies(killed=True), lambda: passing.proxy_dies(killed=False))
            )()
            deaths += 1
            until("the end of them all", passing.is_clean, passing.proxy)
            client = passing.client()
        client.close()
        print(  # noqa: T201
            f"{passing.passed} descriptors passed in {time.monotonic() - start:.0f} s, {deaths} deaths; "
            f"left over in QEMU and in the proxy: {passing.copies()}"
        )


if __name__ == "__main__":
    main()

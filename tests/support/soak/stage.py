"""
The processes: a monitor with everything that C{twistd qmon} has, and a proxy in front of a real QEMU.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.live.fleet_process import Caller, Router
from tests.live.real_qemu import RealQemu
from tests.live.ssh_server import SSH, make_key
from tests.live.twistd_process import QMP, Twistd, free_port, until
from tests.support.certificates import Authority

__all__ = ["MEMBER", "TRACEBACK", "Stage"]

#: The name of the monitor in the fleet.
MEMBER = "soak"

#: What neither log may have.
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Unhandled error in Deferred|Unhandled Error")

_ACCESS = """
[[grant]]
who = ["uid:{uid}", "web:*"]
level = "admin"
[[grant]]
who = ["cert:CN=alice", "ssh:*", "fleet:*"]
level = "operate"
[[grant]]
who = ["tcp:127.0.0.1:*"]
level = "observe"
"""


class Stage:
    """
    All that the clients talk to, as a context manager: what it started, it ends.

    :param with_fleet: with a router, whose program has to be there
    :param more: more options of C{twistd qmon}
    :ivar folder: where the monitor's sockets are; with the proxy's in its folder C{proxy}
    :ivar ours: the monitor's process
    :ivar proxy: the proxy's
    :ivar qemu: what is behind it
    :ivar ssh: a client of the monitor's SSH server
    :ivar tls: how a client with a certificate connects
    :ivar fleet: a caller in the fleet that the monitor is a member of, if there is one
    """

    def __init__(self, *, with_fleet: bool = False, more: Sequence[str] = ()) -> None:
        self._with_fleet = with_fleet
        self._more = list(more)
        self.fleet: Caller | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        with ExitStack() as self._stack:
            self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
            if self._with_fleet:
                self._start_router()
            self._start_ours()
            self._start_proxy()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start_router(self) -> None:
        """Start a router, and let the monitor join its fleet."""
        folder = self.folder / "router"
        folder.mkdir()
        router = Router(folder)
        ticket = router.ticket(MEMBER, "member")
        router.ticket("ops-alice", "operator")
        self._stack.enter_context(router)
        self._more += ["--fleet", router.url, "--fleet-name", MEMBER, "--fleet-ticket", str(ticket)]
        self.fleet = Caller(router, self.folder, "ops-alice")

    def _start_ours(self) -> None:
        self.ports = {name: free_port() for name in ("mtls", "hmp", "ssh", "web", "metrics")}
        self._make_files()
        local = {name: f"tcp:{port}:interface=127.0.0.1" for name, port in self.ports.items()}
        mtls = f"mtls:{self.ports['mtls']}:interface=127.0.0.1:key=server.key:cert=server.pem:ca=ca.pem"
        self.ours = self._stack.enter_context(
            Twistd(
                self.folder,
                [
                    *("--qmp", "unix:qmp.sock", "--qmp", "unix:observe.sock:level=observe", "--qmp", mtls),
                    *("--hmp", "unix:hmp.sock", "--hmp", local["hmp"], "--metrics", local["metrics"]),
                    *("--ssh", local["ssh"], "--ssh-host-key", "host_key", "--ssh-authorized-keys", "keys"),
                    *("--web", local["web"], "--watchdog", "unix:watchdog.sock"),
                    *("--watchdog-hmp", "unix:watchdog-hmp.sock", "--access", "access.toml", "--audit", "audit.jsonl"),
                    *("--provider", "tests.support.soak.provider.Busy", *self._more),
                    *("web", "--listen", "tcp:0:interface=127.0.0.1", "--path", "."),
                ],
            )
        )
        self.ours.qmp().close()
        url = self.folder / "web-tokens.toml.url"
        until("the token", lambda: url.exists() and url.read_text().strip(), self.ours)
        self.token = url.read_text().strip().partition("token=")[2]

    def _make_files(self) -> None:
        authority = Authority()
        server, client = authority.issue("localhost", "127.0.0.1"), authority.issue("alice")
        for name, data in {
            "ca.pem": authority.certificate, "server.pem": server.certificate, "server.key": server.key,
            "client.pem": client.certificate + client.key,
        }.items():  # fmt: skip
            (self.folder / name).write_bytes(data)
            (self.folder / name).chmod(0o600)
        (self.folder / "access.toml").write_text(_ACCESS.format(uid=os.getuid()))
        make_key(self.folder / "id", "alice@desk")
        shutil.copy(self.folder / "id.pub", self.folder / "keys")
        (self.folder / "keys").chmod(0o600)
        self.ssh = SSH(self.folder, self.ports["ssh"])
        self.tls = ssl.create_default_context(cafile=self.folder / "ca.pem")
        self.tls.load_cert_chain(self.folder / "client.pem")

    def _start_proxy(self) -> None:
        folder = self.folder / "proxy"
        folder.mkdir()
        self.qemu = self._stack.enter_context(RealQemu(folder))
        self.proxy = self._stack.enter_context(
            Twistd(
                folder,
                [
                    *("--qemu", "unix:qemu", "--qmp", "unix:qmp.sock", "--hmp", "unix:hmp.sock"),
                    *("--watchdog", "unix:watchdog.sock", "--audit", "audit.jsonl"),
                ],
            )
        )
        self.connected()

    def connected(self) -> None:
        """Wait until the proxy is connected to its QEMU."""
        qmp = self.proxy.qmp()
        until("the QEMU", lambda: "query-block" in str(qmp.execute("query-commands")), self.proxy)
        qmp.close()

    def restart_qemu(self) -> None:
        """Let QEMU die on the spot, and start it again."""
        self.qemu.kill()
        self.qemu.start()

    def tracebacks(self) -> list[str]:
        """:return: the lines of both logs that must not be there, each with some after it"""
        found = []
        for process in (self.ours, self.proxy):
            lines = process.output().splitlines()
            found += ["\n".join(lines[n : n + 25]) for n, line in enumerate(lines) if TRACEBACK.search(line)]
        return found

    def qmp(self, process: Twistd) -> QMP:
        """:return: a client of a process, for who looks at it. To be closed."""
        return QMP(process.folder / "qmp.sock")

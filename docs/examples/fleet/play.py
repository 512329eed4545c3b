"""
A fleet to play with, on one machine::

    python play.py

It starts a router with tickets (C{router.yaml}) and twenty members, each a C{twistd qmon} of its own, in a new folder, and says
which commands to try. Ctrl-C ends all of it. The command C{crossbar} is looked for in C{$QMON_CROSSBAR} (its folder, or the
program itself), then on the C{PATH}.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fleet_router import Tickets

HERE = Path(__file__).parent

#: Seconds that the router has to start.
PATIENCE = 180.0

#: What runs C{twistd} with the Python that runs this.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

PEOPLE = {"view-you": "observer", "ops-you": "operator", "admin-you": "admin"}


def crossbar() -> str:
    """
    :return: the path of the router's program
    :raise SystemExit: when it is not there
    """
    where = os.environ.get("QMON_CROSSBAR", "")
    found = shutil.which("crossbar", path=where) or shutil.which(where) if where else shutil.which("crossbar")
    if not found:
        sys.exit("play: there is no crossbar: python3 -m venv crossbar && crossbar/bin/pip install crossbar")
    return found


def free_port() -> int:
    """:return: a port that is free at this moment"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configure(folder: Path, port: int, config: str = "router.yaml") -> None:
    """Write a router's configuration with another port, and what it needs."""
    shutil.copy(HERE / "fleet_router.py", folder)
    (folder / config).write_text((HERE / config).read_text().replace("port: 8080", f"port: {port}"))


def prepare(folder: Path, port: int, members: list[str]) -> None:
    """Write all files: the router's configuration, tickets for all, the members' rules."""
    shutil.copy(HERE / "access.toml", folder)
    configure(folder, port)
    tickets = Tickets(folder / "tickets.toml")
    for name, role in {**dict.fromkeys(members, "member"), **PEOPLE}.items():
        path = folder / f"{name}.ticket"
        path.touch(0o600)
        path.write_text(tickets.add(name, role) + "\n")


def start_router(folder: Path, port: int, config: str = "router.yaml") -> subprocess.Popen[bytes]:
    """
    :param folder: where its configuration is
    :param port: what it is to listen at
    :return: the router's process, which takes connections
    :raise SystemExit: when it does not come to that
    """
    words = [crossbar(), "start", "--cbdir", str(folder), "--config", config]
    with (folder / "router.log").open("wb") as log:
        router = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    end = time.monotonic() + PATIENCE
    while router.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return router
        time.sleep(0.1)
    router.kill()
    sys.exit(f"play: the router did not start: {folder / 'router.log'} says why")


def start_member(folder: Path, name: str, url: str) -> subprocess.Popen[bytes]:
    """:return: a member's process"""
    words = [*TWISTD, "-n", f"--pidfile={name}.pid", "qmon", f"--qmp=unix:{name}.sock", "--access=access.toml"]
    words += [f"--fleet={url}", f"--fleet-name={name}", f"--fleet-ticket={name}.ticket", f"--name={name}"]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)


def advice(folder: Path, url: str) -> str:
    """:return: what to try"""
    return f"""
The fleet runs in {folder}. In another terminal:

    cd {folder}
    export QMON_FLEET_AUTHID=ops-you QMON_FLEET_TICKET=ops-you.ticket
    qmon fleet {url} ls
    qmon fleet {url} ls --watch
    qmon fleet {url} play-01
    qmon fleet {url} play-01 top
    qmon fleet {url} 'play-*' exec query-status
    qmon fleet {url} events
    kill -9 $(cat play-07.pid)

Ctrl-C ends it.
"""


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End all of them."""
    for each in processes:
        each.terminate()
    for each in processes:
        try:
            each.wait(20)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


def main() -> int:
    """Start everything, and wait."""
    parser = argparse.ArgumentParser(description="A fleet to play with, on one machine.")
    parser.add_argument("--members", type=int, default=20, help="how many (default: %(default)s)")
    options = parser.parse_args()
    members = [f"play-{number:02}" for number in range(1, options.members + 1)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        port = free_port()
        url = f"ws://127.0.0.1:{port}/ws"
        prepare(folder, port, members)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            processes.append(start_router(folder, port))
            processes += [start_member(folder, member, url) for member in members]
            print(advice(folder, url), flush=True)
            processes[0].wait()
            print(f"play: the router has ended: {(folder / 'router.log').read_text()[-2000:]}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            stop(processes[::-1])


if __name__ == "__main__":
    sys.exit(main())

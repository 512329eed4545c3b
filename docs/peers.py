"""
What other programs do of what a monitor does, tried: ``python docs/peers.py [NAME ...]`` runs each of them and writes what was
typed and what came back to docs/peers/NAME.txt. It needs the programs: HAProxy, QEMU, libvirt, and from PyPI aiomonitor, py-spy,
qemu.qmp. What is not installed is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent / "peers"
SECONDS = 10.0


class Transcript:
    """What was typed and what came back, for a reader: without times, ports, folders and process ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """What is tried."""
        self.lines += ["", f"# {text}"] if self.lines else [f"# {text}"]

    def typed(self, text: str, output: str) -> None:
        """A line, and what came back; long output is cut."""
        text = text.replace(self._folder, "FOLDER")
        output = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r", "", output.replace(self._folder, "FOLDER"))
        output = re.sub(r"0x[0-9a-f]{6,}", "0x...", output).strip("\n")
        output = re.sub(r"(/[\w.-]+)+/(?=python[\d.]*)", "", output)
        shown = [line.rstrip() if len(line) <= 130 else f"{line[:120]}..." for line in output.splitlines()]
        if len(shown) > 20:
            shown = [*shown[:18], f"... {len(shown) - 18} lines more"]
        self.lines += [f"> {text}", *shown]


def _run(transcript: Transcript, *words: str, timeout: float = SECONDS, shown: str = "") -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, errors="replace")
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as e:
        output = (e.stdout or b"").decode(errors="replace") + f"(no answer within {timeout:g} s)"
    transcript.typed(shown or " ".join(words), output)
    return output


@contextmanager
def _process(*words: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _connect(address: str | int) -> socket.socket:
    end = time.monotonic() + SECONDS
    while True:
        client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            client.connect(address if isinstance(address, str) else ("127.0.0.1", address))
            return client
        except OSError:
            client.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _hear(client: socket.socket, seconds: float = 1.0) -> str:
    client.settimeout(seconds)
    data = b""
    try:
        while chunk := client.recv(65536):
            data += chunk
    except TimeoutError:
        pass
    return re.sub(rb"\xff[\xfb-\xfe].", b"", data).decode(errors="replace")


def _ask(transcript: Transcript, client: socket.socket, line: str, seconds: float = 1.0) -> None:
    client.sendall(line.encode() + b"\n")
    transcript.typed(line, _hear(client, seconds) or f"(no answer within {seconds:g} s)")


# -- the peers

MANHOLE = """
import sys, time
from twisted.conch.manhole import Manhole
from twisted.conch.insults import insults
from twisted.conch.telnet import TelnetBootstrapProtocol, TelnetTransport
from twisted.internet import protocol, reactor
factory = protocol.ServerFactory()
namespace = {"time": time, "reactor": reactor}
factory.protocol = lambda: TelnetTransport(TelnetBootstrapProtocol, insults.ServerProtocol, Manhole, namespace)
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
reactor.run()
"""


def manhole(transcript: Transcript, folder: Path) -> None:
    """Twisted's manhole, over telnet."""
    port = _free_port()
    with _process(sys.executable, "-c", MANHOLE, str(port)):
        first, second = _connect(port), _connect(port)
        for client in (first, second):
            _hear(client)

        def ask(client: socket.socket, line: str, seconds: float = 1.0) -> None:
            client.sendall(line.encode() + (b"" if line.endswith("\t") else b"\r\n"))
            transcript.typed(line, _hear(client, seconds) or f"(no answer within {seconds:g} s)")

        transcript.say("all of Python")
        ask(first, "len(reactor.getDelayedCalls())")
        transcript.say("Tab completes nothing")
        ask(first, "reactor.getDel\t")
        first.sendall(b"\x03")
        _hear(first)
        transcript.say("one session blocks, another waits")
        first.sendall(b"time.sleep(3)\r\n")
        time.sleep(0.3)
        ask(second, "1 + 1", 1.5)
        transcript.say("a Deferred is not waited for")
        _hear(first, 3)
        ask(first, "from twisted.internet.task import deferLater; deferLater(reactor, 1)", 2)


AIOMONITOR = """
import asyncio, sys, time
import aiomonitor

async def wait():
    await asyncio.sleep(1000)

async def block():
    await asyncio.sleep(4)
    time.sleep(6)

async def main():
    loop = asyncio.get_running_loop()
    with aiomonitor.start_monitor(loop, port=int(sys.argv[1]), webui_port=int(sys.argv[2]), console_port=int(sys.argv[3])):
        tasks = [asyncio.create_task(wait(), name="waiting"), asyncio.create_task(block(), name="blocking")]
        await asyncio.gather(*tasks, return_exceptions=True)

asyncio.run(main())
"""


def aiomonitor(transcript: Transcript, folder: Path) -> None:
    """aiomonitor."""
    import importlib.util

    import pexpect

    python = os.environ.get("AIOMONITOR_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("aiomonitor") is None:
        raise FileNotFoundError("aiomonitor")
    port = _free_port()
    with _process(python, "-c", AIOMONITOR, str(port), str(_free_port()), str(_free_port())):
        _connect(port).close()
        child = pexpect.spawn(python, ["-m", "aiomonitor.cli", "-p", str(port)], timeout=SECONDS, dimensions=(40, 110))
        try:
            child.expect("monitor.*>>> ")
            for said, line in (("tasks", "ps"), ("the loop is blocked now", "ps"), ("", "help")):
                if said:
                    transcript.say(said)
                if "blocked" in said:
                    time.sleep(3)
                child.send(line + "\r")
                time.sleep(1.5)
                try:
                    text = child.read_nonblocking(65536, 1).decode(errors="replace")
                except pexpect.TIMEOUT:
                    text = "(no answer)"
                transcript.typed(line, text)
        finally:
            child.close(force=True)


def qmp_shell(transcript: Transcript, folder: Path) -> None:
    """QEMU's own qmp-shell, at a QEMU."""
    path = str(folder / "qmp")
    qemu = shutil.which("qemu-system-x86_64")
    shell = shutil.which("qmp-shell", path=str(Path(sys.executable).parent)) or shutil.which("qmp-shell")
    if qemu is None or shell is None:
        raise FileNotFoundError("QEMU, qmp-shell")
    words = [qemu, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", f"unix:{path},server=on,wait=off"]
    with _process(*words):
        first = _connect(path)
        transcript.say("a second client of the same socket is not even greeted")
        second = _connect(path)
        transcript.typed("(first client connects)", _hear(first))
        transcript.typed("(second client connects)", _hear(second, 2) or "(no greeting within 2 s)")
        first.close()
        second.close()
        transcript.say("one command")
        done = subprocess.run(
            [shell, path], input="query-status\nquery-statu\n", capture_output=True, text=True, timeout=SECONDS
        )
        transcript.typed("query-status; query-statu", done.stdout + done.stderr)


DOMAIN = """<domain type='qemu'><name>guest</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/><memballoon model='none'/>
</devices></domain>"""


def virsh(transcript: Transcript, folder: Path) -> None:
    """virsh, with libvirt in a session of its own."""
    if shutil.which("virsh") is None or shutil.which("libvirtd") is None:
        raise FileNotFoundError("virsh, libvirtd")
    home = {
        **os.environ,
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_CONFIG_HOME": str(folder / "c"),
        "XDG_CACHE_HOME": str(folder / "k"),
    }
    os.environ.update(home)
    (folder / "guest.xml").write_text(DOMAIN)
    virsh = ["virsh", "-c", "qemu:///session"]
    server = subprocess.Popen(["libvirtd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        _run(transcript, *virsh, "create", str(folder / "guest.xml"), "--paused")
        transcript.say("a command, a line of the human monitor")
        _run(transcript, *virsh, "qemu-monitor-command", "guest", '{"execute": "query-status"}')
        _run(transcript, *virsh, "qemu-monitor-command", "guest", "--hmp", "info status")
        transcript.say("events")
        _run(transcript, *virsh, "qemu-monitor-event", "guest", "--timeout", "2", timeout=SECONDS)
        transcript.say("libvirt warns of what is changed behind its back")
        _run(transcript, *virsh, "dominfo", "guest")
        transcript.say("who may connect")
        _run(transcript, *virsh, "-r", "qemu-monitor-command", "guest", '{"execute": "query-status"}')
    finally:
        subprocess.run([*virsh, "destroy", "guest"], capture_output=True, timeout=SECONDS)
        server.terminate()
        server.wait()


AMP = """
import sys, time
from twisted.internet import reactor, protocol
from twisted.protocols import amp

class Sum(amp.Command):
    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]

class Math(amp.AMP):
    @Sum.responder
    def sum(self, a, b):
        return {"total": a + b}

factory = protocol.Factory.forProtocol(Math)
reactor.listenUNIX(sys.argv[1], factory)
reactor.run()
"""


def twisted_amp(transcript: Transcript, folder: Path) -> None:
    """Twisted's AMP."""
    path = str(folder / "amp")
    with _process(sys.executable, "-c", AMP, path):
        client = _connect(path)

        def ask(said: str, *pairs: bytes) -> None:
            data = b"".join(len(each).to_bytes(2, "big") + each for each in pairs) + b"\0\0"
            client.sendall(data)
            transcript.typed(said, repr(_hear(client)) if data else "")

        transcript.say("typed arguments, errors by class; what commands there are can't be asked")
        ask("Sum a=13 b=81", b"_ask", b"1", b"_command", b"Sum", b"a", b"13", b"b", b"81")
        ask("Sum a=x b=81", b"_ask", b"2", b"_command", b"Sum", b"a", b"x", b"b", b"81")
        client = _connect(path)
        ask("Help", b"_ask", b"3", b"_command", b"Help")
        client = _connect(path)
        transcript.say("a person gets nothing")
        client.sendall(b"help\r\n")
        transcript.typed("help", repr(_hear(client)))


BLOCKED = """
import time
def counts_loaves():
    time.sleep(60)
counts_loaves()
"""


def py_spy(transcript: Transcript, folder: Path) -> None:
    """py-spy, at a process that knows nothing of it."""
    program = os.environ.get("PY_SPY") or shutil.which("py-spy")
    if program is None:
        raise FileNotFoundError("py-spy")
    with _process(sys.executable, "-c", BLOCKED) as process:
        time.sleep(1)
        transcript.say("the stacks of any process, stuck or not; as root or as its parent")
        output = _run(transcript, program, "dump", "--pid", str(process.pid), shown="py-spy dump --pid PID")
        transcript.lines = [
            line.replace(str(process.pid), "PID").replace(sys.executable, "python") for line in transcript.lines
        ]
        del output


HAPROXY = """
global
    stats socket {folder}/user.sock mode 600 level user
    stats socket {folder}/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend web
    bind 127.0.0.1:{port}
    default_backend app
backend app
    server one 127.0.0.1:1
"""


def haproxy(transcript: Transcript, folder: Path) -> None:
    """HAProxy's runtime API."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not os.path.exists(program):
        raise FileNotFoundError("haproxy")
    (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, port=_free_port()))
    with _process(program, "-db", "-f", str(folder / "haproxy.cfg")):

        def ask(name: str, line: str) -> None:
            client = _connect(str(folder / f"{name}.sock"))
            _ask(transcript, client, line, 2)

        transcript.say("a level of each socket")
        ask("user", "show info json")
        ask("user", "disable server app/one")
        ask("admin", "disable server app/one")
        transcript.say("an unknown word gets the help")
        ask("admin", "sho inf")
        transcript.say("a prompt")
        client = _connect(str(folder / "admin.sock"))
        _ask(transcript, client, "prompt")
        _ask(transcript, client, "show servers state app")


PEERS: dict[str, Callable[[Transcript, Path], None]] = {
    "manhole": manhole, "aiomonitor": aiomonitor, "qmp-shell": qmp_shell, "virsh": virsh, "amp": twisted_amp,
    "py-spy": py_spy, "haproxy": haproxy,
}  # fmt: skip


def main() -> None:
    """Try each, or those that are named."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or PEERS:
        with tempfile.TemporaryDirectory(prefix="peer-") as folder:
            transcript = Transcript(Path(folder))
            try:
                PEERS[name](transcript, Path(folder))
            except FileNotFoundError as e:
                print(f"{name}: left out, there is no {e}")
                continue
        (FOLDER / f"{name}.txt").write_text("\n".join(transcript.lines) + "\n")
        print(f"{name}: done")


if __name__ == "__main__":
    main()

"""
Who asks, what they may do and who did it, with a whole process: real users on one socket, OpenSSL's client, a server that is
killed, a disk that is full.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.needs import missing, need
from tests.live.plain_qemu import PlainQEMU
from tests.live.twistd_process import PATIENCE, QMP, TWISTD, Twistd, free_port, until
from tests.support.certificates import Authority, Certified
from twisted_qmon.providers.qemu.levels import is_known

pytestmark = pytest.mark.live

COMMANDS = """
import os

from twisted_qmon import CommandProvider, command

class Commands(CommandProvider):
    def __init__(self):
        self.file = os.open("executed", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @command
    def mark(self, n: int) -> int:
        os.write(self.file, b"%d\\n" % n)
        return n

    @command
    def query_nothing(self) -> None:
        pass

    @command(level="admin", oob=True)
    def smash(self) -> None:
        os.write(self.file, b"smash\\n")
"""


def need_root() -> None:
    """Skip the test where it can't make users and mounts."""
    if os.getuid() != 0:
        missing("root, to make users and file systems")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that each user can enter, with a provider."""
    path = Path(tempfile.mkdtemp(prefix="qmon-"))
    path.chmod(0o755)
    (path / "commands.py").write_text(COMMANDS)
    yield path
    shutil.rmtree(path)


def audit_of(path: Path, *, torn: bool = False) -> list[dict[str, Any]]:
    """
    :param torn: the last line may be torn
    :return: the lines of an audit, decoded: each is whole JSON
    """
    lines = path.read_bytes().split(b"\n")
    last = lines.pop()
    if last:
        assert torn, last
    return [json.loads(line) for line in lines]


# -- users


@pytest.fixture
def users() -> Iterator[dict[str, tuple[int, int]]]:
    """Three users of this machine, each with a group of its own: their ids by their names."""
    need_root()
    need("useradd")
    names = [f"qmon{os.getpid()}{letter}" for letter in "abc"]
    for name in names:
        subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True)
    yield {name: (pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid) for name in names}
    for name in names:
        subprocess.run(["userdel", name], check=True)


def ask_as(user: tuple[int, int], path: Path, *messages: Any, groups: tuple[int, ...] = ()) -> tuple[int, list[Any]]:
    """
    Ask a server as another user; without messages, only read what it says.

    :return: the number of the process that asked, and what it was answered
    """
    ends = ["-", f"UNIX-CONNECT:{path}"] if messages else [f"UNIX-CONNECT:{path}", "-"]
    with subprocess.Popen(
        [need("socat"), "-t5", *(() if messages else ("-u",)), *ends],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=user[0],
        group=user[1],
        extra_groups=list(groups),
        cwd="/",
    ) as process:
        all_messages = [{"execute": "qmp_capabilities"}, *messages] if messages else []
        sent = b"".join(json.dumps(message).encode() for message in all_messages)
        output, _ = process.communicate(sent, PATIENCE)
    return process.pid, [json.loads(line) for line in output.splitlines()]


def test_three_users_on_one_socket(folder: Path, users: dict[str, tuple[int, int]]) -> None:
    """
    On one socket that all may connect to, each user gets what the rules say: one by name, one by a supplementary group, one
    nothing. The audit has the kernel's numbers.
    """
    (named, by_name), (grouped, by_group), (_, other) = users.items()
    (folder / "access.toml").write_text(
        f'[[grant]]\nwho = ["uid:{named}"]\nlevel = "operate"\n'
        f'[[grant]]\nwho = ["gid:{named}"]\nlevel = "observe"\nnever = ["query-nothing"]\n'
        '[[grant]]\nwho = ["uid:0"]\nlevel = "admin"\n'
    )
    arguments = ["--qmp", "unix:qmp.sock:mode=666", "--qmp", "unix:own.sock", "--provider", "commands.Commands"]
    with Twistd(folder, [*arguments, "--access", "access.toml", "--audit", "audit"], paths=[folder]) as server:
        server.qmp("own.sock")
        whoami, mark = {"execute": "query-whoami"}, {"execute": "mark", "arguments": {"n": 7}}
        pid, answers = ask_as(by_name, folder / "qmp.sock", whoami, mark, {"execute": "smash"})
        assert answers[2]["return"] == {
            "identity": f"uid:{by_name[0]}({named}) pid:{pid}", "level": "operate", "session": answers[2]["return"]["session"]
        }  # fmt: skip
        assert answers[3] == {"return": 7}
        assert "needs admin" in answers[4]["error"]["desc"]
        started = [line for line in audit_of(folder / "audit") if line.get("command") == "mark"]
        assert [(line["phase"], line["identity"]) for line in started] == [
            ("start", f"uid:{by_name[0]}({named}) pid:{pid}"),
            ("end", f"uid:{by_name[0]}({named}) pid:{pid}"),
        ]
        pid, answers = ask_as(
            by_group, folder / "qmp.sock", whoami, mark, {"execute": "query-nothing"}, groups=(by_name[1],)
        )
        assert answers[2]["return"]["level"] == "observe"
        assert answers[2]["return"]["identity"] == f"uid:{by_group[0]}({grouped}) pid:{pid}"
        assert "needs operate" in answers[3]["error"]["desc"]
        assert "is never allowed" in answers[4]["error"]["desc"]
        _, answers = ask_as(other, folder / "qmp.sock")
        assert [answer["error"]["class"] for answer in answers] == ["GenericError"]
        assert "has no access here" in answers[0]["error"]["desc"]
        assert "was turned away at unix:qmp.sock" in server.output()
    assert (folder / "executed").read_text() == "7\n"


# What systemd does: two sockets from descriptor 3 on, and the process told that they are meant for it.
ACTIVATE = """
import os, socket, sys
unix, inet = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)
unix.bind("given.sock")
inet.bind(("127.0.0.1", int(sys.argv[1])))
for number, given in enumerate((unix, inet), 10):
    given.listen()
    os.dup2(given.fileno(), number)
os.dup2(10, 3)
os.dup2(11, 4)
os.environ.update(LISTEN_FDS="2", LISTEN_FDNAMES="unix:inet", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_of_systemd(folder: Path) -> None:
    """
    On sockets that the process was given, a client is who it is by their family: a user on a unix socket, an address on TCP. The
    level of each endpoint holds, and rules are for both.
    """
    port = free_port()
    (folder / "access.toml").write_text(
        f'default = "observe"\n[[grant]]\nwho = ["uid:{os.getuid()}"]\nlevel = "admin"\nendpoint = "systemd:domain=UNIX"\n'
    )
    launcher = [sys.executable, "-c", ACTIVATE, str(port), *TWISTD]
    options = ["--qmp", "systemd:domain=UNIX:index=0:level=operate", "--qmp", "systemd:domain=INET:index=1"]
    with Twistd(folder, [*options, "--access", "access.toml"], twistd=launcher) as server:
        who = server.qmp("given.sock").execute("query-whoami")
        user = pwd.getpwuid(os.getuid()).pw_name
        assert who["identity"] == f"uid:{os.getuid()}({user}) pid:{os.getpid()}"
        assert who["level"] == "operate"
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, client.makefile("rwb") as stream:
            stream.readline()
            stream.write(b'{"execute": "qmp_capabilities"}{"execute": "query-whoami"}')
            stream.flush()
            stream.readline()
            who = json.loads(stream.readline())["return"]
            assert who["identity"] == f"tcp:127.0.0.1:{client.getsockname()[1]}"
            assert who["level"] == "observe"


# -- rules and signals


def test_every_command_by_every_way(folder: Path) -> None:
    """
    A client at observe is refused each command above observe of a process with another plugin beside it, in band and out of
    band, inside human-monitor-command and at the prompt; nothing of it happens, and the process goes on.
    """
    arguments = [
        "--qmp",
        "unix:ro.sock:level=observe",
        "--qmp",
        "unix:qmp.sock",
        "--hmp",
        "unix:ro-hmp.sock:level=observe",
    ]
    (folder / "www").mkdir()
    hosted = ["web", "--path", "www", "--listen", f"tcp:{free_port()}:interface=127.0.0.1"]
    with Twistd(folder, [*arguments, "--provider", "commands.Commands", *hosted], paths=[folder]) as server:
        root, observer = server.qmp(), server.qmp("ro.sock")
        everything = {entry["name"]: entry for entry in root.execute("query-command-help")}
        permitted = {entry["name"] for entry in observer.execute("query-commands")}
        above = set(everything) - permitted
        assert {"quit", "smash", "mark", "service-stop", "client-disconnect", "access-reload", "query-log"} <= above
        with socket.socket(socket.AF_UNIX) as person:
            person.settimeout(PATIENCE)
            person.connect(str(folder / "ro-hmp.sock"))
            lines = person.makefile("rwb")
            lines.readline()
            for name in sorted(above):
                assert observer.error(name, {"n": 1}).startswith("Permission denied: ")
                words = [name, *everything[name].get("aliases", [])]
                for word in words:
                    line = f"info {word.removeprefix('query-')}" if name.startswith("query-") else f"{word} 1 2 3"
                    printed = observer.execute("human-monitor-command", {"command-line": line})
                    assert printed.startswith("Error: Permission denied: "), (line, printed)
                    lines.write(line.encode() + b"\n")
                    lines.flush()
                    assert b"Error: Permission denied: " in lines.readline()
            lines.close()
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(str(folder / "ro.sock"))
        with client, client.makefile("rb") as replies:
            replies.readline()
            client.sendall(b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}')
            replies.readline()
            for message in ({"exec-oob": "smash"}, {"exec-oob": "cancel-command", "arguments": {"number": 1}}):
                client.sendall(json.dumps(message).encode())
                assert json.loads(replies.readline())["error"]["desc"].startswith("Permission denied: ")
        assert root.execute("query-status")["running"] is True
        assert not (folder / "executed").read_text()
        assert all(info["running"] for info in root.execute("query-services"))


def test_hang_up(folder: Path) -> None:
    """
    SIGHUP reads the rules again, and opens an audit that was moved away again; rules that can't be used are one line; it never
    ends the process.
    """
    (folder / "access.toml").write_text("default = 'admin'")
    with Twistd(folder, ["--qmp", "unix:qmp.sock", "--access", "access.toml", "--audit", "audit"]) as server:
        client = server.qmp()
        (folder / "audit").rename(folder / "audit.1")
        (folder / "access.toml").write_text("default = 'operate'")
        server.popen.send_signal(signal.SIGHUP)
        until("the new rules", lambda: client.execute("query-whoami")["level"] == "operate", server)
        assert "needs admin" in client.error("quit")
        assert (folder / "audit").exists()
        (folder / "access.toml").write_text("default = 'opperate'")
        server.popen.send_signal(signal.SIGHUP)
        until("a line in the log", lambda: "default: 'opperate' is not a level" in server.output(), server)
        assert client.execute("query-whoami")["level"] == "operate"
        (folder / "access.toml").write_text("")
        server.popen.send_signal(signal.SIGHUP)
        line = until("the end", lambda: client.reader.readline(), server)
        assert "has no access here" in json.loads(line)["error"]["desc"]
        assert client.reader.readline() == b""
        assert server.popen.poll() is None


IMPATIENT = """
import os, signal
from twisted_qmon import CommandProvider

os.kill(os.getpid(), signal.SIGHUP)

class Impatient(CommandProvider):
    def __init__(self):
        open("access.toml", "w").write("default = 'operate'")
        os.kill(os.getpid(), signal.SIGHUP)
"""


@pytest.mark.parametrize("rules", [True, False])
def test_hang_up_at_the_start(folder: Path, rules: bool) -> None:
    """
    SIGHUP while the process is being made does not end it on the spot: with rules they are read again once it runs, without
    any it ends in order.
    """
    (folder / "impatient.py").write_text(IMPATIENT)
    (folder / "access.toml").write_text("default = 'observe'")
    options = ["--qmp", "unix:qmp.sock", "--provider", "impatient.Impatient", *(["--access", "access.toml"] * rules)]
    with Twistd(folder, options, paths=[folder]) as server:
        if rules:
            until("the new rules", lambda: "reading access rules" in server.output(), server)
            assert server.qmp().execute("query-whoami")["level"] == "operate"
        else:
            server.ends()
            assert "Received SIGHUP, shutting down" in server.output()
            assert "the drain was clean" in server.output()


# -- TLS


def test_openssl_clients(folder: Path) -> None:
    """
    C{mtls:} lets OpenSSL's client in with a certificate of the authority, and says who it is. Without one, with one of another
    authority or an expired one it gets nothing, and the log has one clear line for each. After SIGHUP a new authority counts.
    """
    openssl = need("openssl")
    authority, another = Authority(), Authority("another authority")
    certified = authority.issue("server", "localhost")
    for name, content in (("key", certified.key), ("cert", certified.certificate), ("ca", authority.certificate)):
        (folder / name).write_bytes(content)
    (folder / "access.toml").write_text(
        '[[grant]]\nwho = ["cert:CN=alice,O=ops"]\nlevel = "operate"\n[[grant]]\nwho = ["uid:*"]\nlevel = "admin"\n'
    )
    port = free_port()
    endpoint = f"mtls:{port}:interface=127.0.0.1:key=key:cert=cert:ca=ca"

    def connect(client: Certified | None, wanted: bytes) -> bytes:
        """Speak to the server until it says what is wanted, or closes."""
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof"]
        if client is not None:
            (folder / "client.pem").write_bytes(client.certificate + client.key)
            command += ["-cert", str(folder / "client.pem"), "-key", str(folder / "client.pem")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b'{"execute":"qmp_capabilities"}{"execute":"query-whoami"}\n')
            output = b""
            while wanted not in output and (data := process.stdout.read(4096)):
                output += data
            process.stdin.close()
        return output

    with Twistd(folder, ["--qmp", "unix:qmp.sock", "--qmp", endpoint, "--access", "access.toml"]) as server:
        server.qmp()
        alice = authority.issue("alice", organization="ops")
        assert b'"identity":"cert:CN=alice,O=ops","level":"operate"' in connect(alice, b"identity")
        assert b"has no access here" in connect(authority.issue("eve", organization="ops"), b"has no access")
        refused = {
            "certificate": None,
            "unable to get local issuer|certificate verify failed": another.issue("alice", organization="ops"),
            "expired|certificate verify failed": authority.issue("alice", organization="ops", expired=True),
        }
        for number, (reason, client) in enumerate(refused.items(), 1):
            assert connect(client, b"QMP") == b""

            def said(number: int = number) -> list[str] | None:
                lines = [line for line in server.output().splitlines() if "did not complete the TLS handshake" in line]
                return lines if len(lines) == number else None

            [*_, line] = until(f"a line about {reason}", said, server)
            assert any(words in line for words in reason.split("|")), line
        assert "Traceback" not in server.output()
        (folder / "ca").write_bytes(another.certificate)
        server.popen.send_signal(signal.SIGHUP)
        until("the reading", lambda: "TLS files again" in server.output(), server)
        assert connect(alice, b"QMP") == b""
        assert b"identity" in connect(another.issue("alice", organization="ops"), b"identity")


# -- the audit


class Marker(threading.Thread):
    """
    A client that keeps a window of commands in flight until the server is gone.

    :ivar answered: the numbers that it was answered
    """

    def __init__(self, path: Path, numbers: range, window: int = 8) -> None:
        super().__init__(daemon=True)
        self.client = QMP(path)
        self.numbers = iter(numbers)
        self.window = window
        self.answered: list[int] = []

    def send(self) -> None:
        """Send the next command."""
        number = next(self.numbers, None)
        if number is not None:
            message = {"execute": "mark", "arguments": {"n": number}, "id": number}
            self.client.socket.sendall(json.dumps(message).encode())

    def run(self) -> None:
        """Send and read."""
        try:
            for _ in range(self.window):
                self.send()
            while True:
                line = self.client.reader.readline()
                if not line.endswith(b"\n"):
                    return
                self.answered.append(json.loads(line)["id"])
                self.send()
        except OSError:
            return


def test_killed_server(folder: Path) -> None:
    """
    A server is killed in the middle of 40,000 commands of 20 clients: each command that was executed has its first line, each
    that was answered its second, and each line is whole JSON, but perhaps for the last.
    """
    with Twistd(
        folder, ["--qmp", "unix:qmp.sock", "--provider", "commands.Commands", "--audit", "audit"], paths=[folder]
    ) as server:
        server.qmp()
        clients = [Marker(folder / "qmp.sock", range(n * 2000, (n + 1) * 2000)) for n in range(20)]
        for client in clients:
            client.start()
        until("some of it", lambda: sum(len(client.answered) for client in clients) > 4000, server)
        server.popen.kill()
        server.ends()
        for client in clients:
            client.join(PATIENCE)
            client.client.close()
    answered = {number for client in clients for number in client.answered}
    executed = {int(line) for line in (folder / "executed").read_text().split()}
    assert 4000 < len(answered) < 40_000
    lines = audit_of(folder / "audit", torn=True)
    begun = {line["number"]: line["arguments"]["n"] for line in lines if line["phase"] == "start"}
    ended = {begun[line["number"]] for line in lines if line["phase"] == "end"}
    assert executed <= set(begun.values())
    assert answered <= ended <= executed


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system with next to no room."""
    need_root()
    path = folder / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(path)], capture_output=True, text=True
    )
    if done.returncode:
        missing(f"a tmpfs: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path) -> Path:
    """
    Fill a file system, to the last byte.

    :return: the file that fills it
    """
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 512)
    return filler


@pytest.mark.parametrize("required", [False, True])
def test_full_disk(folder: Path, small_disk: Path, required: bool) -> None:
    """
    When the disk of the audit is full that is logged, counted and holds nothing up; if the audit is required, commands above
    observe are refused until there is room. What is written then is whole.
    """
    audit = small_disk / "audit"
    options = ["--qmp", "unix:qmp.sock", "--provider", "commands.Commands", "--audit", str(audit)]
    with Twistd(folder, [*options, *(["--audit-required"] if required else [])], paths=[folder]) as server:
        client = server.qmp()
        assert client.execute("mark", {"n": 1}) == 1
        filler = fill(small_disk)
        # The page that the end of the audit is in may still have room.
        answers = [client.answer("mark", {"n": n}) for n in range(2, 60)]
        refused = {"class": "GenericError", "desc": "'mark' is refused: the audit can't be written"}
        assert answers[-1] == ({"error": refused} if required else {"return": 59})
        assert client.execute("query-nothing") == {}
        assert "the audit can't be written to" in server.output()
        filler.unlink()
        assert client.execute("mark", {"n": 2000}) == 2000
        until("the recovery", lambda: "the audit can be written to" in server.output(), server)
        assert {"n": 2000} in [line.get("arguments") for line in whole_lines(audit)]
    executed = [int(line) for line in (folder / "executed").read_text().split()]
    begun = [line["arguments"]["n"] for line in whole_lines(audit) if line["phase"] == "start"]
    if required:
        assert executed == begun
    else:
        assert executed == [*range(1, 60), 2000]


def whole_lines(audit: Path) -> list[dict[str, Any]]:
    """:return: the lines of an audit without those that are torn, which stand alone on their lines"""
    lines = []
    for line in audit.read_bytes().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            assert line.startswith(b'{"time":') or b'{"time":'.startswith(line)
    return lines


@pytest.mark.parametrize("required", [False, True])
def test_read_only_disk(folder: Path, small_disk: Path, required: bool) -> None:
    """
    On a read-only file system the process starts all the same, and says why there is no audit; if it is required, it only
    answers what needs no record, until the file system can be written.
    """
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    options = ["--qmp", "unix:qmp.sock", "--provider", "commands.Commands", "--audit", str(small_disk / "audit")]
    with Twistd(folder, [*options, *(["--audit-required"] if required else [])], paths=[folder]) as server:
        client = server.qmp()
        answer = client.answer("mark", {"n": 1})
        assert ("error" in answer) is required
        assert client.execute("query-nothing") == {}
        assert "Read-only file system" in server.output()
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert client.execute("mark", {"n": 2}) == 2
        phases = [line["phase"] for line in audit_of(small_disk / "audit")]
        assert phases == ["start", "end"]


# -- in front of a QEMU


def test_each_command_of_this_qemu_has_a_level() -> None:
    """The table of levels was made with each command of the QEMU that is installed in mind."""
    with PlainQEMU() as qemu:
        names = {entry["name"] for entry in qemu.execute("query-commands")["return"]}
    assert {"query-status", "stop", "quit"} <= names
    assert [name for name in sorted(names) if not is_known(name)] == []


def test_levels_in_front_of_a_real_qemu(folder: Path) -> None:
    """
    A client at observe sees what a real QEMU says, and can't stop it by any word; one at operate can stop it, and not end it.
    """
    path = folder / "qemu.sock"
    arguments = ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", f"unix:{path},server=on,wait=off"]
    with subprocess.Popen([need("qemu-system-x86_64"), *arguments], stdin=subprocess.DEVNULL) as qemu:
        try:
            until("QEMU's socket", path.exists)
            endpoints = [f"unix:{level}.sock:level={level}" for level in ("observe", "operate", "admin")]
            options = [option for endpoint in endpoints for option in ("--qmp", endpoint)]
            with Twistd(folder, [*options, "--qemu", f"unix:{path}"]) as server:
                admin, observer, operator = (server.qmp(f"{name}.sock") for name in ("admin", "observe", "operate"))
                until("QEMU", lambda: "stop" in [entry["name"] for entry in admin.execute("query-commands")], server)
                for line in ("stop", "s", "quit", "q", "system_reset", "object_add secret,id=a,data=b"):
                    assert "Permission denied" in observer.error("human-monitor-command", {"command-line": line})
                for name in ("stop", "quit", "human-monitor-command-not", "object-add"):
                    assert "error" in observer.answer(name)
                status = observer.execute("human-monitor-command", {"command-line": "info status"})
                assert status == "VM status: running\r\n"
                assert operator.execute("human-monitor-command", {"command-line": "stop"}) == ""
                assert observer.execute("query-status")["running"] is False
                operator.execute("cont")
                assert observer.execute("query-status")["running"] is True
                assert "needs admin" in operator.error("quit")
                assert qemu.poll() is None
        finally:
            qemu.kill()

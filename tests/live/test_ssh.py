"""The human monitor over SSH, with Debian's ssh in a pseudo-terminal."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.ssh_server import SSH, SSHServer, make_key
from tests.live.terminal import Terminal
from tests.live.twistd_process import PATIENCE, until

pytestmark = pytest.mark.live

UP, DOWN, RIGHT, LEFT, HOME, END = (f"\x1b[{c}" for c in "ABCDHF")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server and its client have their files."""
    return tmp_path_factory.mktemp("ssh")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[SSHServer]:
    """A server for all tests that leave it as it is."""
    need("ssh")
    with SSHServer(folder) as process:
        process.qmp()
        yield process


@pytest.fixture
def terminal(server: SSHServer) -> Iterator[Terminal]:
    """A session in a terminal."""
    with server.ssh.terminal() as terminal:
        terminal.prompts()
        yield terminal


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (f"nfo statu{HOME}i{END}s", "info status"),
        ("info name\x01\x0binfo status", "info status"),
        ("xinfo status\x01\x04\x05", "info status"),
        ("status\x15info \x19", "info status"),
        ("info status x\x17\x7f", "info status"),
        ("info one two\x1bb\x1bb\x1bd\x1bf\x17\x7fstatus", "info status"),
        (f"info statsu{LEFT}\x14", "info status"),
        ("info 世界 é e\u0301\x7f\x7f\x7f\x7f\x7f\x7fstatus", "info status"),
    ],
)
def test_keys(terminal: Terminal, typed: str, line: str) -> None:
    """The keys of readline edit the line; the screen shows it, and it is what is run."""
    terminal.types(typed)
    terminal.prompts(f"(qmon) {line}")
    terminal.enters("")
    assert "running" in terminal.prompts()


def test_history_and_search(terminal: Terminal) -> None:
    """Lines are there again, up and down and with Ctrl-R."""
    for line in ("info status", "info name", "paint red"):
        terminal.does(line)
    terminal.types(UP + UP + UP)
    terminal.prompts("(qmon) info status")
    terminal.types(DOWN)
    terminal.prompts("(qmon) info name")
    terminal.types("\x03\x12stat")
    terminal.shows("(reverse-i-search)`stat': info status")
    terminal.enters("")
    terminal.prompts()
    assert terminal.screen.count("Monitor status: running") == 2


def test_completion(terminal: Terminal) -> None:
    """Tab completes out of what there is, and lists it."""
    terminal.types("pai\tgree\t")
    terminal.prompts("(qmon) paint green")
    terminal.types("\t")
    terminal.shows("green          greenish-blue")
    terminal.types("ish\t")
    terminal.until("the whole word", lambda: terminal.line == "(qmon) paint greenish-blue")
    assert "painted greenish-blue" in terminal.does("")


def test_ctrl_c_and_ctrl_d(terminal: Terminal, server: SSHServer) -> None:
    """Ctrl-C cancels what is pending, or gives up the line; what was typed ahead goes with it; Ctrl-D leaves with status 0."""
    terminal.enters("wait")
    client = server.qmp()
    until("the command", lambda: [each for each in client.execute("query-pending") if each["command"] == "wait"])
    terminal.types("paint red\r\x03")
    terminal.shows("Command 'wait' was cancelled")
    terminal.prompts()
    assert "painted" not in terminal.screen
    terminal.types("half\x03")
    terminal.prompts()
    assert "(qmon) half^C" in terminal.screen
    terminal.types("\x04")
    assert terminal.ends() == 0


def test_clear_screen(terminal: Terminal) -> None:
    """Ctrl-L leaves the prompt and the line."""
    terminal.does("info status")
    terminal.types("half\x0c")
    terminal.until("an empty screen", lambda: terminal.screen == "(qmon) half")


def test_resize(terminal: Terminal) -> None:
    """A line that is edited is folded anew when the window changes."""
    line = "paint red " + "x" * 60
    terminal.types(line + LEFT * 3)
    terminal.shows(line)
    terminal.resizes(40, 24)
    terminal.until("the line, folded", lambda: f"(qmon) {line}" in terminal.screen.replace("\n", ""))
    terminal.types("Y")
    terminal.until("the line, edited", lambda: f"(qmon) {line[:-3]}Yxxx" in terminal.screen.replace("\n", ""))


def test_a_line_longer_than_the_screen(server: SSHServer) -> None:
    """It is edited at both ends, and run as it is."""
    with server.ssh.terminal(columns=40, lines=6) as terminal:
        terminal.prompts()
        terminal.types("oad /" + "y" * 600)
        terminal.until("its end", lambda: terminal.line == "y" * 12)
        terminal.types(HOME + "l")
        terminal.until("its beginning", lambda: terminal.screen.startswith("(qmon) load /yyy"))
        terminal.enters("")
        terminal.until("its result", lambda: terminal.line == "(qmon)")
        assert b"loaded /" + b"y" * 600 in terminal.raw.replace(b"\r\n", b"")


@pytest.mark.parametrize("marked", [True, False])
def test_a_paste(terminal: Terminal, marked: bool) -> None:
    """10,000 characters in 200 lines: all of them are run; if the terminal marks the paste, not before Enter."""
    lines = "".join(f"load /{n:03}{'z' * 40}\r" for n in range(200))
    assert len(lines) == 10_000
    if marked:
        terminal.types(f"\x1b[200~{lines}\x1b[201~")
        terminal.settles()
        assert "loaded" not in terminal.screen
        terminal.types("\r")
    else:
        terminal.types(lines)
    terminal.until("the last", lambda: f"loaded /199{'z' * 40}" in terminal.screen and terminal.line == "(qmon)")
    assert [int(n) for n in re.findall(rb"loaded /(\d+)", terminal.raw)] == list(range(200))


def test_a_paste_of_one_line(terminal: Terminal) -> None:
    """10,000 characters without an end of a line are refused, with one line."""
    terminal.types(f"\x1b[200~{'z' * 10_000}\x1b[201~")
    terminal.until("its end", lambda: terminal.line.startswith("zzz"))
    terminal.enters("")
    terminal.shows("Error: the line is longer than 4095 bytes")
    terminal.prompts()


def test_events_while_a_line_is_typed(server: SSHServer) -> None:
    """A thousand events a second above the line: what is typed is there, and is run."""
    with server.ssh.terminal() as terminal:
        terminal.prompts()
        client = server.qmp()
        client.execute("tick", {"rate": 1000})
        terminal.enters("events on")
        terminal.shows("TICK  number=")
        for number, word in enumerate(("paint", " green", "ish-blue"), 1):
            terminal.types(word)
            terminal.until("events", lambda n=200 * number: terminal.raw.count(b"TICK  number=") > n)  # type: ignore[misc]
        terminal.types(LEFT * 4 + "\x7f-")
        terminal.until("the line", lambda: terminal.line == "(qmon) paint greenish-blue")
        terminal.enters("")
        terminal.until("its result", lambda: b"painted greenish-blue" in terminal.raw)
        numbers = [int(n) for n in re.findall(rb"TICK  number=(\d+)", terminal.raw)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        client.execute("tick", {"rate": 0})


def test_commands(server: SSHServer) -> None:
    """A line is run and ends with its status; errors go to standard error; with a terminal lines end in CR LF."""
    ssh = server.ssh
    assert ssh.run("info status") == (0, "Monitor status: running\n", "")
    assert ssh.run("paint", "red") == (0, "painted red, 1 coats\n", "")
    assert ssh.run("frobnicate") == (1, "", "unknown command: 'frobnicate'\n")
    status, out, err = ssh.run("paint purple")
    assert (status, out) == (1, "")
    assert "purple" in err
    assert ssh.run("hostile raise")[0] == 1
    assert ssh.run("wait 0.2", stdin="paint red\n") == (0, "waited 0.2 s\n", "")
    assert ssh.run("info status\npaint red")[0] == 1
    assert ssh.run("info status", options=["-tt"])[1] == "Monitor status: running\r\n"
    status, out, _ = ssh.run("info big 20000")
    assert (status, out.count("\n")) == (0, 20_000)


def test_lines_on_a_pipe(server: SSHServer) -> None:
    """Without a terminal it is what a socket has: a prompt before each line, no editing."""
    status, out, err = server.ssh.run(stdin="info status\npaint red\n")
    assert (status, err) == (0, "")
    assert out.count("(qmon) ") == 3
    assert "painted red" in out
    assert "\x1b" not in out


def test_a_dumb_terminal(server: SSHServer) -> None:
    """Gets no control sequences: the client keeps its own terminal."""
    with server.ssh.terminal(variables={"TERM": "dumb"}) as terminal:
        terminal.shows("PTY allocation request failed", "(qmon)")
        terminal.enters("info status")
        terminal.shows("running")
        assert b"\x1b" not in terminal.raw


def test_qmp(server: SSHServer) -> None:
    """The subsystem qmp is QMP: qemu.qmp speaks to it over a socket pair that ssh has as its standard input and output."""
    script = (
        "import asyncio, socket, subprocess, sys\n"
        "from qemu.qmp import QMPClient\n"
        "async def main():\n"
        "    ours, theirs = socket.socketpair()\n"
        "    process = subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs)\n"
        "    theirs.close()\n"
        "    client = QMPClient()\n"
        "    await client.connect(ours)\n"
        "    print((await client.execute('query-whoami'))['identity'])\n"
        "    print(len(await client.execute('query-big', {'lines': 20000})))\n"
        "    await client.disconnect()\n"
        "    print(process.wait(20))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *server.ssh.command("-s", "qmp")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    fingerprint = subprocess.run(
        [need("ssh-keygen"), "-l", "-f", str(server.folder / "id.pub")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    ).stdout.split()[1]
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == f"ssh:{fingerprint} (alice@desk)"
    assert done.stdout.splitlines()[2:] == ["0"]


def test_what_is_refused(server: SSHServer, tmp_path: Path) -> None:
    """No shell, no files, no forwarding, no agent, no X11, no tunnel, no variables, no other subsystem."""
    ssh = server.ssh
    common = ssh.words[1:]
    common[common.index("-p")] = "-P"
    for program, extra in (("scp", []), ("scp", ["-O"]), ("sftp", [])):
        done = subprocess.run(
            [need(program), *extra, *common, "someone@127.0.0.1:/etc/passwd", str(tmp_path / "stolen")],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode != 0
        assert not (tmp_path / "stolen").exists()
    assert ssh.run("-s", "sftp")[0] != 0
    status, _, err = ssh.run(options=["-o", "LogLevel=INFO", "-W", "127.0.0.1:22"])
    assert status != 0
    assert "administratively prohibited" in err
    status, _, err = ssh.run("info status", options=["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"])
    assert status != 0
    for command in ("/bin/sh", "; id", "$(id)", "`id`", "| id", "!id"):
        status, out, _ = ssh.run(command)
        assert (status, "uid=" in out) == (1, False)
    for option in ("-A", "-X", "-Y"):
        assert ssh.run("info status", options=[option])[:2] == (0, "Monitor status: running\n")
    assert ssh.run("info status", options=["-o", "SetEnv=LD_PRELOAD=x"])[0] == 0


def test_who_may_log_in(server: SSHServer, folder: Path) -> None:
    """Only keys of the file, which is read again when it changes; there is no password and no other way."""
    make_key(folder / "other", "bob")
    other = SSH(folder, server.port, "other")
    status, _, err = other.run("info status")
    assert status == 255
    assert "Permission denied (publickey)" in err
    keys = folder / "keys"
    before = keys.read_bytes()
    line = (folder / "other.pub").read_bytes()
    try:
        for options, runs in (
            (b"", True), (b'command="x" ', False), (b"restrict,pty ", True), (b'from="192.0.2.0/24" ', False),
            (b'from="127.0.0.*,!127.0.0.9" ', True),
        ):  # fmt: skip
            keys.write_bytes(before + options + line)
            assert (other.run("info status")[0] == 0) is runs
        assert "the option 'command' is not kept to here; the line is not used" in server.output()
        keys.write_bytes(before + b"restrict " + line)
        status, out, err = other.run(options=["-tt"], stdin="info status\n")
        assert (status, out) == (255, "")
        assert "PTY allocation request failed" in err
    finally:
        keys.write_bytes(before)
    assert other.run("info status")[0] == 255
    assert stat.S_IMODE((folder / "host_key").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_types_of_keys(server: SSHServer, folder: Path, kind: str) -> None:
    """RSA, which signs with SHA-2, and ECDSA keys log in, too."""
    make_key(folder / kind, kind, kind)
    keys = folder / "keys"
    keys.write_bytes(keys.read_bytes() + (folder / f"{kind}.pub").read_bytes())
    assert SSH(folder, server.port, kind).run("info status")[0] == 0


def test_a_rekey_in_big_output(server: SSHServer) -> None:
    """New keys are negotiated again and again while a big result is sent; nothing of it is lost."""
    status, out, err = server.ssh.run("info big 100000", options=["-o", "RekeyLimit=500K", "-o", "LogLevel=DEBUG1"])
    assert status == 0
    assert [line.split()[1] for line in out.splitlines()] == [str(n) for n in range(100_000)]
    assert err.count("SSH2_MSG_NEWKEYS received") > 2


def test_clients_that_don_t_log_in(server: SSHServer) -> None:
    """A thousand connections without a login: those who have a session, and those who log in, don't feel it."""
    with server.ssh.terminal() as terminal:
        terminal.prompts()
        strangers = []
        try:
            for _ in range(1000):
                strangers.append(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            began = time.monotonic()
            assert "running" in terminal.does("info status")
            assert server.ssh.run("info status")[0] == 0
            assert time.monotonic() - began < 10
            open_ones = 0
            for stranger in strangers:
                stranger.setblocking(False)
                try:
                    while stranger.recv(65536):
                        pass
                except BlockingIOError:
                    open_ones += 1
                except ConnectionError:
                    pass
            assert open_ones <= 64
        finally:
            for stranger in strangers:
                stranger.close()
    assert server.output().count("clients have not logged in") == 1


def test_what_is_no_ssh(server: SSHServer) -> None:
    """Whatever is sent ends in the end of the connection, and one line in the log: no traceback."""
    for data in (
        b"GET / HTTP/1.1\r\n\r\n" * 300,
        b"SSH-2.0-x\r\n" + bytes(range(256)) * 40,
        b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14" + bytes(10) * 20,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as stranger:
            try:
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(65536):
                    pass
            except TimeoutError:
                raise
            except OSError:
                # It has ended the connection, maybe before all was sent.
                pass
    assert "Traceback" not in server.output()


def test_ssh_audit(server: SSHServer) -> None:
    """ssh-audit finds nothing of the level of a failure."""
    done = subprocess.run(
        [need("ssh-audit"), "-j", "--skip-rate-test", "-p", str(server.port), "127.0.0.1"],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    found = json.loads(done.stdout)
    failures = [
        (each["algorithm"], each["notes"]["fail"])
        for kind in ("kex", "key", "enc", "mac")
        for each in found[kind]
        if each.get("notes", {}).get("fail")
    ]
    assert found["kex"]
    assert failures == []


def test_client_disconnect(server: SSHServer, terminal: Terminal) -> None:
    """An administrator ends a session: the terminal is left as it was, C{ssh} ends."""
    client = server.qmp()
    [session] = [
        each["session"] for each in client.execute("query-connections-monitor") if each["identity"].startswith("ssh:")
    ]
    terminal.types("half")
    terminal.prompts("(qmon) half")
    client.execute("client-disconnect", {"session": session})
    terminal.ends()
    assert terminal.raw.rstrip(b"\r\n").endswith(b"\x1b[?2004l")

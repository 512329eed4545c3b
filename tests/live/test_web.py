"""
The HTTP interface of a real process, with curl, as the documentation shows it, and with raw sockets.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.needs import missing, need
from tests.live.twistd_process import PATIENCE, ROOT, Twistd, free_port, until
from tests.live.web_process import Web
from tests.support.playing import blocks

pytestmark = pytest.mark.live


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A process that serves."""
    with Web(tmp_path) as process:
        yield process


def test_curl(web: Web) -> None:
    """The examples of the page about HTTP do what they show."""
    need("curl")
    web.ready()
    played = 0
    for block in blocks(ROOT / "docs" / "web.md"):
        if block.language != "console":
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            if command.startswith(("pip ", "twistd ")):
                continue
            command = command.replace(":8080", f":{web.port}")
            done = subprocess.run(
                ["bash", "-c", command], cwd=web.folder, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            text = done.stdout.rstrip("\n")
            pattern = re.escape("\n".join(shown)).replace(r"\.\.\.", ".*")
            assert re.fullmatch(pattern, text, re.DOTALL), f"$ {command}\n{text}\n{done.stderr}"
            played += 1
    assert played > 6


def test_token_is_not_in_the_log(web: Web) -> None:
    """The log, which others see, has no token in it; the files that have it are their owner's."""
    token = web.ready()
    assert len(token) > 40
    with web.connect() as connection:
        connection.sendall(f"GET /?token={token} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert _all(connection).startswith(b"HTTP/1.1 303")
    assert token not in web.output()
    assert "open to each host" not in web.output()
    for name in ("web-tokens.toml", "web-tokens.toml.url"):
        assert (web.folder / name).stat().st_mode & 0o777 == 0o600
    web.popen.terminate()
    web.ends()
    assert not (web.folder / "web-tokens.toml.url").exists()


def _all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def test_body_beyond_the_limit(web: Web) -> None:
    """A body of 64 MiB and a byte is refused before it is read, also if the client does not wait for that."""
    token = web.ready()
    size = (64 << 20) + 1
    before = web.memory()
    with web.connect() as connection:
        connection.sendall(
            web.head(
                token, "POST /api/commands/query-status", "Content-Type: application/json", f"Content-Length: {size}"
            )
        )
        sent = 0
        try:
            while sent < 8 << 20:
                connection.sendall(b" " * 65536)
                sent += 65536
        except OSError:
            pass
        answer = _all(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"67108864 bytes" in answer
    assert web.memory() - before < 8 << 10


def test_answers_that_are_not_read(web: Web) -> None:
    """A client that asks and asks, and never reads, gets one answer at a time: what waits for it does not grow."""
    token = web.ready()
    request = (
        web.head(token, "POST /api/commands/big", "Content-Type: application/json", "Content-Length: 17")
        + b'{"size": 1000000}'
    )
    with web.connect() as connection:
        connection.sendall(request)
        time.sleep(0.2)
        before = web.memory()
        connection.setblocking(False)
        try:
            for _ in range(3000):
                connection.send(request)
        except BlockingIOError:
            pass
        time.sleep(0.5)
        grown = web.memory() - before
        connection.setblocking(True)
        connection.settimeout(PATIENCE)
        head = connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 200")
    assert grown < 8 << 10, f"{grown} KiB"


def test_events_that_are_not_read(web: Web) -> None:
    """A client that follows events and never reads costs nothing but its buffers; the others get all of them."""
    token = web.ready()
    qmp = web.qmp()
    with web.connect() as idle, web.connect() as busy:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for connection in (idle, busy):
            connection.sendall(web.head(token, "GET /api/events?names=TICK"))
        reader = busy.makefile("rb")
        while b"resumed" not in reader.readline():
            pass
        before = web.memory()
        seen: list[int] = []
        for turn in range(1, 21):
            qmp.execute("tick", {"count": 500, "text": "x" * 1000})
            while len(seen) < turn * 500:
                line = reader.readline()
                if line.startswith(b"id:"):
                    seen.append(int(line.rpartition(b"/")[2]))
        assert seen == list(range(seen[0], seen[0] + 10_000))
        assert web.memory() - before < 16 << 10


def test_pending_request_of_a_client_that_left(web: Web) -> None:
    """A client that goes while its command is pending is noticed; the command runs on, and others see it."""
    token = web.ready()
    with web.connect() as connection:
        connection.sendall(web.head(token, "POST /api/commands/never"))
        qmp = web.qmp()
        until("the request", lambda: [each for each in qmp.execute("query-pending") if each["command"] == "never"], web)
    assert "web:admin" in [each["identity"] for each in qmp.execute("query-connections-monitor")]
    [pending] = [each for each in qmp.execute("query-pending") if each["command"] == "never"]
    qmp.execute("cancel-command", {"number": pending["number"]})


def test_schemathesis(tmp_path: Path) -> None:
    """What the OpenAPI document says is so: no answer that it does not have, and nothing unexpected, whatever is sent."""
    # Not to be run at random: it would end the process, this client or a service, or take its time.
    never = ["quit", "q", "service-stop", "client-disconnect", "connection-close", "profile", "memory-trace"]
    (tmp_path / "access.toml").write_text(
        f'[[grant]]\nwho = ["web:*"]\nlevel = "admin"\nnever = {never}\n[[grant]]\nwho = ["uid:*"]\nlevel = "admin"\n'
    )
    with Web(tmp_path, "--access", "access.toml") as web:
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("run", f"http://localhost:{web.port}/api/openapi.json"),
                *("-H", f"Authorization: Bearer {web.ready()}"),
                *("--exclude-path-regex", "/api/(events|commands/(never|backup|tick|tick-on|big|fail|compact))$"),
                *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
                *("--checks", "response_schema_conformance"),
                *("--phases", "coverage,fuzzing", "--mode", "all", "--max-examples", "3", "--seed", "7"),
                *("--suppress-health-check", "all", "--request-timeout", "10"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if "No module named" in done.stderr:
            missing("schemathesis")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
        assert web.popen.poll() is None


def test_tls(tmp_path: Path) -> None:
    """Over TLS the same holds: the origin is https, the cookie is for TLS only, and a body too large is refused."""
    need("curl")
    need("openssl")
    names = ("-keyout", "key.pem", "-out", "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2", *names],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    port = free_port()
    endpoint = f"ssl:{port}:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"
    with Twistd(tmp_path, ["--qmp", "unix:qmp.sock", "--web", endpoint, "--max-message", "1M"]) as process:
        process.qmp().close()
        url = (tmp_path / "web-tokens.toml.url").read_text().strip()
        token = url.partition("token=")[2]
        (tmp_path / "header").write_text(f"Authorization: Bearer {token}")
        (tmp_path / "body").write_bytes(b" " * ((1 << 20) + 1))
        here = f"https://127.0.0.1:{port}"

        def curl(*words: str) -> str:
            done = subprocess.run(
                ["curl", "-sk", "--max-time", "20", *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            return done.stdout

        assert url.startswith(f"{here}/?token=")
        assert "; Secure" in curl("-i", url)
        status = ("-o", "/dev/null", "-w", "%{http_code}", "-H", "@header", f"{here}/api/session")
        assert curl("-H", f"Origin: {here}", *status) == "200"
        assert curl("-H", f"Origin: http://127.0.0.1:{port}", *status) == "403"
        large = curl("-H", "@header", "-H", "Expect:", "--json", "@body", f"{here}/api/commands/query-status")
        assert "The body has more than 1048576 bytes" in large
        assert "event: resumed" in curl("-H", "@header", "--max-time", "1", f"{here}/api/events")

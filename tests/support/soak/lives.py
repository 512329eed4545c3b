"""
What clients do from their beginning to their end, in every way there is. A life takes about a second, and ends in its own way.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeAlias

from tests.live.twistd_process import PATIENCE
from tests.support.soak.stage import MEMBER, Stage
from twisted_qmon.info import JSON

__all__ = ["LIVES", "Broken", "Client", "follow"]


class Broken(Exception):
    """A server did what it must not."""


Message: TypeAlias = "dict[str, JSON]"

#: A life: of a client of this stage, by this choice. It returns how many requests were answered.
Life: TypeAlias = Callable[[Stage, Random], int]

_QUERIES = (
    "query-status",
    "query-version",
    "query-name",
    "query-summary",
    "query-process",
    "query-ports",
    "query-jobs",
)

# A client in a process of its own, that is killed.
_VICTIM = """
import socket, sys, time
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b'{"execute": "qmp_capabilities"}' + b'{"execute": "query-version"}' * 500 + b'{"execute": "wait"}' * 4)
print(flush=True)
time.sleep(60)
"""


def _unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


class Client:
    """
    A QMP client, negotiated. Its requests have ids, and each is answered once.

    :ivar events: those that came
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._reader = connection.makefile("rb")
        self.events: list[Message] = []
        self._number = 0
        if "QMP" not in self.read():
            raise Broken("no greeting")
        self.result("qmp_capabilities")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()
        self.socket.close()

    def reset(self) -> None:
        """Go without a farewell."""
        if self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def read(self) -> Message:
        """
        :return: the next message
        :raise EOFError: when there is none any more
        """
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the connection was closed")
        message: Message = json.loads(line)
        return message

    def send(self, name: str, arguments: Message | None = None) -> int:
        """:return: the id of the request"""
        self._number += 1
        message: Message = {"execute": name, "id": self._number}
        if arguments:
            message["arguments"] = arguments
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        return self._number

    def reply(self) -> Message:
        """:return: the next reply; events before it are kept"""
        while "event" in (message := self.read()):
            self.events.append(message)
        return message

    def result(self, name: str, arguments: Message | None = None) -> JSON:
        """:return: what a command returns"""
        number = self.send(name, arguments)
        message = self.reply()
        if message.get("id") != number or "return" not in message:
            raise Broken(f"{name} {arguments}: {message}")
        return message["return"]


def _connect(stage: Stage, choose: Random) -> Client:
    if choose.random() < 0.7:
        return Client(_unix(stage.folder / "qmp.sock"))
    plain = socket.create_connection(("127.0.0.1", stage.ports["mtls"]), PATIENCE)
    return Client(stage.tls.wrap_socket(plain, server_hostname="127.0.0.1"))


def pipelined(stage: Stage, choose: Random) -> int:
    """Many requests at once: all are answered, in order. It leaves politely, half way, or not at all."""
    with _connect(stage, choose) as client:
        sent = [client.send(choose.choice(_QUERIES)) for _ in range(choose.randrange(1, 60))]
        got = [client.reply() for _ in sent]
        if [each.get("id") for each in got] != sent or any("return" not in each for each in got):
            raise Broken(f"of {len(sent)} requests: {got}")
        how = choose.choice(("close", "half", "reset", "middle"))
        if how == "half" and client.socket.family == socket.AF_UNIX:
            last = client.send("text", {"size": 100_000})
            client.socket.shutdown(socket.SHUT_WR)
            if client.reply().get("id") != last:
                raise Broken("no reply after a half-close")
        elif how == "middle":
            client.socket.sendall(b'{"execute": "tex')
        elif how == "reset":
            client.send("text", {"size": 1_000_000})
            client.reset()
        return len(sent) + 1


def waiting(stage: Stage, choose: Random) -> int:
    """Long commands: some are cancelled, some fail, some are left behind."""
    with _connect(stage, choose) as client:
        sent = [client.send("wait") for _ in range(3)] + [client.send("linger", {"seconds": 0.3})]
        for number in sent[:2]:
            client.send("cancel-command", {"id": number})
        client.send("fail")
        # Two are cancelled, two say so, one fails.
        for _ in range(5):
            client.reply()
        if choose.random() < 0.5:
            client.reply()
        return 7


def numbered(stage: Stage, choose: Random) -> int:
    """Events by number, over a break: none twice, and none missing but those that are said to be."""
    with _connect(stage, choose) as client:
        start = client.result("select-events", {"numbered": True})
        assert isinstance(start, dict)
        client.result("news", {"count": choose.randrange(1, 40)})
        position = _contiguous(client, start["last"])
    with Client(_unix(stage.folder / "qmp.sock")) as client:
        client.result("news", {"count": choose.randrange(1, 40)})
    with _connect(stage, choose) as client:
        resumed = {"numbered": True, "after": position, "monitor": start["monitor"]}
        found = client.result("select-events", resumed)
        assert isinstance(found, dict)
        assert isinstance(found["lost"], int)
        assert isinstance(found["last"], int)
        if found.get("restarted"):
            raise Broken("the monitor is said to have been restarted")
        last = position + found["lost"]
        while last < found["last"]:
            if not client.events:
                client.events.append(client.read())
            last = _contiguous(client, last)
    return 6


def _contiguous(client: Client, last: JSON) -> int:
    """Take the events that have come. :return: the last one's number"""
    assert isinstance(last, int)
    while client.events:
        number = client.events.pop(0).get("number")
        if number is None:
            # From before it asked for numbers.
            continue
        if number != last + 1:
            raise Broken(f"event {number} came after event {last}")
        last += 1
    return last


def deaf(stage: Stage, choose: Random) -> int:
    """It asks for a lot, and reads nothing."""
    with _connect(stage, choose) as client:
        client.socket.settimeout(0.3)
        with contextlib.suppress(OSError):
            # Sooner or later the server reads no more of it, or ends it because too many events wait.
            for _ in range(choose.randrange(1, 8)):
                client.send("news", {"count": 10, "size": 20_000})
                client.send("text", {"size": 300_000})
        time.sleep(0.2)
        client.reset()
    return 0


def killed(stage: Stage, choose: Random) -> int:
    """A process of its own that is killed, with requests pending and replies not read."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", _VICTIM, str(stage.folder / "qmp.sock")], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(choose.uniform(0, 0.1))
        process.kill()
    return 0


def jobs(stage: Stage, choose: Random) -> int:
    """Jobs that are paused, resumed, cancelled, or left to end."""
    with _connect(stage, choose) as client:
        name = f"job-{choose.getrandbits(60):x}"
        client.result("work", {"job-id": name, "steps": choose.randrange(5, 40)})
        for verb in choose.choice(((), ("job-pause", "job-resume"), ("job-cancel",))):
            client.send(verb, {"id": name})
            client.reply()
        client.result("query-jobs")
    return 4


def stall(stage: Stage, choose: Random) -> int:
    """The reactor stands still; the watchdog's thread answers meanwhile."""
    with Client(_unix(stage.folder / "qmp.sock")) as client, Client(_unix(stage.folder / "watchdog.sock")) as other:
        client.send("block", {"seconds": 0.7})
        asked = seen = 0
        while not seen and not select.select([client.socket], [], [], 0.05)[0]:
            asked += 1
            seen = "block" in json.dumps(other.result("query-stacks"))
        # It may have stood still for another client's command.
        other.result("query-stalls")
        client.reply()
    return asked + 2


def looking(stage: Stage, choose: Random) -> int:
    """A closer look at the process; and rules that are read again."""
    with Client(_unix(stage.folder / "qmp.sock")) as client:
        client.send("profile", {"seconds": 0.2})
        if "return" not in (message := client.reply()) and "already" not in json.dumps(message):
            raise Broken(f"profile: {message}")
        client.result("query-tasks")
        client.result("query-metrics")
        client.result("query-log", {"limit": 20})
        client.result("access-reload")
        client.result("query-connections")
    return 6


def observing(stage: Stage, choose: Random) -> int:
    """A client that may only look."""
    with Client(_unix(stage.folder / "observe.sock")) as client:
        client.result("query-summary")
        client.send("quit")
        if "Permission denied" not in json.dumps(client.reply()):
            raise Broken("an observer may end the process")
    return 2


# -- people


def _converse(connection: socket.socket, lines: list[str], prompt: bytes) -> int:
    with connection:
        connection.settimeout(PATIENCE)
        text = b""
        for line in ["", *lines]:
            if line:
                connection.sendall(line.encode() + b"\n")
                text = b""
            while not text.endswith(prompt):
                data = connection.recv(65536)
                if not data:
                    raise Broken(f"{line!r}: the connection was closed")
                text += data
    return len(lines)


_LINES = (
    "info status",
    "info summary",
    "info services",
    "info clients",
    "help",
    "helo",
    "info jobs",
    "news 2",
    "?",
    "linger 0",
)


def people(stage: Stage, choose: Random) -> int:
    """Lines of the human monitor, at each of its sockets."""
    lines = choose.choices(_LINES, k=choose.randrange(1, 8))
    if choose.random() < 0.4:
        connection = socket.create_connection(("127.0.0.1", stage.ports["hmp"]), PATIENCE)
        return _converse(connection, [line for line in lines if line not in ("news 2", "linger 0")], b"(qmon) ")
    if choose.random() < 0.2:
        return _converse(_unix(stage.folder / "watchdog-hmp.sock"), ["info stalls", "info stacks"], b"(qmon) ")
    return _converse(_unix(stage.folder / "hmp.sock"), lines, b"(qmon) ")


def over_ssh(stage: Stage, choose: Random) -> int:
    """One line over SSH, QMP as a subsystem, or a client that is killed."""
    how = choose.choice(("line", "subsystem", "killed"))
    if how == "line":
        status, output, error = stage.ssh.run("info", "status")
        if status or "running" not in output:
            raise Broken(f"ssh: status {status}: {output}{error}")
        return 1
    words = stage.ssh.command("info status") if how == "killed" else stage.ssh.command("qmp")
    with subprocess.Popen(
        words if how == "killed" else [words[0], "-s", *words[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if how == "killed":
            time.sleep(choose.uniform(0, 0.3))
            process.kill()
            return 0
        process.stdin.write(b'{"execute": "qmp_capabilities"}{"execute": "query-status"}')
        process.stdin.flush()
        if [b"return" in process.stdout.readline() for _ in range(3)] != [False, True, True]:
            raise Broken("no QMP over SSH")
        process.kill()
    return 2


def over_the_fleet(stage: Stage, choose: Random) -> int:
    """A command to the member of a fleet, through its router; a caller that is killed. Nothing, where there is no fleet."""
    if stage.fleet is None:
        return 0
    if choose.random() < 0.3:
        with stage.fleet.start(MEMBER, "exec", "linger", "seconds:=2") as process:
            time.sleep(choose.uniform(0, 1.5))
            process.kill()
            process.communicate()
        return 0
    status, output, error = stage.fleet(
        MEMBER, "exec", choose.choice(("query-status", "query-summary", "query-jobs")), "--json"
    )
    if status:
        raise Broken(f"qmon fleet: status {status}: {output}{error}")
    return 1


# -- browsers and other programs


class _Web:
    """A connection to the HTTP interface."""

    def __init__(self, stage: Stage) -> None:
        self._head = f"Host: localhost\r\nAuthorization: Bearer {stage.token}\r\n"
        self.socket = socket.create_connection(("127.0.0.1", stage.ports["web"]), PATIENCE)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> _Web:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self.socket.close()

    def send(self, line: str, body: str = "", *headers: str) -> None:
        """Send a request."""
        more = "".join(f"{header}\r\n" for header in headers)
        if body:
            more += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.socket.sendall(f"{line} HTTP/1.1\r\n{self._head}{more}\r\n{body}".encode())

    def answer(self) -> tuple[int, bytes]:
        """:return: the status, and the body"""
        status = int(self._reader.readline().split()[1])
        length = 0
        while (header := self._reader.readline().strip()) != b"":
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        return status, self._reader.read(length)

    def until(self, words: bytes) -> None:
        """Read until some words have come."""
        end = time.monotonic() + PATIENCE
        text = b""
        while words not in text:
            data = self.socket.recv(65536)
            if not data or time.monotonic() > end:
                raise Broken(f"no {words!r} in a stream of events")
            text += data

    def ask(self, line: str, body: str = "", *headers: str) -> bytes:
        """:return: the body of what is answered"""
        self.send(line, body, *headers)
        status, data = self.answer()
        if status >= 300:
            raise Broken(f"{line}: {status} {data!r}")
        return data


def browsing(stage: Stage, choose: Random) -> int:
    """Commands over HTTP, long ones too, which are cancelled or left."""
    with _Web(stage) as web:
        count = choose.randrange(1, 10)
        for _ in range(count):
            web.ask(f"POST /api/commands/{choose.choice(_QUERIES)}", "{}")
        for _ in range(2):
            number = json.loads(web.ask("POST /api/commands/wait", "{}", "Prefer: respond-async"))["number"]
            web.ask("GET /api/requests")
            web.ask(f"DELETE /api/requests/{number}")
        if choose.random() < 0.3:
            web.send("POST /api/commands/linger", '{"seconds": 0.2}')
        elif choose.random() < 0.5:
            web.socket.sendall(b"POST /api/commands/query-status HTTP/1.1\r\nHost: loc")
    return count + 6


def streaming(stage: Stage, choose: Random) -> int:
    """A stream of events, for a while."""
    with _Web(stage) as web, Client(_unix(stage.folder / "qmp.sock")) as client:
        web.send("GET /api/events?after=0" if choose.random() < 0.5 else "GET /api/events")
        # Once it says where it begins, it has what comes.
        web.until(b"resumed")
        client.result("news", {"count": 20})
        web.until(b"SOAK")
    return 1


def scraping(stage: Stage, choose: Random) -> int:
    """What Prometheus does."""
    with socket.create_connection(("127.0.0.1", stage.ports["metrics"]), PATIENCE) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        text = b""
        while data := connection.recv(65536):
            text += data
    if b"qmon_info" not in text:
        raise Broken(f"/metrics: {text[:200]!r}")
    return 1


# -- in front of a QEMU


def proxied(stage: Stage, choose: Random) -> int:
    """Requests to QEMU through the proxy; it may be dead at this time, but each is answered."""
    with Client(_unix(stage.folder / "proxy" / "qmp.sock")) as client:
        names = (
            "query-status",
            "query-block",
            "query-name",
            "query-kvm",
            "stop",
            "cont",
            "query-uuid",
            "query-nothing",
        )
        sent = [client.send(choose.choice(names)) for _ in range(choose.randrange(1, 30))]
        if choose.random() < 0.2:
            client.reset()
            return 0
        # Those that the proxy answers itself may overtake those that QEMU answers.
        got = [client.reply() for _ in sent]
        if sorted(str(each.get("id")) for each in got) != sorted(map(str, sent)):
            raise Broken(f"of the requests {sent} to QEMU: {got}")
    return len(sent)


def proxied_people(stage: Stage, choose: Random) -> int:
    """Lines to QEMU's human monitor through the proxy."""
    lines = choose.choices(("info status", "info block", "info version", "help info", "info clients"), k=3)
    return _converse(_unix(stage.folder / "proxy" / "hmp.sock"), lines, b"(qmon) ")


#: Each life, and how often it is led.
LIVES: dict[Life, float] = {
    pipelined: 10, waiting: 6, numbered: 5, deaf: 2, killed: 1.5, jobs: 3, stall: 0.15, looking: 0.5, observing: 2,
    people: 6, over_ssh: 1.2, over_the_fleet: 0.6, browsing: 5, streaming: 3, scraping: 2, proxied: 10, proxied_people: 4,
}  # fmt: skip


def follow(stage: Stage, ended: Callable[[], bool]) -> tuple[int, int]:
    """
    Follow all events, from the beginning to the end. It comes back when it was too slow.

    :return: how many came, and how many had left the history before it came back
    """
    position: Message = {}
    last = came = lost = 0
    while not ended():
        try:
            with Client(_unix(stage.folder / "qmp.sock")) as client:
                found = client.result("select-events", {"numbered": True, **position})
                assert isinstance(found, dict)
                assert isinstance(found["lost"], int)
                last = last + found["lost"] if position else int(str(found["last"]))
                lost += found["lost"]
                client.socket.settimeout(1.0)
                while not ended():
                    before = last
                    try:
                        client.events.append(client.read())
                    except TimeoutError:
                        # What was read of a line is lost with it: it comes again.
                        break
                    finally:
                        last = _contiguous(client, last)
                        came += last - before
                        position = {"after": last, "monitor": found["monitor"]}
        except (EOFError, ConnectionError):
            continue
    return came, lost

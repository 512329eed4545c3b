"""
Load from a process of its own: plain sockets, its own framing, no import of what is measured. Run by file name.

It reads jobs from standard input, one JSON object on a line, and answers each with one: how many requests in how many seconds,
and how many of the server's CPU seconds they took. Connecting and negotiating come before the measurement; the replies are looked
at after it, each one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

#: Requests made in advance; longer measurements go round.
POOL = 1 << 15

_RECEIVE = 1 << 18


class Wrong(Exception):
    """A reply is not what it should be."""


# -- requests


def _arguments(choose: random.Random) -> dict[str, Any]:
    node = {
        "driver": choose.choice(["file", "nbd"]),
        "filename": f"/img/{choose.random()}",
        "offset": choose.getrandbits(40),
    }
    return {
        "device": f"drive-{choose.randrange(100)}",
        "size": choose.getrandbits(48),
        "live": choose.random() < 0.5,
        "mode": choose.choice(["full", "top"]),
        "node": node,
    }


def _message(command: str, id: Any, choose: random.Random, job: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"execute": command, "id": id}
    if command == "query":
        message["execute"] = choose.choice(["query-version", "query-name", "query-status"])
    elif command == "take":
        message["arguments"] = _arguments(choose)
    elif command == "big":
        message["arguments"] = {"size": job["size"]}
    elif command == "swallow":
        message["arguments"] = {"text": "x" * job["size"]}
    return message


def _box(values: dict[bytes, bytes]) -> bytes:
    out = b"".join(struct.pack("!H", len(part)) + part for pair in values.items() for part in pair)
    return out + b"\0\0"


_made: dict[str, list[tuple[bytes, list[Any]]]] = {}


def make_windows(job: dict[str, Any]) -> list[tuple[bytes, list[Any]]]:
    """The bytes of each window, and the ids in it. No two requests next to each other are the same."""
    key = json.dumps([job.get(name) for name in ("command", "window", "size", "dialect")])
    if key not in _made:
        choose = random.Random(9)
        window = job["window"]
        number = max(2, (4 if job.get("size") else POOL) // window)
        windows = []
        for n in range(number):
            ids: list[Any] = [i if i % 2 else f"req-{i}" for i in range(n * window, (n + 1) * window)]
            if job["dialect"] == "amp":
                lines = [
                    _box({b"_ask": str(id).encode(), b"_command": b"Query", b"name": str(id).encode()}) for id in ids
                ]
            elif job["dialect"] == "human":
                lines = [choose.choice([b"info version\n", b"info name\n", b"info status\n"]) for _ in ids]
            else:
                lines = [json.dumps(_message(job["command"], id, choose, job)).encode() + b"\n" for id in ids]
            windows.append((b"".join(lines), ids))
        _made[key] = windows
    return _made[key]


# -- replies


def _boxes(data: bytes) -> Iterator[dict[bytes, bytes]]:
    at = 0
    while at < len(data):
        box: dict[bytes, bytes] = {}
        while True:
            parts = []
            for _ in range(2):
                (size,) = struct.unpack_from("!H", data, at)
                at += 2 + size
                parts.append(data[at - size : at])
                if not parts[0]:
                    break
            if not parts[0]:
                break
            box[parts[0]] = parts[1]
        yield box


def check(dialect: str, data: bytes, ids: list[Any], in_order: bool) -> None:
    """
    Look at all replies.

    :raise Wrong: when one is missing, out of order, an error, or somebody else's
    """
    if dialect == "amp":
        got: list[Any] = [box[b"_answer"].decode() for box in _boxes(data)]
        ids = [str(id) for id in ids]
    elif dialect == "human":
        if data.count(b") ") < len(ids):
            raise Wrong(f"{len(ids)} lines, {data.count(b') ')} prompts")
        return
    else:
        replies = [reply for reply in map(json.loads, data.splitlines()) if "event" not in reply]
        errors = [reply for reply in replies if "return" not in reply]
        if errors:
            raise Wrong(f"answered {errors[0]}")
        got = [reply["id"] for reply in replies]
    if (got != ids) if in_order else (sorted(map(str, got)) != sorted(map(str, ids))):
        raise Wrong(f"{len(ids)} ids sent, {len(got)} others came back")


# What is counted while the clock runs: one for each reply.
_MARKS = {"qmp": b"\n", "bare": b"\n", "amp": b"\x00\x07_answer", "human": b") "}


class Connection:
    """One client. :param dialect: C{bare} is QMP without negotiation"""

    def __init__(self, address: str, dialect: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        # Blocking: with a time limit, a full backlog is an error at once.
        self.socket.connect(address)
        self.socket.settimeout(60)
        self.dialect = dialect
        self.mark = _MARKS[dialect]
        self.chunks: list[bytes] = []
        self.ids: list[Any] = []
        self.missing = 0
        self.tail = b""
        if dialect == "qmp":
            self.read(1)
            self.socket.sendall(b'{"execute":"qmp_capabilities"}\n')
            self.read(1)
        elif dialect == "human":
            self.read(1)
        self.chunks.clear()

    def receive(self) -> int:
        """Read once. :return: replies that came"""
        chunk = self.socket.recv(_RECEIVE)
        if not chunk:
            raise Wrong("the server closed the connection")
        self.chunks.append(chunk)
        if len(self.mark) == 1:
            return chunk.count(self.mark)
        # A mark may be cut in two.
        keep = len(self.mark) - 1
        joined = self.tail + chunk
        self.tail = joined[-keep:]
        return joined.count(self.mark)

    def read(self, replies: int) -> None:
        """Read until so many replies have come."""
        while replies > 0:
            replies -= self.receive()

    def check(self, in_order: bool) -> None:
        """Look at all replies since the last time."""
        data = b"".join(self.chunks)
        self.chunks.clear()
        check(self.dialect, data, self.ids, in_order)
        self.ids = []


# -- the measurements: each returns how many requests were served between two calls of its clock


def lockstep(connections: list[Connection], job: dict[str, Any], clock: Callable[[], float]) -> int:
    """Each client sends a window, waits for all its replies, and sends the next."""
    windows = make_windows(job)
    size = job["window"]
    served = 0
    if len(connections) == 1:
        (connection,) = connections
        send, read = connection.socket.sendall, connection.read
        end = clock() + job["seconds"]
        while clock() < end:
            data, ids = windows[served // size % len(windows)]
            send(data)
            connection.ids += ids
            served += size
            read(size)
        return served
    poll = select.epoll()
    by_number = {each.socket.fileno(): each for each in connections}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    turn = 0

    def send_next(each: Connection) -> None:
        nonlocal turn
        data, ids = windows[turn % len(windows)]
        turn += 1
        each.socket.sendall(data)
        each.ids += ids
        each.missing = size

    end = clock() + job["seconds"]
    busy = len(connections)
    for each in connections:
        send_next(each)
    while busy:
        for number, _ in poll.poll(60):
            each = by_number[number]
            each.missing -= each.receive()
            if each.missing <= 0:
                served += size
                if clock() < end:
                    send_next(each)
                else:
                    busy -= 1
    return served


def held(connections: list[Connection], job: dict[str, Any], clock: Callable[[], float]) -> int:
    """So many requests pending at once; the last one completes them all."""
    (connection,) = connections
    ((data, ids), *_) = make_windows(job)
    release = json.dumps({"execute": "release", "id": "release"}).encode() + b"\n"
    served = 0
    end = clock() + job["seconds"]
    while clock() < end:
        for start in range(0, len(data), 1 << 16):
            connection.socket.sendall(data[start : start + (1 << 16)])
        connection.socket.sendall(release)
        connection.ids += [*ids, "release"]
        connection.read(len(ids) + 1)
        served += len(ids) + 1
    return served


def pieces(connections: list[Connection], job: dict[str, Any], clock: Callable[[], float]) -> int:
    """Big requests, cut into small pieces."""
    (connection,) = connections
    windows = make_windows(job)
    served = 0
    end = clock() + job["seconds"]
    while clock() < end:
        data, ids = windows[served % len(windows)]
        for start in range(0, len(data), job["piece"]):
            connection.socket.sendall(data[start : start + job["piece"]])
        connection.ids += ids
        connection.read(1)
        served += 1
    return served


def events(connections: list[Connection], job: dict[str, Any], clock: Callable[[], float]) -> int:
    """One client's command tells everybody; the next is sent when everybody has been told."""
    poll = select.epoll()
    by_number = {each.socket.fileno(): each for each in connections}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    for each in connections:
        # The server has accepted it for certain only when it has answered.
        each.socket.sendall(b'{"execute": "query-version", "id": 0}\n')
        each.read(1)
        if job.get("numbered"):
            each.socket.sendall(b'{"execute": "select-events", "arguments": {"numbered": true}, "id": 0}\n')
            each.read(1)
        each.chunks.clear()
    first = connections[0]
    told = 0
    end = clock() + job["seconds"]
    while clock() < end:
        first.socket.sendall(b'{"execute": "tell", "id": %d}\n' % told)
        first.ids.append(told)
        missing = len(connections) + 1
        while missing:
            for number, _ in poll.poll(60):
                missing -= by_number[number].receive()
        told += 1
    for each in connections[1:]:
        if sum(chunk.count(b"BENCHMARK") for chunk in each.chunks) != told:
            raise Wrong("an event is missing")
        each.chunks.clear()
    return told


def connect(connections: list[Connection], job: dict[str, Any], clock: Callable[[], float]) -> int:
    """Connect, negotiate, one command, close."""
    windows = make_windows(job)
    served = 0
    end = clock() + job["seconds"]
    while clock() < end:
        with contextlib.closing(Connection(job["address"], job["dialect"]).socket) as opened:
            data, ids = windows[served % len(windows)]
            opened.sendall(data)
            reply = b""
            while b"\n" not in reply:
                reply += opened.recv(1 << 16)
            check(job["dialect"], reply, ids, True)
            served += 1
    return served


_TRAFFIC: dict[str, Callable[[list[Connection], dict[str, Any], Callable[[], float]], int]] = {
    "lockstep": lockstep,
    "held": held,
    "pieces": pieces,
    "events": events,
    "connect": connect,
}


def cpu_seconds(process: int) -> float:
    """CPU time of all threads of a process, to the nanosecond."""
    total = 0
    for thread in os.listdir(f"/proc/{process}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{process}/task/{thread}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job."""
    clients = 0 if job["traffic"] == "connect" else job.get("clients", 1)
    idle = [Connection(job["address"], job["dialect"]) for _ in range(job.get("idle", 0))]
    connections = [Connection(job["address"], job["dialect"]) for _ in range(clients)]
    traffic = _TRAFFIC[job["traffic"]]
    if job["traffic"] not in ("connect", "events"):
        make_windows(job)
    cpu = cpu_seconds(job["process"])
    started = time.perf_counter()
    served = traffic(connections, job, time.perf_counter)
    seconds = time.perf_counter() - started
    cpu = cpu_seconds(job["process"]) - cpu
    for each in connections:
        each.check(job.get("in_order", True))
    for each in connections + idle:
        each.socket.close()
    return {"requests": served, "seconds": seconds, "cpu": cpu}


def main() -> None:
    """Jobs in, figures out."""
    for line in sys.stdin:
        try:
            answer = measure(json.loads(line))
        except (Wrong, OSError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

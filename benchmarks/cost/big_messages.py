"""
What big and hostile messages cost: some of them in the table, all by C{python -m benchmarks.cost.big_messages}.

A command of 16 MiB arrives in pieces of 4 KiB, in several shapes. For each: CPU seconds for all of it; the same for a quarter of
it, times four (where that is much less, the cost is not linear); the longest that a reader was busy with one piece of 4 KiB, and
with one of 64 KiB, as a socket gives them: so long others wait.

With C{--server} the same goes to a real server, while another client of it sends one command after the other: the longest that
this one waited for its answer, and how long the server took for all.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT
from twisted_qmon.qmp.json.reader import Malformed, MessageReader

PIECE = 4096
SOCKET_PIECE = 65536

HEAD = b'{"execute":"x","id":[0'
TAIL = b"]}"


def _same(piece: bytes) -> Callable[[int], Iterator[bytes]]:
    """A list of items that fill a piece each."""
    assert len(piece) == PIECE, len(piece)

    def pieces(size: int) -> Iterator[bytes]:
        yield HEAD
        for _ in range(size // PIECE):
            yield piece
        yield TAIL

    return pieces


def _cut(item: bytes, head: bytes = HEAD, tail: bytes = TAIL, tokens: int = 0) -> Callable[[int], Iterator[bytes]]:
    """Short items, cut where the piece ends; not so many that the message would have too many tokens."""

    most = (1 << 21) // tokens - 10 if tokens else 1 << 24

    def pieces(size: int) -> Iterator[bytes]:
        data = head + item * min(size // len(item), most * size >> 24) + tail
        for at in range(0, len(data), PIECE):
            yield data[at : at + PIECE]

    return pieces


SHAPES: dict[str, Callable[[int], Iterator[bytes]]] = {
    "one long string": _cut(b"s", HEAD + b',"', b'"' + TAIL),
    "many short strings": _cut(b',"a short string of some 30 bytes"'),
    "pieces that end in }": _same(b',{"a":"' + b"s" * (PIECE - 9) + b'"}'),
    "pieces that end in a newline": _same(b',"' + b"s" * (PIECE - 4) + b'"\n'),
    "short strings, blanks between": _cut(b', "a short string of some 30 bytes"\n'),
    "small objects": _cut(b',{"name":"a1234567","value":12345678,"on":true}', tokens=14),
    "one string, all \\n": _cut(b"\\n", HEAD + b',"', b'"' + TAIL),
    "one string, all \\'": _cut(b"\\'", HEAD + b',"', b'"' + TAIL),
    "one string, all \\u00e9": _cut(b"\\u00e9", HEAD + b',"', b'"' + TAIL),
    "one string, all C0 80": _cut(b"\xc0\x80", HEAD + b',"', b'"' + TAIL),
    "one string in UTF-8": _cut("\u00e9\U0001f600".encode(), HEAD + b',"', b'"' + TAIL),
    "one number": _cut(b"1"),
    "one keyword": _cut(b"a", HEAD + b","),
    "lists in lists": _cut(b"[" * 1000 + b"]" * 1000 + b",", HEAD + b",", b"0" + TAIL, tokens=2001),
    "blanks": _cut(b" "),
    "an error at the beginning": _cut(b',"a short string of some 30 bytes"', b"{]" + HEAD + b" 1"),
    "brackets, all of them errors": _cut(b"]", b"", b""),
    "stray bytes": _cut(b"\x01", b"", b""),
    "commands": _cut(b'{"execute":"query-version","id":123}\r\n', b"", b""),
}


_TOO_MANY = Malformed("JSON token count limit exceeded")


def measure(pieces: Iterator[bytes]) -> tuple[float, float, int]:
    """
    Read it all.

    :return: CPU seconds, the longest for one piece, how many messages it was
    """
    reader = MessageReader()
    messages = 0
    worst = 0.0
    begin = time.process_time()
    for piece in pieces:
        before = time.process_time()
        reader.feed(piece)
        while batch := reader.next_batch():
            messages += len(batch)
            assert batch[0] != _TOO_MANY
        worst = max(worst, time.process_time() - before)
    return time.process_time() - begin, worst, messages


def _connect(path: str) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            break
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    connection.settimeout(300)
    connection.sendall(b'{"execute":"qmp_capabilities"}')
    _receive(connection, b'{"return":{}}')
    return connection


def _receive(connection: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        data = connection.recv(65536)
        assert data, "the server closed the connection"
        received = received[-100:] + data


def _serve(path: str, pieces: Iterator[bytes]) -> tuple[float, float, int]:
    """
    Send the pieces to a server.

    :return: seconds until they were answered, the longest that another client waited meanwhile, how often it asked
    """
    big, other = _connect(path), _connect(path)
    done = threading.Event()

    def send() -> None:
        for piece in pieces:
            big.sendall(piece)
        big.sendall(b'\xff{"execute":"query-version","id":"END"}\n')
        _receive(big, b'"END"')
        done.set()

    sender = threading.Thread(target=send)
    begin = time.monotonic()
    sender.start()
    longest = 0.0
    asked = 0
    while not done.is_set():
        before = time.monotonic()
        other.sendall(b'{"execute":"query-version","id":1}')
        _receive(other, b"\n")
        longest = max(longest, time.monotonic() - before)
        asked += 1
    seconds = time.monotonic() - begin
    sender.join()
    big.close()
    other.close()
    return seconds, longest, asked


def serve(shapes: dict[str, Callable[[int], Iterator[bytes]]], size: int) -> None:
    """Print what another client of a server notices."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "qmp")
        server = subprocess.Popen(
            [sys.executable, "-m", "twisted", "qmon", "--qmp", f"unix:{path}:mode=600"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        try:
            print(f"{'':32}{'seconds':>9}{'longest ms':>12}{'commands':>10}")
            for name, shape in shapes.items():
                seconds, longest, asked = _serve(path, shape(size))
                print(f"{name:32}{seconds:9.2f}{longest * 1e3:12.2f}{asked:10}", flush=True)
        finally:
            server.terminate()
            server.wait(30)


#: In the table: these, and how many bytes. Four times a quarter of it is to cost as much as all, or the cost is not linear.
TABLED = ("one long string", "many short strings", "small objects", "lists in lists", "an error at the beginning")
TABLED_SIZE = 4 << 20


def rows(pairs: int, seconds: float) -> Iterator[Row]:
    """Whether the cost grows with the length alone."""
    for name in TABLED:
        whole, quarters = [], []
        for _ in range(min(pairs, 3)):
            whole.append(measure(SHAPES[name](TABLED_SIZE))[0])
            quarters.append(4 * measure(SHAPES[name](TABLED_SIZE // 4))[0])
        yield Row(
            f"a message of {TABLED_SIZE >> 20} MiB in pieces of 4 KiB", name, rate=min(whole) * 1000, unit="ms CPU",
            ratio=paired_ratio(whole, quarters), goal=1.5, smaller=True,
        )  # fmt: skip


MEASUREMENTS = {"big-messages": rows}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--mib", type=float, default=16.0, help="size of the message (default 16)")
    parser.add_argument("--server", action="store_true", help="what another client of a real server notices")
    parser.add_argument("shapes", nargs="*", help="names of shapes; all, if none is given")
    options = parser.parse_args()
    size = int(options.mib * (1 << 20))
    shapes = {name: shape for name, shape in SHAPES.items() if not options.shapes or name in options.shapes}
    if options.server:
        serve(shapes, size)
        return
    print(f"{'':32}{'CPU s':>8}{'4 x 1/4':>9}{'4 KiB ms':>10}{'64 KiB ms':>11}{'messages':>10}")
    for name, shape in shapes.items():
        seconds, worst, messages = measure(shape(size))
        quarter, _, _ = measure(shape(size // 4))
        data = b"".join(shape(min(size, 1 << 20)))
        _, longest, _ = measure(data[at : at + SOCKET_PIECE] for at in range(0, len(data), SOCKET_PIECE))
        print(
            f"{name:32}{seconds:8.2f}{4 * quarter:9.2f}{worst * 1e3:10.2f}{longest * 1e3:11.2f}{messages:10}",
            flush=True,
        )


if __name__ == "__main__":
    main()

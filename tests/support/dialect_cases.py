"""
Random input for QMP servers: valid requests, mutated ones, rubbish, in random framing. The same seed gives the same cases.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tests.support.json_samples import TOKENS
from twisted_qmon import CommandProvider, DeviceNotActive, DeviceNotFound, GenericError, command

__all__ = ["MODES", "LikeQEMU", "cut", "make_case"]

#: How a session begins.
MODES = {
    "none": b"",
    "plain": b'{"execute":"qmp_capabilities"}\n',
    "oob": b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}\n',
}


class LikeQEMU(CommandProvider):
    """Commands of a QEMU without a machine, with what they answer there."""

    @command(name="set_link")
    def set_link(self, name: str, up: bool) -> None:
        """There are no network devices."""
        raise DeviceNotFound(f"Device '{name}' not found")

    @command(name="netdev_del")
    def netdev_del(self, id: str) -> None:
        """There are no network back ends."""
        raise DeviceNotFound(f"Device '{id}' not found")

    @command
    def eject(self, device: str | None = None, id: str | None = None, force: bool | None = None) -> None:
        """There are no drives."""
        if (device is None) == (id is None):
            raise GenericError("Need exactly one of 'device' and 'id'")
        raise DeviceNotFound(f"Device '{device if id is None else id}' not found")

    @command
    def block_job_set_speed(self, device: str, speed: int) -> None:
        """There are no block jobs."""
        raise DeviceNotActive(f"Block job '{device}' not found")

    @command
    def balloon(self, value: int) -> None:
        """There is no balloon."""
        raise DeviceNotActive("No balloon device has been activated")

    @command
    def query_balloon(self) -> None:
        """There is no balloon."""
        raise DeviceNotActive("No balloon device has been activated")

    @command
    def query_iothreads(self) -> list[dict[str, Any]]:
        """There are no I/O threads."""
        return []

    @command(oob=True)
    def query_yank(self) -> list[dict[str, str]]:
        """The monitor's own connection."""
        return [{"type": "chardev", "id": "compat_monitor0"}]

    @command(oob=True)
    def migrate_pause(self) -> None:
        """Nothing migrates."""
        raise GenericError("migrate-pause is currently only supported during postcopy-active state")


_REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("query-name", {}),
    ("query-iothreads", {}),
    ("query-balloon", {}),
    ("balloon", {"value": 1}),
    ("set_link", {"name": "x", "up": True}),
    ("netdev_del", {"id": "x"}),
    ("eject", {"device": "x", "force": False}),
    ("eject", {}),
    ("block-job-set-speed", {"device": "x", "speed": 1}),
    ("nope", {"a": {"b": [1]}}),
]
_OOB_REQUESTS = ["query-yank", "migrate-pause", "query-name", "nope"]
_NEGOTIATIONS: list[Any] = [
    {},
    {"enable": []},
    {"enable": ["oob"]},
    {"enable": "oob"},
    {"enable": [1]},
    {"bogus": 1},
]
_TEXTS = ["", "x", "a:b", "é", "\U0001f600", "\x00", "\x7f", "\n", "'", '"', "\\", "\u2028", "long " * 20]
_NUMBERS = [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 0.5, 1e300, 5e-324, 1e20]
_SPACE = [b"", b"\n", b"\r\n", b" ", b"\n\n", b"\t"]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind <= 2:
        return rng.choice(_NUMBERS)
    if kind <= 5:
        return rng.choice(_TEXTS)
    items = [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return items if kind == 6 else {rng.choice("abcdefgh") + str(n): item for n, item in enumerate(items)}


def _request(rng: random.Random, oob: bool) -> dict[str, Any]:
    if oob and rng.random() < 0.3:
        message: dict[str, Any] = {"exec-oob": rng.choice(_OOB_REQUESTS)}
    elif rng.random() < 0.03:
        message = {"execute": "qmp_capabilities", "arguments": rng.choice(_NEGOTIATIONS)}
    else:
        name, arguments = rng.choice(_REQUESTS)
        message = {"execute": name}
        arguments = dict(arguments)
        if arguments and rng.random() < 0.25:
            arguments[rng.choice(list(arguments))] = _value(rng)
        if rng.random() < 0.1:
            arguments[rng.choice(["bogus", "é"])] = _value(rng)
        if arguments and rng.random() < 0.1:
            del arguments[rng.choice(list(arguments))]
        if arguments or rng.random() < 0.1:
            message["arguments"] = arguments
    if rng.random() < 0.8:
        message["id"] = rng.randrange(1000) if rng.random() < 0.5 else _value(rng)
    if rng.random() < 0.07:
        message[rng.choice(["execute", "exec-oob", "arguments", "id", "bogus", "Execute"])] = _value(rng)
    return message


def _written(rng: random.Random, message: Any) -> bytes:
    separators = rng.choice([(",", ":"), (", ", ": "), (" , ", "\t:\n")])
    text = json.dumps(message, ensure_ascii=rng.random() < 0.5, separators=separators)
    if rng.random() < 0.15 and "\\" not in text and "'" not in text:
        text = text.replace('"', "'")
    return text.encode()


def _mutated(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(data) + 1)
        until = min(len(data), at + rng.choice([0, 0, 1, 1, 2, 5]))
        kind = rng.randrange(5)
        if kind <= 2:
            put = rng.choice(TOKENS)
        elif kind == 3:
            put = bytes([rng.randrange(256)])
        else:
            put = data[at : at + rng.randrange(1, 12)] * 2
        data = data[:at] + put + data[until:]
    return data


def make_case(rng: random.Random, oob: bool) -> bytes:
    """
    The input of one case: a few messages, good and bad.

    :param oob: with out-of-band requests
    """
    kind = rng.randrange(12)
    if kind == 0:
        return b"".join(rng.choices(TOKENS, k=rng.randrange(1, 16)))
    if kind == 1:
        return rng.randbytes(rng.randrange(1, 40))
    if kind == 2:
        return _written(rng, _value(rng)) + rng.choice(_SPACE)
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        data = _written(rng, _request(rng, oob))
        if kind < 9 and rng.random() < 0.6:
            data = _mutated(rng, data)
        parts += [data, rng.choice(_SPACE)]
    return b"".join(parts)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """Cut bytes into the pieces in which they arrive."""
    kind = rng.randrange(4)
    if kind == 0:
        return [data]
    pieces = []
    at = 0
    while at < len(data):
        size = 1 if kind == 1 else rng.randrange(1, 60) if kind == 2 else rng.randrange(1, 4000)
        pieces.append(data[at : at + size])
        at += size
    return pieces

"""
The same random bytes for a real QEMU and for us: the replies must be the same, in number, order, class, words and id.

As a command it takes a seed and a number of cases: C{python -m tests.live.test_dialect --seed 7 --count 100000}.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.live.needs import need
from tests.support.dialect_cases import MODES, LikeQEMU, cut, make_case
from tests.support.json_samples import read
from twisted_qmon import GenericError, Monitor, QMPFactory
from twisted_qmon.qmp._server.messages import check_message

#: Seconds that QEMU has for one batch of cases.
PATIENCE = 60

#: Cases for one connection.
BATCH = 100

COUNT = 2100

# QEMU writes an infinite double as a bare word.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\binf\b')


class RealQEMU:
    """A QEMU without a machine."""

    def __init__(self) -> None:
        program = need("qemu-system-x86_64")
        self._folder = tempfile.TemporaryDirectory()
        self._path = os.path.join(self._folder.name, "qmp")
        self._process = subprocess.Popen(
            [
                program,
                "-nodefaults",
                "-machine",
                "none",
                "-display",
                "none",
                "-qmp",
                f"unix:{self._path},server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(self._path) and time.monotonic() < deadline:
            time.sleep(0.02)

    def answer(self, parts: list[tuple[bytes, bytes]]) -> list[str]:
        """
        The lines that a new connection sends.

        :param parts: input, each with what is in the last line of its answer; the next is sent only then
        """
        lines = []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self._path)
            with connection.makefile("rb") as replies:
                greeting = replies.readline()
                assert greeting.startswith(b'{"QMP"')
                for data, mark in parts:
                    connection.sendall(data)
                    line = b""
                    while mark not in line:
                        line = replies.readline()
                        assert line.endswith(b"\r\n"), "QEMU closed the connection"
                        lines.append(line.decode("ascii"))
        return lines

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._folder.cleanup()


def our_answer(pieces: list[bytes]) -> list[str]:
    """The lines that we send for the same input."""
    monitor = Monitor(clock=Clock())
    monitor.register(LikeQEMU())
    protocol = QMPFactory(monitor).buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    for piece in pieces:
        assert transport.producerState == "producing", "suspended for ever"
        protocol.dataReceived(piece)
    lines: list[str] = transport.value().decode("ascii").splitlines(keepends=True)
    assert all(line.endswith("\r\n") for line in lines)
    return lines[1:]


def _plain(value: Any) -> Any:
    """Numbers as JSON compares them: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _reply(line: str) -> str:
    """A reply in a form in which equal ones are equal, and C{true} isn't 1."""
    # QEMU 7.2 forgets which parameter it was; newer ones say it, as we do.
    line = line.replace("Parameter 'null' does not accept", "Parameter 'enable[0]' does not accept")
    line = _WORD.sub(lambda found: "Infinity" if found.group() == "inf" else found.group(), line)
    return json.dumps(_plain(json.loads(line)), sort_keys=True)


def _by_case(lines: list[str]) -> list[list[str]]:
    """The replies of each case, up to and with that of the marker that ends it."""
    cases: list[list[str]] = [[]]
    for line in lines:
        reply = _reply(line)
        if '"event": ' in reply and '"timestamp": ' in reply:
            continue
        cases[-1].append(reply)
        if '"id": "#' in reply:
            cases.append([])
    return cases[:-1]


def _faults(case: bytes) -> list[set[str]]:
    """
    Of each message with several faulty members, what may be said of it: QEMU names the one that its hash table has first, we
    the first one sent.
    """
    found: list[set[str]] = []
    for message in read(case):
        if not isinstance(message, dict):
            continue
        named = [{_error({key: message[key], **message}, oob) for key in message} for oob in (False, True)]
        if isinstance(arguments := message.get("arguments"), dict):
            named.append({f"Parameter '{name}' is unexpected" for name in arguments})
        for texts in (texts for texts in named if len(texts) > 1):
            # With another message's that may be said of this one too.
            common = [other for other in found if other & texts]
            found = [other for other in found if not other & texts] + [texts.union(*common)]
    return found


def _error(message: dict[str, Any], oob: bool) -> str:
    try:
        check_message(message, oob)
    except GenericError as e:
        return e.desc
    return ""


def _whichever(replies: list[str], faults: list[set[str]]) -> list[str]:
    """The replies, in which any of several faults stands for all of them."""
    for number, reply in enumerate(replies):
        desc = (json.loads(reply).get("error") or {}).get("desc")
        texts = next((texts for texts in faults if desc in texts), None)
        if texts is not None:
            replies[number] = reply.replace(json.dumps(desc), json.dumps(sorted(texts)))
    return replies


def _make_cases(rng: random.Random, mode: str, count: int) -> list[bytes]:
    cases: list[bytes] = []
    while len(cases) < count:
        case = make_case(rng, mode == "oob")
        # With out-of-band execution QEMU's queue of eight requests can fill, and QEMU 7.2 ends itself when one byte makes two of
        # them at that moment (as the brace in "1}" does).
        if mode == "plain" or len(read(case)) <= 4:
            cases.append(case)
    return cases


def compare(qemu: RealQEMU, seed: int, count: int) -> list[str]:
    """
    Give both the same cases.

    :return: the differences, in words
    """
    rng = random.Random(seed)
    differences = []
    for first in range(0, count, BATCH):
        mode = rng.choice(list(MODES))
        oob = mode == "oob"
        cases = _make_cases(rng, mode, min(BATCH, count - first))
        # A control byte ends whatever a case has begun.
        parts = [case + b'\xff{"execute":"nope","id":"#%d"}\n' % number for number, case in enumerate(cases)]
        parts[0] = MODES[mode] + parts[0]
        marks = [b'"#%d"' % number for number in range(len(cases))]
        stream = b"".join(parts)
        # With out-of-band execution, which a case may negotiate too, each case waits for the answer to the one before.
        theirs = _by_case(
            qemu.answer([(stream, marks[-1])] if mode == "plain" else list(zip(parts, marks, strict=True)))
        )
        ours = _by_case(our_answer(cut(rng, stream)))
        if len(theirs) != len(ours):
            differences.append(f"seed {seed}, cases from {first}: {len(theirs)} answered by QEMU, {len(ours)} by us")
        for number, (case, their, our) in enumerate(zip(cases, theirs, ours, strict=False)):
            if their != our:
                faults = _faults(case)
                their, our = _whichever(their, faults), _whichever(our, faults)
            if oob:
                # What is out of band may overtake what waits. How far, is a matter of luck.
                their, our = sorted(their), sorted(our)
            if their != our:
                differences.append(
                    f"seed {seed}, case {first + number} ({mode}): {case!r}\n QEMU: {their}\n ours: {our}"
                )
    return differences


@pytest.mark.live
def test_same_replies(capsys: pytest.CaptureFixture[str]) -> None:
    """Two thousand random cases get from us the replies that QEMU gives."""
    seed = int(os.environ.get("QMON_SEED", random.SystemRandom().randrange(1 << 32)))
    with capsys.disabled():
        sys.stdout.write(f" seed {seed} ")
    qemu = RealQEMU()
    try:
        differences = compare(qemu, seed, COUNT)
    finally:
        qemu.close()
    assert not differences, f"{len(differences)} differences; the first:\n" + "\n".join(differences[:3])


def main() -> None:
    """Compare as many cases as are asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args()
    qemu = RealQEMU()
    begin = time.monotonic()
    try:
        differences = compare(qemu, options.seed, options.count)
    finally:
        qemu.close()
    for difference in differences[:20]:
        sys.stdout.write(difference + "\n")
    sys.stdout.write(
        f"seed {options.seed}: {options.count} cases in {time.monotonic() - begin:.1f} s, {len(differences)} differ\n"
    )
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()

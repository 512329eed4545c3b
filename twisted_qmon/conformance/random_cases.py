"""
The same random bytes for a server and the reference: the replies must be the same, in number, order, class, words and id.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from twisted_qmon.conformance.cases import MODES, cut, make_case
from twisted_qmon.conformance.comparing import Known, canonical, equal_but_for, faults, is_event, messages_in, whichever
from twisted_qmon.conformance.reference import Reference
from twisted_qmon.conformance.report import DIFFERS, KNOWN, OK, SKIPPED, Outcome
from twisted_qmon.conformance.wire import Connect, Wire

__all__ = ["BATCH", "MAX_LOST", "RandomCases"]

#: Cases for one connection.
BATCH = 100

#: After so many connections on which replies were missing, the rest is given up.
MAX_LOST = 3

# A control byte ends whatever a case has begun.
_END = b'\xff{"execute":"nope","id":"#%d"}\n'


@dataclass
class _Batch:
    """
    The cases of one connection.

    :ivar first: the number of the first one
    :ivar mode: how the session begins
    """

    first: int
    mode: str
    cases: list[bytes]

    @property
    def parts(self) -> list[bytes]:
        """What is sent for each case."""
        parts = [case + _END % number for number, case in enumerate(self.cases)]
        return [MODES[self.mode] + parts[0], *parts[1:]]


class RandomCases:
    """
    Random cases for a server.

    :param connect: connects to it
    :param reference: says what is to be answered
    :param known: the differences that may be there
    :param seed: of the cases
    """

    def __init__(self, connect: Connect, reference: Reference, known: Sequence[Known], seed: int) -> None:
        self._connect = connect
        self._reference = reference
        self._known = known
        self._seed = seed

    def run(self, count: int) -> Iterator[Outcome]:
        """:return: what came out of so many cases, each"""
        rng = random.Random(self._seed)
        lost = 0
        for first in range(0, count, BATCH):
            mode = rng.choice(list(MODES))
            batch = _Batch(first, mode, _make_cases(rng, mode, min(BATCH, count - first)))
            if lost >= MAX_LOST:
                yield from (
                    self._outcome(batch, n, SKIPPED, "too many replies were missing") for n in range(len(batch.cases))
                )
                continue
            outcomes = list(self._compare(batch, rng))
            lost += any(outcome.status == SKIPPED for outcome in outcomes)
            yield from outcomes

    def _outcome(self, batch: _Batch, number: int, status: str, text: str = "", known: tuple[str, ...] = ()) -> Outcome:
        name = f"seed {self._seed}, case {batch.first + number} ({batch.mode})"
        return Outcome("random", name, status, text, known)

    def _compare(self, batch: _Batch, rng: random.Random) -> Iterator[Outcome]:
        stream = b"".join(batch.parts)
        expected = _by_case(self._reference.lines(cut(rng, stream)))
        lines, trouble = self._ask(batch, rng)
        actual = _by_case(lines)
        for number, case in enumerate(batch.cases):
            if number < len(actual):
                yield self._judge(batch, number, case, expected[number], actual[number])
            elif number == len(actual):
                text = f"{case!r}\n{trouble or 'the replies are out of order'}\nexpected: {expected[number]}"
                yield self._outcome(batch, number, DIFFERS, text)
            else:
                yield self._outcome(batch, number, SKIPPED, "a case before it had no answer")

    def _judge(self, batch: _Batch, number: int, case: bytes, expected: list[str], actual: list[str]) -> Outcome:
        found: list[Known] | None = []
        if expected != actual:
            either = faults(case)
            expected, actual = whichever(expected, either), whichever(actual, either)
            if batch.mode == "oob":
                # What is out of band may overtake what waits. How far, is a matter of luck.
                expected, actual = sorted(expected), sorted(actual)
            found = equal_but_for(expected, actual, self._known)
        if found is None:
            text = f"{case!r}\nexpected: {expected}\ncame:     {actual}"
            return self._outcome(batch, number, DIFFERS, text)
        names = tuple(each.name for each in found)
        return self._outcome(batch, number, KNOWN if names else OK, known=names)

    def _ask(self, batch: _Batch, rng: random.Random) -> tuple[list[bytes], str]:
        """:return: the lines that the server sends, and why there are no more than those, if there should be"""
        lines: list[bytes] = []
        try:
            wire = self._connect()
        except (OSError, EOFError) as error:
            return lines, f"no connection: {error}"
        try:
            wire.line()
            if batch.mode == "plain":
                for piece in cut(rng, b"".join(batch.parts)):
                    wire.send(piece)
                _read_until(wire, len(batch.cases) - 1, lines)
            else:
                # With out-of-band execution, which a case may negotiate too, each case waits for the answer to the one before.
                for number, part in enumerate(batch.parts):
                    wire.send(part)
                    _read_until(wire, number, lines)
        except TimeoutError:
            return lines, "no answer in time"
        except EOFError as error:
            return lines, str(error)
        finally:
            wire.close()
        return lines, ""


def _read_until(wire: Wire, number: int, lines: list[bytes]) -> None:
    mark = b'"#%d"' % number
    while True:
        line = wire.line()
        if not line.endswith(b"\n"):
            raise EOFError("the server has closed the connection")
        lines.append(line)
        if mark in line:
            return


def _make_cases(rng: random.Random, mode: str, count: int) -> list[bytes]:
    cases: list[bytes] = []
    while len(cases) < count:
        case = make_case(rng, mode == "oob")
        # With out-of-band execution QEMU's queue of eight requests can fill, and QEMU 7.2 ends itself when one byte makes two of
        # them at that moment (as the brace in "1}" does).
        if mode == "plain" or len(messages_in(case)) <= 4:
            cases.append(case)
    return cases


def _by_case(lines: Sequence[bytes]) -> list[list[str]]:
    """The replies of each case, up to and with that of the marker that ends it."""
    cases: list[list[str]] = [[]]
    for line in lines:
        try:
            reply = canonical(line) if line.endswith(b"\r\n") else f"no CR LF: {line!r}"
        except ValueError:
            reply = f"no JSON in ASCII: {line!r}"
        if is_event(reply):
            continue
        cases[-1].append(reply)
        if f'"id": "#{len(cases) - 1}"' in reply:
            cases.append([])
    return cases[:-1]

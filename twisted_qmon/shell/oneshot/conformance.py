"""
C{qmon conformance ADDRESS}: how near to QEMU a server is.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted_qmon.shell.address import default_address, parse_address
from twisted_qmon.shell.client import connect, open_socket
from twisted_qmon.shell.errors import Failed, NoConnection
from twisted_qmon.shell.options import Parser, seconds
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted_qmon.conformance.report import Outcome
    from twisted_qmon.conformance.wire import SocketWire
    from twisted_qmon.info import JSON
    from twisted_qmon.shell.address import Address

__all__ = ["PATIENCE", "SHOWN", "run_conformance"]

#: Seconds that the server has for each reply, unless another number is given.
PATIENCE = 10.0

#: Differences that are shown in full.
SHOWN = 20


def _parser() -> Parser:
    parser = Parser("conformance", "Compare a QMP server with QEMU: what differs is printed.")
    parser.prog = "qmon conformance"
    parser.add_argument("address", metavar="ADDRESS", nargs="?", default="", help="the server")
    parser.add_argument(
        "--seed", metavar="N", type=int, help="seed of the random cases; by default another one each time"
    )
    parser.add_argument("--count", metavar="N", type=_count, default=1000, help="random cases (default: 1000)")
    parser.add_argument("--junit", metavar="FILE", help="also write the report as JUnit's XML")
    parser.add_argument(
        "--as",
        dest="kind",
        metavar="KIND",
        choices=("qemu", "qemu-storage-daemon", "twisted-qmon", "strict"),
        help="the kind of server, whose known differences are none: qemu, qemu-storage-daemon, twisted-qmon, or strict, "
        "which has none (default: found out)",
    )
    parser.add_argument("--stop", action="store_true", help="also run stop and cont, to look at their events")
    parser.add_argument(
        "--timeout", metavar="S", type=seconds, default=PATIENCE, help="seconds for each reply (default: 10)"
    )
    parser.add_argument("--record", metavar="FILE", help="compare nothing: record the server for FakeQEMU")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def run_conformance(words: list[str]) -> int:
    """
    Run it, and write the report.

    :return: the exit status: 0 if nothing differs but what is known, else 1
    """
    options = _parser().parse_args(words)
    address = parse_address(options.address or default_address())
    if options.record:
        return _record(address, options.record, options.timeout)
    from twisted_qmon.conformance.run import run
    from twisted_qmon.conformance.talk import Differs

    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    output = Output(False)
    try:
        report = run(
            lambda: _wire(address, options.timeout),
            seed=seed,
            count=options.count,
            kind=options.kind,
            intrusive=options.stop,
            told=_Progress().tell,
        )
    except Differs as e:
        raise Failed(f"this can't be compared with QEMU: {e.text}") from None
    except TimeoutError:
        raise NoConnection(
            f"no answer from {address.text}: it may serve another client (a QEMU monitor has one at a time)"
        ) from None
    except EOFError as e:
        raise NoConnection(f"{address.text}: {str(e) or 'the server has closed the connection'}") from None
    output.lines(report.lines(SHOWN))
    if options.junit:
        _write(options.junit, report.junit())
    return 1 if report.differences else 0


def _wire(address: Address, patience: float) -> SocketWire:
    from twisted_qmon.conformance.wire import SocketWire

    return SocketWire(open_socket(address, patience), patience)


class _Progress:
    """Shows on a terminal how far it is."""

    def __init__(self) -> None:
        self._wanted = sys.stderr.isatty()
        self._count = self._differences = 0
        self._shown = 0.0

    def tell(self, outcome: Outcome) -> None:
        """One thing more has been looked at."""
        self._count += 1
        self._differences += outcome.status == "differs"
        now = time.monotonic()
        if self._wanted and now - self._shown > 0.2:
            self._shown = now
            sys.stderr.write(f"\r{outcome.group}: {self._count} looked at, {self._differences} differ \x1b[K\r")
            sys.stderr.flush()


def _write(path: str, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as e:
        raise Failed(f"cannot write {path}: {e.strerror or e}") from None


def _record(address: Address, path: str, patience: float) -> int:
    from twisted_qmon.testing.recording import record

    with connect(address) as client:

        def execute(name: str, arguments: Mapping[str, JSON]) -> JSON:
            try:
                return client.execute(name, arguments, deadline=time.monotonic() + patience)
            except TimeoutError:
                raise NoConnection(f"no answer to {name} within {patience:g} s") from None

        made = record(client.greeting, execute, f"{_package(client.greeting)}, by qmon conformance --record")
    try:
        made.save(path)
    except OSError as e:
        raise Failed(f"cannot write {path}: {e.strerror or e}") from None
    version = ".".join(str(number) for number in made.version)
    Output(False).text(f"recorded {version}: {len(made.types.commands)} commands, {len(made.answers)} answers\n")
    return 0


def _package(greeting: Mapping[str, JSON]) -> str:
    version = greeting.get("version")
    return str(version.get("package") or version.get("qemu")) if isinstance(version, Mapping) else ""

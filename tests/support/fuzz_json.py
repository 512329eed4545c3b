"""
Any bytes for a whole server, as a command: C{python -m tests.support.fuzz_json --count 1000000}.

After each input a control byte and a command must be answered; nothing may be logged as an error; memory must stay flat.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from twisted_qmon.conformance.cases import MODES, cut, make_case
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.testing import FakeQEMU

#: Inputs for one connection.
BATCH = 200


def _resident() -> float:
    """MiB of memory in use."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096 / (1 << 20)


def fuzz(seed: int, count: int) -> list[str]:
    """
    Feed inputs.

    :return: what went wrong
    """
    rng = random.Random(seed)
    wrong: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            wrong.append(event["log_failure"].getTraceback())

    globalLogPublisher.addObserver(observe)
    fake = FakeQEMU(clock=Clock())
    factory = fake.factory
    factory.in_flight = IN_FLIGHT
    begin = time.monotonic()
    replies = 0
    for first in range(0, count, BATCH):
        mode = rng.choice(list(MODES))
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(MODES[mode])
        for number in range(first, min(first + BATCH, count)):
            data = make_case(rng, mode == "oob")
            transport.clear()
            try:
                for piece in cut(rng, data + b'\xff{"execute":"query-name","id":"#%d"}\n' % number):
                    protocol.dataReceived(piece)
            except Exception as e:
                wrong.append(f"{data!r}: {e!r}")
            answer = transport.value()
            replies += answer.count(b"\n")
            if b'"#%d"' % number not in answer or not answer.isascii() or transport.producerState != "producing":
                wrong.append(f"{data!r}: stuck after {answer[-200:]!r}")
        protocol.connectionLost()
        fake.take_requests()
        if first % (count // 10 // BATCH * BATCH or BATCH) == 0:
            sys.stdout.write(
                f"{first:9} inputs, {replies} replies, {_resident():.1f} MiB, {time.monotonic() - begin:.0f} s\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"{count:9} inputs, {replies} replies, {_resident():.1f} MiB, {time.monotonic() - begin:.0f} s\n")
    return wrong


def main() -> None:
    """Fuzz as much as is asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    wrong = fuzz(options.seed, options.count)
    for text in wrong[:10]:
        sys.stdout.write(text + "\n")
    sys.stdout.write(f"seed {options.seed}: {len(wrong)} wrong\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

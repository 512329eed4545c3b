"""
One screen about the process: what C{query-summary} returns.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from twisted_qmon.providers.process.facts import resident_memory
from twisted_qmon.providers.process.latency import LatencyInfo
from twisted_qmon.providers.process.reactor_view import PortInfo, described_ports, descriptors
from twisted_qmon.providers.process.stalls import Stalls
from twisted_qmon.qapi.types import Size

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.monitor import Monitor

__all__ = [
    "KEPT",
    "MAX_PORTS",
    "SAMPLE_PERIOD",
    "SPANS",
    "ClientCount",
    "MemoryChange",
    "PendingSummary",
    "PortSummary",
    "StallSummary",
    "SummaryInfo",
    "Trend",
    "clients_of",
    "pending_of",
    "port_summaries",
    "stalls_of",
]

#: How many ports are listed: those with the most connections.
MAX_PORTS = 20

#: Seconds between two samples of memory and processor time.
SAMPLE_PERIOD = 10.0

#: The spans, in seconds, over which the change of the memory is told.
SPANS = (600, 3600, 6 * 3600, 24 * 3600)

#: How many samples are kept of the first span, and how many of the others, which are as far apart as the first span is long.
KEPT = (int(SPANS[0] / SAMPLE_PERIOD) + 1, SPANS[-1] // SPANS[0] + 1)


class ClientCount(msgspec.Struct):
    """
    How many clients of a kind the monitor has.

    :ivar kind: C{"qmp"}, C{"hmp"}, ...
    :ivar count: how many
    """

    kind: str
    count: int


class PortSummary(msgspec.Struct):
    """
    A port that listens.

    :ivar address: where
    :ivar factory: the qualified name of the class that serves it
    :ivar connections: how many it has accepted that are open
    :ivar accepted: how many it has accepted since it was made, if it counts them
    """

    address: str
    factory: str
    connections: int
    accepted: int | None = None


class PendingSummary(msgspec.Struct):
    """
    The requests that the monitor has not answered yet.

    :ivar count: how many
    :ivar abandoned: executions whose requests have been answered, and that run on
    :ivar oldest: seconds since the oldest came; absent if there is none
    """

    count: int
    abandoned: int
    oldest: float | None = None


class StallSummary(msgspec.Struct):
    """
    The stalls of the reactor; C{query-stalls} has the latest of them.

    :ivar count: how many there were
    :ivar worst: seconds of the longest of the latest; 0 if there was none
    :ivar last: seconds since the last one began; absent if there was none
    """

    count: int
    worst: float
    last: float | None = None


class MemoryChange(msgspec.Struct):
    """
    What the memory has become more or less by.

    :ivar seconds: since when
    :ivar bytes: by how much; negative if it is less
    """

    seconds: float
    bytes: int


class SummaryInfo(msgspec.Struct):
    """
    What C{query-summary} returns. What the system does not tell is absent.

    :ivar pid: the process id
    :ivar uptime: seconds since the process began
    :ivar latency: how late the reactor runs
    :ivar errors: log events of level error or critical in the last minute, up to 10,000
    :ivar clients: the clients of the monitor, by kind
    :ivar pending: the monitor's requests that are not answered yet
    :ivar connections: how many connections the process has
    :ivar outgoing: how many of them no port has accepted
    :ivar port_count: how many ports listen
    :ivar ports: those with the most connections, at most L{MAX_PORTS}
    :ivar stalls: the stalls of the reactor, where they are recorded
    :ivar processor: the part of one core that was used in the last minute (0.5: half of it)
    :ivar resident_memory: bytes of memory that the process occupies now
    :ivar memory_changes: what that has changed by, over L{SPANS}, as far as it is known; the shortest first
    :ivar file_descriptors: how many are open
    :ivar file_descriptor_limit: how many may be
    """

    pid: int
    uptime: float
    latency: LatencyInfo
    errors: int
    clients: list[ClientCount]
    pending: PendingSummary
    connections: int
    outgoing: int
    port_count: int
    ports: list[PortSummary]
    memory_changes: list[MemoryChange]
    stalls: StallSummary | None = None
    processor: float | None = None
    resident_memory: Size | None = None
    file_descriptors: int | None = None
    file_descriptor_limit: int | None = None


class _Sample(msgspec.Struct):
    """What was measured at a time of the clock."""

    time: float
    memory: int | None
    processor: float


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system


class Trend:
    """
    Memory and processor time of the last day: a few kilobytes, and some ten microseconds each L{SAMPLE_PERIOD}.

    :param clock: the time
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._fine: deque[_Sample] = deque(maxlen=KEPT[0])
        self._coarse: deque[_Sample] = deque(maxlen=KEPT[1])

    def look(self) -> None:
        """Take a sample, if it is time for one: called more often than each L{SAMPLE_PERIOD} seconds."""
        now = self._clock.seconds()
        if self._fine and 0 <= now - self._fine[-1].time < SAMPLE_PERIOD:
            return
        sample = _Sample(now, resident_memory(), _processor_seconds())
        self._fine.append(sample)
        if not self._coarse or not 0 <= now - self._coarse[-1].time < SPANS[0]:
            self._coarse.append(sample)

    def processor(self, window: float = 60.0) -> float | None:
        """:return: the part of a core that was used in the last C{window} seconds, or since the first sample; C{None}: unknown"""
        now = self._clock.seconds()
        sample = next((each for each in self._fine if now - each.time <= window), None)
        if sample is None or now - sample.time <= 0:
            return None
        return round((_processor_seconds() - sample.processor) / (now - sample.time), 4)

    def memory_changes(self, memory: int | None) -> list[MemoryChange]:
        """
        :param memory: what is occupied now
        :return: what that is more than it was, over each of L{SPANS} that the samples go back to
        """
        now = self._clock.seconds()
        changes: list[MemoryChange] = []
        for span in SPANS:
            samples = self._fine if span == SPANS[0] else self._coarse
            # The latest that is old enough.
            sample = next((each for each in reversed(samples) if now - each.time >= span), None)
            if sample is not None and sample.memory is not None and memory is not None:
                changes.append(MemoryChange(round(now - sample.time, 1), memory - sample.memory))
        return changes


def clients_of(monitor: Monitor | None) -> list[ClientCount]:
    """:return: how many clients a monitor has, by kind"""
    clients = () if monitor is None else monitor.guard.clients.values()
    counts = Counter(str(client.describe()["kind"]) for client in clients)
    return [ClientCount(kind, count) for kind, count in sorted(counts.items())]


def stalls_of(monitor: Monitor | None, now: float) -> StallSummary | None:
    """
    :param now: seconds since the epoch
    :return: the stalls of the reactor, where they are recorded
    """
    providers = () if monitor is None else monitor.providers
    stalls = next((provider for provider in providers if isinstance(provider, Stalls)), None)
    if stalls is None:
        return None
    kept = list(stalls.kept)
    if not kept:
        return StallSummary(stalls.count, 0.0)
    since = kept[-1].since
    last = now - since.seconds - since.microseconds / 1e6
    return StallSummary(stalls.count, max(stall.seconds for stall in kept), round(max(0.0, last), 1))


def pending_of(monitor: Monitor | None) -> PendingSummary:
    """:return: the requests that a monitor has not answered yet"""
    if monitor is None:
        return PendingSummary(0, 0)
    oldest = min((request.created for request in monitor.pending), default=None)
    age = None if oldest is None else round(max(0.0, monitor.clock.seconds() - oldest), 3)
    return PendingSummary(len(monitor.pending), len(monitor.pending.abandoned), age)


def port_summaries(reactor: object, transports: Iterable[object]) -> tuple[list[PortSummary], int]:
    """
    :param transports: the reactor's connections
    :return: the ports, that with the most connections first; and how many connections none of them has accepted
    """
    counts = Counter(id(getattr(transport, "server", None)) for transport in transports)
    total = counts.total()
    ports = []
    for port, info in described_ports(descriptors(reactor)[0]):
        number = counts[id(port)]
        total -= number
        ports.append(_port_summary(port, info, number))
    return sorted(ports, key=lambda port: (-port.connections, port.address)), total


def _port_summary(port: object, info: PortInfo, connections: int) -> PortSummary:
    accepted = getattr(port, "sessionno", None)
    return PortSummary(info.address, info.factory, connections, accepted if isinstance(accepted, int) else None)

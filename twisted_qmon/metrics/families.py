"""
The numbers: read from where they are counted anyway, when they are asked for.

The names follow Prometheus's conventions: base units, C{_total} for what only grows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from twisted_qmon import __version__
from twisted_qmon._transport.connection import ConnectionMixin
from twisted_qmon._transport.connections import Counters
from twisted_qmon.core.tally import BOUNDS, OUTCOMES, Durations
from twisted_qmon.providers.process import Process
from twisted_qmon.providers.process.stalls import Stalls

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.providers.qemu.upstream import UpstreamState

__all__ = ["Drained", "Family", "Kind", "Sample", "Served", "families"]

#: What a family of numbers may be.
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

#: Why clients are disconnected, by the counters of a factory.
_REASONS = ("slow", "vanished", "idle", "handshakes", "cut_off")


class Sample(msgspec.Struct):
    """
    One number.

    :ivar name: its name
    :ivar labels: what it is about
    :ivar value: the number
    """

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct):
    """
    Numbers of the same kind.

    :ivar name: the name that they begin with
    :ivar type: what they are
    :ivar help: what they say
    :ivar samples: the numbers
    """

    name: str
    type: Kind
    help: str
    samples: list[Sample]


class Served(Protocol):
    """What is asked of a factory that serves clients."""

    kind: str
    endpoint: str


class Drained(Protocol):
    """
    What is asked of the service.

    :ivar drained: how many times it has drained
    :ivar drain_cancelled: how many requests had to be cancelled then
    """

    drained: int
    drain_cancelled: int

    @property
    def factories(self) -> Sequence[Served]:
        """What serves clients."""

    @property
    def draining(self) -> bool:
        """It drains at this moment."""


def _counter(name: str, help: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, "counter", help, [Sample(name, dict(labels), value) for labels, value in values])


def _gauge(name: str, help: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, "gauge", help, [Sample(name, dict(labels), value) for labels, value in values])


def _histogram(
    name: str, help: str, values: Iterable[tuple[Mapping[str, str], Durations]], bounds: Sequence[float] = BOUNDS
) -> Family:
    samples: list[Sample] = []
    for labels, durations in values:
        count = 0
        for bound, number in zip((*bounds, None), durations.counts, strict=True):
            count += number
            edge = "+Inf" if bound is None else f"{bound:g}" if bound % 1 else f"{bound:.1f}"
            samples.append(Sample(f"{name}_bucket", {**labels, "le": edge}, count))
        samples.append(Sample(f"{name}_count", dict(labels), count))
        samples.append(Sample(f"{name}_sum", dict(labels), durations.total))
    return Family(name, "histogram", help, samples)


def families(monitor: Monitor, service: Drained | None = None) -> list[Family]:
    """
    :param service: what serves the monitor, if that is known
    :return: the numbers as they are now, those that there are
    """
    found = [*_requests(monitor), *_clients(monitor)]
    if service is not None:
        found += _served(service.factories)
        found += _drains(service)
    found += [*_events(monitor), *_process(monitor), *_upstream(monitor)]
    return [family for family in found if family.samples]


def _requests(monitor: Monitor) -> Iterator[Family]:
    labels = {"name": monitor.name or "", "version": __version__, "monitor": monitor.events.history.id}
    yield _gauge("qmon_info", "The monitor: always 1.", [(labels, 1)])
    used = monitor.registry.tallies.used()
    yield _counter(
        "qmon_requests_total",
        "Requests that were answered, by command and outcome.",
        [
            ({"command": name, "outcome": outcome}, number)
            for name, tally in used.items()
            for outcome, number in zip(OUTCOMES, tally.counts(), strict=True)
            if number
        ],
    )
    waits = {name: tally.waits for name, tally in used.items()}
    yield _histogram(
        "qmon_request_pending_seconds",
        "Seconds for which requests were pending, of all that were not done at once, whatever became of them.",
        [({"command": name}, durations) for name, durations in waits.items() if any(durations.counts)],
    )
    calls = {name: tally.calls for name, tally in used.items()}
    yield _histogram(
        "qmon_handler_call_seconds",
        "Seconds that calls of handlers took. At most one a second is timed for each command, and none of requests that"
        " do not come over QMP or HTTP.",
        [({"command": name}, durations) for name, durations in calls.items() if any(durations.counts)],
    )
    yield _gauge("qmon_pending_requests", "Requests that are not answered yet.", [({}, len(monitor.pending))])
    yield _gauge(
        "qmon_abandoned_executions",
        "Executions of commands that run on although their requests were answered.",
        [({}, len(monitor.pending.abandoned))],
    )


def _clients(monitor: Monitor) -> Iterator[Family]:
    counts = Counter(str(client.describe()["kind"]) for client in monitor.guard.clients.values())
    yield _gauge(
        "qmon_clients", "Clients that are connected.", [({"kind": kind}, n) for kind, n in sorted(counts.items())]
    )
    yield _counter(
        "qmon_clients_turned_away_total",
        "Clients that were turned away because they may do nothing.",
        [({}, monitor.guard.turned_away)],
    )


def _served(factories: Iterable[Served]) -> Iterator[Family]:
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    ended: Counter[tuple[str, str]] = Counter()
    lost = queued = 0
    for factory in factories:
        counters: Counters | None = getattr(factory, "counters", None)
        if counters is None:
            continue
        accepted[factory.kind] += counters.accepted
        refused[factory.kind] += counters.refused
        for reason in _REASONS:
            ended[factory.kind, reason] += getattr(counters, reason)
        lost += counters.lost
        for connection in getattr(factory, "connections", ()):
            if isinstance(connection, ConnectionMixin) and connection.name:
                lost += connection.write_queue.lost
                queued += connection.write_queue.queued
    yield _counter(
        "qmon_connections_accepted_total",
        "Connections accepted.",
        [({"kind": kind}, n) for kind, n in accepted.items()],
    )
    yield _counter(
        "qmon_connections_refused_total",
        "Connections closed at once because there were too many, or because the process was ending.",
        [({"kind": kind}, n) for kind, n in refused.items()],
    )
    yield _counter(
        "qmon_clients_disconnected_total",
        "Clients that were disconnected from this side, by reason.",
        [({"kind": kind, "reason": reason.replace("_", "-")}, n) for (kind, reason), n in ended.items()],
    )
    yield _counter("qmon_events_lost_total", "Events that were dropped for clients that do not read.", [({}, lost)])
    yield _gauge("qmon_events_queued_bytes", "Bytes of events that wait for clients that do not read.", [({}, queued)])


def _drains(service: Drained) -> Iterator[Family]:
    yield _counter("qmon_drains_total", "Drains that have come to their end.", [({}, service.drained)])
    yield _counter(
        "qmon_drain_cancelled_requests_total",
        "Requests that were cancelled because a drain had lasted long enough.",
        [({}, service.drain_cancelled)],
    )
    yield _gauge("qmon_draining", "1 while the monitor waits for its last requests.", [({}, int(service.draining))])


def _events(monitor: Monitor) -> Iterator[Family]:
    history = monitor.events.history
    yield _counter("qmon_events_total", "Events emitted, after their rate limits.", [({}, history.last)])
    yield _counter(
        "qmon_event_deliveries_total", "Events handed to subscribers, once for each.", [({}, monitor.events.deliveries)]
    )
    yield _gauge("qmon_event_history_bytes", "Bytes of the events that are kept.", [({}, history.bytes)])


def _process(monitor: Monitor) -> Iterator[Family]:
    for provider in monitor.providers:
        if isinstance(provider, Process):
            yield _histogram(
                "qmon_reactor_late_seconds",
                "Seconds by which the reactor was late for a call that was due; measured twenty times a second.",
                [({}, provider.lateness)],
            )
        elif isinstance(provider, Stalls):
            yield _counter("qmon_stalls_total", "Times in which the reactor did not run.", [({}, provider.count)])
            yield _counter(
                "qmon_stall_seconds_total", "Seconds in which the reactor did not run.", [({}, provider.total)]
            )


def _upstream(monitor: Monitor) -> Iterator[Family]:
    # Asked like this, or the proxy's modules would be loaded where there is none.
    figures: UpstreamState | None = getattr(getattr(monitor.upstream, "upstream", None), "state", None)
    if figures is None:
        return
    yield _gauge("qmon_upstream_connected", "1 while QEMU is connected.", [({}, int(figures.connected))])
    yield _counter(
        "qmon_upstream_connections_total", "Connections to QEMU that could be used.", [({}, figures.connections)]
    )
    yield _gauge(
        "qmon_upstream_waiting_requests", "Requests that wait for their turn at QEMU.", [({}, figures.waiting)]
    )
    yield _gauge("qmon_upstream_sent_requests", "Requests that QEMU has, in band.", [({}, figures.in_flight)])

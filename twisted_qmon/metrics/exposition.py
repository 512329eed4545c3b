"""
The numbers in Prometheus's formats. This needs C{prometheus_client}, which the extra C{metrics} installs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from twisted_qmon.metrics.families import Family, Sample

__all__ = ["Exposition", "process_families"]

_process = ProcessCollector(registry=None)


def process_families() -> list[Family]:
    """:return: the numbers of the process, under the names that all programs have for them"""
    return [
        Family(
            f"{metric.name}_total" if metric.type == "counter" else metric.name,
            "counter" if metric.type == "counter" else "gauge",
            metric.documentation,
            [Sample(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in _process.collect()
    ]


class Exposition(Collector):
    """
    Makes pages of numbers.

    :param families: gives the numbers
    """

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """:return: nothing: what there is shows when it is asked for"""
        return []

    def collect(self) -> Iterator[Metric]:
        """:return: the numbers, as prometheus_client has them"""
        for family in self._families():
            metric = Metric(family.name.removesuffix("_total"), family.help, family.type)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric

    def page(self, accept: str) -> tuple[bytes, str]:
        """
        :param accept: what the client takes, from its C{Accept} header
        :return: the page, and its type
        """
        encode, kind = choose_encoder(accept)
        page: bytes = encode(self._registry)
        return page, kind

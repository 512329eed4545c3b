"""
C{query-metrics}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted_qmon._text import table
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.errors import GenericError
from twisted_qmon.metrics.families import Family, families
from twisted_qmon.providers.process.text import Row, Rows

if TYPE_CHECKING:
    from twisted_qmon.metrics.families import Drained

__all__ = ["Metrics", "metrics"]


class Metrics(CommandProvider):
    """
    The numbers of the monitor that it is registered with.

    :param service: what serves the monitor; C{None}: what only it knows is left out
    :ivar more: called for families besides, such as those of the process where they are served over HTTP
    """

    def __init__(self, service: Drained | None = None) -> None:
        self._service = service
        self.more: list[Callable[[], Iterable[Family]]] = []

    def families(self) -> list[Family]:
        """
        :return: the numbers as they are now
        :raise GenericError: when it is not registered
        """
        if self.monitor is None:
            raise GenericError("The monitor is gone")
        return [*families(self.monitor, self._service), *(family for more in self.more for family in more())]

    @command
    def query_metrics(self, filter: str | None = None) -> list[Family]:
        """
        show the numbers that --metrics serves to Prometheus

        :param filter: only families with this text in their names
        """
        return [family for family in self.families() if not filter or filter in family.name]

    @query_metrics.printer
    def _(self, infos: Rows) -> str:
        return metrics(infos)


def metrics(infos: Rows) -> str:
    """The text of C{query-metrics}: of a histogram the number and the mean."""
    rows = [row for info in infos for row in _rows(info)]
    return table([">value", "metric"], rows) if rows else "no metrics"


def _rows(info: Row) -> Iterable[list[str]]:
    sums = {_labels(sample): sample["value"] for sample in info["samples"] if sample["name"].endswith("_sum")}
    for sample in info["samples"]:
        labels = _labels(sample)
        if info["type"] != "histogram":
            yield [_number(sample["value"]), f"{sample['name']}{labels}"]
        elif sample["name"].endswith("_count"):
            mean = sums[labels] / sample["value"] if sample["value"] else 0.0
            yield [_number(sample["value"]), f"{info['name']}{labels}, mean {mean:.3g} s"]


def _labels(sample: Row) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in sample["labels"].items())
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"

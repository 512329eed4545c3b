"""
The metrics of a service, for Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted_qmon._twistd.extras import need_extra
from twisted_qmon.metrics.provider import Metrics

if TYPE_CHECKING:
    from twisted_qmon.service.monitor_service import MonitorService

__all__ = ["serve_metrics"]


def serve_metrics(service: MonitorService, descriptions: Iterable[str]) -> None:
    """
    Serve the metrics to Prometheus as well, at C{/metrics}.

    :param service: what L{make_monitor_service<twisted_qmon.service.make_monitor_service>} made
    :param descriptions: server endpoint descriptions
    :raise ValueError: when a description is not valid
    :raise ImportError: when the extra C{metrics} is not installed
    """
    descriptions = list(descriptions)
    if not descriptions:
        return
    need_extra("metrics")
    # Without these endpoints neither prometheus_client nor Twisted's web is loaded.
    from twisted_qmon.metrics.exposition import process_families
    from twisted_qmon.metrics.server import MetricsFactory

    metrics = next(provider for provider in service.monitor.providers if isinstance(provider, Metrics))
    metrics.more.append(process_families)
    for description in descriptions:
        service.serve(description, MetricsFactory(service.monitor, metrics))

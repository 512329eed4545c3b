"""
The option of the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon.tap.group import OptionGroup

if TYPE_CHECKING:
    from twisted_qmon.service import MonitorService


__all__ = ["MetricsOptions"]


class MetricsOptions(OptionGroup):
    """C{--metrics}."""

    endpoints = ["metrics"]

    def opt_metrics(self, description: str) -> None:
        """Serve metrics for Prometheus at this server endpoint (repeatable)."""
        self["metrics"].append(description)

    def check(self) -> None:
        """:raise UsageError: when the extra is not installed"""
        missing = missing_modules("metrics") if self["metrics"] else ""
        if missing:
            raise UsageError(f"--metrics: {missing}")

    def serve(self, service: MonitorService) -> None:
        """Serve them, if there is an endpoint."""
        from twisted_qmon.service.metrics import serve_metrics

        serve_metrics(service, self["metrics"])

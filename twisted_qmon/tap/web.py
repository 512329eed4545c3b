"""
The options of the page and the HTTP interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.tap.group import OptionGroup

if TYPE_CHECKING:
    from twisted_qmon.service import MonitorService


__all__ = ["WebOptions"]


class WebOptions(OptionGroup):
    """C{--web}, its tokens and its names."""

    optParameters = [
        ["web-tokens", None, "web-tokens.toml", "A file with the tokens of --web (TOML); made if it is not there."],
    ]  # fmt: skip
    endpoints = ["web"]
    lists = ["web-host"]

    def opt_web(self, description: str) -> None:
        """Serve the page and the HTTP interface at this server endpoint (repeatable)."""
        self["web"].append(description)

    def opt_web_host(self, name: str) -> None:
        """A name that browsers may have for this host, beside localhost and the address listened at (repeatable)."""
        self["web-host"].append(name)

    def check(self) -> None:
        """:raise UsageError: when the extra is not installed"""
        missing = missing_modules("web") if self["web"] else ""
        if missing:
            raise UsageError(f"--web: {missing}")

    def serve(self, service: MonitorService) -> None:
        """
        Serve it, if there is an endpoint.

        :raise SystemExit: when the tokens can't be used
        """
        from twisted_qmon.service.web import serve_web

        try:
            serve_web(
                service,
                self["web"],
                self["web-tokens"],
                hosts=self["web-host"],
                max_connections=self["max-connections"],
                max_body=self["max-message"],
            )
        except AccessError as e:
            raise SystemExit(f"twistd qmon: --web-tokens: {e}") from e

"""
The options of a fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.usage import UsageError

from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon.tap.group import OptionGroup

if TYPE_CHECKING:
    from twisted_qmon.fleet.router import Router
    from twisted_qmon.service import MonitorService


__all__ = ["FleetOptions"]

_DETAILS = ("fleet-realm", "fleet-name", "fleet-ticket", "fleet-ca")


class FleetOptions(OptionGroup):
    """C{--fleet} and what belongs to it."""

    optParameters = [
        ["fleet", None, None, "Join the fleet of the WAMP router at this URL: ws://, wss://, rs:// or rss://."],
        ["fleet-realm", None, None, "The router's realm. [default: qmon]"],
        ["fleet-name", None, None, "The name of this member. [default: host-name-pid]"],
        ["fleet-ticket", None, None, "A file with what proves to the router that it may have that name."],
        ["fleet-ca", None, None, "A file with the certificates (PEM) that wss:// and rss:// trust, instead of the platform's."],
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.fleet_router: Router | None = None

    def check(self) -> None:
        """:raise UsageError: when something is not valid, or the extra is not installed"""
        if self["fleet"] is None:
            for option in _DETAILS:
                if self[option] is not None:
                    raise UsageError(f"--{option}: there is no --fleet")
            return
        missing = missing_modules("fleet")
        if missing:
            raise UsageError(f"--fleet: {missing}")
        from twisted_qmon.fleet.interfaces import member_name
        from twisted_qmon.fleet.router import REALM, Router, read_ticket

        option = "fleet"
        try:
            self.fleet_router = Router.parse(self["fleet"], self["fleet-realm"] or REALM, self["fleet-ca"])
            option = "fleet-name"
            if self[option] is not None:
                member_name(self[option])
            option = "fleet-ticket"
            if self[option] is not None:
                read_ticket(self[option])
                self.fleet_router.check_ticket()
        except ValueError as e:
            raise UsageError(f"--{option}: {e}") from e

    def serve(self, service: MonitorService) -> None:
        """Join, if there is a router."""
        if self.fleet_router is None:
            return
        from twisted_qmon.service.fleet import join_fleet

        join_fleet(service, self.fleet_router, self["fleet-name"], ticket=self["fleet-ticket"])

"""
Many members of a fleet in one process: C{python -m tests.live.fleet_members URL FOLDER NAME ...}.

The tickets are C{FOLDER/NAME.ticket}, where there are any; the rules are C{FOLDER/access.toml}. Each member serves QMP at
C{FOLDER/NAME.sock} as well, if it is one of C{$LOCAL}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver

from twisted_qmon import CommandProvider, Event, GenericError, Monitor, Request, command
from twisted_qmon.fleet.router import Router
from twisted_qmon.fleet.service import MemberService
from twisted_qmon.service import make_monitor_service


class Things(CommandProvider):
    """Commands that do what a test wants."""

    events = (Event("NEWS", n=int),)

    @command(level="observe")
    def query_echo(self, value: Any) -> Any:
        """return what came"""
        return value

    @command(level="observe")
    async def query_steps(self, request: Request, count: int) -> int:
        """take its time, and tell how far it is"""
        for number in range(1, count + 1):
            await deferLater(reactor, 0.002)
            request.progress(number, count)
        return count

    @command(level="observe")
    def query_never(self) -> Any:
        """return nothing, ever"""
        return Deferred()

    @command(level="observe")
    def query_failure(self, text: str) -> Any:
        """fail"""
        raise GenericError(text)

    @command
    def news(self, n: int) -> None:
        """emit an event"""
        self.emit("NEWS", {"n": n})


def main() -> None:
    """Run them."""
    url, folder, *names = sys.argv[1:]
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    root = MultiService()
    here = Path(folder)
    local = os.environ.get("LOCAL", "").split()
    for name in names:
        monitor = Monitor(name=name, clock=reactor, access=str(here / "access.toml"))
        monitor.register(Things())
        ticket = here / f"{name}.ticket"
        service = MemberService(
            reactor,
            monitor,
            Router.parse(url),
            name,
            ticket=ticket if ticket.exists() else None,
        )
        service.setServiceParent(root)
        if name in local:
            make_monitor_service(reactor, monitor, qmp=[f"unix:{here / name}.sock"], hmp=[]).setServiceParent(root)
    root.startService()
    reactor.run()


if __name__ == "__main__":
    main()

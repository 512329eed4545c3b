"""
A service that contains its own monitor.

    python multiservice.py
    socat - UNIX-CONNECT:shop.hmp

    (shop) sell tea 2
    (shop) info stock
"""

import sys
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.python import log

from twisted_qmon import CommandProvider, GenericError, Monitor, command, make_monitor_service


class Stock(CommandProvider):
    """What is for sale."""

    def __init__(self) -> None:
        self._stock = {"tea": 12, "cake": 3}

    @command
    def query_stock(self) -> dict[str, int]:
        """show what is in stock"""
        return self._stock

    @command
    def sell(self, what: str, count: int = 1) -> None:
        """
        sell something

        :param what: what is sold
        :param count: how many of them
        """
        if self._stock.get(what, 0) < count:
            raise GenericError(f"There are not {count} of '{what}'")
        self._stock[what] -= count


class Shop(MultiService):
    """
    The shop, with its monitor as a child service.

    :param reactor: the reactor
    :param qmp: server endpoint descriptions for machines
    :param hmp: server endpoint descriptions for people
    """

    def __init__(self, reactor: Any, qmp: list[str], hmp: list[str]) -> None:
        super().__init__()
        self.setName("shop")
        self.monitor = Monitor(name="shop", clock=reactor)
        self.monitor.register(Stock())
        make_monitor_service(reactor, self.monitor, qmp, hmp, prompt="(shop) ").setServiceParent(self)


def main(reactor: Any) -> Deferred[None]:
    """Run the shop until the process ends."""
    log.startLogging(sys.stdout)
    shop = Shop(reactor, ["unix:shop.qmp"], ["unix:shop.hmp"])
    shop.privilegedStartService()
    shop.startService()
    reactor.addSystemEventTrigger("before", "shutdown", shop.stopService)
    return Deferred()


if __name__ == "__main__":
    task.react(main)

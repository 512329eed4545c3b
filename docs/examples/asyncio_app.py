"""
A monitor in an asyncio program. Twisted runs on asyncio's event loop, the commands are coroutines, and asyncio code executes
commands of the monitor.

    python asyncio_app.py
    socat - UNIX-CONNECT:app.hmp

    (qmon) fetch 3
    (qmon) info fetched
"""

import asyncio
from typing import Any

from twisted.internet import asyncioreactor, task
from twisted.internet.defer import Deferred

from twisted_qmon import CommandProvider, Monitor, Request, command, make_monitor_service


class Fetching(CommandProvider):
    """Commands that asyncio code carries out."""

    def __init__(self) -> None:
        self._fetched = 0

    @command
    async def fetch(self, count: int, request: Request) -> int:
        """
        fetch some pages

        :param count: how many
        """

        async def fetch_all() -> None:
            for number in range(count):
                # Any asyncio library works here.
                await asyncio.sleep(0.01)
                self._fetched += 1
                request.progress(number + 1, count)

        # An asyncio coroutine, awaited in one of Twisted's. Cancelling the command cancels the asyncio task.
        await Deferred.fromFuture(asyncio.ensure_future(fetch_all()))
        return self._fetched

    @command
    def query_fetched(self) -> int:
        """show how many pages were fetched"""
        return self._fetched


async def main(reactor: Any) -> None:
    """Serve a monitor, execute a command, and serve until Ctrl-C."""
    loop = asyncio.get_running_loop()
    monitor = Monitor(name="asyncio", clock=reactor)
    monitor.register(Fetching())
    service = make_monitor_service(reactor, monitor, qmp=["unix:app.qmp"], hmp=["unix:app.hmp"])
    service.privilegedStartService()
    service.startService()
    # Pending requests are answered before the connections close.
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)

    fetched = await monitor.execute("fetch", {"count": 2}).asFuture(loop)
    print(f"fetched {fetched}, serving at app.qmp and app.hmp", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    asyncioreactor.install(loop)
    task.react(lambda reactor: Deferred.fromFuture(asyncio.ensure_future(main(reactor), loop=loop)))

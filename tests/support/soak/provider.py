"""
Commands for a process that is kept busy: quick ones and long ones, big results, events, jobs, and one that holds the reactor up.
"""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from twisted_qmon import CommandProvider, Event, GenericError, Monitor, Request, command
from twisted_qmon.providers.jobs import Job, Jobs

__all__ = ["Busy"]


class Busy(CommandProvider):
    """What the clients ask for."""

    events = (Event("SOAK", n=int, text=str),)

    def __init__(self) -> None:
        self._number = 0

    def _monitor(self) -> Monitor:
        assert self.monitor is not None
        return self.monitor

    @command
    def news(self, count: int, size: int = 20) -> int:
        """emit so many events, and say what the last one's number is"""
        for _ in range(count):
            self._number += 1
            self._monitor().emit("SOAK", {"n": self._number, "text": "x" * size})
        return self._number

    @command(on_disconnect="cancel")
    def wait(self) -> Deferred[None]:
        """wait for ever, or for the client to leave"""
        return Deferred()

    @command
    async def linger(self, request: Request, seconds: float) -> str:
        """take some time, whether the client is there or not"""
        for n in range(5):
            request.progress(n, 5)
            await deferLater(self._monitor().clock, seconds / 5)
        return "done"

    @command
    def text(self, size: int) -> str:
        """return so many bytes"""
        return "x" * size

    @command
    def fail(self) -> None:
        """fail, as a command may"""
        raise GenericError("it failed, as it should")

    @command
    def block(self, seconds: float) -> None:
        """keep the reactor from running"""
        time.sleep(seconds)

    @command
    def work(self, job_id: str, steps: int) -> None:
        """do something as a job"""

        async def run(job: Job) -> None:
            for n in range(steps):
                job.progress(n, steps)
                await job.pause_point()
                await deferLater(self._monitor().clock, 0.01)

        Jobs.of(self._monitor()).start(job_id, "work", run)

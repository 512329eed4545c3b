"""
Work for jobs of tests, and QEMU's two tables about them.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.job_scenarios import Ours
from twisted_qmon import DeviceNotFound
from twisted_qmon.providers.jobs.provider import Job

# QEMU's two tables, written as it documents them: what each state may become, and which verb each takes.
STATES = [
    "undefined",
    "created",
    "running",
    "paused",
    "ready",
    "standby",
    "waiting",
    "pending",
    "aborting",
    "concluded",
    "null",
]


MAY_BECOME = {
    "undefined": "created",
    "created": "running aborting null",
    "running": "paused ready waiting aborting",
    "paused": "running",
    "ready": "standby waiting aborting",
    "standby": "ready",
    "waiting": "pending aborting",
    "pending": "aborting concluded",
    "aborting": "aborting concluded",
    "concluded": "null",
    "null": "",
}


TAKES = {
    "created": "cancel pause resume",
    "running": "cancel pause resume",
    "paused": "cancel pause resume",
    "ready": "cancel pause resume complete",
    "standby": "cancel pause resume complete",
    "waiting": "cancel",
    "pending": "cancel finalize",
    "aborting": "",
    "concluded": "dismiss",
}


ALL_VERBS = ["cancel", "pause", "resume", "complete", "finalize", "dismiss"]


def forever(job: Job) -> Deferred[None]:
    """Work that never ends by itself."""
    return Deferred()


async def at_pause_points(job: Job) -> None:
    """Work that never ends by itself, and offers a pause point each time the clock ticks."""
    while True:
        await job.pause_point()
        await deferLater(job._clock, 0.1)


async def ready(job: Job) -> None:
    """Work that is ready at once."""
    await job.ready()


async def failing(job: Job) -> None:
    """Work that fails."""
    raise DeviceNotFound("Device 'x' not found")


def nothing(job: Job) -> None:
    """Work that is done already."""


def states_of(ours: Ours, id: str = "j") -> str:
    """The states a job went through, as words."""
    return " ".join(entry.split()[1] for entry in ours.states if entry.split()[0] == id)

"""
Things that happen to jobs, told once and played twice: on a real QEMU, whose jobs copy and create disk images, and here with
work that does the same without disks. tests/data/qemu-jobs.json holds what QEMU 7.2 made of them; tests/live plays them on the
QEMU that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from twisted_qmon import CommandError, GenericError, Monitor
from twisted_qmon.providers.jobs import Job, Jobs

__all__ = ["RANDOM", "SCENARIOS", "Log", "Ours", "Scenario", "random_scenario"]

#: What came of the steps: of each its words, the reply ("ok", an error's text, or what query-jobs says), and the states that
#: the jobs went through until all was quiet again ("j0 running").
Log = list[list[Any]]

FAILURE = "Could not create '/nowhere/x': No such file or directory"


@dataclass(frozen=True)
class Scenario:
    """
    :ivar name: what happens
    :ivar steps: the steps, as words: C{start ID KIND [manual-finalize] [manual-dismiss]}, C{VERB ID} or C{query}. Kinds are
        C{create} (done at once), C{fail} (fails at once), C{copy} (a moment), C{long} (a copy that takes minutes), C{mirror}
        (soon ready), C{long-mirror} (not ready for minutes)
    """

    name: str
    steps: tuple[str, ...] = field(repr=False)


def _s(name: str, *steps: str) -> Scenario:
    return Scenario(name, steps)


def _verbs(id: str, *left_out: str) -> list[str]:
    verbs = ("pause", "resume", "complete", "finalize", "dismiss", "cancel")
    return [f"{verb} {id}" for verb in verbs if verb not in left_out]


SCENARIOS = [
    _s("created", "start j0 create", "query", *_verbs("j0", "dismiss"), "dismiss j0", *_verbs("j0"), "query"),
    _s("failed", "start j0 fail", "query", *_verbs("j0", "dismiss"), "dismiss j0", "query"),
    _s("id", "start j0 create", "start j0 create", "start 0j create", "start é create", "start a.B-9_ create", "query"),
    _s("newest first", "start a create", "start b create", "start c create", "query", "dismiss b", "query"),
    _s("running", "start j long", *_verbs("j", "pause", "cancel"), "query", "cancel j", "cancel j", "query"),
    _s(
        "paused",
        "start j long manual-dismiss",
        "pause j",
        "query",
        *_verbs("j", "resume", "cancel"),
        "resume j",
        "resume j",
        "query",
        "pause j",
        "cancel j",
        *_verbs("j", "dismiss"),
        "query",
        "dismiss j",
    ),
    _s("copied", "start j copy", "query"),
    _s("copied, to dismiss", "start j copy manual-dismiss", "query", *_verbs("j", "dismiss"), "dismiss j", "query"),
    _s("copied, to finalize", "start j copy manual-finalize", "query", "finalize j", "query"),
    _s(
        "pending",
        "start j copy manual-finalize manual-dismiss",
        *_verbs("j", "finalize", "cancel"),
        "finalize j",
        "query",
        *_verbs("j", "dismiss"),
        "dismiss j",
    ),
    _s("cancelled in pending", "start j copy manual-finalize manual-dismiss", "cancel j", "query", "dismiss j"),
    _s("cancelled in pending, gone", "start j copy manual-finalize", "cancel j", "query"),
    _s(
        "ready",
        "start m mirror manual-dismiss",
        "query",
        *_verbs("m", "pause", "complete", "cancel"),
        "complete m",
        *_verbs("m", "dismiss"),
        "query",
        "dismiss m",
    ),
    _s(
        "standby",
        "start m mirror",
        "pause m",
        "query",
        *_verbs("m", "resume", "complete", "cancel"),
        "resume m",
        "pause m",
        "complete m",
        "complete m",
        "query",
        "resume m",
        "query",
    ),
    _s("cancelled in ready", "start m mirror manual-dismiss", "cancel m", "query", "dismiss m"),
    _s("cancelled in standby", "start m mirror", "pause m", "cancel m", "query"),
    _s(
        "ready, to finalize",
        "start m mirror manual-finalize",
        "complete m",
        *_verbs("m", "finalize", "cancel"),
        "finalize m",
    ),
    _s("not ready yet", "start m long-mirror", "complete m", "pause m", "complete m", "cancel m", "query"),
    _s("two at a time", "start a long", "start m mirror", "pause a", "complete m", "query", "cancel a", "query"),
]

RANDOM = 12


def random_scenario(seed: int) -> Scenario:
    """A job and twelve verbs at random."""
    # A generator of our own: the same scenario for the same seed on every Python.
    state = seed * 7919 + 17

    def choose(options: list[str]) -> str:
        nonlocal state
        state = (state * 1103515245 + 12345) % 2**31
        return options[(state >> 16) % len(options)]

    kind = choose(["long", "mirror", "mirror", "copy manual-finalize", "long-mirror"])
    often = ["pause j", "resume j", "pause j", "resume j", "complete j", "finalize j", "dismiss j", "query"]
    steps = [choose(often) for _ in range(11)]
    return Scenario(f"random {seed}", (f"start j {kind} manual-dismiss", *steps, "cancel j", "query", "dismiss j"))


class Ours:
    """A monitor with jobs, on which scenarios are played."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.jobs = Jobs()
        self.monitor.register(self.jobs)
        self.states: list[str] = []
        self.monitor.subscribe(
            lambda message: self.states.append(f"{message['data']['id']} {message['data']['status']}"),
            ["JOB_STATUS_CHANGE"],
        )
        self._works: dict[str, Callable[[Job], Coroutine[Deferred[Any], Any, None]]] = {
            "create": self._create,
            "fail": self._fail,
            "copy": self._copy,
            "long": self._long,
            "mirror": self._mirror,
            "long-mirror": self._long,
        }

    def play(self, scenario: Scenario) -> Log:
        """:return: what came of each step"""
        log: Log = []
        for step in scenario.steps:
            before = len(self.states)
            reply = self._step(*step.split())
            self.clock.pump([0.01] * 50)
            log.append([step, reply, self.states[before:]])
        return log

    def _step(self, word: str, *rest: str) -> Any:
        try:
            if word == "query":
                return [comparable(info) for info in self.call("query-jobs")]
            if word == "start":
                self._start(*rest)
            else:
                assert self.call(f"job-{word}", id=rest[0]) == {}
        except CommandError as error:
            return error.desc
        return "ok"

    def _start(self, id: str, kind: str, *options: str) -> None:
        # blockdev-create knows no auto-dismiss.
        creates = kind in ("create", "fail")
        self.jobs.start(
            id,
            "create" if creates else "mirror" if "mirror" in kind else "backup",
            self._works[kind],
            auto_finalize="manual-finalize" not in options,
            auto_dismiss=not creates and "manual-dismiss" not in options,
        )

    def call(self, name: str, **arguments: Any) -> Any:
        """:return: the result of a command, which is there at once"""
        results: list[Any] = []
        failures: list[Any] = []
        self.monitor.execute(name, arguments).addCallbacks(results.append, failures.append)
        if failures:
            failures[0].raiseException()
        return results[0]

    async def _sleep(self) -> None:
        await deferLater(self.clock, 0.02)

    async def _create(self, job: Job) -> None:
        job.progress(1, 1)

    async def _fail(self, job: Job) -> None:
        job.progress(1, 1)
        raise GenericError(FAILURE)

    async def _copy(self, job: Job) -> None:
        for done in range(1, 9):
            await self._sleep()
            await job.pause_point()
            job.progress(done, 8)

    async def _long(self, job: Job) -> None:
        for done in range(1_000_000):
            job.progress(done, 1_000_000)
            await self._sleep()
            await job.pause_point()

    async def _mirror(self, job: Job) -> None:
        await self._copy(job)
        await job.ready()


def comparable(info: dict[str, Any]) -> dict[str, Any]:
    """
    What C{query-jobs} says of a job, with the progress as whether all is done, since the units differ; and only of a job whose
    work came to its end: what QEMU counts as the total of a copy that has just begun depends on luck.
    """
    info = dict(info)
    done = info.pop("current-progress") == info.pop("total-progress")
    if info["status"] not in ("created", "running", "paused") and "error" not in info:
        info["done"] = done
    return info

"""
Histories of a fleet: callers call members with ids, progress, cancelling, deadlines and errors. Each must get its one answer.

As a command it plays one over a real router: C{python -m tests.support.fleet_history --url ws://127.0.0.1:8080/ws --calls 20000}.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from twisted_qmon import CommandError, CommandNotFound, CommandProvider, GenericError, Monitor, Request, command
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.errors import CommandCancelled, CommandTimedOut, ConnectionClosed
from twisted_qmon.fleet.client import FleetClient
from twisted_qmon.fleet.errors import NoSuchMember
from twisted_qmon.fleet.interfaces import Connect
from twisted_qmon.fleet.router import Router
from twisted_qmon.fleet.service import MemberService

__all__ = ["History", "Plan"]

KINDS = (
    "echo",
    "echo",
    "echo",
    "slow",
    "progress",
    "fail",
    "device",
    "unknown",
    "nowhere",
    "cancel",
    "deadline",
    "text",
)


class Acts(CommandProvider):
    """
    What members do.

    :ivar cancelled: how many were cancelled
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.cancelled = 0

    @command(level="observe")
    def echo(self, id: Any) -> Any:
        """the id again"""
        return id

    @command(level="observe")
    def slow(self, request: Request, id: Any, seconds: float, steps: int = 0) -> Deferred[Any]:
        """the id again, after a while, with progress"""
        for step in range(steps):
            request.progress(step + 1, steps)

        def count(failure: Any) -> Any:
            self.cancelled += 1
            return failure

        waiting: Deferred[Any] = deferLater(self._reactor, seconds, lambda: id)
        return waiting.addErrback(count)

    @command(level="observe")
    def fail(self, id: str, class_: str) -> None:
        """an error that names the id"""
        raise CommandError(f"no: {id}", class_)

    @command(level="observe")
    def text(self, id: str, size: int) -> str:
        """a long answer"""
        return id + "x" * size


@dataclass
class Plan:
    """
    How much there is to play.

    :ivar at_once: calls that each caller has under way
    """

    seed: int = 1
    members: int = 50
    callers: int = 20
    calls: int = 20_000
    at_once: int = 16


@dataclass
class History:
    """
    One history.

    :ivar answers: how many calls ended in which way
    :ivar wrong: what was not as it should be
    :ivar allow_loss: the router may be lost meanwhile: then a call may fail with L{ConnectionClosed} or L{NoSuchMember} instead
    """

    reactor: Any
    plan: Plan
    connect: Connect | None = None
    url: str = "ws://127.0.0.1:8080/ws"
    allow_loss: bool = False
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    members: list[MemberService] = field(default_factory=list)
    acts: list[Acts] = field(default_factory=list)
    clients: list[FleetClient] = field(default_factory=list)
    serial: int = 0

    async def join(self) -> None:
        """Have all members and callers join."""
        rules = {"grant": [{"who": ["fleet:*"], "level": "observe"}]}
        for number in range(self.plan.members):
            monitor = Monitor(f"m{number}", self.reactor, access=Access(parse_rules(rules, "rules")))
            acts = Acts(self.reactor)
            monitor.register(acts)
            self.acts.append(acts)
            router = Router.parse(self.url)
            member = MemberService(self.reactor, monitor, router, f"m{number}", connect=self.connect)
            member.startService()
            self.members.append(member)
        for _ in range(self.plan.callers):
            self.clients.append(FleetClient(self.reactor, self.url, connect=self.connect))
        await gatherResults([client.connect() for client in self.clients])
        await gatherResults([member.when_joined() for member in self.members])

    async def play(self) -> None:
        """Play all calls."""
        share = self.plan.calls // self.plan.callers
        workers = []
        for index, client in enumerate(self.clients):
            left = iter(range(share))
            for lane in range(self.plan.at_once):
                random = Random(f"{self.plan.seed}/{index}/{lane}")
                workers.append(ensureDeferred(self._worker(client, left, random)))
        await gatherResults(workers, consumeErrors=True)
        # The last cancellations are on their way.
        await deferLater(self.reactor, 0.5)
        for member in self.members:
            if member.member.callers.calls:
                self.wrong.append(f"{member.member_name} has {member.member.callers.calls} calls left")

    async def leave(self) -> None:
        """All leave."""
        await gatherResults([client.close() for client in self.clients])
        await gatherResults([member.stopService() for member in self.members])

    async def _worker(self, client: FleetClient, left: Any, random: Random) -> None:
        for _ in left:
            self.serial += 1
            kind = random.choice(KINDS)
            await self._call(client, kind, f"{kind}-{self.serial}", random)

    async def _call(self, client: FleetClient, kind: str, id: str, random: Random) -> None:
        member = client.member("nowhere" if kind == "nowhere" else f"m{random.randrange(self.plan.members)}")
        progress: list[tuple[int, int]] = []
        fired: list[int] = []
        deferred = self._start(member, kind, id, random, lambda *values: progress.append(values))

        def count(outcome: Any) -> Any:
            fired.append(1)
            return outcome

        deferred.addBoth(count)
        if kind == "cancel":
            self.reactor.callLater(random.random() / 50, deferred.cancel)
        try:
            result = await deferred
        except CommandError as error:
            self._failed(kind, id, error)
        else:
            self._returned(kind, id, result)
            if kind == "progress" and progress != [(1, 3), (2, 3), (3, 3)]:
                self.wrong.append(f"{id}: progress {progress}")
        if fired != [1]:
            self.wrong.append(f"{id}: {len(fired)} answers")

    def _start(self, member: Any, kind: str, id: str, random: Random, progress: Any) -> Deferred[Any]:
        pause = random.random() / 100
        table: dict[str, tuple[str, dict[str, Any]]] = {
            "slow": ("slow", {"id": id, "seconds": pause}),
            "progress": ("slow", {"id": id, "seconds": pause, "steps": 3}),
            "fail": ("fail", {"id": id, "class": "GenericError"}),
            "device": ("fail", {"id": id, "class": "DeviceNotFound"}),
            "unknown": (f"nix-{id}", {}),
            "cancel": ("slow", {"id": id, "seconds": random.choice([pause, 600.0])}),
            "deadline": ("slow", {"id": id, "seconds": 600.0}),
            "text": ("text", {"id": id, "size": random.randrange(20_000)}),
        }
        name, arguments = table.get(kind, ("echo", {"id": id}))
        started: Deferred[Any] = member.execute(
            name,
            arguments,
            progress=progress if kind == "progress" else None,
            timeout=0.05 + pause if kind == "deadline" else None,
        )
        return started

    def _returned(self, kind: str, id: str, result: Any) -> None:
        text = result.rstrip("x") if kind == "text" and isinstance(result, str) else result
        if kind in ("echo", "slow", "progress", "cancel", "text") and text == id:
            self.answers[f"{kind}: returned"] += 1
        else:
            self.wrong.append(f"{id}: returned {result!r:.100}")

    def _failed(self, kind: str, id: str, error: CommandError) -> None:
        expected: dict[str, tuple[type[CommandError], str]] = {
            "fail": (GenericError, f"no: {id}"),
            "device": (CommandError, f"no: {id}"),
            "unknown": (CommandNotFound, f"The command nix-{id} has not been found"),
            "nowhere": (NoSuchMember, "There is no member 'nowhere'"),
            "cancel": (CommandCancelled, "Command 'slow' was cancelled"),
            "deadline": (CommandTimedOut, "timed out"),
        }
        cls, text = expected.get(kind, (type(None), ""))
        if isinstance(error, cls) and text in error.desc:
            self.answers[f"{kind}: {type(error).__name__}"] += 1
        elif self.allow_loss and isinstance(error, (ConnectionClosed, NoSuchMember)):
            self.answers[f"lost: {type(error).__name__}"] += 1
        else:
            self.wrong.append(f"{id}: {type(error).__name__} {error.desc}")


def main() -> None:
    """Play one history over a real router, and print what became of it."""
    from twisted.internet import reactor

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="ws://127.0.0.1:8080/ws")
    parser.add_argument("--allow-loss", action="store_true", help="the router may be lost meanwhile")
    for name, value in vars(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    options = vars(parser.parse_args())
    url, allow_loss = options.pop("url"), options.pop("allow_loss")
    history = History(reactor, Plan(**options), url=url, allow_loss=allow_loss)
    status: list[int] = []

    async def run() -> None:
        await history.join()
        began = time.monotonic()
        await history.play()
        seconds = time.monotonic() - began
        await history.leave()
        for outcome, count in sorted(history.answers.items()):
            print(f"{count:8} {outcome}")
        total = sum(history.answers.values())
        print(
            f"{total:8} answers in {seconds:.1f} s; {sum(acts.cancelled for acts in history.acts)} cancelled at members"
        )
        print("\n".join(history.wrong[:20]) or "nothing was wrong")
        status.append(1 if history.wrong or total != history.serial else 0)

    def done(failure: Any) -> None:
        if failure is not None:
            failure.printTraceback()
        reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(run()).addBoth(done))
    reactor.run()
    sys.exit(status[0] if status else 2)


if __name__ == "__main__":
    main()

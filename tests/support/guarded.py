"""A monitor with rules, and those who ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, Event, Monitor, Request, command
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import Identity, unix_identity
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.providers.clients import Clients
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.providers.jobs import Job, Jobs
from twisted_qmon.providers.quit import Quit
from twisted_qmon.testing import HMPConnection, QMPConnection

__all__ = ["ROOT", "RULES", "Fixture", "Lamp", "Painter", "denied", "user"]


def user(name: str, pid: int = 1) -> Identity:
    """Somebody on a unix socket."""
    uid = {"alice": 1000, "bob": 1001, "eve": 1002}[name]
    return unix_identity(uid, pid, [uid], {uid: name}, {uid: name})


RULES: dict[str, Any] = {
    "default": "none",
    "grant": [
        {"who": ["uid:alice"], "level": "observe"},
        {"who": ["uid:bob"], "level": "operate", "also": ["quit"], "never": ["set-*"]},
        {"who": ["uid:root"], "level": "admin"},
    ],
}

ROOT = unix_identity(0, 9, [0], {0: "root"}, {0: "root"})


class Lamp(CommandProvider):
    """Commands of every level, and one that takes its time."""

    events = [Event("LAMP_CHANGE", on=bool), Event("LAMP_SECRET", level="operate", text=str)]

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.done: list[str] = []
        self.asked_by: list[tuple[str, str]] = []

    @command
    def query_lamp(self) -> bool:
        """whether it is on"""
        self.done.append("query-lamp")
        return True

    @command(aliases=["sw"])
    def switch(self, on: bool) -> None:
        """switch it"""
        self.done.append("switch")

    @command
    def set_colour(self, colour: str) -> None:
        """change it"""
        self.done.append("set-colour")

    @command(level="observe", oob=True)
    def glow(self) -> Deferred[None]:
        """wait for it to glow"""
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @command(level="admin", oob=True)
    def smash(self) -> None:
        """break it"""
        self.done.append("smash")

    @command(level="observe")
    def burn(self, request: Request, id: str) -> None:
        """start a job"""
        self.asked_by.append((request.caller.identity, str(request.caller.level)))
        Jobs.of(self.monitor).start(id, "burn", lambda job: self._burn(job))

    def _burn(self, job: Job) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]


class Painter(CommandProvider):
    """A command with a choice."""

    @command(level="operate")
    def colour(self, colour: Literal["red", "green"]) -> None:
        """choose"""


class Fixture(SynchronousTestCase):
    """A monitor with rules."""

    rules: dict[str, Any] = RULES
    folder: Path

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setUp(self) -> None:
        self.clock = Clock()
        self.lamp = Lamp()
        self.monitor = Monitor(clock=self.clock, access=Access(parse_rules(self.rules, "rules")))
        self.stopped: list[Request] = []
        self.jobs = Jobs()
        for provider in (self.lamp, self.jobs, HumanMonitorCommand(), Clients(), Quit(self._stop)):
            self.monitor.register(provider)

    def _stop(self, request: Request) -> Deferred[None]:
        self.stopped.append(request)
        return Deferred()

    def qmp(self, who: Identity, **options: Any) -> QMPConnection:
        """A machine's connection."""
        return QMPConnection(self.monitor, identity=who, **options)

    def hmp(self, who: Identity, **options: Any) -> HMPConnection:
        """A person's connection."""
        return HMPConnection(self.monitor, identity=who, **options)


def denied(name: str, needs: str, who: str, has: str) -> dict[str, Any]:
    """The answer to a command that is refused for its level."""
    return {"error": {"class": "GenericError", "desc": f"Permission denied: '{name}' needs {needs}, {who} has {has}"}}

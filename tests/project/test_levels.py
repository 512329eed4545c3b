"""
Each command and each event that ships has a level, and says it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from tests.support.fake_qemu import Proxy
from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon.core.command import Command
from twisted_qmon.info import UPSTREAM, Level
from twisted_qmon.interfaces import ICommand
from twisted_qmon.providers.quit import Quit

LEVELS = {
    "none": {"cancel-command", "qmp_capabilities", "query-whoami", "select-events"},
    "observe": {
        "human-monitor-command",
        "human-readable-text",
        "query-command-help",
        "query-commands",
        "query-connections",
        "query-delayed-calls",
        "query-jobs",
        "query-log-levels",
        "query-metrics",
        "query-name",
        "query-pending",
        "query-ports",
        "query-process",
        "query-qmp-schema",
        "query-reactor",
        "query-services",
        "query-status",
        "query-summary",
        "query-version",
    },
    "operate": {
        "job-cancel",
        "job-complete",
        "job-dismiss",
        "job-finalize",
        "job-pause",
        "job-resume",
        "memory-trace",
        "profile",
        "qmon-block-stream",
        "query-connections-monitor",
        "query-log",
        "query-objects",
        "query-stacks",
        "query-stalls",
        "query-tasks",
        "service-start",
        "service-stop",
        "set-log-level",
        "task-trace",
    },
    "admin": {
        "access-reload",
        "client-disconnect",
        "connection-close",
        "qmon-block-commit",
        "qmon-commit",
        "qmon-delvm",
        "qmon-drive-backup",
        "qmon-drive-mirror",
        "qmon-loadvm",
        "qmon-migrate",
        "qmon-savevm",
        "quit",
    },
}

EVENTS_ABOVE_OBSERVE = {"LOG": "operate", "REACTOR_STALL": "operate"}


def shipped() -> tuple[dict[str, ICommand], dict[str, Any]]:
    """The commands and events of a monitor that serves this process, and those that the proxy adds."""
    own = Monitor(clock=Clock())
    make_monitor_service(MemoryReactorClock(), own)
    own.register(Quit(lambda request: None))  # type: ignore[arg-type, return-value]
    proxy = Proxy().monitor
    commands = {
        name: command
        for name, command in {**proxy.registry.active, **own.registry.active}.items()
        if command.info.origin != UPSTREAM
    }
    events = {**own.events.definitions}
    return commands, events


def test_each_command_has_its_level() -> None:
    """The level of each command is the one in the table; a command that is new is to be put there."""
    commands, _ = shipped()
    levels: dict[str, set[str]] = {str(level): set() for level in Level}
    for name, command in commands.items():
        levels[str(command.info.need.level)].add(name)
    assert levels == LEVELS


def test_each_command_says_its_level() -> None:
    """No command that does more than ask leaves its level to the default."""
    commands, _ = shipped()
    silent = [
        name for name, command in commands.items() if command.info.level is None and not name.startswith("query-")
    ]
    assert silent == []
    assert all(isinstance(command, Command) for name, command in commands.items() if name.startswith("query-"))


def test_each_event_has_its_level() -> None:
    """The events that not everybody gets are those in the table."""
    _, events = shipped()
    above = {name: str(event.level) for name, event in events.items() if event.level is not Level.OBSERVE}
    assert above == EVENTS_ABOVE_OBSERVE

"""
Monitors to try the human monitor on: it must need nothing but C{IMonitor}, whoever provides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_qmon.errors import CommandError, CommandNotFound
from twisted_qmon.info import CommandInfo
from twisted_qmon.interfaces import IMonitor

QEMU_HELP = (
    "balloon target -- request VM to change its memory allocation (in MB)\r\n"
    "drive_add [-n] [[<domain>:]<bus>:]<slot>\r\n"
    "[file=file][,if=type] -- add drive to PCI storage controller\r\n"
    "help|? [cmd] -- show the help\r\n"
    "info [subcommand] -- show various information about the system state\r\n"
    "migrate [-d] uri -- migrate to URI (using -d to not wait for completion)\r\n"
    "\t\t\t -b for migration without shared storage\r\n"
    "quit|q  -- quit the emulator\r\n"
)
QEMU_INFO = (
    "info status  -- show the current VM status (running|paused)\r\ninfo version  -- show the version of QEMU\r\n"
)


@implementer(IMonitor)
class FakeMonitor:
    """
    A monitor that keeps what it is asked.

    :ivar infos: its commands
    :ivar asked: (name, arguments) of each C{execute}
    :ivar answers: by name: a result, an exception, a Deferred, or a function of the arguments that returns one
    :ivar left: the callers that have left
    :ivar pending: the Deferreds of C{commands()}, where it is to take its time
    """

    def __init__(self, infos: Iterable[CommandInfo] = (), answers: Mapping[str, Any] | None = None) -> None:
        self.infos = {info.name: info for info in infos}
        self.answers = dict(answers or {})
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.left: list[Any] = []
        self.pending: list[Deferred[dict[str, CommandInfo]]] | None = None
        self.progress: Callable[[int, int], None] | None = None

    def execute(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: Any = None,
    ) -> Deferred[Any]:
        self.asked.append((name, dict(arguments or {})))
        self.progress = progress
        answer = self.answers.get(name, CommandNotFound(f"The command {name} has not been found"))
        if callable(answer):
            answer = answer(dict(arguments or {}))
        if isinstance(answer, Deferred):
            return answer
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def leave(self, caller: Any) -> None:
        self.left.append(caller)

    def subscribe(
        self, receiver: Callable[[Mapping[str, Any]], None], names: Iterable[str] | None = None
    ) -> Callable[[], None]:
        return lambda: None

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        if self.pending is None:
            return succeed(self.infos)
        waiting: Deferred[dict[str, CommandInfo]] = Deferred()
        self.pending.append(waiting)
        return waiting

    def lines(self) -> list[str]:
        """The lines that went to C{human-monitor-command}, but for those that asked for help."""
        lines = [arguments["command-line"] for name, arguments in self.asked if name == "human-monitor-command"]
        return [line for line in lines if line not in ("help", "info")]


def qemu_answers(arguments: Mapping[str, Any]) -> str | CommandError:
    """C{human-monitor-command} as a QEMU answers it."""
    line = arguments["command-line"]
    if line in ("help", "info"):
        return QEMU_HELP if line == "help" else QEMU_INFO
    return f"qemu: {line}\r\n"

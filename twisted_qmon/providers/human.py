"""
C{human-monitor-command}: for machines that want what a person would be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from twisted.internet.defer import Deferred, succeed

from twisted_qmon.core.access.standing import standing_of
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.info import JSON, CommandInfo

if TYPE_CHECKING:
    from twisted_qmon.hmp.commands.command_index import CommandIndex
    from twisted_qmon.hmp.lines.args import Format

__all__ = ["HumanMonitorCommand", "HumanReadableText"]

# QEMU's type of this name has a member of this name.
HumanReadableText = TypedDict("HumanReadableText", {"human-readable-text": str})


class HumanMonitorCommand(CommandProvider):
    """
    QEMU's C{human-monitor-command}, over the commands of the monitor it is registered with; and the printers of these commands,
    for the people at other monitors.
    """

    def __init__(self) -> None:
        self._command_index: CommandIndex | None = None
        # QEMU keeps the default of print/x for the whole process.
        self._sticky: Format | None = None

    # The inner command says what becomes of it; what waits for it ends.
    @command(on_disconnect="cancel", level="observe")
    def human_monitor_command(self, request: Request, command_line: str, cpu_index: int | None = None) -> Deferred[str]:
        """
        run a line of the human monitor, and return what it prints

        A command that takes its time completes before the reply. What fails is told in the text; the reply is no error. When the
        client leaves, that command ends or runs on as it would if a person had typed it.

        :param command_line: the line; a line feed in it is a blank
        :param cpu_index: accepted for QEMU's clients, and ignored
        :raise GenericError: when the request is cancelled or times out; so is what the line waits for
        """
        # Every monitor has this command, and few are asked for it: the human monitor's modules are imported at the first call.
        from twisted_qmon.hmp.commands.command_index import CommandIndex
        from twisted_qmon.hmp.console import Console, Person
        from twisted_qmon.hmp.lines.args import Format

        monitor = self.monitor
        if monitor is None:
            raise GenericError("The monitor is gone")
        if self._command_index is None or self._command_index.monitor is not monitor:
            self._command_index = CommandIndex(monitor)
        if self._sticky is None:
            self._sticky = Format()
        texts: list[str] = []

        def output() -> str:
            return "".join(texts).replace("\n", "\r\n")

        def resumed() -> None:
            if not completed.called:
                completed.callback(output())

        caller = Person(request.caller.name, request.caller.peer, standing_of(request.caller))
        completed: Deferred[str] = Deferred(lambda _: console.close() if request.left else console.cancel())
        console = Console(
            monitor,
            caller,
            write=texts.append,
            on_resume=resumed,
            command_index=self._command_index,
            sticky=self._sticky,
        )
        console.line(command_line)
        return completed if console.suspended else succeed(output())

    @human_monitor_command.shows
    def _(self, request: Request) -> Mapping[str, JSON]:
        # A line may have a secret in it. What it runs is a request of its own.
        return {}

    # Behind a QEMU's human-monitor-command as well, which knows nothing of our commands.
    @command(on_disconnect="cancel", level="observe", hidden=True)
    def human_readable_text(
        self, request: Request, command: str, arguments: dict[str, JSON] | None = None
    ) -> Deferred[HumanReadableText]:
        """
        execute a command, and return what its printer makes of the result

        Its errors are those of the reply. When the client leaves, the command ends or runs on as it would for a person.

        :param command: its QMP name
        :param arguments: those of the command
        :raise CommandError: what the command fails with
        """
        from twisted_qmon.hmp.console import Person
        from twisted_qmon.hmp.printers import present

        monitor = self.monitor
        if monitor is None:
            raise GenericError("The monitor is gone")
        if command == "human-readable-text":
            raise GenericError("A text has no printer")
        caller = Person(request.caller.name, request.caller.peer, standing_of(request.caller))
        running = monitor.execute(command, arguments, caller=caller)

        def with_infos(infos: Mapping[str, CommandInfo], result: JSON) -> HumanReadableText:
            # It may have gone by now.
            info = infos.get(command) or CommandInfo(command)
            return {"human-readable-text": present(info, result, arguments or {}, request.caller)}

        running.addCallback(lambda result: monitor.commands().addCallback(with_infos, result))
        # The command decides what becomes of it when its client leaves.
        completed: Deferred[HumanReadableText] = Deferred(
            lambda _: monitor.leave(caller) if request.left else running.cancel()
        )
        running.addBoth(lambda outcome: None if completed.called else completed.callback(outcome))
        return completed

    @human_readable_text.shows
    def _(self, request: Request) -> Mapping[str, JSON]:
        # What is secret of the command's arguments is known where that is a request of its own.
        return {"command": (request.arguments or {}).get("command")}

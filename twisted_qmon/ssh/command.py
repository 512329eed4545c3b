"""
One line, run for C{ssh HOST LINE}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_qmon.hmp.commands.command_index import CommandIndex
from twisted_qmon.hmp.protocol import HMPFactory, HMPProtocol

if TYPE_CHECKING:
    from twisted_qmon.errors import CommandError
    from twisted_qmon.interfaces import IMonitor

__all__ = ["FAILED", "INTERRUPTED", "CommandFactory", "CommandProtocol"]

#: Exit statuses: the line could not be run, or its command failed; it was interrupted. Those of C{qmon}.
FAILED = 1
INTERRUPTED = 130


class CommandProtocol(HMPProtocol):
    """
    Runs one line. Its output goes to standard output, its errors to standard error. It tells its transport C{exit_status} at the
    end. What the client sends is not read.

    :ivar line: the line
    :ivar terminal: the client's terminal does not make CR LF of ends of lines
    """

    line: bytes | None = None
    terminal = False
    _interrupted = False

    def greet(self) -> None:
        """Nothing: the output is all."""

    def deny(self, error: CommandError) -> None:
        self.console.failed = True
        super().deny(error)

    def dataReceived(self, data: bytes) -> None:
        """There is nothing to read."""

    def show_prompt(self) -> None:
        """Run the line; behind it, end."""
        line, self.line = self.line, None
        if line is None:
            self.finish()
        else:
            self.lineReceived(line)

    def interrupt(self) -> None:
        """The client has sent a signal: the command is cancelled."""
        self._interrupted = self.console.suspended
        self.console.cancel()

    def readConnectionLost(self) -> None:
        """The client has nothing to send: that ends no command."""
        self.input_ended()

    def _write_text(self, text: str) -> None:
        data = (text.replace("\n", "\r\n") if self.terminal else text).encode("utf-8", "backslashreplace")
        if self.console.failed:
            self.transport.write_error(data)
        else:
            self.write_queue.reply(data)

    def finish(self) -> None:
        if not (self.finishing or self.ended):
            self.transport.exit_status = INTERRUPTED if self._interrupted else FAILED if self.console.failed else 0
        super().finish()


class CommandFactory(HMPFactory):
    """Makes L{CommandProtocol}s. No person is at the other end: nothing is to be confirmed, nothing is suggested."""

    protocol = CommandProtocol

    def __init__(self, monitor: IMonitor, **options: object) -> None:
        super().__init__(monitor, **options)  # type: ignore[arg-type]
        self.command_index = CommandIndex(monitor)

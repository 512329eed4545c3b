"""
The human monitor on a Twisted transport: L{HMPFactory} serves a monitor at any server endpoint, to people with C{telnet}, C{nc}
or C{socat}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._reactor import global_reactor
from twisted_qmon._transport.connection import ConnectionMixin, MonitorFactory
from twisted_qmon.hmp.command_index import CommandIndex
from twisted_qmon.hmp.console import PREPARE_TIMEOUT, Console, Person
from twisted_qmon.hmp.telnet import TelnetFilter
from twisted_qmon.interfaces import IMonitor, ISuspendable

__all__ = ["MAX_LINE", "PROMPT", "HMPFactory", "HMPProtocol"]

#: Bytes of the longest line, without its end. QEMU's READLINE_CMD_BUF_SIZE.
MAX_LINE = 4095

#: What stands before each line.
PROMPT = "(qmon) "


@implementer(ISuspendable, IHalfCloseableProtocol)
class HMPProtocol(ConnectionMixin, LineReceiver):
    """
    One person's connection: moves lines between the transport and a L{Console}.

    It is suspended while a command is pending and while the person does not read. Lines that have come by then are held, in
    their order.

    :ivar console: the session, from C{connectionMade} on
    """

    factory: HMPFactory
    delimiter = b"\n"
    # One more for the CR before the end of the line.
    MAX_LENGTH = MAX_LINE + 1
    console: Console
    _log = Logger()

    def __init__(self) -> None:
        self._telnet = TelnetFilter()
        self._suspensions = 0
        self._prompt_due = False
        self._behind_long_line = b""

    def connectionMade(self) -> None:
        self.begin_connection()
        factory = self.factory
        self.console = Console(
            factory.monitor,
            Person(self.name, self.peer),
            write=self._write_text,
            on_suspend=self.suspend,
            on_resume=self.resume,
            command_index=factory.command_index,
            clock=factory.clock,
            stalled=lambda: self.write_queue.blocked,
        )
        self._write_text(f"{factory.banner}\n")
        ready = getattr(factory.monitor, "ready", None)
        waiting = ready() if ready is not None else None
        if waiting is None or waiting.called:
            self._begin()
        else:
            self.suspend()
            waiting.addTimeout(PREPARE_TIMEOUT, factory.clock)
            waiting.addBoth(self._begin_late)

    def _begin(self) -> None:
        self.console.start()
        self._prompt()

    def _begin_late(self, outcome: Any) -> None:
        # Ready or not: a prompt that never comes helps nobody.
        if not self.ended:
            self._begin()
            self.resume()

    # -- lines in

    def dataReceived(self, data: bytes) -> None:
        if self.finishing or self.ended:
            return
        if data and self.factory.idle_timeout is not None:
            self.input_came()
        super().dataReceived(self._telnet.feed(data) if data else data)  # type: ignore[no-untyped-call]
        while self._behind_long_line and not self.paused:
            data, self._behind_long_line = self._behind_long_line, b""
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        if self._half_closed and not self.paused:
            # All that came complete has been served.
            self.finish()
        # A person waits for it.
        self.write_queue.push()

    def lineReceived(self, line: bytes) -> None:
        # What is typed behind `quit` is for nobody.
        if self.finishing or self.ended or self.factory.ending:
            return
        if line.endswith(b"\r"):
            line = line[:-1]
        if len(line) > MAX_LINE:
            self.lineLengthExceeded(line + self.delimiter)
            return
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            self.console.complain(f"the line is not UTF-8: byte 0x{line[error.start]:02x} at {error.start + 1}")
        else:
            self.console.line(text)
        self._prompt()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line longer than L{MAX_LINE}: refused whole; what follows it is served."""
        _, end, rest = line.partition(self.delimiter)
        if not end:
            self.setRawMode()  # type: ignore[no-untyped-call]
            return
        self._refuse_long_line()
        self._behind_long_line = rest

    def rawDataReceived(self, data: bytes) -> None:
        # Inside a line that is too long: nothing of it is kept.
        _, end, rest = data.partition(self.delimiter)
        if end:
            self._refuse_long_line()
            # Not setLineMode(rest): that would go through dataReceived, and so through the telnet filter again.
            self.line_mode = 1
            self._behind_long_line = rest

    def _refuse_long_line(self) -> None:
        self.console.complain(f"the line is longer than {MAX_LINE} bytes")
        self._prompt()

    # -- text out

    def _write_text(self, text: str) -> None:
        self.write_queue.reply(text.replace("\n", "\r\n").encode("utf-8", "backslashreplace"))

    def _prompt(self) -> None:
        """Show the prompt, now or when the session is resumed."""
        if self._suspensions:
            self._prompt_due = True
        else:
            self._prompt_due = False
            if not self.finishing and not self.factory.ending:
                self._write_text(self.factory.prompt)

    # -- suspension

    def suspend(self) -> None:
        self._suspensions += 1
        if self._suspensions == 1:
            self.pauseProducing()

    def resume(self) -> None:
        if not self._suspensions:
            raise RuntimeError("resume() without suspend()")
        self._suspensions -= 1
        if self._suspensions or self.ended:
            return
        if self._prompt_due:
            self._prompt()
        # The prompt may have filled the transport's buffer, and so suspended it again.
        if not self._suspensions:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """Hold what has come, and have the transport read no more. Called by L{suspend}."""
        self.paused = True
        self.read(False)

    def resumeProducing(self) -> None:
        """Serve what has come, and have the transport read on. Called by L{resume}."""
        if self.ended:
            return
        self.paused = False
        self.read(True)
        self.dataReceived(b"")

    def write_blocked(self) -> None:
        self.suspend()

    def write_unblocked(self) -> None:
        self.resume()

    # -- the end

    @property
    def busy(self) -> bool:
        """A command is pending, or the person has not read its output: so that it may well be silent."""
        return self._suspensions > 0

    def readConnectionLost(self) -> None:
        self.input_ended()
        if not self.paused:
            self.finish()

    def writeConnectionLost(self) -> None:
        """The person reads no more: there is nobody to serve."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.paused = True
        self.clearLineBuffer()  # type: ignore[no-untyped-call]
        self._behind_long_line = b""
        self.end_connection()
        self.console.close()

    def logPrefix(self) -> str:
        """The name in Twisted's log."""
        return self.name or "HMP"


class HMPFactory(MonitorFactory):
    """
    Serves a monitor's commands to people: C{endpoint.listen(HMPFactory(monitor))}.

    For the other parameters see L{MonitorFactory<twisted_qmon._transport.connection.MonitorFactory>}.

    :param monitor: provides L{IMonitor}, here or behind a connection
    :param prompt: stands before each line
    :param banner: what a person sees first; by default the name of this program, its version and how to get help
    :raise ValueError: when a limit makes no sense
    :ivar command_index: the names of the commands, shared by the sessions
    """

    protocol = HMPProtocol  # type: ignore[assignment]
    kind = "hmp"

    def __init__(self, monitor: IMonitor, *, prompt: str = PROMPT, banner: str | None = None, **limits: Any) -> None:
        super().__init__(cast(Any, monitor), **limits)
        self.prompt = prompt
        self.banner = _banner() if banner is None else banner
        self.command_index = CommandIndex(monitor)

    @property
    def clock(self) -> Any:
        """The clock of time limits and progress: its own, the monitor's, or the global reactor."""
        if self._clock is None and not hasattr(self.monitor, "clock"):
            return global_reactor()
        return super().clock


def _banner() -> str:
    from twisted_qmon import __version__

    return f"twisted-qmon {__version__} monitor - type 'help' for more information"

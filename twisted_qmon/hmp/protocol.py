"""
The human monitor on a Twisted transport: L{HMPFactory} serves a monitor at any server endpoint, to people with C{telnet}, C{nc}
or C{socat}.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._text import printable
from twisted_qmon._transport.connection import ConnectionMixin
from twisted_qmon._transport.factory import MAX_CONNECTIONS, MonitorFactory
from twisted_qmon._transport.write_queue import MAX_QUEUED
from twisted_qmon.hmp import PROMPT
from twisted_qmon.hmp.command_index import CommandIndex
from twisted_qmon.hmp.console import PREPARE_TIMEOUT, Console, Person
from twisted_qmon.hmp.lines import LineBuffer
from twisted_qmon.hmp.telnet import TIMING_MARK_REFUSED, TelnetCommand, TelnetFilter
from twisted_qmon.interfaces import IMonitor, ISuspendable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["MAX_HELD", "MAX_LINE", "HMPFactory", "HMPProtocol"]

#: Bytes of the longest line, without its end. QEMU's READLINE_CMD_BUF_SIZE.
MAX_LINE = 4095

#: Bytes of typed lines that are read ahead from a telnet client while it waits for a command.
MAX_HELD = 65536


@implementer(ISuspendable, IHalfCloseableProtocol, IHandshakeListener)
class HMPProtocol(ConnectionMixin, Protocol):
    """
    One person's connection: moves lines between the transport and a L{Console}.

    It is suspended while a command is pending and while the person does not read. Lines that have come by then are held, in
    their order.

    :ivar console: the session, from C{connectionMade} on
    """

    factory: HMPFactory
    console: Console
    _log = Logger()

    def __init__(self) -> None:
        self._telnet = TelnetFilter()
        self._lines = LineBuffer(MAX_LINE)
        self._suspensions = 0
        self._prompt_due = False
        self._prompted = False
        # Of the lines held, so many came while a command was pending: they are shown where they run.
        self._typed_ahead = 0
        # Of the bytes to come, so many were in the socket's buffer when the command was done.
        self._unread = 0
        self._running = False
        # A telnet client ends lines with CR LF or CR NUL, and says nothing else of itself until Ctrl-C is typed.
        self._may_interrupt = False

    def connectionMade(self) -> None:
        self.begin_connection()
        factory = self.factory
        _receive_urgent_data_inline(self.transport)
        self.console = Console(
            factory.monitor,
            Person(self.name, self.peer),
            write=self._write_text,
            on_suspend=self.suspend,
            on_resume=self._console_resumed,
            command_index=factory.command_index,
            clock=factory.clock,
            stalled=lambda: self.write_queue.blocked,
            announce=self._announce,
            interactive=True,
        )
        self.establish()

    def established(self) -> None:
        factory = self.factory
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

    def _begin_late(self, outcome: object) -> None:
        # Ready or not: the session begins.
        if not self.ended:
            self._begin()
            self.resume()

    # -- input

    def dataReceived(self, data: bytes) -> None:
        if self.finishing or self.ended:
            return
        if self.factory.idle_timeout is not None:
            self.input_came()
        ahead, data = data[: self._unread], data[self._unread :]
        self._unread -= len(ahead)
        self._receive(ahead, typed_ahead=True)
        self._receive(data, typed_ahead=False)
        self._choose_reading()

    def _receive(self, data: bytes, *, typed_ahead: bool) -> None:
        commands: list[TelnetCommand] = []
        for part in self._telnet.feed(data):
            if isinstance(part, TelnetCommand):
                commands.append(part)
                continue
            self._obey(commands)
            self._may_interrupt = self._may_interrupt or b"\r\n" in part
            held = len(self._lines)
            self._lines.feed(part)
            if typed_ahead:
                self._typed_ahead += len(self._lines) - held
            self._run_lines()
        self._obey(commands)
        self._may_interrupt = self._may_interrupt or self._telnet.seen

    def _run_lines(self) -> None:
        """Run the lines that are held, until one of them suspends the session."""
        if self._running:
            return
        self._running = True
        try:
            while True:
                while self._lines and not self._holding:
                    self._run_line(self._lines.take())
                # A person waits for the output: it is sent at once. That may end a suspension.
                self.write_queue.push()
                if not self._lines or self._holding:
                    break
        finally:
            self._running = False
        if self._half_closed and not self._suspensions:
            # Everything that came complete has been served.
            self.finish()

    @property
    def _holding(self) -> bool:
        return self._suspensions > 0 or self.finishing or self.ended

    def _run_line(self, line: bytes | None) -> None:
        echo = self._typed_ahead > 0
        if echo:
            self._typed_ahead -= 1
        if self.factory.ending:
            # Behind `quit` no line is run.
            return
        if line is None:
            self.console.complain(f"the line is longer than {MAX_LINE} bytes")
        else:
            if echo:
                self._write_text(printable(line.decode("utf-8", "backslashreplace"), keep="\t") + "\n")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                self.console.complain(f"the line is not UTF-8: byte 0x{line[error.start]:02x} at {error.start + 1}")
            else:
                self.console.line(text)
        self._prompt()

    def _obey(self, commands: list[TelnetCommand]) -> None:
        """
        Carry out what a telnet client sends for Ctrl-C. It discards the output until its timing mark is answered, so that is done
        before anything is written about the cancelled command.
        """
        if not commands or self.finishing or self.ended:
            return
        interrupted, marks = TelnetCommand.INTERRUPT in commands, commands.count(TelnetCommand.TIMING_MARK)
        commands.clear()
        self.write_queue.reply(TIMING_MARK_REFUSED * marks + b"\r\n")
        if interrupted and self.console.suspended:
            self.console.cancel()
        elif not self._suspensions:
            self._prompt()
        self.write_queue.push()

    # -- output

    def _write_text(self, text: str) -> None:
        self.write_queue.reply(text.replace("\n", "\r\n").encode("utf-8", "backslashreplace"))

    def _announce(self, text: str) -> None:
        """Write what was not asked for: above a new prompt, if the person is at one."""
        if self.finishing:
            return
        at_prompt = self._prompted and not self._suspensions and not self._running
        self._write_text(f"\n{text}" if at_prompt else text)
        if at_prompt:
            self._prompt()
        self.write_queue.push()

    def _prompt(self) -> None:
        """Show the prompt, now or when the session is resumed."""
        if self._suspensions:
            self._prompt_due = True
        else:
            self._prompt_due = False
            if not self.finishing and not self.factory.ending:
                self._prompted = True
                self._write_text(self.factory.prompt)

    # -- suspension

    def suspend(self) -> None:
        self._suspensions += 1
        self._choose_reading()

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
            self._choose_reading()
            self._run_lines()

    def _console_resumed(self) -> None:
        if self._prompted:
            self._typed_ahead = len(self._lines)
            self._unread = _unread_bytes(self.transport)
        self.resume()

    def _choose_reading(self) -> None:
        """
        Have the transport read unless the session is suspended. From a telnet client that waits for a command it reads on, up to
        L{MAX_HELD}, since Ctrl-C comes in the same stream.
        """
        only_waiting = self._suspensions == 1 and self.console.suspended
        self.read(not self._suspensions or (only_waiting and self._may_interrupt and self._lines.size < MAX_HELD))

    def write_blocked(self) -> None:
        self.suspend()

    def write_unblocked(self) -> None:
        self.resume()

    # -- the end

    @property
    def busy(self) -> bool:
        """A command is pending, so that the person may well be silent."""
        return self._suspensions > (1 if self.write_queue.blocked else 0)

    def readConnectionLost(self) -> None:
        self.input_ended()
        if not self._suspensions:
            self.finish()

    def writeConnectionLost(self) -> None:
        """The person reads no more: the connection is closed."""
        self.abort()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._lines.clear()
        self.end_connection(reason)
        self.console.close()

    def logPrefix(self) -> str:
        """The name in Twisted's log."""
        return self.name or "HMP"


def _receive_urgent_data_inline(transport: object) -> None:
    """Some telnet clients send C{IAC DM} as urgent data, which a TCP socket takes out of its place in the stream."""
    handle = _socket_of(transport)
    if handle is not None and handle.family in (socket.AF_INET, socket.AF_INET6):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def _unread_bytes(transport: object) -> int:
    """:return: how many bytes have come that the transport has not read; 0 where that can't be told"""
    handle = _socket_of(transport)
    if handle is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(handle, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def _socket_of(transport: object) -> socket.socket | None:
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None


class HMPFactory(MonitorFactory):
    """
    Serves a monitor's commands to people: C{endpoint.listen(HMPFactory(monitor))}.

    For the other parameters see L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}.

    :param monitor: provides L{IMonitor}, here or behind a connection
    :param prompt: stands before each line
    :param banner: what a person sees first; by default the name of this program, its version and how to get help
    :raise ValueError: when a limit is out of range
    :ivar command_index: the names of the commands, shared by the sessions
    """

    protocol = HMPProtocol  # type: ignore[assignment]
    kind = "hmp"

    def __init__(
        self,
        monitor: IMonitor,
        *,
        prompt: str = PROMPT,
        banner: str | None = None,
        clock: IReactorTime | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_queued: int = MAX_QUEUED,
        slow_client: str = "disconnect",
        idle_timeout: float | None = None,
    ) -> None:
        super().__init__(
            monitor,
            clock=clock,
            max_connections=max_connections,
            max_queued=max_queued,
            slow_client=slow_client,
            idle_timeout=idle_timeout,
        )
        self.prompt = prompt
        self.banner = _banner() if banner is None else banner
        self.command_index = CommandIndex(monitor)


def _banner() -> str:
    from twisted_qmon import __version__

    return f"twisted-qmon {__version__} monitor - type 'help' for more information"

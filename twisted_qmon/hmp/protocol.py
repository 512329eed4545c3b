"""
The human monitor on a Twisted transport: L{HMPFactory} serves a monitor at any server endpoint, to people with C{telnet}, C{nc}
or C{socat}.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IHandshakeListener
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._log_publisher import publish
from twisted_qmon._text import printable
from twisted_qmon._transport.connection import ConnectionMixin
from twisted_qmon._transport.factory import Limits, MonitorFactory
from twisted_qmon.hmp.commands.command_index import CommandIndex
from twisted_qmon.hmp.console import Console, Person
from twisted_qmon.hmp.prompt import HMP_STYLES, PROMPT
from twisted_qmon.hmp.prompt import banner as default_banner
from twisted_qmon.hmp.sockets import receive_urgent_data_inline, unread_bytes
from twisted_qmon.hmp.telnet import (
    TIMING_MARK_REFUSED,
    CharacterMode,
    TelnetCommand,
    TelnetFilter,
    TelnetOption,
    WindowSize,
)
from twisted_qmon.interfaces import IMonitor, ISuspendable

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from twisted_qmon.errors import CommandError
    from twisted_qmon.hmp.editor.interface import Editor, Outcome
    from twisted_qmon.info import JSON

__all__ = ["MAX_HELD", "MAX_LINE", "HMPFactory", "HMPProtocol"]

#: Bytes of the longest line, without its end. QEMU's READLINE_CMD_BUF_SIZE.
MAX_LINE = 4095

#: Bytes of typed lines, or keys, that are read ahead while a client that can send Ctrl-C waits for a command.
MAX_HELD = 65536

_CTRL_D = b"\x04"
_BARE_RETURN = re.compile(r"\r(?!\n)")


@cache
def _can_edit() -> bool:
    return find_spec("wcwidth") is not None


@implementer(ISuspendable, IHalfCloseableProtocol, IHandshakeListener, IFileDescriptorReceiver)
class HMPProtocol(ConnectionMixin, LineReceiver):
    """
    One person's connection: moves lines between the transport and a L{Console}.

    It is suspended while a command is pending and while the person does not read. Lines that have come by then are held, in
    their order.

    :ivar console: the session, from C{connectionMade} on
    :ivar speaks_telnet: telnet commands are taken out of what comes
    """

    factory: HMPFactory
    delimiter = b"\n"
    # One more for the CR before the end of the line.
    MAX_LENGTH = MAX_LINE + 1
    console: Console
    speaks_telnet = True
    _log = Logger(observer=publish)
    # Where each key is sent, lines are edited here.
    _editor: Editor | None = None
    # A person is told what was not asked for.
    _is_told = True

    def __init__(self) -> None:
        self._character_mode = CharacterMode()
        # Where lines can't be edited here, nothing is negotiated.
        self._telnet = TelnetFilter(tells_options=_can_edit())
        self._suspensions = 0
        self._prompt_due = False
        self._prompted = False
        # It runs lines; and there is more to run behind a line that was too long.
        self._serving = False
        self._again = False
        # Of the lines held, so many came while a command was pending: they are shown where they run.
        self._typed_ahead = 0
        # Of the bytes to come, so many were in the socket's buffer when the command was done.
        self._unread = 0
        # A telnet client ends lines with CR LF or CR NUL, and says nothing else of itself until Ctrl-C is typed.
        self._may_interrupt = False

    def connectionMade(self) -> None:
        self.begin_connection()
        factory = self.factory
        receive_urgent_data_inline(self.transport)
        self.console = Console(
            factory.monitor,
            Person(self.name, self.peer, self.standing),
            write=self._write_text,
            on_suspend=self.suspend,
            on_resume=self._console_resumed,
            command_index=factory.command_index,
            clock=factory.clock,
            prepare_timeout=factory.ready_timeout,
            stalled=lambda: self.finishing or self.write_queue.blocked,
            announce=self._announce if self._is_told else None,
            on_leave=self.finish,
        )
        self.console.terminal = self._editor is not None and self._is_told
        self.establish()

    def established(self) -> None:
        self.greet()
        waiting = self.factory.when_ready()
        if waiting is None:
            self._begin()
        else:
            self.suspend()
            waiting.addBoth(self._begin_late)

    def greet(self) -> None:
        """Say the first thing."""
        self._write_text(f"{self.factory.banner}\n")

    def deny(self, error: CommandError) -> None:
        self._write_text(f"{error.desc}\n")

    def describe(self) -> dict[str, JSON]:
        console = self.console
        return {
            **super().describe(),
            "requests": console.requests,
            "errors": console.errors,
            "last-command": console.last_command,
        }

    def _begin(self) -> None:
        self.console.start()
        self._prompt()

    def _begin_late(self, outcome: object) -> None:
        # Ready or not: the session begins.
        if not self.ended:
            self._begin()
            self.resume()

    # -- a terminal

    def edit_lines(self, columns: int, rows: int) -> None:
        """
        A terminal is at the other end, which shows what it is told to and sends each key: lines are edited here. To be called
        before C{connectionMade}.

        :param columns: of the terminal; 0: not known
        :param rows: of the terminal; 0: not known
        :raise ImportError: when C{wcwidth} is not installed
        """
        from twisted_qmon.hmp.editor.editor import LineEditor

        self._editor = LineEditor(
            self._write_through, columns=columns, rows=rows, complete=lambda text: self.console.complete(text)
        )
        self._may_interrupt = True

    def terminal_resized(self, columns: int, rows: int) -> None:
        """The terminal has another size; 0: not known. Nothing happens if lines are not edited here."""
        if self._editor is not None and not self.finishing:
            # To one that does not read nothing is written: it could say so again and again.
            self._editor.resize(columns, rows, paint=not self.write_queue.blocked)
            self.write_queue.push()

    def interrupt(self) -> None:
        """Ctrl-C, by other means than the key: what is pending is cancelled, what goes on at the prompt is ended."""
        if not (self.finishing or self.ended) and (self.console.suspended or self.console.following):
            waiting = self.console.suspended
            self._write_text("^C\n")
            self.console.cancel()
            if not (waiting or self._suspensions):
                self._prompt()
            self.write_queue.push()

    def _negotiate(self, part: TelnetOption | WindowSize) -> None:
        mode = self._character_mode
        if self.finishing or self.ended:
            return
        answer = mode.receive(part)
        if answer:
            self.write_queue.reply(answer)
        if mode.agreed is (self._editor is not None):
            if isinstance(part, WindowSize):
                self.terminal_resized(*part)
        elif mode.agreed:
            self._begin_editing()
        else:
            self._end_editing()

    @property
    def _at_prompt(self) -> bool:
        return self._prompted and not (self._suspensions or self.console.following)

    def _begin_editing(self) -> None:
        """The client sends each key from now on; what it has sent of a line is typed, so to speak."""
        typed = self.clearLineBuffer()  # type: ignore[no-untyped-call]
        self._typed_ahead = self._unread = 0
        self.edit_lines(*self._character_mode.size)
        if self._at_prompt:
            self._write_through("\r\x1b[K")
            self.show_prompt()
        assert self._editor is not None
        self._receive_keys(self._editor, typed)

    def _end_editing(self) -> None:
        """The client edits its lines itself, as it did before."""
        assert self._editor is not None
        self._editor.leave()
        self._editor = None
        if self._at_prompt:
            self._prompt()

    def _receive_keys(self, editor: Editor, data: bytes) -> None:
        if editor.receive(data):
            self.interrupt()
        self._serve()

    def _serve_keys(self, editor: Editor) -> None:
        while not (self.paused or self.finishing or self.ended):
            if self.console.following and editor.has_line:
                self.console.cancel()
                editor.drop_enter()
                self._prompt()
            outcome = editor.next() if editor.active else None
            if outcome is None:
                return
            self._entered(outcome, editor.max_line)

    def _entered(self, outcome: Outcome, max_line: int) -> None:
        from twisted_qmon.hmp.editor.interface import Entered

        if outcome.how is Entered.LINE:
            self.lineReceived(outcome.line.encode("utf-8", "surrogateescape"))
        elif outcome.how is Entered.TOO_LONG:
            self._refuse_long_line(max_line)
        elif outcome.how is Entered.INTERRUPT:
            self._prompt()
        else:
            self.finish()

    # -- input

    def dataReceived(self, data: bytes) -> None:
        if self.finishing or self.ended:
            return
        self.input_came()
        ahead, data = data[: self._unread], data[self._unread :]
        self._unread -= len(ahead)
        if self._editor is not None and not self.speaks_telnet:
            self._receive_keys(self._editor, data)
        else:
            self._receive(ahead, typed_ahead=True)
            self._receive(data, typed_ahead=False)
        if self.paused:
            self._choose_reading()

    def _receive(self, data: bytes, *, typed_ahead: bool) -> None:
        commands: list[TelnetCommand] = []
        for part in self._telnet.feed(data):
            if isinstance(part, TelnetCommand):
                commands.append(part)
                continue
            self._obey(commands)
            if isinstance(part, (TelnetOption, WindowSize)):
                self._negotiate(part)
                continue
            if self._half_closed:
                # Behind Ctrl-D there are no lines.
                continue
            if self._editor is not None:
                self._receive_keys(self._editor, part)
                continue
            part, ended = self._up_to_ctrl_d(part)
            self._may_interrupt = self._may_interrupt or b"\r\n" in part
            if typed_ahead:
                self._typed_ahead += part.count(self.delimiter)
            self._serve(part)
            if ended:
                self.readConnectionLost()
        self._obey(commands)
        if self._telnet.seen:
            self._may_interrupt = self.console.terminal = self._is_told

    def _up_to_ctrl_d(self, text: bytes) -> tuple[bytes, bool]:
        """:return: the text in front of a Ctrl-D at the beginning of a line, which ends the input; and whether there is one"""
        at_beginning = self.line_mode and (not self._buffer or self._buffer.endswith(self.delimiter))
        begin = 0
        if not (at_beginning and text.startswith(_CTRL_D)):
            begin = text.find(self.delimiter + _CTRL_D) + 1
            if not begin:
                return text, False
        return text[:begin], True

    def _serve(self, text: bytes = b"") -> None:
        """Run the lines that are held, then those of more text, until one of them suspends the session."""
        if self._serving:
            return
        self._serving = self._again = True
        while self._again:
            self._again = False
            if self._editor is not None:
                self._serve_keys(self._editor)
            else:
                super().dataReceived(text)  # type: ignore[no-untyped-call]
            text = b""
            if not self._again:
                # A person waits for the output: it is sent at once. That may end a suspension.
                suspended = self.paused
                self.write_queue.push()
                self._again = suspended and not self.paused
        self._serving = False
        if self._half_closed and not self.paused:
            # Everything that came complete has been served.
            self.finish()

    def lineReceived(self, line: bytes) -> None:
        echo = self._take_typed_ahead()
        # Behind `quit` no line is run.
        if self.finishing or self.ended or self.factory.ending:
            return
        line = line.removesuffix(b"\r")
        if len(line) > MAX_LINE:
            self._refuse_long_line()
            return
        if echo and not self.console.following:
            self._write_text(printable(line.decode("utf-8", "backslashreplace"), keep="\t") + "\n")
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
        if end:
            self._long_line_ended(rest)
            # LineReceiver stops here.
            self._again = True
        else:
            self.setRawMode()  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        # Inside a line that is too long: nothing of it is kept.
        _, end, rest = data.partition(self.delimiter)
        if end:
            self.line_mode = 1
            self._long_line_ended(rest)

    def _long_line_ended(self, rest: bytes) -> None:
        self._take_typed_ahead()
        self._refuse_long_line()
        # Back into its buffer. Not setLineMode(rest): that would go through the telnet filter again.
        super().dataReceived(rest)  # type: ignore[no-untyped-call]

    def _refuse_long_line(self, limit: int = MAX_LINE) -> None:
        self.console.complain(f"the line is longer than {limit} bytes")
        self._prompt()

    def _take_typed_ahead(self) -> bool:
        """:return: whether the line that is about to be run was typed while a command was pending"""
        if not self._typed_ahead:
            return False
        self._typed_ahead -= 1
        return True

    def _obey(self, commands: list[TelnetCommand]) -> None:
        """
        Carry out what a telnet client sends for Ctrl-C. It discards the output until its timing mark is answered, so that is done
        before anything is written about the cancelled command.
        """
        if not commands or self.finishing or self.ended:
            return
        interrupted, marks = TelnetCommand.INTERRUPT in commands, commands.count(TelnetCommand.TIMING_MARK)
        commands.clear()
        if self._editor is not None:
            self.write_queue.reply(TIMING_MARK_REFUSED * marks)
            if interrupted:
                self._receive_keys(self._editor, b"\x03")
            return
        self.write_queue.reply(TIMING_MARK_REFUSED * marks + b"\r\n")
        waiting = self.console.suspended
        if interrupted:
            self.console.cancel()
        if not (waiting or self._suspensions):
            self._prompt()
        self.write_queue.push()

    # -- output

    def _write_text(self, text: str) -> None:
        if self._editor is not None:
            self._editor.show(text)
        else:
            self._write_through(text.replace("\n", "\r\n"))

    def _write_through(self, text: str) -> None:
        if self._editor is not None and self.speaks_telnet:
            # RFC 854: what is behind CR is LF or NUL.
            text = _BARE_RETURN.sub("\r\0", text)
        self.write_queue.reply(text.encode("utf-8", "backslashreplace"))

    def _announce(self, text: str) -> None:
        """Write what was not asked for: above a new prompt, if the person is at one."""
        if self.finishing:
            return
        at_prompt = self._prompted and not (self._suspensions or self._serving or self.console.following)
        editing = self._editor is not None and self._editor.active
        self._write_text(f"\n{text}" if at_prompt and self._editor is None else text)
        if at_prompt and not editing:
            self._prompt()
        self.write_queue.push()

    def _prompt(self) -> None:
        """Show the prompt, now or when the session is resumed."""
        if self._suspensions:
            self._prompt_due = True
        else:
            self._prompt_due = False
            if not (self.finishing or self.factory.ending or self.console.following):
                self._prompted = True
                self.show_prompt()

    def show_prompt(self) -> None:
        """Ask for the next line."""
        if self._editor is not None:
            self._editor.begin(self.factory.prompt)
        else:
            self._write_text(self.factory.prompt)

    # -- suspension

    def suspend(self) -> None:
        self._suspensions += 1
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
        self._choose_reading()

    def resumeProducing(self) -> None:
        """Serve what has come, and have the transport read on. Called by L{resume}."""
        if not self.ended:
            self.paused = False
            self._choose_reading()
            self._serve()

    def _console_resumed(self) -> None:
        if self._prompted and self._editor is None:
            self._typed_ahead = self._buffer.count(self.delimiter)
            self._unread = unread_bytes(self.transport)
        self.resume()

    def _choose_reading(self) -> None:
        """
        Have the transport read unless lines are held. From a telnet client that waits for a command it reads on, up to
        L{MAX_HELD}, since Ctrl-C comes in the same stream.
        """
        only_waiting = self._suspensions == 1 and self.console.suspended
        held = len(self._buffer) if self._editor is None else self._editor.held
        self.read(not self.paused or (only_waiting and self._may_interrupt and held < MAX_HELD))

    def write_blocked(self) -> None:
        self.suspend()

    def write_unblocked(self) -> None:
        self.resume()

    # -- the end

    def finish(self) -> None:
        if self._editor is not None and not (self.finishing or self.ended):
            self._editor.leave()
        super().finish()

    @property
    def busy(self) -> bool:
        """A command is pending, or goes on being repeated, so that the person may well be silent."""
        return self.console.following or self._suspensions > (1 if self.write_queue.blocked else 0)

    def readConnectionLost(self) -> None:
        self.input_ended()
        if not self.paused:
            self.finish()

    def writeConnectionLost(self) -> None:
        """The person reads no more: the connection is closed."""
        self.abort()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.paused = True
        self.clearLineBuffer()  # type: ignore[no-untyped-call]
        self.end_connection(reason)
        self.console.close()

    def logPrefix(self) -> str:
        """The name in Twisted's log."""
        return self.name or "HMP"


class HMPFactory(MonitorFactory):
    """
    Serves a monitor's commands to people: C{endpoint.listen(HMPFactory(monitor))}.

    :param monitor: provides L{IMonitor}, here or behind a connection
    :param prompt: stands before each line
    :param banner: what a person sees first; by default the name of this program, its version and how to get help
    :param style: C{"qemu"}: banner, prompt and echo are those of QEMU's own human monitor, for programs that are written for it.
        C{banner} is not used then, and the prompt is QEMU's unless another is given.
    :param limits: of each connection, and of all: see L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}
    :raise ValueError: when a limit is out of range, or the style is not known
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
        style: str = "qmon",
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(monitor, **limits)
        if style not in HMP_STYLES:
            raise ValueError(f"style is one of {', '.join(HMP_STYLES)}, not {style!r}")
        if style == "qemu":
            from twisted_qmon.hmp.qemu_style import QEMU_PROMPT, QEMUStyleProtocol

            self.protocol = QEMUStyleProtocol
            if prompt == PROMPT:
                prompt = QEMU_PROMPT
        self.prompt = prompt
        self.banner = default_banner() if banner is None else banner
        self.command_index = CommandIndex(monitor, interactive=style != "qemu")

"""
One person's session: a line in, text out, suspended or not. No I/O, and nothing but L{IMonitor}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._log_publisher import publish
from twisted_qmon._text import printable
from twisted_qmon.errors import LOGGED, CommandError
from twisted_qmon.hmp.commands.command_index import HMC, OWN, SESSION, TEXT, CommandIndex, Entry, Names
from twisted_qmon.hmp.commands.completion import Completion, complete
from twisted_qmon.hmp.commands.help import help_for, list_commands, list_info
from twisted_qmon.hmp.commands.info import find_info
from twisted_qmon.hmp.commands.suggest import suggest
from twisted_qmon.hmp.lines.args import Format
from twisted_qmon.hmp.lines.expression import BLANKS, Cursor, LineError
from twisted_qmon.hmp.lines.line import parse_arguments
from twisted_qmon.hmp.notices import subscribe_notices
from twisted_qmon.hmp.printers import present
from twisted_qmon.hmp.progress import ProgressLine
from twisted_qmon.hmp.session_words import SessionWords
from twisted_qmon.info import JSON, CommandInfo, Level, Need
from twisted_qmon.interfaces import ICaller, IMonitor

__all__ = ["MAX_UNKNOWN", "PREPARE_TIMEOUT", "Console", "Person"]

#: For how many unknown words in succession something is suggested.
MAX_UNKNOWN = 5

#: How long the first prompt waits for what there is to know of the commands, in seconds.
PREPARE_TIMEOUT = 2.0

_NAME = re.compile(r"[^ \t\n\v\f\r/]*")
_HELP, _INFO, _PROGRESS = OWN


class Standing(Protocol):
    """What is known of a caller, and of what it may do."""

    @property
    def identity(self) -> object:
        """Who it is; its text is what people are shown."""

    @property
    def level(self) -> Level:
        """What it may do, from now on."""

    @property
    def guarded(self) -> bool:
        """It may not do everything, or what it does is recorded."""

    def permits(self, need: Need) -> bool:
        """:return: whether it has what is needed"""


@implementer(ICaller)
class Person:
    """
    The caller of what is typed: one session.

    :param name: tells the session from others
    :param peer: where it comes from, as text
    :param standing: who it is, and what it may do; by default it is part of this program
    """

    __slots__ = ("name", "peer", "standing")

    kind = "hmp"

    def __init__(self, name: str, peer: str = "", standing: Standing | None = None) -> None:
        self.name = name
        self.peer = peer
        self.standing = standing

    @property
    def identity(self) -> str:
        """The text of its identity."""
        return "local" if self.standing is None else str(self.standing.identity)

    @property
    def level(self) -> Level:
        """What it may do, from now on."""
        return Level.ADMIN if self.standing is None else self.standing.level

    def __repr__(self) -> str:
        return f"<Person {self.name} {self.peer}>"


def _nothing() -> None:
    pass


class Console:
    """
    One person's session.

    It is suspended from the moment on which a line's command is pending until that completes: L{suspended}, told by C{on_suspend}
    and C{on_resume}, once each. What is there at once does not suspend it.

    :param monitor: whose commands
    :param caller: on whose behalf (L{ICaller})
    :param write: called with text, whole lines that end in C{\\n}
    :param on_suspend: called when it is suspended
    :param on_resume: called when it takes lines again
    :param command_index: shared with other sessions of the same monitor; by default its own. If that is interactive, a person is
        at the other end: one who has the words of L{SESSION<twisted_qmon.hmp.commands.command_index.SESSION>}, may abbreviate the
        words behind C{info}, is told what an unknown word may have meant and where to read on after a failure that was logged,
        and has to say twice what needs to be confirmed
    :param sticky: the default of the letter C{/} of C{args_type}; by default the session's own
    :param clock: for C{progress on}; without one no progress is shown
    :param prepare_timeout: seconds that the first prompt waits for what there is to know of the commands
    :param stalled: whether the person does not read at present: then no progress is printed
    :param announce: called with text that was not asked for, whole lines; by default there is none
    :param on_leave: called when the person wants to leave; by default there is no way
    :ivar suspended: a command is pending; it takes no line
    :ivar requests: how many commands were asked for
    :ivar errors: how many of them failed
    :ivar last_command: the QMP name of the last one
    :ivar terminal: a terminal is known to be at the other end: progress is printed unless the person has switched it off
    :ivar failed: the last line could not be run, or its command failed or was cancelled
    """

    _log = Logger(observer=publish)

    def __init__(
        self,
        monitor: IMonitor,
        caller: ICaller,
        *,
        write: Callable[[str], object],
        on_suspend: Callable[[], object] = _nothing,
        on_resume: Callable[[], object] = _nothing,
        command_index: CommandIndex | None = None,
        sticky: Format | None = None,
        clock: IReactorTime | None = None,
        prepare_timeout: float = PREPARE_TIMEOUT,
        stalled: Callable[[], bool] = lambda: False,
        announce: Callable[[str], object] | None = None,
        on_leave: Callable[[], object] | None = None,
    ) -> None:
        self.monitor = monitor
        self.caller = caller
        self.suspended = False
        self.requests = 0
        self.errors = 0
        self.last_command = ""
        self.failed = False
        self._write = write
        self._on_suspend = on_suspend
        self._on_resume = on_resume
        self._command_index = command_index or CommandIndex(monitor)
        self._sticky = sticky or Format()
        self._clock = clock
        self._prepare_timeout = prepare_timeout
        self._stalled = stalled
        self._announce = announce
        self._unsubscribe = _nothing
        self._interactive = self._command_index.interactive
        self._session = self._make_session(on_leave) if self._interactive else None
        # The command that is run if it is said once more.
        self._confirming = ""
        # How many unknown words came one after another: a stream of them gets no suggestions.
        self._unknown = 0
        # A line that is watched has been run before.
        self._repeated = False
        self._commands: Mapping[str, CommandInfo] = {}
        self.terminal = False
        self._progress: bool | None = None
        self._pending: Deferred[Any] | None = None
        self._closed = False

    def _make_session(self, on_leave: Callable[[], object] | None) -> SessionWords:
        return SessionWords(
            self.monitor,
            self.caller,
            clock=self._clock,
            leave=on_leave,
            show=self._print,
            announce=self._print_notice,
            run=self._repeat,
            stalled=self._stalled,
            busy=lambda: self.suspended or self._stalled(),
        )

    def _repeat(self, text: str) -> None:
        if self._repeated:
            self._print("\n")
        self._repeated = True
        self._wait(self._command_index.names(), lambda names: self._run(text, names))

    # -- what its owner calls

    def start(self) -> None:
        """
        Learn what the commands are. It is suspended until that is known, at most for C{prepare_timeout} where it has a clock.
        """
        waiting = self._command_index.prepare()
        if self._clock is not None and not waiting.called:
            waiting.addTimeout(self._prepare_timeout, self._clock)
        if self._announce is not None:
            self._unsubscribe = subscribe_notices(self.monitor, self._print_notice)
        # What went wrong here goes wrong again at the first line, and is told there.
        self._wait(waiting.addErrback(lambda failure: None), lambda _: None)

    def line(self, text: str) -> None:
        """
        Run a line.

        :param text: without its end
        :raise RuntimeError: when it is suspended
        """
        if self._closed:
            return
        if self.suspended:
            raise RuntimeError("this console waits for a command to complete")
        self._stop_following()
        self.failed = False
        if not text.strip(BLANKS):
            return
        controls = [c for c in text if (c < " " and c not in BLANKS) or "\x7f" <= c <= "\x9f"]
        if controls:
            self.complain(f"control character in the line: '{controls[0]}'")
            return
        self._wait(self._command_index.names(), lambda names: self._run(text, names))

    def cancel(self) -> None:
        """Cancel what it waits for, and end what goes on at the prompt. Nothing happens if there is neither."""
        self._stop_following()
        if self._pending is not None:
            self._pending.cancel()

    def complete(self, text: str) -> Completion | None:
        """
        :param text: the beginning of a line
        :return: how it could go on, by what the person may run; C{None}: the commands are not known
        """
        known: list[Names] = []
        self._command_index.names().addCallbacks(known.append, lambda failure: failure.trap(CommandError) and None)
        return complete(self._permitted(known[0]), text) if known else None

    def close(self) -> None:
        """The person is gone: nothing is written any more, and the monitor is told."""
        if not self._closed:
            self._closed = True
            self._unsubscribe()
            if self._session is not None:
                self._session.close()
            self.monitor.leave(self.caller)

    @property
    def following(self) -> bool:
        """Something goes on until the next line or L{cancel} (C{watch}, C{log follow}): no prompt is due."""
        return self._session is not None and self._session.following

    @property
    def shows_events(self) -> bool:
        """The person has said C{events on}."""
        return self._session is not None and self._session.shows_events

    def _stop_following(self) -> None:
        self._repeated = False
        if self._session is not None:
            self._session.stop()

    def complain(self, text: str) -> None:
        """Tell the person of an error."""
        self.failed = True
        self._print(f"Error: {text}")

    @property
    def running(self) -> str:
        """The QMP name of the command that it waits for; empty if it waits for none."""
        return self.last_command if self._pending is not None else ""

    # -- suspension

    def _wait(self, deferred: Deferred[Any], done: Callable[[Any], object]) -> None:
        """Go on with what the Deferred gives; suspended only if that is not there yet."""
        fired = False

        def settle(result: Any) -> None:
            nonlocal fired
            fired = True
            if self._pending is deferred:
                self._pending = None
            if self._closed:
                return
            self._go_on(result, done)
            if self.suspended and self._pending is None:
                self.suspended = False
                self._on_resume()

        deferred.addBoth(settle)
        if not fired:
            self._pending = deferred
            if not self.suspended:
                self.suspended = True
                self._on_suspend()

    def _go_on(self, result: Any, done: Callable[[Any], object]) -> None:
        """Whatever happens, the session goes on."""
        try:
            if not isinstance(result, Failure):
                done(result)
            elif isinstance(result.value, CommandError):
                self.errors += 1
                self.complain(result.value.desc)
                if result.value.desc.endswith(LOGGED):
                    self._point_to_log()
            elif isinstance(result.value, CancelledError):
                self.complain("cancelled")
            else:
                self._fail("while waiting for a command", result)
        except LineError as error:
            self.failed = True
            self._print(error.text)
        except Exception:
            self._fail("while running a line", Failure())

    def _fail(self, doing: str, failure: Failure) -> None:
        self._log.failure("{doing} of {caller}", failure, doing=doing, caller=self.caller.name)
        self.complain("something went wrong here, for a reason that was logged")

    def _point_to_log(self) -> None:
        """Tell a person where to read on about the command that has just failed."""
        query_log = self._commands.get("query-log")
        if not self._interactive or query_log is None or not self._permits(query_log):
            return

        def print_hint(found: object) -> None:
            # Whatever else was logged since then is not it.
            latest = found[-1] if isinstance(found, list) and found else {}
            mine = str(latest.get("text", "")).startswith(f"while executing {self.last_command} for ")
            number = f" entry {latest['number']}" if mine and "number" in latest else ""
            self._print(f"See log{number}: info log level=error")

        latest: Mapping[str, JSON] = {"level": "error", "namespace": "twisted_qmon", "limit": 1}
        looking = self.monitor.execute("query-log", latest, caller=self.caller)
        self._wait(looking.addErrback(lambda failure: failure.trap(CommandError) and None), print_hint)

    def _print(self, text: str) -> None:
        if text and not self._closed:
            self._write(_shown(text))

    def _print_progress(self, text: str) -> None:
        if not self._stalled():
            self._print(text)

    def _print_notice(self, text: str) -> None:
        if self._announce is not None and not self._closed and not self._stalled():
            self._announce(_shown(text))

    # -- dispatch

    def _run(self, text: str, names: Names) -> None:
        self._commands = names.commands
        confirming, self._confirming = self._confirming, ""
        if self._session is not None and text.split() == ["log", "follow"]:
            # Comes before QEMU's own "log".
            self._session.run(text, names)
            return
        cursor = Cursor(text)
        word = _word(cursor)
        entry = names.find(word)
        sub = entry is _INFO
        if sub:
            behind_info = cursor.at
            cursor.skip_blanks()
            if not cursor.next:
                self._print(list_info(self._permitted(names)))
                return
            word = _word(cursor)
            entry = find_info(word, names, abbreviated=self._interactive)
            if not word:
                cursor.at = max(behind_info, cursor.at)
        if names.is_upstream(word, sub=sub):
            self._execute(HMC, {"command-line": text}, self._print)
        elif entry is None:
            self._unknown_command(text, text[: cursor.at], word, names, sub=sub)
        else:
            self._unknown = 0
            self._dispatch(entry, text, cursor, names, confirming)

    def _dispatch(self, entry: Entry, text: str, cursor: Cursor, names: Names, confirming: str) -> None:
        if entry is _HELP:
            self._help(text, cursor.text[cursor.at :], names)
        elif entry in SESSION:
            assert self._session is not None
            if not self._session.run(text, names):
                self._unknown_command(text, text.strip(BLANKS), entry.names[0], names, sub=False)
        elif self._has_to_confirm(entry.info) and not self._is_confirmed(entry, cursor, confirming):
            self._confirming = entry.info.name
            word = entry.names[0]
            self._print(f"{word}: {entry.info.confirm}. Say '{word}' again, or '{word} now'")
        else:
            self._command(entry, cursor)

    def _has_to_confirm(self, info: CommandInfo) -> bool:
        return self._interactive and info.confirm != "" and self._permits(info)

    def _is_confirmed(self, entry: Entry, cursor: Cursor, confirming: str) -> bool:
        if cursor.text[cursor.at :].strip(BLANKS) == "now":
            cursor.at = len(cursor.text)
            return True
        return confirming == entry.info.name

    def _unknown_command(self, line: str, typed: str, word: str, names: Names, *, sub: bool) -> None:
        if names.behind:
            # A QEMU behind may know it, and says so if it does not.
            self._execute(HMC, {"command-line": line}, self._print)
            return
        text = f"unknown command: '{typed}'"
        if self._interactive and self._unknown < MAX_UNKNOWN:
            self._unknown += 1
            text = f"{text}\n{suggest(word, self._permitted(names), sub=sub)}"
        raise LineError(text)

    def _command(self, entry: Entry, cursor: Cursor) -> None:
        path = cursor.text[: cursor.at]
        if entry not in OWN and not self._permits(entry.info):
            # The monitor says why; what was typed behind the name is not looked at.
            self._execute(entry.info.name, {}, self._print)
            return
        try:
            arguments = parse_arguments(entry.info, cursor, entry.alternatives, self._sticky)
        except LineError as error:
            raise LineError(f'{error.text}\nTry "help {path}" for more information') from None
        if entry is _PROGRESS:
            self._set_progress(arguments)
        elif entry.info.printed and TEXT in self._commands:
            self._execute(
                entry.info.name, arguments, lambda result: self._print(str(result.get(TEXT, ""))), printed=True
            )
        else:
            info = entry.info
            self._execute(
                info.name, arguments, lambda result: self._print(present(info, result, arguments, self.caller))
            )

    def _execute(
        self, name: str, arguments: Mapping[str, JSON], present: Callable[[Any], object], *, printed: bool = False
    ) -> None:
        self.requests += 1
        self.last_command = name
        line = None
        if self._shows_progress and self._clock is not None:
            line = ProgressLine(name, self._clock, self._print_progress)
        if printed:
            # The remote monitor has a printer for it.
            name, arguments = TEXT, {"command": name, "arguments": arguments}
        deferred = self.monitor.execute(
            name, arguments or None, progress=line.update if line is not None else None, caller=self.caller
        )
        if line is not None:
            line.begin(deferred)
        self._wait(deferred, present)

    # -- what the person may do

    def _permits(self, info: CommandInfo) -> bool:
        standing: Standing | None = getattr(self.caller, "standing", None)
        return standing is None or standing.permits(info.need)

    def _permitted(self, names: Names) -> Names:
        standing: Standing | None = getattr(self.caller, "standing", None)
        if standing is None or not standing.guarded:
            return names
        hmc = names.commands.get(HMC)
        line_need = None if hmc is None else hmc.line_need
        return names.only(self._permits, lambda line: line_need is None or standing.permits(line_need(line)))

    # -- its own commands

    def _help(self, text: str, argument: str, names: Names) -> None:
        words = argument.split()
        names = self._permitted(names)
        printed = help_for(words, names) if words else list_commands(names)
        if printed is None:
            self._execute(HMC, {"command-line": text}, self._print)
        else:
            self._print(printed)

    def _set_progress(self, arguments: Mapping[str, JSON]) -> None:
        if self._clock is None:
            raise LineError("there is no progress to show here")
        if "state" in arguments:
            self._progress = bool(arguments["state"])
        else:
            self._print("progress is on" if self._shows_progress else "progress is off")

    @property
    def _shows_progress(self) -> bool:
        return self.terminal if self._progress is None else self._progress


def _shown(text: str) -> str:
    """All text that a person is shown goes through this, whatever it comes from."""
    text = printable(text.replace("\r\n", "\n"), keep="\n\t")
    return text if text.endswith("\n") else text + "\n"


def _word(cursor: Cursor) -> str:
    cursor.skip_blanks()
    match = cursor.take(_NAME)
    return match[0] if match is not None else ""

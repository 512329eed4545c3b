"""
Which commands a person can type: a monitor's commands under their human names, and those of a QEMU behind it. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._log_publisher import publish
from twisted_qmon.hmp.commands.help import UpstreamHelp, parse_upstream
from twisted_qmon.hmp.commands.info import human_name, is_sub_command
from twisted_qmon.info import UPSTREAM, ArgsItem, CommandInfo
from twisted_qmon.interfaces import IMonitor

__all__ = ["HMC", "OWN", "SESSION", "TEXT", "CommandIndex", "Entry", "Names", "make_names"]

_log = Logger(observer=publish)

#: The QMP command that runs a line as a person would type it.
HMC = "human-monitor-command"

#: The QMP command that executes another one, and returns what its printer makes of the result: in a member of the same name.
TEXT = "human-readable-text"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A command as people see it.

    :ivar info: what is known of it
    :ivar names: what it is called, without C{info }
    :ivar sub: it is a sub-command of C{info}
    :ivar ours: it runs here, not in a QEMU behind
    """

    info: CommandInfo
    names: tuple[str, ...]
    sub: bool = False
    ours: bool = True

    @property
    def completes(self) -> bool:
        """It comes before a command of the same name of a QEMU behind: the console's own, and what we complete for that QEMU."""
        return self.ours and (self in OWN or self.info.completes)

    @property
    def alternatives(self) -> str:
        """All its names, as errors and help have them: C{"cont|c"}."""
        return "|".join(self.names)

    @property
    def shown(self) -> str:
        """The same, with C{info } before those of a sub-command."""
        return f"info {self.alternatives}" if self.sub else self.alternatives


#: What every console knows itself.
OWN = (
    Entry(CommandInfo("help", params="[cmd]", help="show the help"), ("help", "?")),
    Entry(
        CommandInfo("info", params="[subcommand]", help="show various information about the system state"), ("info",)
    ),
    Entry(
        CommandInfo(
            "progress",
            items=(ArgsItem("state", "b", optional=True),),
            params="[on|off]",
            help="print the progress of the pending command, at most once a second",
        ),
        ("progress",),
    ),
)


#: What consoles know in addition where a person is at the other end. A command of the monitor, or of a QEMU behind it, that has
#: one of these names comes first.
SESSION = (
    Entry(CommandInfo("exit", help="leave this session"), ("exit", "logout")),
    Entry(
        CommandInfo(
            "events",
            params="on|off [names]",
            help="print events as they happen, all of them or those named",
        ),
        ("events",),
    ),
    Entry(
        CommandInfo(
            "watch",
            params="[seconds] line",
            help="run a line again and again, every 2 seconds or as often as given; Ctrl-C in telnet or the next line ends it",
        ),
        ("watch",),
    ),
    Entry(
        CommandInfo(
            "log",
            params="follow",
            help="print the log as it grows; Ctrl-C in telnet or the next line ends it",
        ),
        ("log",),
    ),
)

# No command is called so: these words are always the console's.
_RESERVED = frozenset(word for entry in OWN for word in entry.names) - {"progress"}


@dataclass(slots=True)
class Names:
    """
    The commands of one state of a monitor, by what people type.

    :ivar commands: what they were made of
    :ivar top: by first word
    :ivar sub: by the word after C{info}
    :ivar behind: lines go verbatim to the QEMU behind the monitor, where no command of ours is meant
    :ivar upstream: the human commands of that QEMU; C{None}: there is none, or it has not said yet
    """

    commands: Mapping[str, CommandInfo]
    behind: bool = False
    top: dict[str, Entry] = field(default_factory=dict)
    sub: dict[str, Entry] = field(default_factory=dict)
    upstream: UpstreamHelp | None = None

    def find(self, word: str, *, sub: bool = False) -> Entry | None:
        """:return: the command of that name, or C{None}"""
        return (self.sub if sub else self.top).get(word)

    def is_upstream(self, word: str, *, sub: bool = False) -> bool:
        """The QEMU behind has a human command of that name, and it is meant when a person types it."""
        entry = self.find(word, sub=sub)
        if not self.behind or (entry is not None and entry.completes):
            return False
        if self.upstream is None:
            # As long as it has not said what it has, it is asked.
            return entry is None or not entry.ours
        return word in (self.upstream.sub if sub else self.upstream.top)

    def only(self, permits: Callable[[CommandInfo], bool], permits_line: Callable[[str], bool]) -> Names:
        """
        :param permits: whether a command is one of those that are wanted
        :param permits_line: whether a line of the QEMU behind is
        :return: the names of those that are wanted, for help; the console's own are kept
        """

        def kept(table: dict[str, Entry]) -> dict[str, Entry]:
            return {
                word: entry for word, entry in table.items() if entry in OWN or entry in SESSION or permits(entry.info)
            }

        upstream = self.upstream
        if upstream is not None:
            upstream = UpstreamHelp(
                {word: text for word, text in upstream.top.items() if permits_line(word)},
                {word: text for word, text in upstream.sub.items() if permits_line(f"info {word}")},
            )
        return Names(self.commands, self.behind, kept(self.top), kept(self.sub), upstream)

    def entries(self, *, sub: bool = False) -> list[Entry]:
        """:return: each command once, those hidden left out"""
        table = self.sub if sub else self.top
        unique = {id(entry): entry for entry in table.values() if entry.sub == sub and not entry.info.hidden}
        return list(unique.values())


def make_names(
    commands: Mapping[str, CommandInfo], upstream: UpstreamHelp | None = None, *, interactive: bool = False
) -> Names:
    """
    Give commands their human names: C{query-x} is C{info x}, others have their own and their aliases.

    :param upstream: the human commands of the QEMU behind, where there is one
    :param interactive: with the words of L{SESSION}
    """
    hmc = commands.get(HMC)
    # A QEMU itself has no query-command-help; our proxy in front of one marks what is QEMU's.
    bare = hmc is not None and "query-command-help" not in commands
    names = Names(commands, bare or (hmc is not None and hmc.origin == UPSTREAM))
    if names.behind:
        names.upstream = upstream
    entries = [
        _make_entry(info, names, ours=not names.behind or not (bare or info.origin == UPSTREAM))
        for info in commands.values()
    ]
    # Ours come before those of a QEMU behind, whose names our long commands have as aliases.
    for ours in (True, False):
        _enter([entry for entry in entries if entry is not None and entry.ours is ours], names)
    for entry in OWN + SESSION if interactive else OWN:
        for word in entry.names:
            names.top.setdefault(word, entry)
    return names


def _make_entry(info: CommandInfo, names: Names, *, ours: bool) -> Entry | None:
    """:return: the command under its human names; C{None} if it has none that it may be called by"""
    sub = is_sub_command(info)
    words = (human_name(info), *info.aliases)
    if not sub:
        words = tuple(word for word in words if word not in _RESERVED)
    if not words:
        return None
    if names.behind and ours:
        # What a person knows it by from QEMU comes first.
        theirs = {} if names.upstream is None else names.upstream.sub if sub else names.upstream.top
        words = tuple(sorted(words, key=lambda word: word not in theirs))
    return Entry(info, words, sub, ours)


def _enter(entries: Sequence[Entry], names: Names) -> None:
    """Put commands into the tables. A command's own name comes before another one's alias."""
    for entry in entries:
        first = human_name(entry.info)
        if first in entry.names:
            (names.sub if entry.sub else names.top).setdefault(first, entry)
    for entry in entries:
        for word in entry.info.aliases:
            names.top.setdefault(word, entry)
            if entry.sub:
                names.sub.setdefault(word, entry)


class CommandIndex:
    """
    The names of a monitor's commands, kept until the monitor says that they have changed. All sessions of a factory share one.

    :param monitor: whose
    :param interactive: a person is at the other end: with the words of L{SESSION}
    """

    def __init__(self, monitor: IMonitor, *, interactive: bool = False) -> None:
        self.monitor = monitor
        self.interactive = interactive
        self._names: Names | None = None
        self._upstream: UpstreamHelp | None = None
        self._waiting: list[Deferred[None]] | None = None
        self._asked = False

    def names(self) -> Deferred[Names]:
        """
        :return: fires with the names, at once if they are known; fails with C{CommandError}
        """
        return self.monitor.commands().addCallback(self._got_commands)

    def prepare(self) -> Deferred[None]:
        """
        :return: fires when all there is to know of the commands is known, the help of a QEMU behind included; at once if it is;
            fails with C{CommandError}
        """
        return self.names().addCallback(self._prepare)

    def _got_commands(self, commands: Mapping[str, CommandInfo]) -> Names:
        if self._names is None or self._names.commands is not commands:
            self._names = make_names(commands, self._upstream, interactive=self.interactive)
            self._asked = False
        if self._names.behind and not self._asked and self._waiting is None:
            self._ask()
        return self._names

    def _prepare(self, names: Names) -> Deferred[None] | None:
        if self._waiting is None or self._upstream is not None:
            # What QEMU said before will do until it answers again.
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _ask(self) -> None:
        """Ask the QEMU behind for its help."""
        self._waiting = []
        texts: list[str] = []

        def ask(line: str) -> Deferred[None]:
            answer = self.monitor.execute(HMC, {"command-line": line})
            return answer.addCallback(lambda text: texts.append(str(text)))

        def done(result: object) -> None:
            if isinstance(result, Failure):
                # It is asked again at the next line.
                _log.debug("the upstream's help is not to be had: {reason}", reason=result.getErrorMessage())
            else:
                self._asked = True
                self._upstream = parse_upstream(*texts)
                if self._names is not None:
                    self._names = make_names(self._names.commands, self._upstream, interactive=self.interactive)
            waiting, self._waiting = self._waiting, None
            for deferred in waiting or ():
                if not deferred.called:
                    deferred.callback(None)

        ask("help").addCallback(lambda _: ask("info")).addBoth(done)

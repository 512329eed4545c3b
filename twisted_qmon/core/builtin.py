"""
The commands that every monitor has: its version, name and status, its commands and events, its pending requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from twisted_qmon._text import cut, more, span, table
from twisted_qmon.core.access.standing import standing_of
from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.core.events import Event
from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.errors import CommandError, CommandNotFound, GenericError
from twisted_qmon.info import Level, Need
from twisted_qmon.qapi.schema import info_to_json
from twisted_qmon.qapi.types import UInt32, UInt64
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qapi.types.plain import plain

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.info import JSON

__all__ = [
    "MAX_SHOWN_ARGUMENTS",
    "MAX_SHOWN_ID",
    "Builtin",
    "CommandName",
    "NameInfo",
    "PendingInfo",
    "PendingProgress",
    "SelectedEvents",
    "StatusInfo",
    "VersionInfo",
    "VersionTriple",
    "WhoAmI",
    "our_version",
]

#: Bytes of the longest id that C{query-pending} shows. An id is as long as its client likes; the list is for all clients.
MAX_SHOWN_ID = 1024

#: Bytes of the longest arguments that it shows to who gave them.
MAX_SHOWN_ARGUMENTS = 4096


def our_version() -> dict[str, JSON]:
    """:return: the version of this package, in the form of QEMU's C{query-version}"""
    from twisted_qmon import __version__

    numbers = [int(part) for part in re.findall(r"\d+", __version__)[:3]] + [0, 0, 0]
    return {
        "qemu": {"major": numbers[0], "minor": numbers[1], "micro": numbers[2]},
        "package": f"twisted-qmon {__version__}",
    }


class VersionTriple(TypedDict):
    """A version, as numbers."""

    major: int
    minor: int
    micro: int


class VersionInfo(TypedDict):
    """What C{query-version} returns."""

    qemu: VersionTriple
    package: str


class WhoAmI(TypedDict):
    """What C{query-whoami} returns: who the caller is, what it may do, and the name of its session."""

    identity: str
    level: str
    session: str


class NameInfo(TypedDict, total=False):
    """What C{query-name} returns."""

    name: str


class StatusInfo(TypedDict):
    """What C{query-status} returns. C{singlestep} is there for clients that expect it."""

    running: bool
    singlestep: bool
    status: Literal["running", "shutdown"]


_RUNNING = JSONText.of({"running": True, "singlestep": False, "status": "running"})
_SHUTDOWN = JSONText.of({"running": False, "singlestep": False, "status": "shutdown"})


class CommandName(TypedDict):
    """One command in C{query-commands}."""

    name: str


class PendingProgress(TypedDict):
    """The progress of a request, in its own unit."""

    current: int
    total: int


class SelectedEvents(TypedDict, total=False):
    """
    What C{select-events} returns for numbered events: the id of the monitor, the numbers of the oldest event that it keeps and of
    the latest, and how many events after the number given are not kept any more. C{restarted} is there if the number given is not
    one of this monitor's, and the whole history follows.
    """

    monitor: str
    first: int
    last: int
    lost: int
    restarted: bool


class _PendingInfo(TypedDict):
    number: int
    session: str
    peer: str
    command: str
    seconds: float
    abandoned: bool


class PendingInfo(_PendingInfo, total=False):
    """
    One request in C{query-pending}; C{seconds} since it came. C{id} is there if it has one, of at most 1,024 bytes and without
    infinite numbers; C{progress} if it has reported any; C{arguments} if they are the caller's own and valid, of at most 4,096
    bytes, without what is secret.
    """

    id: Any
    arguments: dict[str, Any]
    progress: PendingProgress


class Builtin(CommandProvider):
    """
    The provider that every L{Monitor<twisted_qmon.Monitor>} registers first. The watchdog's monitor has one of its own, which
    is what C{thread_safe} means here.

    :param owner: the monitor
    """

    events = (
        Event("SHUTDOWN", guest=bool, reason=str),
        Event("EVENTS_LOST", count=int),
    )

    def __init__(self, owner: Monitor) -> None:
        self._monitor = owner
        # What query-version and query-name answer, and for what: many clients ask for it all the time.
        self._version: tuple[Mapping[str, JSON], JSONText] | None = None
        self._name: tuple[str | None, JSONText] = (None, JSONText(b"{}"))

    @command(name="qmp_capabilities", hidden=True, level="none", thread_safe=True)
    def qmp_capabilities(self, enable: list[Literal["oob"]] | None = None) -> None:
        """
        Enable QMP capabilities.

        Sessions answer this themselves until the negotiation is complete; afterwards it has QEMU's error.
        """
        raise CommandNotFound("Capabilities negotiation is already complete, command ignored")

    @command(thread_safe=True)
    def query_version(self) -> VersionInfo | JSONText:
        """show the version"""
        version = self._monitor.version
        if self._version is None or self._version[0] is not version:
            self._version = (version, JSONText.of(version))
        return self._version[1]

    @query_version.printer
    def _(info: Any) -> str:
        return "{major}.{minor}.{micro}".format(**info["qemu"]) + f" ({info['package']})"

    @command(thread_safe=True)
    def query_name(self) -> NameInfo | JSONText:
        """show the name of this monitor"""
        name = self._monitor.name
        if self._name[0] is not name:
            self._name = (name, JSONText.of({} if name is None else {"name": name}))
        return self._name[1]

    @query_name.printer
    def _(info: Any) -> str:
        return str(info.get("name", ""))

    @command(thread_safe=True)
    def query_status(self) -> StatusInfo | JSONText:
        """show whether it runs or shuts down"""
        return _SHUTDOWN if self._monitor.refusing else _RUNNING

    @query_status.printer
    def _(info: Any) -> str:
        return f"Monitor status: {info['status']}"

    @command(thread_safe=True)
    def query_commands(self, request: Request) -> list[CommandName] | JSONText:
        """list the QMP commands that the caller may run"""
        registry = self._monitor.registry
        standing = standing_of(request.caller)
        if not standing.guarded:
            return registry.names()
        return [{"name": each.name} for each in reversed(list(registry.active.values())) if standing.may_run(each)]

    @command(thread_safe=True)
    def query_qmp_schema(self) -> list[dict[str, Any]] | JSONText:
        """show the QMP schema"""
        return self._monitor.registry.schema(self._monitor.events.definitions)

    @command(thread_safe=True)
    def query_command_help(self, request: Request, name: str | None = None) -> list[dict[str, Any]]:
        """
        describe the commands that the caller may run, as the human monitor needs them

        :param name: one command only
        """
        active = self._monitor.registry.active
        standing = standing_of(request.caller)
        if name is None:
            return [info_to_json(each.info) for each in active.values() if standing.may_run(each)]
        if name not in active:
            raise CommandNotFound(f"The command {name} has not been found")
        standing.require(active[name].info.need)
        return [info_to_json(active[name].info)]

    @command(level="none", thread_safe=True)
    def query_whoami(self, request: Request) -> WhoAmI:
        """show who the caller is, and what it may do"""
        standing = standing_of(request.caller)
        return {
            "identity": standing.identity.text,
            "level": str(standing.level),
            "session": request.caller.name,
        }

    @query_whoami.printer
    def _(self, info: Any) -> str:
        return "{identity}, level {level}, session {session}".format(**info)

    @command(hidden=True, level="none", thread_safe=True)
    def select_events(
        self,
        request: Request,
        names: list[str] | None = None,
        numbered: bool = False,
        after: UInt64 | None = None,
        monitor: str | None = None,
    ) -> SelectedEvents:
        """
        get only some events in this session, from now on or from those on that were missed

        :param names: the events; all, if they are not given
        :param numbered: each event has a member 'number'
        :param after: the number of the last event that was received: those after it are sent first
        :param monitor: the id of the monitor that the number is of
        """
        select = getattr(request.caller, "select_events", None)
        if select is None:
            raise GenericError("This session gets no events")
        events = self._monitor.events
        for name in names or ():
            if name not in events.definitions:
                raise GenericError(f"Event '{name}' is not defined")
        if not numbered:
            if after is not None or monitor is not None:
                raise GenericError("Parameters 'after' and 'monitor' need 'numbered'")
            select(names)
            return {}
        resumed = events.history.resume(after, monitor)
        select(names, resumed)
        selected: SelectedEvents = {
            "monitor": events.history.id,
            "first": resumed.first,
            "last": resumed.last,
            "lost": resumed.lost,
        }
        if resumed.restarted:
            selected["restarted"] = True
        return selected

    @command(thread_safe=True)
    def query_pending(
        self,
        request: Request,
        limit: UInt32 | None = None,
        filter: str | None = None,
        sort: Literal["number", "session", "command"] = "number",
    ) -> list[PendingInfo]:
        """
        list the requests that are waiting, running or abandoned; those of others from the level operate up

        :param limit: at most this many; without it, or with 0, all of them
        :param filter: only those with this text in session, peer or command
        :param sort: by number, which is by age, the oldest first; or by session or command
        """
        keys: dict[str, Callable[[Request], Any]] = {
            "number": lambda request: request.number,
            "session": lambda request: (request.caller.name, request.number),
            "command": lambda request: (request.name, request.number),
        }
        found = sorted(self._visible(filter, request.caller), key=keys[sort])
        now = self._monitor.clock.seconds()
        own = standing_of(request.caller).owns
        infos = []
        for each in found[:limit] if limit else found:
            info = _pending_info(each, now)
            if each.arguments and own(standing_of(each.caller)):
                self._add_arguments(info, each)
            infos.append(info)
        return infos

    @query_pending.printer
    def _(self, infos: list[Any], arguments: Mapping[str, Any], caller: object) -> str:
        if not infos:
            return "no pending requests"
        shown, hidden = cut(infos, arguments, lambda: len(self._visible(arguments.get("filter"), caller)))
        rows = [
            (
                str(info["number"]),
                info["session"],
                info["command"],
                span(info["seconds"]),
                "{current} of {total}".format(**info["progress"]) if "progress" in info else "",
                "abandoned" if info["abandoned"] else "",
            )
            for info in shown
        ]
        text = table([">number", "session", "command", ">since", ">progress", ""], rows)
        return f"{text}\n{more(hidden)}" if hidden else text

    def _add_arguments(self, info: PendingInfo, request: Request) -> None:
        """Add the arguments of a request as they may be shown."""
        show = getattr(self._monitor.registry.find(request.name), "show", None)
        # Of a command of another make it is not known what is secret.
        if show is None or not _can_be_shown(request.arguments, MAX_SHOWN_ARGUMENTS):
            return
        try:
            shown = show(request)
        except CommandError:
            # They are wrong, which is said when its turn comes.
            return
        if isinstance(shown, Mapping) and shown:
            info["arguments"] = dict(shown)

    def _visible(self, filter: str | None, caller: object) -> list[Request]:
        """:return: the requests that a caller may see"""
        standing = standing_of(caller)
        found = self._pending(filter)
        if standing.level >= Level.OPERATE:
            return found
        return [each for each in found if standing.owns(standing_of(each.caller))]

    def _pending(self, filter: str | None) -> list[Request]:
        pending = self._monitor.pending
        requests = [*pending, *pending.abandoned.values()]
        if not filter:
            return requests
        return [
            each for each in requests if any(filter in text for text in (each.caller.name, each.caller.peer, each.name))
        ]

    @command(oob=True, level="none")
    def cancel_command(self, request: Request, number: int | None = None, id: Any = ABSENT) -> None:
        """
        cancel a request: one of this session by its id, or any by its number

        :param number: as query-pending lists it
        :param id: of the oldest request of this session that has this id
        """
        pending = self._monitor.pending
        if (number is None) == (id is ABSENT):
            raise GenericError("Either 'id' or 'number' must be given")
        found = pending.by_id(request.caller, id) if number is None else pending.by_number(number)
        if found is None:
            raise GenericError("There is no such request pending")
        found.cancel()

    @cancel_command.needs
    def _(self, request: Request) -> list[Need]:
        if "number" in (request.arguments or {}):
            return [Need(Level.ADMIN, "cancel-command", doing=" with 'number'")]
        return [Need(Level.NONE, "cancel-command")]


def _pending_info(request: Request, now: float) -> PendingInfo:
    info: PendingInfo = {
        "number": request.number,
        "session": request.caller.name,
        "peer": request.caller.peer,
        "command": request.name,
        "seconds": max(0.0, now - request.created),
        "abandoned": request.abandoned,
    }
    if request.id is not ABSENT and _can_be_shown(request.id, MAX_SHOWN_ID):
        info["id"] = request.id
    if request.total or request.current:
        info["progress"] = {"current": request.current, "total": request.total}
    return info


def _can_be_shown(value: JSON, most: int) -> bool:
    """What one client sends must not spoil the list for all: it may be C{1e999}, which no result may hold, or very long."""
    if not _is_short(value, most):
        return False
    try:
        plain(value)
    except TypeError:
        return False
    return len(JSONText.of(value).text) <= most


def _is_short(value: JSON, most: int) -> bool:
    """Whether a value may be of so many bytes, and so is not deep either. Of a longer one only that much is looked at."""
    left = most
    waiting: list[JSON] = [value]
    while waiting:
        value = waiting.pop()
        left -= 2 + len(value) if isinstance(value, str) else 2 if isinstance(value, (dict, list)) else 1
        if left < 0 or (isinstance(value, (dict, list)) and len(value) > left):
            return False
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
    return True

"""
The monitor: it has a registry of commands, a dispatcher that serves requests for them, and a table of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.standing import Standing
from twisted_qmon.core.builtin import Builtin, our_version
from twisted_qmon.core.command import Command, CommandOptions, CommandProvider, OnDisconnect
from twisted_qmon.core.dispatcher import MAX_ABANDONED, Dispatcher, not_found
from twisted_qmon.core.events import EventTable
from twisted_qmon.core.events.history import EVENT_HISTORY, EVENT_HISTORY_BYTES, EventHistory
from twisted_qmon.core.guard import Guard
from twisted_qmon.core.registry import Registry
from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, RegistrationError
from twisted_qmon.interfaces import ICaller, ICommand, ICommandProvider, IMonitor
from twisted_qmon.qapi.types.json_text import JSONText

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.audit.trail import Audit
    from twisted_qmon.core.events import Event, Receiver
    from twisted_qmon.core.guard import Client
    from twisted_qmon.core.pending import Pending
    from twisted_qmon.core.request import Request, RequestId
    from twisted_qmon.core.upstream import FrontedServer
    from twisted_qmon.info import JSON, CommandInfo, Level

__all__ = ["MAX_ABANDONED", "Monitor"]


@implementer(ICaller)
class _Local:
    """The caller when C{execute} is called without one."""

    name = kind = "local"
    peer = ""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing

    @property
    def identity(self) -> str:
        """The text of its identity."""
        return self.standing.identity.text

    @property
    def level(self) -> Level:
        """It may do everything."""
        return self.standing.level


@implementer(IMonitor)
class Monitor:
    """
    Commands and events that providers registered, and requests for them.

    :param name: what C{query-name} answers; C{None}: nothing
    :param clock: for deadlines, timestamps and rate limits; C{None}: the global reactor, fetched when first needed
    :param timeout: seconds from the start of a command to its deadline, unless it says otherwise; C{None}: no deadline
    :param access: the rules of who may do what: L{Access<twisted_qmon.core.access.file.Access>}, or the path of a TOML file;
        C{None}: each endpoint's level is all
    :param audit: keeps the record of what is done: L{Audit<twisted_qmon.core.audit.trail.Audit>}; C{None}: none is kept
    :param max_abandoned: how many executions of one command may be unattended before new ones are refused; see L{MAX_ABANDONED}
    :param event_history: how many of the latest events are kept for clients that come back; 0: none
    :param event_history_bytes: bytes that these may have together, as lines on the wire; 0: none is kept
    :raise ValueError: when the timeout is not a positive number of seconds, or a limit is negative
    :raise AccessError: when the file of rules can't be used
    :ivar registry: the commands as C{query-commands} and C{query-qmp-schema} see them
    :ivar dispatcher: serves the requests
    :ivar events: the events that may be emitted, and the subscriptions
    :ivar guard: who is connected, and who may run what
    :ivar upstream: the server that it fronts, or C{None}; see L{set_upstream}
    """

    def __init__(
        self,
        name: str | None = None,
        clock: IReactorTime | None = None,
        timeout: float | None = None,
        *,
        max_abandoned: int = MAX_ABANDONED,
        access: Access | str | PathLike[str] | None = None,
        audit: Audit | None = None,
        event_history: int = EVENT_HISTORY,
        event_history_bytes: int = EVENT_HISTORY_BYTES,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"a timeout is a positive number of seconds, not {timeout!r}")
        self.registry = Registry()
        self.dispatcher = Dispatcher(self.registry, clock, timeout, max_abandoned, self.not_found)
        self.guard = Guard()
        self._local = _Local(self.guard.local)
        self.set_guard(access=access, audit=audit)
        self.name = name
        self.upstream: FrontedServer | None = None
        self._version: Mapping[str, JSON] = our_version()
        # By the provider's identity (it need not be hashable), or by the name of a single command.
        self._providers: dict[int | str, tuple[ICommandProvider | None, list[ICommand], list[Event]]] = {}
        self.events = EventTable(lambda: self.dispatcher.clock, EventHistory(event_history, event_history_bytes))
        self.register(Builtin(self))

    # -- requests

    def submit(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None,
        caller: ICaller,
        id: RequestId = ABSENT,
        oob: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Request:
        """
        Serve one request, whatever its caller and whatever its handler returns.

        :param name: the command's name
        :param arguments: its arguments, as they came
        :param caller: who asks
        :param id: the caller's id for it
        :param oob: execute it out of band
        :param progress: called with (current, total)
        :return: the request; done already, or it notifies once. Nothing is raised.
        """
        return self.dispatcher.submit(name, arguments, caller, id, oob, progress)

    def serve(
        self, name: str, arguments: Mapping[str, JSON] | None, caller: ICaller, id: RequestId
    ) -> JSON | JSONText | Request:
        """
        Serve one request in band, as L{submit} does, but without a L{Request} where nothing would ever see it: the handler does
        not ask for it, and its result is there at once.

        :return: the plain result; or else the request, which is pending, or done
        """
        return self.dispatcher.serve(name, arguments, caller, id)

    def execute(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: ICaller | None = None,
    ) -> Deferred[Any]:
        request = self.submit(name, arguments, self._local if caller is None else caller, progress=progress)
        if request.done:
            return _outcome(request)
        deferred: Deferred[Any] = Deferred(lambda _: request.cancel())
        request.notify(lambda settled: _outcome(settled).chainDeferred(deferred))
        return deferred

    def set_guard(self, *, access: Access | str | PathLike[str] | None = None, audit: Audit | None = None) -> None:
        """
        Have the rules of an access file hold, or a record be kept, from the next connection on.

        :param access: the rules, or the path of a TOML file; C{None}: those that there are stay
        :param audit: keeps the record; C{None}: the one that there is stays
        :raise AccessError: when the file can't be used
        """
        if access is not None:
            self.guard.access = access if isinstance(access, Access) else Access(access)
        if audit is not None:
            self.guard.audit = audit
        if self.guard.access is not None or self.guard.audit is not None:
            self.dispatcher.guard = self.guard
            self.guard.local.judge(None, audited=self.guard.audit is not None)

    def join(self, client: Client) -> bool:
        """
        A connection is established, and who is at its other end is known.

        :return: whether its caller may do anything here
        """
        joined = self.guard.join(client)
        if client.standing.guarded:
            self.dispatcher.guard = self.guard
        return joined

    def part(self, client: Client) -> None:
        """A connection has ended."""
        self.guard.part(client)

    def leave(self, caller: ICaller) -> None:
        self.dispatcher.leave(caller)

    @property
    def pending(self) -> Pending:
        """The requests that are not answered yet."""
        return self.dispatcher.pending

    @property
    def clock(self) -> IReactorTime:
        """The clock it was made with, or the global reactor."""
        return self.dispatcher.clock

    def refuse(self) -> None:
        """Take no new requests from now on; L{ShuttingDown<twisted_qmon.errors.ShuttingDown>} is the answer."""
        self.dispatcher.refuse()

    @property
    def refusing(self) -> bool:
        """It takes no new requests."""
        return self.dispatcher.refusing

    def accept(self) -> None:
        """Take new requests again, after L{refuse}."""
        self.dispatcher.accept()

    def drain(self, seconds: float, *, exclude: Request | None = None) -> Deferred[int]:
        """
        Take no new requests, and wait for those pending.

        :param seconds: how long; those pending after that are cancelled, and answered so
        :param exclude: a request that is not waited for and not cancelled: the one that asked for this
        :return: fires with how many had to be cancelled
        """
        return self.dispatcher.drain(seconds, exclude=exclude)

    # -- commands and events

    def register(self, provider: ICommandProvider, *, shadow: bool = False) -> None:
        """
        Register a provider's commands and events: all of them, or nothing.

        :param provider: provides L{ICommandProvider}
        :param shadow: a name that is taken is no error: the new command or event covers the old one until it is unregistered
        :raise RegistrationError: when a name is taken, or it provides something else
        """
        if not ICommandProvider.providedBy(provider):
            raise RegistrationError(f"{provider!r} does not provide ICommandProvider")
        if id(provider) in self._providers:
            raise RegistrationError(f"{provider!r} is registered already")
        events = list(provider.events)
        commands = self.registry.add(provider.commands(), shadow=shadow)
        try:
            self.events.define(events, shadow=shadow)
        except BaseException:
            self.registry.remove(commands)
            raise
        self._providers[id(provider)] = (provider, commands, events)
        _set_monitor(provider, self)

    def unregister(self, provider: ICommandProvider | str) -> None:
        """
        Take out what L{register} or L{register_command} put in. Requests that are being served go on.

        :param provider: the provider, or the name of a command from L{register_command}
        :raise RegistrationError: when it is not registered
        """
        try:
            registered, commands, events = self._providers.pop(provider if isinstance(provider, str) else id(provider))
        except KeyError:
            raise RegistrationError(f"{provider!r} is not registered") from None
        self.registry.remove(commands)
        self.events.remove(events)
        if registered is not None:
            _set_monitor(registered, None)

    @property
    def providers(self) -> tuple[ICommandProvider, ...]:
        """The providers that are registered, the oldest first. A provider finds another one here."""
        return tuple(provider for provider, _, _ in self._providers.values() if provider is not None)

    def register_command(
        self,
        name: str,
        handler: Callable[..., Any],
        *,
        args_type: str | None = None,
        params: str | None = None,
        help: str | None = None,
        aliases: Sequence[str] = (),
        timeout: float | None = None,
        oob: bool = False,
        on_disconnect: OnDisconnect = "continue",
        hidden: bool = False,
        level: Level | str | None = None,
        thread_safe: bool = False,
        printer: Callable[..., str] | None = None,
    ) -> None:
        """
        Register one function as a command. For the parameters see L{CommandOptions}.

        :param handler: called with the arguments as keywords; returns a value, a Deferred or a coroutine
        :param printer: makes text for a person out of a result; one with a second parameter is given the arguments as well, one
            with a third also who asked (L{ICaller})
        :raise RegistrationError: when a name is taken or the declaration is not valid
        """
        options = CommandOptions(
            name, args_type, params, help, aliases, timeout, oob, on_disconnect, hidden, level, thread_safe
        )
        if name in self._providers:
            raise RegistrationError(f"the name {name!r} is already taken: it is a command")
        self._providers[name] = (None, self.registry.add([Command(handler, options, printer)]), [])

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        return succeed(self.registry.infos())

    def command(self, name: str) -> ICommand | None:
        """:return: the command of that name, or C{None}"""
        return self.registry.find(name)

    # -- the server behind

    def set_upstream(self, upstream: FrontedServer | None) -> None:
        """
        Front a server: from now on the greeting waits for it and has its version, and an unknown command gets its error.

        :param upstream: the server; C{None}: none any more
        """
        self.upstream = upstream

    @property
    def version(self) -> Mapping[str, Any]:
        """The version in the greeting and in C{query-version}. A program that has a version of its own can set it."""
        upstream = None if self.upstream is None else self.upstream.version
        return self._version if upstream is None else upstream

    @version.setter
    def version(self, version: Mapping[str, Any]) -> None:
        self._version = version

    def ready(self) -> Deferred[None] | None:
        """
        Called by the protocols before the greeting.

        :return: C{None}, or a Deferred that the greeting waits for, for a limited time
        """
        return None if self.upstream is None else self.upstream.when_ready()

    def not_found(self, name: str) -> CommandError:
        """:return: the error for the name of a command that is not registered"""
        return not_found(name) if self.upstream is None else self.upstream.not_found(name)

    # -- events

    def emit(
        self, name: str, data: Mapping[str, object] | None = None, *, timestamp: float | Mapping[str, int] | None = None
    ) -> None:
        """
        Emit an event, within its rate limit.

        :param name: an event that a registered provider defines
        :param data: its members, in Python's spelling or that of the wire
        :param timestamp: when it happened: seconds since the epoch, or C{{"seconds", "microseconds"}}; by default now
        :raise EventError: when it is not defined, or the data does not match
        """
        self.events.emit(name, data, timestamp=timestamp)

    def subscribe(self, receiver: Receiver, names: Iterable[str] | None = None) -> Callable[[], None]:
        return self.events.subscribe(receiver, names)


def _set_monitor(provider: ICommandProvider, monitor: Monitor | None) -> None:
    if hasattr(type(provider), "monitor"):
        cast(CommandProvider, provider).monitor = monitor


def _outcome(request: Request) -> Deferred[Any]:
    if request.error is not None:
        return fail(request.error)
    result = request.result
    return succeed(result.value if isinstance(result, JSONText) else result)

"""
The monitor: commands in, one road for every request, events out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_qmon.core.builtin import Builtin, our_version
from twisted_qmon.core.command import Command, CommandOptions
from twisted_qmon.core.dispatcher import MAX_ABANDONED, Dispatcher, not_found
from twisted_qmon.core.events import EventTable
from twisted_qmon.core.registry import Registry
from twisted_qmon.errors import CommandError, RegistrationError
from twisted_qmon.interfaces import ICaller, ICommandProvider, IMonitor
from twisted_qmon.qapi.json_text import JSONText

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.request import Request
    from twisted_qmon.core.upstream import FrontedServer
    from twisted_qmon.info import CommandInfo

__all__ = ["MAX_ABANDONED", "Monitor"]


@implementer(ICaller)
class _Local:
    """Who asks when C{execute} is called without a caller."""

    name = kind = "local"
    peer = ""


@implementer(IMonitor)
class Monitor(Dispatcher):
    """
    A registry of commands and events, and the road that each request takes.

    :param name: what C{query-name} answers; C{None}: nothing
    :param clock: for deadlines, timestamps and rate limits; C{None}: the global reactor, fetched when first needed
    :param timeout: seconds that a command has unless it says otherwise; C{None}: any time it likes
    :param max_abandoned: how many abandoned executions of one command are borne; see L{MAX_ABANDONED}
    :raise ValueError: when the timeout is no positive number of seconds
    :ivar upstream: the server that it fronts, or C{None}; see L{set_upstream}
    """

    def __init__(
        self,
        name: str | None = None,
        clock: IReactorTime | None = None,
        timeout: float | None = None,
        *,
        max_abandoned: int = MAX_ABANDONED,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"a timeout is a positive number of seconds, not {timeout!r}")
        self._registry = Registry()
        super().__init__(self._registry.find, self._registry.find_direct, clock, timeout, max_abandoned, self.not_found)
        self._local = _Local()
        self.name = name
        self.upstream: FrontedServer | None = None
        self._version: Mapping[str, Any] = our_version()
        # By the provider's identity (it need not be hashable), or by the name of a single command.
        self._providers: dict[int | str, tuple[Any, list[Any], list[Any]]] = {}
        self.events = EventTable(lambda: self.clock)
        self.register(Builtin())

    def execute(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: Any = None,
    ) -> Deferred[Any]:
        request = self.submit(name, arguments, self._local if caller is None else caller, progress=progress)
        if request.done:
            return _outcome(request)
        deferred: Deferred[Any] = Deferred(lambda _: request.cancel())
        request.notify(lambda settled: _outcome(settled).chainDeferred(deferred))
        return deferred

    # -- commands and events

    def register(self, provider: Any, *, shadow: bool = False) -> None:
        """
        Register a provider's commands and events: all of them, or nothing.

        :param provider: provides L{ICommandProvider}
        :param shadow: names that are taken are no error: the new ones cover the old until they are unregistered
        :raise RegistrationError: when a name is taken, or it provides something else
        """
        if not ICommandProvider.providedBy(provider):
            raise RegistrationError(f"{provider!r} does not provide ICommandProvider")
        if id(provider) in self._providers:
            raise RegistrationError(f"{provider!r} is registered already")
        events = list(provider.events)
        commands = self._registry.add(provider.commands(), shadow=shadow)
        try:
            self.events.define(events, shadow=shadow)
        except BaseException:
            self._registry.remove(commands)
            raise
        self._providers[id(provider)] = (provider, commands, events)
        _set_monitor(provider, self)

    def unregister(self, provider: Any) -> None:
        """
        Take out what L{register} or L{register_command} put in. Requests that are being served go on.

        :param provider: the provider, or the name of a command from L{register_command}
        :raise RegistrationError: when it is not registered
        """
        try:
            _, commands, events = self._providers.pop(provider if isinstance(provider, str) else id(provider))
        except KeyError:
            raise RegistrationError(f"{provider!r} is not registered") from None
        self._registry.remove(commands)
        self.events.remove(events)
        _set_monitor(provider, None)

    @property
    def providers(self) -> tuple[Any, ...]:
        """The providers that are registered, oldest first: how one finds another."""
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
        on_disconnect: str = "continue",
        hidden: bool = False,
        printer: Callable[..., str] | None = None,
    ) -> None:
        """
        Register one function as a command. For the parameters see L{CommandOptions}.

        :param handler: called with the arguments as keywords; returns a value, a Deferred or a coroutine
        :param printer: makes text for a person out of a result; one with a second parameter is given the arguments as well
        :raise RegistrationError: when a name is taken or the declaration makes no sense
        """
        options = CommandOptions(name, args_type, params, help, aliases, timeout, oob, on_disconnect, hidden)
        if name in self._providers:
            raise RegistrationError(f"the name {name!r} is already taken: it is a command")
        self._providers[name] = (None, self._registry.add([Command(handler, options, printer)]), [])

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        return succeed(self._registry.infos())

    def command(self, name: str) -> Any | None:
        """:return: the L{ICommand} of that name, or C{None}"""
        return self._lookup(name)

    @property
    def registry(self) -> Registry:
        """The commands as C{query-commands} and C{query-qmp-schema} see them."""
        return self._registry

    # -- the server behind

    def set_upstream(self, upstream: FrontedServer | None) -> None:
        """
        Front a server: from now on the greeting waits for it and has its version, and it words the error for an unknown command.

        :param upstream: the server; C{None}: the monitor stands for itself again
        """
        self.upstream = upstream

    @property
    def version(self) -> Mapping[str, Any]:
        """What the greeting and C{query-version} say. It can be set, for a program that has a version of its own to tell."""
        upstream = None if self.upstream is None else self.upstream.version
        return self._version if upstream is None else upstream

    @version.setter
    def version(self, version: Mapping[str, Any]) -> None:
        self._version = version

    def ready(self) -> Deferred[None] | None:
        """
        Asked by the protocols before they greet.

        :return: C{None}, or a Deferred worth waiting a moment for
        """
        return None if self.upstream is None else self.upstream.when_ready()

    def not_found(self, name: str) -> CommandError:
        """:return: the error for the name of a command that is not registered"""
        return not_found(name) if self.upstream is None else self.upstream.not_found(name)

    # -- events

    def emit(
        self, name: str, data: Mapping[str, Any] | None = None, *, timestamp: float | Mapping[str, int] | None = None
    ) -> None:
        """
        Tell every subscriber of an event, within its rate limit.

        :param name: an event that a registered provider defines
        :param data: its members, in Python's spelling or that of the wire
        :param timestamp: when it happened: seconds since the epoch, or C{{"seconds", "microseconds"}}; by default now
        :raise EventError: when it is not defined, or the data does not fit
        """
        self.events.emit(name, data, timestamp=timestamp)

    def subscribe(
        self, receiver: Callable[[Mapping[str, Any]], None], names: Iterable[str] | None = None
    ) -> Callable[[], None]:
        return self.events.subscribe(receiver, names)


def _set_monitor(provider: Any, monitor: Monitor | None) -> None:
    if hasattr(type(provider), "monitor"):
        provider.monitor = monitor


def _outcome(request: Request) -> Deferred[Any]:
    if request.error is not None:
        return fail(request.error)
    result = request.result
    return succeed(result.value if isinstance(result, JSONText) else result)

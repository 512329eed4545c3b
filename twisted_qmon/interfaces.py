"""
The interfaces: what you provide (L{ICommandProvider}, L{ICommand}), and what you are given (L{IMonitor}, L{ICaller},
L{ISuspendable}).

Each method says what it returns, every way it fails, and in what unit it counts. Implementations don't repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from twisted_qmon.info import JSON, CommandInfo, Level

__all__ = ["ICaller", "ICommand", "ICommandProvider", "ICommandProviderFactory", "IMonitor", "ISuspendable"]


class ICommand(Interface):
    """One command: L{twisted_qmon.core.command.Command} is ours."""

    name: str = Attribute("The QMP name (C{str}), unique in a monitor.")
    info: CommandInfo = Attribute(
        "What a client can know of it (L{CommandInfo}): parameters, args_type, params, help, aliases, hidden; and C{printer}, "
        "an opaque place for a human printer, which the core never reads."
    )
    oob: bool = Attribute("It may be executed out of band (C{exec-oob}), and so must be quick.")
    timeout: float | None = Attribute("Seconds from its start to its deadline; C{None}: the monitor's default.")
    on_disconnect: str = Attribute("C{'continue'} or C{'cancel'}: what becomes of it when its caller leaves.")

    def invoke(request: Any, arguments: Mapping[str, JSON] | None) -> object:
        """
        Check the arguments and run the handler.

        :param request: the L{twisted_qmon.Request} being served
        :param arguments: the arguments as they came, member names as on the wire; C{None}: none
        :return: whatever the handler returns: a value, a Deferred or a coroutine
        :raise CommandError: when an argument is missing, unexpected or wrong, before any side effect
        """

    def finish(result: Any) -> Any:
        """
        Turn what the handler returned into plain JSON data, or a L{JSONText<twisted_qmon.qapi.json_text.JSONText>}.

        :raise TypeError: when it does not fit the command's return annotation, or JSON has no form for it
        """


class ICommandProvider(Interface):
    """Something that has commands: a subclass of L{twisted_qmon.CommandProvider}, or any object that provides this."""

    events: Sequence[Any] = Attribute("The L{twisted_qmon.Event}s that it may emit.")

    def commands() -> Iterable[ICommand]:
        """:return: its commands. Called once, when the provider is registered."""


class ICommandProviderFactory(Interface):
    """
    What a package installs so that C{twistd qmon --provider NAME} finds its commands: a Twisted plugin that provides this and
    C{twisted.plugin.IPlugin}, in a file below C{twisted/plugins}. Every C{twistd} imports that file, so it should import little
    before L{provider} is called.
    """

    name: str = Attribute("What C{--provider} takes (C{str}): no colon in it, and unique among those installed.")
    description: str = Attribute("One line (C{str}) for C{twistd qmon --help}.")
    options: Any = Attribute(
        "C{None}, or an instance of C{twisted.python.usage.Options}: what may follow the name. C{--provider NAME:size=10:fast} "
        "is parsed by it as C{--size=10 --fast} before L{provider} is called; without anything after the name it has its "
        "defaults."
    )

    def provider(reactor: Any, application: Any) -> Any:
        """
        Make the provider. Called once for each time that the name is given.

        :param reactor: the reactor that will run
        :param application: the root of the tree of services (C{IService}, C{IServiceCollection}); its services may not be
            started, and not all be there yet
        :return: provides L{ICommandProvider}
        :raise Exception: when it can't be made: C{twistd qmon} ends with one line that says so
        """


class ICaller(Interface):
    """Who asks. A L{twisted_qmon.Request} holds one of these instead of a transport."""

    name: str = Attribute("A short name that tells it from the others of this monitor, for logs (C{'qmp-3'}).")
    kind: str = Attribute("C{'qmp'}, C{'hmp'}, C{'local'} or a provider's own.")
    peer: str = Attribute("Where it comes from, as text; may be empty.")
    identity: str = Attribute("Who it is, as its connection established it (C{'uid:1000(alice) pid:4711'}).")
    level: Level = Attribute("What it may do, from now on (L{twisted_qmon.info.Level}).")


class ISuspendable(Interface):
    """
    A protocol whose reading can be held up. The calls nest: reading goes on when each C{suspend} has had its C{resume}.
    """

    def suspend() -> None:
        """Take no more input for now. The first of nested calls tells the transport C{pauseProducing}."""

    def resume() -> None:
        """
        Undo one C{suspend}. The last one tells the transport C{resumeProducing}; what had arrived before is served first.

        :raise RuntimeError: when there was no C{suspend} to undo
        """


class IMonitor(Interface):
    """
    A monitor, here (L{twisted_qmon.Monitor}) or behind a connection (L{twisted_qmon.QMPClient}).
    """

    def execute(
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: ICaller | None = None,
    ) -> Deferred[Any]:
        """
        Execute a command.

        :param name: its QMP name
        :param arguments: its arguments, member names as on the wire
        :param progress: called with (current, total), in the command's own unit, only where the monitor can tell
        :param caller: on whose behalf; by default the monitor's own local one. A remote monitor ignores it.
        :return: fires with the result as plain JSON data (member names as on the wire), and fails with L{CommandError} and
            with nothing else. Cancelling it cancels the command where the server has C{cancel-command} (sent out of band if
            negotiated) or the request is not sent yet; elsewhere the later reply is dropped. A cancelled one fails with
            L{CommandCancelled}.
        """

    def leave(caller: ICaller) -> None:
        """
        The caller is gone: what it has pending is cancelled or runs on, as each command says (C{on_disconnect}). Its Deferreds
        don't fire any more.
        """

    def subscribe(
        receiver: Callable[[Mapping[str, Any]], None], names: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """
        Be told of events, in the order in which they happened.

        :param receiver: called with the event message as on the wire: C{"event"}, C{"timestamp"} (C{"seconds"},
            C{"microseconds"}) and, if it has any, C{"data"}. It must not change it.
        :param names: the events wanted; C{None}: all
        :return: call it to end the subscription; more than once does no harm
        """

    def commands() -> Deferred[dict[str, CommandInfo]]:
        """
        :return: fires with the commands by their QMP names, at once if they are known here; fails with L{CommandError}. The
            dictionary is shared: don't change it.
        """

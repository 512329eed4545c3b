"""
The interfaces: those that you provide (L{ICommandProvider}, L{ICommand}), and those that you are given (L{IMonitor},
L{ICaller}, L{ISuspendable}).

Each method says what it returns, how it fails, and in which unit it counts. Implementations don't repeat it.
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
        "What a client can know of it (L{CommandInfo}): parameters, args_type, params, help, aliases, hidden. Its C{printer} is "
        "for the human monitor; the core never calls it."
    )
    oob: bool = Attribute("It may be executed out of band (C{exec-oob}), and so must be quick.")
    timeout: float | None = Attribute("Seconds from its start to its deadline; C{None}: the monitor's default.")
    on_disconnect: str = Attribute("C{'continue'} or C{'cancel'}: what happens to it when its caller leaves.")

    def invoke(request: Any, arguments: Mapping[str, JSON] | None) -> object:
        """
        Validate the arguments and call the handler.

        :param request: the L{twisted_qmon.Request} being served
        :param arguments: the arguments as they came, member names as on the wire; C{None}: none
        :return: what the handler returns: a value, a Deferred or a coroutine
        :raise CommandError: when an argument is missing, unexpected or wrong, before any side effect
        """

    def finish(result: Any) -> Any:
        """
        Convert the handler's result.

        :return: plain JSON data, or a L{JSONText<twisted_qmon.qapi.types.json_text.JSONText>}
        :raise TypeError: when it does not match the command's return annotation, or JSON has no form for it
        """


class ICommandProvider(Interface):
    """A source of commands: a subclass of L{twisted_qmon.CommandProvider}, or any object that provides this."""

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
        "C{None}, or an instance of C{twisted.python.usage.Options} that parses what follows the name: "
        "C{--provider NAME:size=10:fast} as C{--size=10 --fast}, before L{provider} is called."
    )

    def provider(reactor: Any, application: Any) -> Any:
        """
        Make the provider. Called once for each C{--provider} with the name.

        :param reactor: the reactor that will run
        :param application: the root of the tree of services (C{IService}, C{IServiceCollection}); its services may not be
            started, and not all be there yet
        :return: provides L{ICommandProvider}
        :raise Exception: when it can't be made: C{twistd qmon} ends with its text in one line
        """


class ICaller(Interface):
    """The origin of requests: a session, or the program itself. A L{twisted_qmon.Request} has one of these, no transport."""

    name: str = Attribute("A short name that is unique in this process, for logs (C{'qmp-3'}).")
    kind: str = Attribute("C{'qmp'}, C{'hmp'}, C{'local'} or a provider's own.")
    peer: str = Attribute("Where it comes from, as text; may be empty.")
    identity: str = Attribute("Who it is, as its connection established it (C{'uid:1000(alice) pid:4711'}).")
    level: Level = Attribute("What it may do, from now on (L{twisted_qmon.info.Level}).")


class ISuspendable(Interface):
    """
    A protocol whose reading can be suspended. The calls nest: reading goes on after as many C{resume} as C{suspend}.
    """

    def suspend() -> None:
        """Take no more input for now. The first of nested calls tells the transport C{pauseProducing}."""

    def resume() -> None:
        """
        Undo one C{suspend}. The last one serves what had arrived before, and tells the transport C{resumeProducing}.

        :raise RuntimeError: when it is not suspended
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
        :return: fires with the result as plain JSON data (member names as on the wire), and fails with L{CommandError} only.
            Cancelling it cancels the command where the server has C{cancel-command} (sent out of band if negotiated) or the
            request is not sent yet; elsewhere the reply is dropped when it comes. A cancelled one fails with
            L{CommandCancelled}.
        """

    def leave(caller: ICaller) -> None:
        """
        The caller has gone: each of its pending requests is cancelled or runs on, as its command says (C{on_disconnect}). The
        Deferreds that C{execute} returned for it don't fire any more.
        """

    def subscribe(
        receiver: Callable[[Mapping[str, Any]], None], names: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """
        Receive events, in the order in which they happened.

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

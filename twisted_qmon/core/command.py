"""
Commands and who provides them: L{command} marks a method as one, L{CommandProvider} collects them, L{Command} is what a monitor
holds and runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

import msgspec
from zope.interface import implementer

from twisted_qmon.errors import EventError, RegistrationError
from twisted_qmon.info import CommandInfo, Level, Need
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.qapi.resolve import wire_name
from twisted_qmon.qapi.signature import Signature, compile_signature, default_params
from twisted_qmon.qapi.types.fast import Arguments, Handler
from twisted_qmon.qapi.types.plain import is_as_read
from twisted_qmon.qapi.types.secret import HIDDEN, wrapped

if TYPE_CHECKING:
    from twisted_qmon.core.events import Event
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request
    from twisted_qmon.core.tally import Tally

__all__ = [
    "Command",
    "CommandInfo",
    "CommandMethod",
    "CommandOptions",
    "CommandProvider",
    "OnDisconnect",
    "command",
    "command_name",
]

#: What becomes of a command when its caller leaves: it runs on, and its outcome is logged, or it is cancelled.
OnDisconnect: TypeAlias = Literal["continue", "cancel"]

_Printer = TypeVar("_Printer", bound=Callable[..., str])


def command_name(method_name: str) -> str:
    """
    The command's name for a method's: C{query_balloon} is C{query-balloon}, C{print_} is C{print}.
    """
    return method_name.rstrip("_").replace("_", "-")


class CommandOptions(msgspec.Struct, frozen=True):
    """
    What C{@command(...)} and C{Monitor.register_command(...)} both take.

    :ivar name: the QMP name; by default made from the function's
    :ivar args_type: QEMU's declaration of the arguments; by default they follow from the annotations
    :ivar params: the parameters as C{help} shows them; by default derived
    :ivar help: one line for C{help}; by default the first of the docstring
    :ivar aliases: other names in the human monitor
    :ivar timeout: seconds from the start to the deadline; by default the monitor's; C{math.inf}: none, whatever the monitor's
    :ivar oob: may be executed out of band: it must be quick
    :ivar on_disconnect: C{"continue"} (and log the outcome) or C{"cancel"} when the caller leaves
    :ivar hidden: not in C{help}
    :ivar level: what a caller needs to run it: C{"observe"}, C{"operate"} or C{"admin"}, or C{"none"}; by default C{observe} for
        C{query-...}, else C{operate}
    :ivar thread_safe: the watchdog's thread may run it too, at any moment of the main one: the handler reads only what does not
        change, or what it copies in one step; it changes, logs and emits nothing, and returns no Deferred
    """

    name: str | None = None
    args_type: str | None = None
    params: str | None = None
    help: str | None = None
    aliases: Sequence[str] = ()
    timeout: float | None = None
    oob: bool = False
    on_disconnect: OnDisconnect = "continue"
    hidden: bool = False
    level: Level | str | None = None
    thread_safe: bool = False

    def __post_init__(self) -> None:
        if self.level is not None:
            try:
                Level.of(self.level)
            except ValueError as e:
                raise RegistrationError(str(e)) from e
        if self.on_disconnect not in ("continue", "cancel"):
            raise RegistrationError(f"on_disconnect is 'continue' or 'cancel', not {self.on_disconnect!r}")
        if self.timeout is not None and not self.timeout > 0:
            raise RegistrationError(f"a timeout is a positive number of seconds, not {self.timeout!r}")
        if isinstance(self.aliases, str):
            raise RegistrationError(f"aliases is a sequence of names, not the string {self.aliases!r}")


# What a L{Command} has once its signature is compiled.
_COMPILED = frozenset({"_call", "direct", "finish", "handler", "info", "signature"})


@implementer(ICommand)
class Command:
    """
    One command of a monitor: a handler with its compiled signature.

    :param handler: called with the arguments as keywords; returns a value, a Deferred or a coroutine
    :param options: what it was declared with
    :param printer: makes text for a person out of a result; the core only carries it
    :param needs: see L{CommandMethod.needs}
    :param continues: see L{CommandMethod.continues}
    :param shows: see L{CommandMethod.shows}
    :param signature: compiles that of the handler when it is first needed, because it is known to be valid; C{None}: it is
        compiled here
    :ivar direct: C{direct(arguments)}: what C{invoke} does, for a handler that does not take the request, and for arguments that
        are C{None} or JSON data as a reader makes it; C{None} if the handler takes the request
    :raise RegistrationError: when the name, the annotations or the C{args_type} are not valid
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_check",
        "_late",
        "_options",
        "_plain",
        "_printer",
        "_shows",
        "_signature",
        "continues",
        "direct",
        "finish",
        "handler",
        "info",
        "name",
        "needs",
        "on_disconnect",
        "oob",
        "signature",
        "tally",
        "timeout",
    )

    # Set by the registry.
    tally: Tally

    def __init__(
        self,
        handler: Handler,
        options: CommandOptions,
        printer: Callable[..., str] | None = None,
        needs: Callable[[Request], Iterable[Need]] | None = None,
        continues: Callable[[Request], bool] | None = None,
        shows: Callable[[Request], Arguments] | None = None,
        signature: Callable[[], Signature] | None = None,
    ) -> None:
        name = options.name
        if name is None:
            name = command_name(getattr(handler, "__name__", ""))
        if not name or not all(c.isprintable() and not c.isspace() and c != "/" for c in name):
            raise RegistrationError(f"not a name for a command: {name!r}")
        self.name = name
        self.oob = options.oob
        self.timeout = options.timeout
        self.on_disconnect = options.on_disconnect
        self.needs = needs
        self.continues = continues
        self._shows = shows
        self._check: Callable[[Arguments], object] | None = None
        self._options = options
        self._printer = printer
        self._plain = handler
        self._late = True
        self._signature = signature
        if signature is None:
            self.compile()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            # It is not there yet.
            if name not in _COMPILED:
                raise AttributeError(name)
            self.compile()
            return getattr(self, name)

    @property
    def aliases(self) -> Sequence[str]:
        """Those of C{info}, which need not be there for it."""
        return self._options.aliases if self._late else self.info.aliases

    def compile(self) -> None:
        """
        Compile the signature, if that has not been done.

        :raise RegistrationError: when the annotations or the C{args_type} are not valid
        """
        if not self._late:
            return
        handler, options = self._plain, self._options
        make = self._signature
        signature = self.signature = compile_signature(handler, args_type=options.args_type) if make is None else make()
        summary, doc = _split_docstring(handler)
        self.handler: Handler = wrapped(handler, signature.secrets) if signature.secrets else handler
        self.finish = signature.finish
        # Of a subclass that has its own way of calling, that way holds.
        asks = (
            signature.request_parameter is not None
            or type(self).invoke is not Command.invoke
            or self._shows is not None
        )
        self._call: Callable[..., object] = self._call_first
        self.direct: Callable[[Arguments | None], object] | None = None if asks else self._call_first
        self.info = CommandInfo(
            name=self.name,
            parameters=signature.parameters,
            args_type=options.args_type,
            items=signature.items,
            params=default_params(signature) if options.params is None else options.params,
            help=summary if options.help is None else options.help,
            aliases=tuple(options.aliases),
            hidden=options.hidden,
            doc=doc,
            returns=signature.returns,
            level=None if options.level is None else Level.of(options.level),
            boxed=signature.boxed,
            thread_safe=options.thread_safe,
            printer=self._printer,
        )
        self._late = False

    def _call_first(self, arguments: Arguments | None, request: Request | None = None) -> object:
        # Made when the first call comes: most commands of a program are called never, or not yet.
        call = self._call = self.signature.caller(self.handler)
        if self.direct is not None:
            self.direct = call
        return call(arguments, request)

    def invoke(self, request: Request, arguments: Arguments | None) -> object:
        if not arguments or is_as_read(arguments):
            return self._call(arguments, request)
        keywords = self.signature.bind(arguments)
        if self.signature.request_parameter is not None:
            keywords[self.signature.request_parameter] = request
        return self.handler(**keywords)

    def show(self, request: Request) -> Arguments:
        """
        :return: the arguments of a request as they may be shown: what is secret is not
        :raise CommandError: when they are wrong
        """
        if self._shows is not None:
            return self._shows(request)
        arguments = request.arguments
        if arguments and not is_as_read(arguments):
            self.signature.bind(arguments)
            return self._without_secrets(arguments)
        return self.shown(arguments)

    def shown(self, arguments: Arguments | None) -> Arguments:
        """
        :param arguments: C{None}, or JSON data as a reader makes it
        :return: the arguments as they may be shown: what is secret is not
        :raise CommandError: when they are wrong
        """
        if self._check is None:
            self._check = self.signature.checker()
        arguments = arguments or {}
        self._check(arguments)
        return self._without_secrets(arguments) if self.signature.secrets else arguments

    def _without_secrets(self, arguments: Arguments) -> Arguments:
        secrets = {wire_name(name) for name in self.signature.secrets}
        # An args_type may have the name with another spelling.
        return {name: HIDDEN if wire_name(name) in secrets else value for name, value in arguments.items()}

    def __repr__(self) -> str:
        return f"<Command {self.name!r}>"


def _split_docstring(handler: Handler) -> tuple[str, str]:
    text = inspect.getdoc(handler) or ""
    summary, _, rest = text.partition("\n")
    return summary.strip().rstrip("."), rest.strip()


class CommandMethod:
    """
    A method that is a command. On an instance it is still the method; C{printer} gives it a form for people.
    """

    def __init__(self, function: Handler, options: CommandOptions) -> None:
        self.function = function
        self.options = options
        self.human_printer: Callable[..., str] | None = None
        self.needs_of: Callable[[Any, Request], Iterable[Need]] | None = None
        self.continues_of: Callable[[Any, Request], bool] | None = None
        self.shows_of: Callable[[Any, Request], Arguments] | None = None
        # The same for all instances. A process may have hundreds of monitors with the same providers.
        self._signature: Signature | None = None
        self.__doc__ = function.__doc__

    def printer(self, function: _Printer) -> _Printer:
        """
        Decorate the function that makes text for a person out of the command's result.

        :param function: called with the result as plain JSON data (member names as on the wire), and with the arguments if it has
            a second parameter, and with who asked (L{ICaller<twisted_qmon.interfaces.ICaller>}) if it has a third; returns text.
            One whose first parameter is C{self} is called as a method of the provider.
        """
        self.human_printer = function
        return function

    def needs(self, function: Callable[[Any, Request], Iterable[Need]]) -> Callable[[Any, Request], Iterable[Need]]:
        """
        Decorate the method that says what a request needs, where that depends on its arguments. It is asked before they are
        checked, and instead of the command's level.

        :param function: called with the provider and the request; returns the needs, all of which its caller must have
        """
        self.needs_of = function
        return function

    def continues(self, function: Callable[[Any, Request], bool]) -> Callable[[Any, Request], bool]:
        """
        Decorate the method that says whether a request goes on with what an earlier one of the same session began: the next
        look at what is followed. The audit records the first one only.

        :param function: called with the provider and the request
        """
        self.continues_of = function
        return function

    def shows(self, function: Callable[[Any, Request], Arguments]) -> Callable[[Any, Request], Arguments]:
        """
        Decorate the method that says what may be shown of the arguments, in the audit and in C{query-pending}, where more of them
        may be secret than the parameters annotated C{Secret[str]}.

        :param function: called with the provider and the request; returns what may be shown
        """
        self.shows_of = function
        return function

    @overload
    def __get__(self, instance: None, owner: type) -> CommandMethod: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: object | None, owner: type) -> CommandMethod | Callable[..., Any]:
        return self if instance is None else self.function.__get__(instance, owner)

    def bind(self, instance: object) -> Command:
        """:return: the command of this instance"""
        printer = self.human_printer
        code = getattr(printer, "__code__", None)
        if printer is not None and code is not None and code.co_varnames[:1] == ("self",):
            printer = MethodType(printer, instance)
        needs = None if self.needs_of is None else MethodType(self.needs_of, instance)
        continues = None if self.continues_of is None else MethodType(self.continues_of, instance)
        shows = None if self.shows_of is None else MethodType(self.shows_of, instance)
        handler = self.function.__get__(instance)
        command = Command(handler, self.options, printer, needs, continues, shows, lambda: self._compiled(handler))
        # Ours are valid, as tests say. Most are never called, and to compile them all would take most of the start.
        if not str(getattr(self.function, "__module__", "")).startswith("twisted_qmon."):
            command.compile()
        return command

    def _compiled(self, handler: Handler) -> Signature:
        if self._signature is None:
            self._signature = compile_signature(handler, args_type=self.options.args_type)
        return self._signature


@overload
def command(function: Handler, /) -> CommandMethod: ...
@overload
def command(
    *,
    name: str | None = ...,
    args_type: str | None = ...,
    params: str | None = ...,
    help: str | None = ...,
    aliases: Sequence[str] = ...,
    timeout: float | None = ...,
    oob: bool = ...,
    on_disconnect: OnDisconnect = ...,
    hidden: bool = ...,
    level: Level | str | None = ...,
    thread_safe: bool = ...,
) -> Callable[[Handler], CommandMethod]: ...
def command(
    function: Handler | None = None,
    /,
    *,
    name: str | None = None,
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
) -> CommandMethod | Callable[[Handler], CommandMethod]:
    """
    Mark a method of a L{CommandProvider} as a command, bare or with options (see L{CommandOptions}).

    The annotations of its parameters are the types of the arguments, that of its result the type of the reply.

    :raise RegistrationError: when an option is not valid
    """
    options = CommandOptions(
        name, args_type, params, help, aliases, timeout, oob, on_disconnect, hidden, level, thread_safe
    )
    if function is not None:
        return CommandMethod(function, options)
    return lambda decorated: CommandMethod(decorated, options)


@implementer(ICommandProvider)
class CommandProvider:
    """
    Base class for a bundle of commands: each method marked with L{command} is one.

    :cvar events: the L{Event<twisted_qmon.Event>}s that it may emit
    :ivar monitor: the L{Monitor<twisted_qmon.Monitor>} it is registered with, or C{None}
    """

    events: Sequence[Event] = ()
    monitor: Monitor | None = None

    def emit(
        self, name: str, data: Mapping[str, object] | None = None, *, timestamp: float | Mapping[str, int] | None = None
    ) -> None:
        """
        Emit an event at the monitor that this provider is registered with. The parameters are those of
        L{Monitor.emit<twisted_qmon.Monitor.emit>}.

        :raise EventError: when the provider is not registered, the event is not defined, or the data does not match
        """
        if self.monitor is None:
            raise EventError(f"event {name} can't be emitted: {type(self).__name__} is not registered with a monitor")
        self.monitor.emit(name, data, timestamp=timestamp)

    def commands(self) -> Iterable[ICommand]:
        methods: dict[str, CommandMethod] = {}
        for cls in reversed(type(self).__mro__):
            for name, value in vars(cls).items():
                if isinstance(value, CommandMethod):
                    methods[name] = value
                elif name in methods:
                    # Overridden by something that is no command: the subclass takes it away.
                    del methods[name]
        return [method.bind(self) for method in methods.values()]

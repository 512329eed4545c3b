"""
The commands and events of a QEMU, as a monitor offers them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from zope.interface import implementer

from twisted_qmon.core.access.standing import standing_of
from twisted_qmon.core.audit.record import argument_names
from twisted_qmon.info import Need
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.providers.qemu.descriptors import ADD_FD, CLOSEFD, GETFD, REMOVE_FD
from twisted_qmon.providers.qemu.levels import read_line
from twisted_qmon.providers.qemu.schema import merge_schema
from twisted_qmon.providers.qemu.secrets import hide_secrets
from twisted_qmon.qapi.schema import build_schema
from twisted_qmon.qapi.types.json_text import JSONText, shared_text
from twisted_qmon.qmp._client.commands import HMC

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from twisted_qmon.core.events import Event
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request
    from twisted_qmon.info import JSON, CommandInfo
    from twisted_qmon.providers.qemu.description import Description
    from twisted_qmon.providers.qemu.descriptors import Descriptors
    from twisted_qmon.providers.qemu.upstream import Upstream

__all__ = ["UpstreamCommands"]

_Arguments: TypeAlias = "Mapping[str, JSON] | None"

#: Gives the answer to a request with these arguments where it is known here; C{None}: QEMU has to be asked.
_Answer = Callable[["Request", _Arguments], JSONText | None]


@implementer(ICommand)
class UpstreamCommand:
    """
    One of QEMU's commands. QEMU checks its arguments, and its result is passed on as it came.

    When its caller leaves, it is dropped if it has not been sent yet, and else runs to its end: as on QEMU.
    """

    __slots__ = ("_execute", "info", "name", "on_disconnect", "oob", "timeout")

    def __init__(self, upstream: Upstream, info: CommandInfo, oob: bool) -> None:
        self._execute = upstream.execute
        self.name = info.name
        self.info = info
        self.oob = oob
        self.timeout: float | None = None
        self.on_disconnect = "cancel"

    def invoke(self, request: Request, arguments: _Arguments) -> Deferred[JSONText] | JSONText:
        return self._execute(self.name, arguments, request.caller, request.oob)

    def show(self, request: Request) -> Mapping[str, JSON] | list[str]:
        """:return: the arguments of a request as they may be shown: without secrets; or only their names"""
        arguments = request.arguments or {}
        parameters = self.info.parameters
        known = None if parameters is None else {parameter.name for parameter in parameters}
        if known is None or not known.issuperset(arguments):
            # QEMU will refuse what it does not have; what that is, and whether it is a secret, is not known here.
            return argument_names(arguments)
        return hide_secrets(self.name, arguments)

    def finish(self, result: JSONText) -> JSONText:
        return result


class KnownCommand(UpstreamCommand):
    """
    One whose answer is known here, for some arguments: it comes at once, whatever QEMU is busy with.
    """

    __slots__ = ("_answer",)

    def __init__(self, upstream: Upstream, info: CommandInfo, oob: bool, answer: _Answer) -> None:
        super().__init__(upstream, info, oob)
        self._answer = answer

    def invoke(self, request: Request, arguments: _Arguments) -> Deferred[JSONText] | JSONText:
        known = self._answer(request, arguments)
        return super().invoke(request, arguments) if known is None else known


class DescriptorCommand(UpstreamCommand):
    """
    One that takes the file descriptor that came with its request (C{getfd}, C{add-fd}), or closes one (C{closefd}, C{remove-fd}).
    """

    __slots__ = ("_descriptors", "takes_descriptor")

    def __init__(self, upstream: Upstream, info: CommandInfo, oob: bool, descriptors: Descriptors) -> None:
        super().__init__(upstream, info, oob)
        self._descriptors = descriptors
        self.takes_descriptor = info.name in (GETFD, ADD_FD)

    def invoke(self, request: Request, arguments: _Arguments) -> Deferred[JSONText]:
        if not self.takes_descriptor:
            return self._descriptors.release(self.name, arguments, request.caller)
        descriptor, request.descriptor = request.descriptor, None
        return self._descriptors.execute(self.name, arguments, request.caller, descriptor)


class LineCommand(KnownCommand):
    """
    The one that runs lines of QEMU's human monitor. What it needs is what the line needs, and in the audit it is what was typed.
    """

    __slots__ = ()

    def needs(self, request: Request) -> list[Need]:
        """:return: what the caller needs for the command, and for its line"""
        return [Need(self.info.need.level, self.name), read_line(_line_of(request)).need]

    def called(self, request: Request) -> str:
        """:return: the line's word, and the one after C{info}"""
        return read_line(_line_of(request)).words

    def show(self, request: Request) -> Mapping[str, JSON] | list[str]:
        """:return: nothing: what stands behind the word may be a secret"""
        return {}


def _line_of(request: Request) -> str:
    line = (request.arguments or {}).get("command-line")
    # QEMU refuses anything else, and does nothing.
    return line if isinstance(line, str) else ""


@implementer(ICommandProvider)
class UpstreamCommands:
    """
    The commands and events of one QEMU.

    :param description: what it has
    :param monitor: the monitor they are registered with: some of QEMU's commands are about its commands, too
    :param descriptors: sends QEMU file descriptors
    """

    def __init__(
        self, upstream: Upstream, description: Description, monitor: Monitor, descriptors: Descriptors
    ) -> None:
        self._monitor = monitor
        self._description = description
        # By the name of what makes it: what it depends on, and the text.
        self._encoded: dict[str, tuple[tuple[object, ...], JSONText]] = {}
        self.events: Sequence[Event] = description.offered.events
        version = JSONText.of(description.version)
        answers: dict[str, _Answer] = {
            "query-version": _without_arguments(lambda _: version),
            "query-commands": _without_arguments(self._commands),
        }
        if description.offered.has_schema:
            answers["query-qmp-schema"] = _without_arguments(self._schema)
        self._own: list[UpstreamCommand] = []
        for name, info in description.infos.items():
            oob = name in description.offered.oob
            if name == HMC:
                self._own.append(LineCommand(upstream, info, oob, self._help))
            elif name in answers:
                self._own.append(KnownCommand(upstream, info, oob, answers[name]))
            elif name in (GETFD, ADD_FD, CLOSEFD, REMOVE_FD):
                self._own.append(DescriptorCommand(upstream, info, oob, descriptors))
            elif name != "qmp_capabilities":
                # Each session negotiates with us.
                self._own.append(UpstreamCommand(upstream, info, oob))

    def commands(self) -> Iterable[ICommand]:
        """:return: one for each of QEMU's"""
        return self._own

    def _help(self, request: Request, arguments: _Arguments) -> JSONText | None:
        if arguments is None or arguments.keys() != {"command-line"}:
            return None
        line = arguments["command-line"]
        return self._description.help.get(line) if isinstance(line, str) else None

    def _ours(self) -> list[ICommand]:
        """:return: the monitor's commands that QEMU does not have"""
        active = self._monitor.registry.active
        return [command for name, command in active.items() if name not in self._description.infos]

    def _once(self, make: Callable[[], Sequence[JSON]], *depends_on: object) -> JSONText:
        """Encoded once, as long as what it depends on stays the same."""
        known = self._encoded.get(make.__name__)
        if known is None or known[0] != depends_on:
            known = self._encoded[make.__name__] = (depends_on, shared_text(JSONText.of(make())))
        return known[1]

    def _commands(self, request: Request) -> JSONText:
        standing = standing_of(request.caller)
        if not standing.guarded:
            return self._once(self._list_commands, self._monitor.registry.infos())
        active = self._monitor.registry.active
        # What QEMU has and the monitor answers itself, the negotiation, needs nothing.
        names = [name for name in self._names() if name not in active or standing.may_run(active[name])]
        return JSONText.of([{"name": name} for name in names])

    def _list_commands(self) -> Sequence[JSON]:
        return [{"name": name} for name in self._names()]

    def _names(self) -> list[str]:
        ours = [command.name for command in self._ours()]
        return [*reversed(ours), *reversed(list(self._description.infos))]

    def _schema(self, request: Request) -> JSONText:
        events = tuple(self._monitor.events.definitions.values())
        return self._once(self._make_schema, self._monitor.registry.infos(), events)

    def _make_schema(self) -> Sequence[JSON]:
        theirs = {event.name for event in self.events}
        events = self._monitor.events.definitions
        ours = build_schema(
            [(command.name, command.info, command.oob, ()) for command in self._ours()],
            [(name, event.members) for name, event in events.items() if name not in theirs],
        )
        return merge_schema(self._description.offered.schema, ours)


def _without_arguments(make: Callable[[Request], JSONText]) -> _Answer:
    """:return: the same answer for each request without arguments; QEMU refuses arguments in its own words"""
    return lambda request, arguments: None if arguments else make(request)

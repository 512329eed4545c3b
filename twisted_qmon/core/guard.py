"""
Where the dispatcher asks whether a request may run, and tells what became of it; and the clients that are there.

The decision is made in L{twisted_qmon.core.access}, the record in L{twisted_qmon.core.audit}. This joins them to requests and
connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import CoroutineType
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon.core.access.names import forget_names
from twisted_qmon.core.access.standing import LOCAL_STANDING, Standing, standing_of
from twisted_qmon.core.access.verdict import PermissionDenied
from twisted_qmon.core.audit.record import argument_names
from twisted_qmon.errors import CommandError
from twisted_qmon.info import Level

if TYPE_CHECKING:
    from twisted_qmon.core.access.file import Access
    from twisted_qmon.core.audit.trail import Audit
    from twisted_qmon.core.registry import RecordedCommand
    from twisted_qmon.core.request import Begun, Request
    from twisted_qmon.info import JSON, Need
    from twisted_qmon.interfaces import ICommand

__all__ = ["ASKING", "Client", "Guard", "begin_coroutine"]

#: Whose request the code that runs is part of: what a job that is started takes for its owner. It is known where callers have
#: different levels, or there is an audit.
ASKING: ContextVar[Standing | None] = ContextVar("ASKING", default=None)


# A command may have more than an L{ICommand} must, if its name and its level do not say it all:
#  - needs(request): what the caller needs, a list of Need, instead of the command's level
#  - called(request): what the audit calls the request
#  - continues(request): whether it goes on with what an earlier one of the same session began, which the audit has recorded
#  - show(request): what the audit may show of the arguments; raises CommandError when they are wrong
#  - takes_descriptor: whether a file descriptor may come with a request, which has it then (Request.descriptor)


class Client(Protocol):
    """A connection, as the monitor knows it."""

    @property
    def standing(self) -> Standing:
        """Who it is, and what it may do."""

    def describe(self) -> dict[str, JSON]:
        """What C{query-connections-monitor} says of it besides its standing."""

    def turn_away(self) -> None:
        """Say that nothing is allowed, and end the connection."""

    def disconnect(self) -> None:
        """End the connection, once everything has been said."""


class Guard:
    """
    The part of a monitor that knows who may run what.

    :ivar access: the rules; C{None}: there are none
    :ivar audit: the record of what is done; C{None}: none is kept
    :ivar clients: the connections, by the names of their sessions
    :ivar turned_away: how many there were that may do nothing
    :ivar local: the standing of this program itself, and of callers that bring none along
    :ivar on_reload: called, without arguments, when the rules have been read again
    """

    _log = Logger(observer=publish)

    def __init__(self) -> None:
        self.access: Access | None = None
        self.audit: Audit | None = None
        self.clients: dict[str, Client] = {}
        self.turned_away = 0
        self.local = Standing()
        self.on_reload: list[Callable[[], object]] = []

    def standing_of(self, caller: object) -> Standing:
        """:return: a caller's standing; that of one that brings none along is this program's own"""
        standing = standing_of(caller)
        return standing if standing is not LOCAL_STANDING else self.local

    # -- connections

    def judge(self, standing: Standing) -> None:
        """Have a verdict on a caller, by the rules as they are now."""
        standing.judge(self.access, audited=self.audit is not None)

    def join(self, client: Client) -> bool:
        """
        A connection is established.

        :return: whether its caller may do anything here
        """
        standing = client.standing
        self.judge(standing)
        if standing.verdict.level is Level.NONE:
            self.turned_away += 1
            if self.audit is not None:
                self.audit.turned_away(standing)
            return False
        self.clients[standing.session] = client
        if self.audit is not None:
            self.audit.connected(standing)
        return True

    def part(self, client: Client) -> None:
        """A connection has ended."""
        standing = client.standing
        standing.forget()
        if self.clients.pop(standing.session, None) is not None and self.audit is not None:
            self.audit.disconnected(standing)

    def reload(self) -> None:
        """
        Read the rules again. They hold from the next command of each client on; one that may do nothing any more is
        disconnected.

        :raise AccessError: when they can't be read or used; the old ones stay
        """
        forget_names()
        if self.access is None:
            return
        self.access.reload()
        self.judge_again()
        for reloaded in self.on_reload:
            reloaded()

    def judge_again(self) -> None:
        """Have a new verdict on each client, by the rules as they are now. One that may do nothing any more is disconnected."""
        clients = list(self.clients.values())
        for client in clients:
            self.judge(client.standing)
        for client in clients:
            if client.standing.verdict.level is Level.NONE:
                try:
                    client.turn_away()
                except Exception:
                    # The others go all the same; and this one may do nothing any more.
                    self._log.failure("while turning {session} away", session=client.standing.session)

    # -- requests

    def permit(self, request: Request, command: ICommand) -> None:
        """
        Decide whether a request may run.

        :raise PermissionDenied: when its caller may not run the command, or not so
        """
        standing = self.standing_of(request.caller)
        if not standing.guarded:
            return
        needs = _needs(command)
        try:
            if needs is None:
                standing.require(command.info.need)
            else:
                for need in needs(request):
                    standing.require(need)
        except PermissionDenied as error:
            if self.audit is not None:
                self.audit.refused(standing, request.number, _called(request, command), request.arguments, error)
            raise

    def unknown(self, request: Request, error: CommandError) -> None:
        """Record that there is no such command."""
        if self.audit is not None:
            self.audit.rejected(
                self.standing_of(request.caller), request.number, request.name, request.arguments, error
            )

    def invoke(self, request: Request, command: ICommand) -> object:
        """
        Run the handler of a request that is permitted.

        :return: what it returns
        :raise CommandError: when the arguments are wrong, or the audit is required and can't be written
        """
        standing = self.standing_of(request.caller)
        if self.audit is not None and standing.guarded and _is_recorded(request, command, standing):
            self._begin(self.audit, standing, request, command)
        asking = ASKING.set(standing)
        try:
            return begin_coroutine(command.invoke(request, request.arguments))
        finally:
            ASKING.reset(asking)

    def _begin(self, audit: Audit, standing: Standing, request: Request, command: ICommand) -> None:
        show: Callable[[Request], Mapping[str, JSON] | list[str]] | None = getattr(command, "show", None)
        name = _called(request, command)
        try:
            # Of a command of another make it is not known which arguments are secrets: their names are all that is kept.
            arguments = argument_names(request.arguments) if show is None else show(request)
        except CommandError:
            audit.invalid(standing, request.number, name, request.arguments)
            raise
        request.begun = (audit.begin(standing, request.number, name, arguments), name)

    def settled(self, request: Request, error: CommandError | None) -> None:
        """Record that a request, which L{invoke} recorded the beginning of, is about to be answered."""
        if request.begun is not None:
            self.end(self.standing_of(request.caller), request.number, request.begun, error)

    # -- requests that are only recorded

    def begin(
        self, standing: Standing, number: int, command: RecordedCommand, arguments: Mapping[str, JSON] | None
    ) -> Begun | None:
        """
        Record that a command, which its caller may run, is about to be run with these arguments.

        :raise CommandError: when they are wrong, or the audit is required and can't be written
        """
        audit = self.audit
        if audit is None:
            return None
        name = command.name
        try:
            shown = command.shown(arguments)
        except CommandError:
            audit.invalid(standing, number, name, arguments)
            raise
        return (audit.begin(standing, number, name, shown), name)

    def end(self, standing: Standing, number: int, begun: Begun | None, error: CommandError | None) -> None:
        """Record that the same is about to be answered, whatever becomes of the record."""
        audit = self.audit
        if audit is None or begun is None:
            return
        start, name = begun
        try:
            audit.ended(standing, number, name, start, error)
        except Exception:
            # It is answered all the same.
            self._log.failure("while recording the outcome of {command}", command=name)


def begin_coroutine(result: object) -> object:
    """
    Run a coroutine to the point where it first waits, in the context of who asked: it keeps that context.

    :param result: what a handler returned
    :return: the same; for a coroutine its Deferred
    """
    return Deferred.fromCoroutine(result) if type(result) is CoroutineType else result


def _needs(command: ICommand) -> Callable[[Request], Iterable[Need]] | None:
    """:return: what says what a request for a command needs, where that depends on more than the command"""
    needs: Callable[[Request], Iterable[Need]] | None = getattr(command, "needs", None)
    return needs


def _is_recorded(request: Request, command: ICommand, standing: Standing) -> bool:
    if command.info.need.level >= Level.OPERATE:
        return not _goes_on(request, command, standing)
    needs = _needs(command)
    return needs is not None and any(need.level >= Level.OPERATE for need in needs(request))


def _called(request: Request, command: ICommand) -> str:
    """:return: what the audit calls a request: the command, or what a person typed"""
    called: Callable[[Request], str] | None = getattr(command, "called", None)
    return request.name if called is None else called(request)


def _goes_on(request: Request, command: ICommand, standing: Standing) -> bool:
    continues: Callable[[Request], bool] | None = getattr(command, "continues", None)
    if continues is None:
        return False
    if command.name in standing.begun and continues(request):
        return True
    standing.begun |= {command.name}
    return False

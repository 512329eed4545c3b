"""
One member as its caller sees it: a monitor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon.errors import CommandCancelled, CommandError, CommandTimedOut, ConnectionClosed
from twisted_qmon.fleet.interfaces import IFleet, Publication
from twisted_qmon.interfaces import IMonitor
from twisted_qmon.qmp._client.commands import RemoteCommands

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_qmon.info import JSON, CommandInfo
    from twisted_qmon.interfaces import ICaller

__all__ = ["FOLLOW", "RemoteMonitor"]

#: Seconds after which a member whose events are followed is asked for those after the last one: so the last of all is not
#: missed, and the member knows who follows.
FOLLOW = 30.0

_log = Logger()


class Fleet(Protocol):
    """What a member's monitor needs of the client that it is of."""

    timeout: float | None

    @property
    def clock(self) -> IReactorTime:
        """For deadlines."""

    @property
    def fleet(self) -> IFleet | None:
        """The connection; C{None}: there is none."""

    def follow(self, name: str, receiver: Callable[[Publication], object]) -> Callable[[], None]:
        """Receive the events of one member."""


class _Reply(Deferred[Any]):
    """What C{execute} returns."""

    name = ""
    calling: Deferred[JSON]
    timer: IDelayedCall | None = None
    left = False

    def stop_timer(self) -> None:
        """It has no deadline any more."""
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def leave(self) -> None:
        """Its answer is not wanted any more."""
        self.stop_timer()
        self.left = True

    def settle(self, outcome: object) -> None:
        """It has been answered, or it is given up."""
        self.stop_timer()
        if self.called or self.left:
            return
        if isinstance(outcome, (Failure, CommandError)):
            self.errback(outcome)
        else:
            self.callback(outcome)

    def withdraw(self, error: CommandError) -> None:
        """Cancel the call."""
        self.settle(error)
        self.calling.cancel()


@implementer(IMonitor)
class RemoteMonitor:
    """
    A member. It need not be there: what is asked of it then fails with
    L{NoSuchMember<twisted_qmon.fleet.errors.NoSuchMember>}.

    :param client: the client of the fleet
    :param name: the member's name
    :ivar name: the same
    """

    def __init__(self, client: Fleet, name: str) -> None:
        self.name = name
        self._client = client
        self._commands = RemoteCommands(self._describe)
        self._by_caller: dict[ICaller, dict[_Reply, None]] = {}

    # -- requests

    def execute(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: ICaller | None = None,
        timeout: float | None = None,
    ) -> Deferred[Any]:
        """
        See L{IMonitor.execute}. Cancelling it cancels the command.

        :param timeout: seconds until it fails with L{CommandTimedOut} and the command is cancelled; by default the client's
        """
        return self._call("execute", [name, arguments], name, progress, caller, timeout)

    def _describe(self, name: str) -> Deferred[Any]:
        if name == "query-command-help":
            return self._call("commands", [], name, None, None, None)
        return self.execute(name)

    def _call(
        self,
        procedure: str,
        values: list[JSON],
        name: str,
        progress: Callable[[int, int], None] | None,
        caller: ICaller | None,
        timeout: float | None,
    ) -> Deferred[Any]:
        fleet = self._client.fleet
        if fleet is None:
            return fail(ConnectionClosed("There is no connection to the router"))
        reply = _Reply(self._cancelled)
        reply.name = name
        reply.calling = fleet.call(
            self.name, procedure, values, progress=None if progress is None else _until_settled(reply, progress)
        )
        if timeout is None:
            timeout = self._client.timeout
        if timeout is not None and timeout != inf:
            reply.timer = self._client.clock.callLater(timeout, self._timed_out, reply, timeout)
        if caller is not None:
            self._remember(caller, reply)
        reply.calling.addBoth(reply.settle)
        return reply

    def _cancelled(self, reply: Deferred[Any]) -> None:
        assert isinstance(reply, _Reply)
        reply.withdraw(CommandCancelled(f"Command '{reply.name}' was cancelled"))

    def _timed_out(self, reply: _Reply, timeout: float) -> None:
        reply.withdraw(CommandTimedOut(f"Member '{self.name}': command '{reply.name}' timed out after {timeout:g} s"))

    def _remember(self, caller: ICaller, reply: _Reply) -> None:
        replies = self._by_caller.setdefault(caller, {})
        replies[reply] = None

        def forget(result: object) -> object:
            replies.pop(reply, None)
            if not replies and self._by_caller.get(caller) is replies:
                del self._by_caller[caller]
            return result

        reply.calling.addBoth(forget)

    def leave(self, caller: ICaller) -> None:
        # The member is not told: this session asked, and it stays.
        for reply in self._by_caller.pop(caller, ()):
            reply.leave()

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        """See L{IMonitor.commands}. They are asked for once for each connection to the router."""
        return self._commands.get()

    def forget(self) -> None:
        """There is another connection, or another member of that name."""
        self._commands.forget()

    # -- events

    def subscribe(
        self, receiver: Callable[[Mapping[str, Any]], None], names: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """See L{IMonitor.subscribe}. A subscription outlives the connection. Each event has its C{number}."""
        if isinstance(names, str):
            raise TypeError("names is a collection of event names, not one name")
        wanted = None if names is None else frozenset(names)

        def received(publication: Publication) -> None:
            if wanted is None or publication.message.get("event") in wanted:
                receiver(publication.message)

        return self._client.follow(self.name, received)


def _until_settled(reply: _Reply, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def told(current: int, total: int) -> None:
        if not (reply.called or reply.left):
            progress(current, total)

    return told

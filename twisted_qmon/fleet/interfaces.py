"""
What a fleet is made of: L{IFleet}, one connection to what routes calls and events; L{ICallee}, a member as it is called; and
L{IFleetClient}, the fleet as a caller sees it, whose members are monitors.

Only a connection knows the engine, which is WAMP. On the wire a member NAME is:

 - C{qmon.NAME.execute(command, arguments)}: executes a command. Progress comes as progressive results C{(current, total)}; a
   call that is cancelled cancels the command.
 - C{qmon.NAME.commands()}: its commands, as C{query-command-help} describes them.
 - C{qmon.NAME.events(after, monitor)}: the events that it has kept, after that number.
 - C{qmon.NAME.event.EVENT}: the topic of an event.

An error of a command is the WAMP error C{qmon.error} with the C{desc} as its argument and the C{class} as a keyword.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zope.interface import Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.errors import CommandError
    from twisted_qmon.fleet.router import Router
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import IMonitor

__all__ = [
    "Call",
    "Connect",
    "FleetGap",
    "ICallee",
    "IFleet",
    "IFleetClient",
    "Publication",
    "member_name",
]

#: What is not part of a member's name.
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


def member_name(name: str) -> str:
    """
    :param name: any text
    :return: the name of a member made of it: each character that is no letter or digit of ASCII, C{_} or C{-} becomes C{_}
    :raise ValueError: when it is empty
    """
    if not name:
        raise ValueError("the name of a member is not empty")
    return _FOREIGN.sub("_", name)


@dataclass(slots=True, eq=False)
class Call:
    """
    A call of a member, as it came.

    :ivar procedure: C{"execute"}, C{"commands"} or C{"events"}; a member refuses any other
    :ivar arguments: the arguments, decoded; they may hold what is not JSON
    :ivar authid: who calls, as the router authenticated it; C{None}: the router does not tell
    :ivar session: the caller's session, which is unique as long as the router runs; 0: the router does not tell
    :ivar progress: tells the caller how far the command is: C{(current, total)}; C{None}: it did not ask for that
    :ivar left: the caller has gone, with or without the router. It is set before the call is cancelled: then its command is
        cancelled or runs on, as it says (C{on_disconnect})
    """

    procedure: str
    arguments: Sequence[object]
    authid: str | None = None
    session: int = 0
    progress: Callable[[int, int], None] | None = None
    left: bool = False


class Publication(NamedTuple):
    """
    An event of a member, as it was published.

    :ivar member: the member's name
    :ivar monitor: the UUID of its monitor, which is another one after a restart
    :ivar message: the event as on the wire, with its C{number}
    :ivar after: the number of the event that was published before this one; 0: none was. A receiver that does not have that one
        has missed something.
    """

    member: str
    monitor: str
    message: Mapping[str, JSON]
    after: int

    @property
    def number(self) -> int:
        """The event's number among all events of that monitor; 0: it has none."""
        number = self.message.get("number")
        return number if isinstance(number, int) else 0


class FleetGap(NamedTuple):
    """
    Events of a member that a client did not get, and will not get.

    :ivar member: the member's name
    :ivar lost: how many events are not kept any more by the member
    :ivar restarted: the member was restarted: how many events it had after the last one that came is not known
    """

    member: str
    lost: int
    restarted: bool


class ICallee(Interface):
    """What is announced in a fleet: it is called by others."""

    def called(call: Call) -> Deferred[JSON]:
        """
        A call has come.

        :return: fires with the result; fails with L{CommandError<twisted_qmon.errors.CommandError>} only. Cancelling it says that
            the caller does not want it any more, or (C{call.left}) has gone.
        """


class IFleet(Interface):
    """
    One connection to the engine of a fleet. It ends once, by L{close} or since the router has gone; to go on, another one is
    made.

    All Deferreds fail with L{CommandError<twisted_qmon.errors.CommandError>} only: with
    L{ConnectionClosed<twisted_qmon.errors.ConnectionClosed>} when the connection has ended.
    """

    def announce(name: str, callee: ICallee) -> Deferred[Callable[[], Deferred[None]]]:
        """
        Become a member.

        :param name: the member's name; it is unique in the fleet
        :param callee: gets the calls
        :return: fires when it can be called, with what ends that. Fails with
            L{NameTaken<twisted_qmon.fleet.errors.NameTaken>} when another one has the name, and with L{CommandError} when the
            router does not allow it.
        """

    def call(
        name: str,
        procedure: str,
        arguments: Sequence[JSON] = (),
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Deferred[JSON]:
        """
        Call a member.

        :param name: the member
        :param procedure: C{"execute"}, C{"commands"} or C{"events"}
        :param progress: called with (current, total)
        :return: fires with the result; fails with the member's own error: its class and its text. When there is no such member
            it fails with L{NoSuchMember<twisted_qmon.fleet.errors.NoSuchMember>}. Cancelling it cancels the call, whatever the
            member does, and fails it with L{CommandCancelled<twisted_qmon.errors.CommandCancelled>}.
        """

    def publish(publication: Publication, sessions: Sequence[int] | None = None) -> None:
        """
        Publish an event of a member that was announced here. It is not known who gets it.

        :param sessions: the callers' sessions that may get it; C{None}: all that the router lets
        :raise CommandError: when the connection has ended, or the event can't be encoded
        """

    def subscribe(receiver: Callable[[Publication], object], name: str | None = None) -> Deferred[Callable[[], None]]:
        """
        Receive events, those of each member in the order in which it published them.

        :param name: the member; C{None}: all
        :return: fires with what ends that
        """

    def members() -> Deferred[list[str]]:
        """:return: fires with the names of the members that there are now, sorted"""

    def watch(receiver: Callable[[str, bool], object]) -> Deferred[Callable[[], None]]:
        """
        Be told who joins and who leaves. Those that are there are told first.

        :param receiver: called with a member's name, and whether it is there
        :return: fires with what ends that, after those that are there were told
        """

    def on_drain(callback: Callable[[bool], object]) -> None:
        """
        :param callback: called with C{False} when the router does not read and what is published would be queued here, and with
            C{True} when it reads again
        """

    def close() -> Deferred[None]:
        """:return: fires when the connection is closed"""

    def when_lost() -> Deferred[CommandError]:
        """:return: fires with the reason when the connection has ended, at once if it has"""


class Connect(Protocol):
    """What makes a connection."""

    def __call__(
        self, reactor: IReactorTime, router: Router, authid: str | None, ticket: str | None, /
    ) -> Deferred[IFleet]:
        """
        Connect to a router, and join its realm.

        :param reactor: the reactor
        :param router: the router
        :param authid: who one is; C{None}: the router decides
        :param ticket: what proves it; C{None}: nothing does
        :return: fires with the connection. Fails with what Twisted's endpoints fail with when there is no connection, with
            L{JoinRefused<twisted_qmon.fleet.errors.JoinRefused>} when the router does not let one in, and with
            L{ConnectionClosed<twisted_qmon.errors.ConnectionClosed>} when it does not answer.
        """


class IFleetClient(Interface):
    """
    The fleet as a caller sees it. L{twisted_qmon.fleet.client.FleetClient} is ours, made with C{(reactor, url)} and what
    the router needs to know who calls.

    It connects again by itself when the router was lost. What was under way then fails with
    L{ConnectionClosed<twisted_qmon.errors.ConnectionClosed>}, and so does each call until it is connected again. Subscriptions
    and watches go on.
    """

    def connect() -> Deferred[IFleetClient]:
        """
        Connect, and stay connected until L{close}.

        :return: fires with this client; fails with L{CommandError<twisted_qmon.errors.CommandError>} when the first attempt
            fails: then no other is made
        """

    def close() -> Deferred[None]:
        """:return: fires when the connection is closed; what is under way fails"""

    def members() -> Deferred[list[str]]:
        """:return: fires with the names of the members that there are now, sorted"""

    def watch(receiver: Callable[[str, bool], object]) -> Callable[[], None]:
        """
        Be told who joins and who leaves, over all connections. Those that are there are told first. While the router is away
        nothing is told; then what has changed.

        :param receiver: called with a member's name, and whether it is there
        :return: call it to end that
        """

    def subscribe(receiver: Callable[[Publication], object]) -> Callable[[], None]:
        """
        Receive the events of all members: of each in their order, none twice. What was missed is asked for by its number.

        :return: call it to end that
        """

    def member(name: str) -> IMonitor:
        """
        :param name: a member; it need not be there
        :return: its monitor. C{execute} of it takes C{timeout} as well, in seconds. Its events come as those of
            L{subscribe} do. It lives as long as the client; the same name gives the same object.
        """

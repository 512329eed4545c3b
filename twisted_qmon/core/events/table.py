"""
Events: their definitions, QEMU's rate limit, and the delivery to subscribers.

L{Event} is what a provider lists in C{events}. L{EventTable} is the part of a monitor that has the definitions, validates what is
emitted, applies the rate limits, numbers what they let pass, and calls the receivers. Nothing here encodes: a receiver that
writes an event to a connection keeps the bytes in the message (L{EventMessage.encoded}) for the next one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon.core.events.history import EventHistory
from twisted_qmon.core.events.rate_limit import RateLimit
from twisted_qmon.errors import EventError, RegistrationError
from twisted_qmon.info import Level
from twisted_qmon.qapi.signature import compile_members

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.info import ParameterInfo

__all__ = ["MAX_NESTED", "Event", "EventMessage", "EventTable", "Receiver", "wire_timestamp"]

#: How many events receivers may emit, within one delivery, ahead of what has been delivered. Beyond it
#: L{EventTable.emit} raises.
MAX_NESTED = 100_000

_NAME = re.compile(r"(?:__[A-Za-z0-9.-]+_)?[A-Z][A-Z0-9_]*")


class EventMessage(dict[str, Any]):
    """
    An event as on the wire: C{"timestamp"} (C{"seconds"}, C{"microseconds"}), C{"event"} and, if it has any, C{"data"}.

    All receivers get the same one: don't change it.

    :ivar encoded: the bytes that go over the wire, or C{None} until the first receiver that needs them puts them here
    :ivar level: what a subscriber needs to get it
    :ivar limit_key: of a rate-limited event, what its rate limit knows it by: of those with the same key only the latest need
        wait for a client that does not read. C{None}: it is not rate-limited
    :ivar number: its number among all events of the monitor, from 1 on; 0 until its rate limit lets it pass
    :ivar upstream: behind which connection to the server that the monitor fronts; C{None}: there is none
    :ivar numbered: while it is being delivered, C{encoded} with the number in it, from the first receiver that needs it on
    :ivar size: its bytes, as the history counts them
    """

    __slots__ = ("encoded", "level", "limit_key", "number", "numbered", "size", "upstream")

    encoded: bytes | None
    level: Level
    limit_key: Hashable
    number: int
    numbered: bytes | None
    size: int
    upstream: int | None

    def __init__(self, name: str, timestamp: Mapping[str, int], data: Mapping[str, object] | None = None) -> None:
        super().__init__(timestamp=timestamp, event=name)
        if data:
            self["data"] = data
        self.encoded = None
        self.level = Level.OBSERVE
        self.limit_key = None
        self.number = self.size = 0
        self.upstream = self.numbered = None

    @property
    def name(self) -> str:
        """The event's name."""
        return cast(str, self["event"])

    @property
    def data(self) -> Mapping[str, Any]:
        """The event's data; empty if it has none."""
        return cast("Mapping[str, Any]", self.get("data", {}))


#: What a subscriber passes: called with each message.
Receiver: TypeAlias = Callable[[EventMessage], object]


class Event:
    """
    The definition of an event.

    C{Event("BALLOON_CHANGE", actual=int, rate_limit=1.0)} has one member. The names of members are those of the wire
    with C{_} for C{-}; C{T | None} is a member that may be absent.

    :param name: its name, C{UPPER_CASE}
    :param rate_limit: seconds in which it is sent at most once (per key): the first at once, then the latest at the end
        of the period, with its own timestamp. C{None}: each is sent at once.
    :param key: the members each of whose values has a period of its own (C{("id",)}); none: one period for all
    :param level: what a subscriber needs to get it: C{"observe"}, C{"operate"} or C{"admin"}. A type is
        that of a member of this name, as with any other name.
    :param check: C{False}: the data of C{emit} is passed on as it is. For events that were defined elsewhere.
    :param data: the members as a mapping, for names that are parameters here (C{data={"key": str}}) or have a dash
    :param members: the members: name and type
    :raise RegistrationError: when the name is not C{UPPER_CASE}, the period is not positive, a key is not a member, the
        level is not valid, JSON has no form for a type, or a member is given twice
    """

    __slots__ = ("check", "data_of", "key", "level", "members", "name", "rate_limit")

    def __init__(
        self,
        name: str,
        /,
        *,
        rate_limit: float | None = None,
        key: Iterable[str] = (),
        check: bool = True,
        data: Mapping[str, object] | None = None,
        **members: object,
    ) -> None:
        if check and not _NAME.fullmatch(name):
            raise RegistrationError(f"event name {name!r} is not UPPER_CASE")
        if rate_limit is not None and not rate_limit > 0:
            raise RegistrationError(f"event {name}: the rate limit is a period in seconds, above 0")
        if isinstance(key, str):
            raise RegistrationError(f"event {name}: key is a sequence of member names, not one string")
        if data is not None and not isinstance(data, Mapping):
            raise RegistrationError(
                f"event {name}: data maps names of members to types; so a member 'data' goes into it"
            )
        try:
            self.level = _take_level(members)
            record = compile_members(_merged(data or {}, members))
        except (TypeError, ValueError) as e:
            raise RegistrationError(f"event {name}: {e}") from e
        self.name = name
        self.rate_limit = rate_limit
        self.check = check
        self.members: tuple[ParameterInfo, ...] = record.members
        self.data_of = record.encode
        self.key: tuple[str, ...] = tuple(part.replace("_", "-") for part in key)
        unknown = set(self.key).difference(member.name for member in record.members)
        if check and unknown:
            raise RegistrationError(f"event {name}: key {min(unknown)!r} is not a member")

    def __repr__(self) -> str:
        return f"<Event {self.name}>"


def _take_level(members: dict[str, object]) -> Level:
    """Take the level out of the members. A type stays: it is that of a member of this name."""
    level = members.get("level")
    if not isinstance(level, str | Level):
        return Level.OBSERVE
    del members["level"]
    return Level.of(level)


def _merged(data: Mapping[str, object], members: Mapping[str, object]) -> dict[str, object]:
    types = {member.replace("-", "_"): type_ for member, type_ in data.items()}
    twice = types.keys() & members
    if twice:
        raise ValueError(f"member {min(twice)!r} is given twice")
    return {**types, **members}


class EventTable:
    """
    A monitor's events.

    :param get_clock: gives the clock of timestamps and periods, when it is first needed
    :param history: numbers the events, and keeps the latest; by default one with the default limits
    :ivar history: the same
    :ivar deliveries: how many times an event was handed to a subscriber
    :ivar upstream: how many connections to the server that the monitor fronts there have been; C{None}: it fronts none
    """

    _log = Logger(observer=publish)

    def __init__(self, get_clock: Callable[[], IReactorTime], history: EventHistory | None = None) -> None:
        self._get_clock = get_clock
        self.history = EventHistory() if history is None else history
        self.upstream: int | None = None
        self._definitions: dict[str, Event] = {}
        self._covered: dict[str, list[Event]] = {}
        self.definitions: Mapping[str, Event] = MappingProxyType(self._definitions)
        self._subscribers = _Subscribers()
        self._named: dict[str, _Subscribers] = {}
        self._queue: deque[EventMessage] = deque()
        self._delivering = False
        self.deliveries = 0
        self._muted = False
        self._limits: dict[str, RateLimit] = {}

    # -- definitions

    def define(self, events: Iterable[Event], *, shadow: bool = False) -> None:
        """
        Define events: all of them, or none.

        :param shadow: a name that is taken is no error: the new definition covers the old one until it is removed
        :raise RegistrationError: when a name is taken
        """
        events = list(events)
        names: set[str] = set()
        for event in events:
            if event.name in names or (event.name in self._definitions and not shadow):
                raise RegistrationError(f"event {event.name} is already defined")
            names.add(event.name)
        for event in events:
            covered = self._definitions.get(event.name)
            if covered is not None:
                self._covered.setdefault(event.name, []).append(covered)
                self._forget_limit(event.name)
            self._definitions[event.name] = event

    def remove(self, events: Iterable[Event]) -> None:
        """
        Undo L{define}. What their rate limits hold back is sent first. An event that is not there is passed over.
        """
        for event in events:
            name = event.name
            covered = self._covered.get(name, [])
            if self._definitions.get(name) is event:
                self._forget_limit(name)
                if covered:
                    self._definitions[name] = covered.pop()
                else:
                    del self._definitions[name]
            elif event in covered:
                covered.remove(event)
            if not covered:
                self._covered.pop(name, None)

    def _forget_limit(self, name: str) -> None:
        limit = self._limits.pop(name, None)
        if limit is not None:
            for _, message in limit.stop():
                self._send(message)

    # -- subscriptions

    def subscribe(self, receiver: Receiver, names: Iterable[str] | None = None) -> Callable[[], None]:
        """
        See L{IMonitor.subscribe}. What a receiver raises is logged, and the others get the event all the same. It gets what is
        delivered from now on, and nothing once it is unsubscribed, also while an event is being delivered.

        :raise TypeError: when C{names} is a string
        """
        if isinstance(names, str):
            raise TypeError("names is a collection of event names, not one name")
        if names is None:
            return self._subscribers.add(receiver)
        ends = [(name, self._named.setdefault(name, _Subscribers()).add(receiver)) for name in sorted(set(names))]

        def unsubscribe() -> None:
            for name, end in ends:
                end()
                if name in self._named and not self._named[name].receivers:
                    del self._named[name]

        return unsubscribe

    # -- emission

    def emit(
        self, name: str, data: Mapping[str, object] | None = None, *, timestamp: float | Mapping[str, int] | None = None
    ) -> None:
        """
        Deliver an event to its subscribers, within its rate limit. What a receiver emits comes after it, at every receiver.

        :param name: a defined event
        :param data: its members, in Python's names or those of the wire
        :param timestamp: when it happened: seconds since the epoch, or C{"seconds"} and C{"microseconds"} as on the
            wire. By default now.
        :raise EventError: when it is not defined, or the data or the timestamp does not match
        """
        definition = self._definitions.get(name)
        if definition is None:
            raise EventError(f"event {name} is not defined: no provider that is registered has it in its events")
        if definition.check:
            try:
                data = definition.data_of(data or {}, "")
            except (TypeError, ValueError) as e:
                raise EventError(f"event {name}: {e}") from e
        message = EventMessage(name, self._when(timestamp), data)
        message.level = definition.level
        if definition.rate_limit is None:
            self._send(message)
            return
        limit = self._limits.get(name)
        if limit is None:
            limit = self._limits[name] = RateLimit(
                name, definition.rate_limit, definition.key, self._get_clock, self._send
            )
        limit.take(message)

    def forward(
        self, name: str, data: Mapping[str, Any] | None = None, *, timestamp: float | Mapping[str, int] | None = None
    ) -> None:
        """
        L{emit}, for an event that comes from elsewhere: it need not be defined, its data is passed on as it is, and no rate
        limit of ours applies.

        :raise EventError: when the timestamp is not valid
        """
        self._send(EventMessage(name, self._when(timestamp), data))

    def flush(self) -> None:
        """
        Send now what rate limits hold back, in the order in which it happened, and end their periods. No timer is left.
        """
        kept = [entry for limit in self._limits.values() for entry in limit.stop()]
        self._limits.clear()
        for _, message in sorted(kept, key=lambda entry: entry[0]):
            self._send(message)

    def _when(self, timestamp: float | Mapping[str, int] | None) -> dict[str, int]:
        return wire_timestamp(self._get_clock().seconds() if timestamp is None else timestamp)

    def mute(self, muted: bool = True) -> None:
        """Drop what is emitted from now on: nothing comes after C{SHUTDOWN}. C{False}: deliver again."""
        self._muted = muted

    def _send(self, message: EventMessage) -> None:
        """Deliver an event that its rate limit has let pass: the one place that all events go through, in their final order."""
        if self._muted:
            return
        if self._delivering and len(self._queue) >= MAX_NESTED:
            raise EventError(f"event {message.name}: more than {MAX_NESTED} events from within the delivery of one")
        self._queue.append(message)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._queue:
                message = self._queue.popleft()
                message.upstream = self.upstream
                self.history.add(message)
                self.deliveries += self._subscribers.deliver(message, self._log)
                named = self._named.get(message["event"])
                if named is not None:
                    self.deliveries += named.deliver(message, self._log)
                message.numbered = None
                self.history.weigh(message)
        finally:
            self._delivering = False


class _Subscription:
    """One receiver among its group. To call it ends it. Small, because each session has one."""

    __slots__ = ("_group",)

    def __init__(self, group: _Subscribers) -> None:
        self._group = group

    def __call__(self) -> None:
        self._group.discard(self)


class _Subscribers:
    """Receivers that want the same events. A delivery is a plain loop over a list; the rest is on the rare paths."""

    __slots__ = ("_lists", "receivers")

    def __init__(self) -> None:
        self.receivers: dict[_Subscription, Receiver] = {}
        # The receivers as the list that deliveries loop over, beside their subscriptions; made anew after each change.
        self._lists: tuple[list[_Subscription], list[Receiver]] | None = None

    def add(self, receiver: Receiver) -> _Subscription:
        subscription = _Subscription(self)
        self.receivers[subscription] = receiver
        self._lists = None
        return subscription

    def discard(self, subscription: _Subscription) -> None:
        if self.receivers.pop(subscription, None) is None or self._lists is None:
            return
        # A delivery may be under way in this very list.
        subscriptions, receivers = self._lists
        receivers[subscriptions.index(subscription)] = _ignore
        self._lists = None

    def deliver(self, message: EventMessage, log: Logger) -> int:
        if self._lists is None:
            self._lists = (list(self.receivers), list(self.receivers.values()))
        receivers = self._lists[1]
        for receive in receivers:
            try:
                receive(message)
            except Exception:
                log.failure(
                    "while delivering the event {event} to {receiver!r}", receiver=receive, event=message["event"]
                )
        return len(receivers)


def _ignore(message: EventMessage) -> None:
    """Stands in for a receiver that unsubscribed while an event was being delivered."""


def wire_timestamp(when: float | Mapping[str, int]) -> dict[str, int]:
    """
    A timestamp as on the wire.

    :param when: seconds since the epoch; or C{"seconds"} and C{"microseconds"}, taken as they are (QEMU says -1 and -1
        when its clock fails)
    :raise EventError: when it is neither
    """
    if isinstance(when, Mapping):
        seconds, microseconds = when.get("seconds"), when.get("microseconds")
        if len(when) == 2 and type(seconds) is int and type(microseconds) is int:
            return {"seconds": seconds, "microseconds": microseconds}
    elif isinstance(when, (int, float)):
        try:
            seconds, microseconds = divmod(round(when * 1_000_000), 1_000_000)
        except (ValueError, OverflowError):
            pass  # refused below, with one text for all
        else:
            return {"seconds": seconds, "microseconds": microseconds}
    raise EventError(f"{when!r} is not a valid timestamp")

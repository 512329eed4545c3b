"""
Who is a member: the router knows, since each member has one registration there. It is asked by WAMP's meta procedures, and says
what changes by its meta events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.logger import Logger

from twisted_qmon.errors import CommandError, ConnectionClosed
from twisted_qmon.fleet._wamp import PREFIX
from twisted_qmon.qmp._client.waiters import Waiters

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["AT_ONCE", "DIRECTORY", "MANY", "Directory"]

#: Questions to the router that are under way at a time, in one listing.
AT_ONCE = 100

#: Of more members than this a router is asked for all at once, if it can tell.
MANY = 20

#: What it is asked then: no part of WAMP, but of the router in our documentation. Returns C{[id, uri]} of each member.
DIRECTORY = "fleet_router.members"

_log = Logger()


class Session(Protocol):
    """What is needed of a connection."""

    def request(self, procedure: str, *arguments: JSON) -> Deferred[JSON]:
        """Call a procedure of the router's own."""

    def subscribe_topic(
        self, received: Callable[..., None], topic: str, match: str = "exact"
    ) -> Deferred[Callable[[], None]]:
        """Subscribe to a topic."""


class Directory:
    """
    The members, as the router of one connection knows them.

    :param session: the connection
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watchers: dict[object, Callable[[str, bool], object]] = {}
        # The registrations that are members, by their ids. A name may be there twice for a moment: a member comes back before
        # the router has told that it was gone.
        self._names: dict[int, str] = {}
        self._counts: Counter[str] = Counter()
        self._current = False
        self._starting = False
        self._started: Waiters[None] = Waiters()

    def members(self) -> Deferred[list[str]]:
        """See L{IFleet.members<twisted_qmon.fleet.interfaces.IFleet.members>}."""
        return succeed(sorted(self._counts)) if self._current else Deferred.fromCoroutine(self._members())

    async def _members(self) -> list[str]:
        names: dict[int, str] = {}
        await self._fetch(names)
        return sorted(set(names.values()))

    async def _fetch(self, names: dict[int, str]) -> None:
        """Ask for all registrations there are, and enter those that are members and are not known yet."""
        answer = await self._session.request("wamp.registration.list")
        found = answer.get("prefix") if isinstance(answer, Mapping) else None
        ids = [each for each in found if type(each) is int and each not in names] if isinstance(found, list) else []
        if len(ids) > MANY:
            await self._fetch_at_once(names)
            ids = [each for each in ids if each not in names]
        left = iter(ids)
        workers = [Deferred.fromCoroutine(self._look_up(left, names)) for _ in range(min(AT_ONCE, len(ids)))]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as e:
            e.subFailure.raiseException()

    async def _fetch_at_once(self, names: dict[int, str]) -> None:
        try:
            answer = await self._session.request(DIRECTORY)
        except ConnectionClosed:
            raise
        except CommandError:
            # It is another router, or does not allow that: it is asked for each.
            return
        for each in answer if isinstance(answer, list) else ():
            if isinstance(each, list) and len(each) == 2:
                number, uri = each
                name = _member_of({"id": number, "uri": uri, "match": "prefix"})
                if name is not None:
                    names.setdefault(number, name)

    async def _look_up(self, ids: Iterator[int], names: dict[int, str]) -> None:
        for number in ids:
            try:
                answer = await self._session.request("wamp.registration.get", number)
            except ConnectionClosed:
                raise
            except CommandError:
                # It has gone in the meantime.
                continue
            name = _member_of(answer)
            if name is not None:
                names[number] = name

    # -- changes

    def watch(self, receiver: Callable[[str, bool], object]) -> Deferred[Callable[[], None]]:
        """See L{IFleet.watch<twisted_qmon.fleet.interfaces.IFleet.watch>}."""
        token = object()

        def end() -> None:
            self._watchers.pop(token, None)

        def begin(_: object) -> Callable[[], None]:
            for name in sorted(self._counts):
                _tell(receiver, name, True)
            self._watchers[token] = receiver
            return end

        return self._start().addCallback(begin)

    def _start(self) -> Deferred[None]:
        if self._current:
            return succeed(None)
        started = self._started.wait()
        if not self._starting:
            self._starting = True
            Deferred.fromCoroutine(self._begin())
        return started

    async def _begin(self) -> None:
        gone: set[int] = set()
        ends: list[Callable[[], None]] = []

        def created(*arguments: object, details: object = None, **_: object) -> None:
            registration = arguments[1] if len(arguments) > 1 else None
            name = _member_of(registration)
            if name is not None and isinstance(registration, Mapping):
                self._add(registration["id"], name)

        def deleted(*arguments: object, details: object = None, **_: object) -> None:
            number = arguments[1] if len(arguments) > 1 else None
            if type(number) is int:
                gone.add(number) if self._starting else self._remove(number)

        try:
            # First the changes, or one would be missed.
            ends.append(await self._session.subscribe_topic(created, "wamp.registration.on_create"))
            ends.append(await self._session.subscribe_topic(deleted, "wamp.registration.on_delete"))
            fetched: dict[int, str] = {}
            await self._fetch(fetched)
        except CommandError as error:
            for end in ends:
                end()
            self.end()
            self._started.fail(error)
            return
        for number, name in fetched.items():
            self._add(number, name)
        self._starting = False
        self._current = True
        for number in gone:
            self._remove(number)
        self._started.tell(None)

    def end(self) -> None:
        """The connection is gone, or it can't be watched: nothing is told any more."""
        self._watchers.clear()
        self._names.clear()
        self._counts.clear()
        self._starting = self._current = False

    def _add(self, number: int, name: str) -> None:
        if number not in self._names:
            self._names[number] = name
            self._counts[name] += 1
            if self._counts[name] == 1:
                self._tell_all(name, True)

    def _remove(self, number: int) -> None:
        name = self._names.pop(number, None)
        if name is not None:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]
                self._tell_all(name, False)

    def _tell_all(self, name: str, there: bool) -> None:
        for receiver in list(self._watchers.values()):
            _tell(receiver, name, there)


def _tell(receiver: Callable[[str, bool], object], name: str, there: bool) -> None:
    try:
        receiver(name, there)
    except Exception:
        _log.failure("while telling {receiver!r} of the member {name}", receiver=receiver, name=name)


def _member_of(registration: object) -> str | None:
    """:return: the name of the member whose registration that is; C{None}: it is another one"""
    if not isinstance(registration, Mapping):
        return None
    uri, number = registration.get("uri"), registration.get("id")
    if registration.get("match") != "prefix" or not isinstance(uri, str) or type(number) is not int:
        return None
    name = uri[len(PREFIX) : -1]
    return name if uri.startswith(PREFIX) and uri.endswith(".") and name and "." not in name else None

"""
File descriptors on their way to QEMU (C{getfd}, C{add-fd}), and who it has them from.

QEMU keeps the descriptor that came last until one of these two commands is executed, and it reads ahead: a second descriptor
takes the place of the first, whatever requests they came with. So QEMU has one such request at a time, and no request of a client
is sent behind it. When QEMU refuses it, the descriptor may still be there for the next one, of any client: it is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandError, GenericError
from twisted_qmon.providers.qemu.upstream import Forwarded, Upstream, UpstreamConnection
from twisted_qmon.qmp._client.waiters import Waiters

if TYPE_CHECKING:
    from twisted_qmon.core.descriptor import Descriptor
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICaller
    from twisted_qmon.qapi.types.json_text import JSONText

__all__ = ["ADD_FD", "CLOSEFD", "GETFD", "MAX_HELD", "MAX_PASSING", "RELEASE_TIMEOUT", "REMOVE_FD", "Descriptors"]

GETFD, ADD_FD = "getfd", "add-fd"
CLOSEFD, REMOVE_FD = "closefd", "remove-fd"

#: Descriptors that wait to be sent to QEMU, of all clients together; one more is refused.
MAX_PASSING = 256

#: Names of descriptors, and descriptors in sets, that QEMU has from the clients that are there; one more is refused.
MAX_HELD = 1024

#: Seconds that QEMU has, when the proxy ends, to close what clients have sent and no command has used.
RELEASE_TIMEOUT = 1.0

# The name under which a descriptor is taken that QEMU has left over; it is closed at once.
_LEFT_OVER = "qmon-left-over"

#: A descriptor at QEMU: its name, or the number of its set and its own.
_Key: TypeAlias = "str | tuple[int, int]"

_Arguments: TypeAlias = "Mapping[str, JSON] | None"

# What a name may stand between: in fd:NAME, in a list of names, in a path, in a line of the human monitor.
_SEPARATORS = re.compile(r"[\s:,=/]+")
_IN_SET = re.compile(r"/dev/fdset/([0-9]{1,18})")


class _Held:
    """A descriptor at QEMU: who sent it, and whether a command has used it, or may have."""

    __slots__ = ("caller", "used")

    def __init__(self, caller: ICaller) -> None:
        self.caller = caller
        self.used = False


class Descriptors:
    """
    The descriptors that the clients of a QEMU send it.

    :param upstream: the QEMU
    """

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._held: dict[_Key, _Held] = {}
        self._waiting = 0
        # What QEMU has been told to close and has not closed.
        self._closing = 0
        self._closed: Waiters[None] = Waiters()

    def execute(
        self, name: str, arguments: _Arguments, caller: ICaller, descriptor: Descriptor | None
    ) -> Deferred[JSONText]:
        """
        Execute L{GETFD} or L{ADD_FD} when it is the caller's turn.

        :param descriptor: what came with it, which is this method's now; C{None}: nothing, as QEMU will say
        :return: as L{Upstream.execute}
        """
        passing = _Passing(self, descriptor)
        passing.name, passing.arguments = name, arguments
        if descriptor is not None:
            if self._waiting >= MAX_PASSING:
                passing.errback(GenericError(f"{MAX_PASSING} file descriptors are waiting for QEMU already"))
                return passing
            self._waiting += 1
            passing.addBoth(self._counted)
        self.upstream.submit(passing, caller)
        return passing

    def _counted(self, outcome: JSONText | Failure) -> JSONText | Failure:
        self._waiting -= 1
        return outcome

    def release(self, name: str, arguments: _Arguments, caller: ICaller) -> Deferred[JSONText]:
        """
        Execute L{CLOSEFD} or L{REMOVE_FD}.

        :raise GenericError: when the name is held by another client
        """
        keys = self._named(arguments or {}) if name == CLOSEFD else self._in_set(arguments or {})
        if name == CLOSEFD:
            for key in keys:
                self._check_free(key, caller)
                # Another client may have the name as soon as QEMU has the request.
                self._held[key].used = True
        closed = self.upstream.execute(name, arguments, caller)
        return closed.addCallback(self._forget, {key: self._held[key] for key in keys})

    def _named(self, arguments: Mapping[str, JSON]) -> list[_Key]:
        name = arguments.get("fdname")
        return [name] if isinstance(name, str) and name in self._held else []

    def _in_set(self, arguments: Mapping[str, JSON]) -> list[_Key]:
        number, fd = arguments.get("fdset-id"), arguments.get("fd")
        return [key for key in self._held if not isinstance(key, str) and key[0] == number and fd in (None, key[1])]

    def _forget(self, result: JSONText, held: Mapping[_Key, _Held]) -> JSONText:
        for key, each in held.items():
            # Another may have it by now.
            if self._held.get(key) is each:
                self._drop(key)
        return result

    def left(self, caller: object) -> None:
        """A client has gone: QEMU closes what it sent and no command has used."""
        self._release([key for key, held in self._held.items() if held.caller is caller])

    def release_all(self) -> Deferred[None]:
        """
        All clients are about to go.

        :return: fires when QEMU has closed what they sent and no command has used, or has had L{RELEASE_TIMEOUT} seconds for it
        """
        self._release(list(self._held))
        if not self._closing:
            return succeed(None)
        closed = self._closed.wait().addTimeout(RELEASE_TIMEOUT, self.upstream.clock)
        return closed.addErrback(lambda failure: None)

    def _release(self, keys: list[_Key]) -> None:
        connection = self.upstream.connection
        for key in keys:
            held = self._drop(key)
            # A name that was used is gone at QEMU, unless it was not that name that was used.
            if connection is not None and (isinstance(key, str) or not held.used):
                self._closing += 1
                _close(connection, key).addCallback(self._is_closed)

    def _is_closed(self, outcome: object) -> None:
        self._closing -= 1
        if not self._closing:
            self._closed.tell(None)

    def clear(self) -> None:
        """QEMU has ended, and its descriptors with it."""
        self._held.clear()
        self.upstream.on_request = None

    # -- what QEMU has

    def check(self, name: str, arguments: _Arguments, caller: ICaller | None) -> None:
        """
        Decide whether a descriptor may be sent.

        :raise GenericError: when QEMU has too many, or one of that name from another client
        """
        if name == GETFD:
            for key in self._named(arguments or {}):
                self._check_free(key, caller)
                return
        if len(self._held) >= MAX_HELD:
            for key in [key for key, held in self._held.items() if held.used]:
                self._drop(key)
        if len(self._held) >= MAX_HELD:
            raise GenericError(f"QEMU has {MAX_HELD} file descriptors already that were sent by clients")

    def _check_free(self, key: _Key, caller: ICaller | None) -> None:
        held = self._held[key]
        if held.caller is not caller and not held.used:
            raise GenericError(f"File descriptor name '{key}' is held by another client")

    def taken(self, name: str, arguments: _Arguments, result: JSONText) -> _Key | None:
        """:return: what QEMU, which has accepted a descriptor, knows it by"""
        if name == GETFD:
            fdname = (arguments or {}).get("fdname")
            return fdname if isinstance(fdname, str) else None
        info: JSON = result.value
        if not isinstance(info, dict):
            return None
        number, fd = info.get("fdset-id"), info.get("fd")
        return (number, fd) if isinstance(number, int) and isinstance(fd, int) else None

    def hold(self, key: _Key, caller: ICaller) -> None:
        """QEMU has a descriptor of a client that is there."""
        self._held[key] = _Held(caller)
        self.upstream.on_request = self._used

    def _drop(self, key: _Key) -> _Held:
        held = self._held.pop(key)
        if not self._held:
            self.upstream.on_request = None
        return held

    def _used(self, forwarded: Forwarded, arguments: _Arguments) -> None:
        """A request is made while QEMU has descriptors: see which of them it may use."""
        names: set[str] = set()
        sets: set[int] = set()
        for text in _texts(arguments):
            names.update((text, *_SEPARATORS.split(text)))
            sets.update(map(int, _IN_SET.findall(text)))
        for key, held in self._held.items():
            if isinstance(key, str):
                held.used = held.used or key in names
            elif key[0] in sets and not held.used:
                # A set is there as before if QEMU refuses the request.
                forwarded.addCallback(_use, held)


class _Passing(Forwarded):
    """
    A request that may have a descriptor. What QEMU has is another L{Forwarded}, which is followed to its end, whatever becomes of
    this one.
    """

    def __init__(self, descriptors: Descriptors, descriptor: Descriptor | None) -> None:
        super().__init__(descriptors.upstream.cancelled)
        self._descriptors = descriptors
        self._descriptor = descriptor
        self._is_passed = False
        self.addBoth(self._settled)

    def _settled(self, outcome: JSONText | Failure) -> JSONText | Failure:
        if not self._is_passed:
            # It never will be.
            self._close()
        return outcome

    def _close(self) -> None:
        if self._descriptor is not None:
            self._descriptor.close()
            self._descriptor = None

    def keep_place(self) -> None:
        """It does so as it is."""

    def send_to(self, connection: UpstreamConnection) -> None:
        self._descriptors.check(self.name, self.arguments, self.caller)
        sent = Forwarded()
        sent.in_band = False
        sent.connection = connection
        is_with_qemu = self._descriptor is not None and connection.send_descriptor(self._descriptor)
        sent.addBoth(self._replied, connection, is_with_qemu)
        self._is_passed = True
        self._descriptors.upstream.wait_for_one()
        try:
            self.number = sent.number = connection.request(sent, self.name, self.arguments)
        except CommandError as error:
            # The descriptor is on its way all the same, and must stay open until QEMU has it.
            ending = _take_left_over(connection) if is_with_qemu else succeed(None)
            ending.addBoth(self._end, connection)
            self.errback(error)

    def _replied(self, outcome: JSONText | Failure, connection: UpstreamConnection, is_with_qemu: bool) -> None:
        connection.descriptor_sent()
        self._close()
        # The next one waits for it.
        ending: Deferred[object] = succeed(None)
        if isinstance(outcome, Failure):
            if is_with_qemu:
                ending = _take_left_over(connection)
        else:
            key = self._descriptors.taken(self.name, self.arguments, outcome)
            if key is not None and self.caller is not None and not self.called:
                self._descriptors.hold(key, self.caller)
            elif key is not None:
                # Its client has gone, or was told that it was cancelled.
                ending = _close(connection, key)
        ending.addBoth(self._end, connection)
        if not self.called:
            self.callback(outcome)

    def _end(self, outcome: object, connection: UpstreamConnection) -> None:
        connection.descriptor_sent()
        self._close()
        self._descriptors.upstream.one_is_done(connection)


def _close(connection: UpstreamConnection, key: _Key) -> Deferred[object]:
    """:return: fires when QEMU has closed a descriptor, or had none; it may refuse, or have gone"""
    if isinstance(key, str):
        closing = connection.ask(CLOSEFD, {"fdname": key})
    else:
        closing = connection.ask(REMOVE_FD, {"fdset-id": key[0], "fd": key[1]})
    return closing.addErrback(_ignore)


def _take_left_over(connection: UpstreamConnection) -> Deferred[object]:
    """:return: fires when QEMU has no descriptor left over from a request that it has refused"""
    taking = connection.ask(GETFD, {"fdname": _LEFT_OVER})
    return taking.addCallback(lambda _: _close(connection, _LEFT_OVER)).addErrback(_ignore)


def _ignore(failure: Failure) -> None:
    failure.trap(CommandError)


def _use(result: JSONText, held: _Held) -> JSONText:
    held.used = True
    return result


def _texts(value: JSON | Mapping[str, JSON]) -> Iterator[str]:
    """:return: the strings in a JSON value, however deep they are"""
    stack: list[JSON | Mapping[str, JSON]] = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)

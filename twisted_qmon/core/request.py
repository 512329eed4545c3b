"""
One execution of one command: who asked, under which id, until when; how far it is; and its one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, final

from msgspec import UNSET, Struct, UnsetType

from twisted_qmon.core.descriptor import Descriptor
from twisted_qmon.errors import CommandError
from twisted_qmon.info import JSON
from twisted_qmon.interfaces import ICaller

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from twisted_qmon.core.dispatcher import Dispatcher
    from twisted_qmon.qapi.types.json_text import JSONText

__all__ = ["ABSENT", "Begun", "Request", "RequestId"]

#: Stands where a JSON value may be missing and C{None} would mean C{null}. It is msgspec's own value for that, so that what is
#: absent in a message is absent here, and the other way round.
ABSENT: Final = UNSET

#: What a request may have for an id.
RequestId: TypeAlias = JSON | UnsetType

#: When the audit recorded the beginning of a request, in seconds since the epoch, and what it calls the command.
Begun: TypeAlias = tuple[float, str]


@final
class Request(Struct, eq=False, weakref=True):
    """
    One command being served. A handler that has a parameter annotated C{Request} is given it.

    A request is settled once, with a result or an error; whatever its handler does later changes nothing for the caller.

    :ivar number: unique in its monitor (C{query-pending} lists it, C{cancel-command} takes it)
    :ivar name: the command's name
    :ivar caller: the L{ICaller<twisted_qmon.interfaces.ICaller>} who asked
    :ivar id: the caller's id, any JSON value, or L{ABSENT}; it is dropped when the caller leaves
    :ivar arguments: the arguments as they came, or C{None}
    :ivar oob: executed out of band
    :ivar descriptor: the file descriptor that came with it. A handler that needs it takes it out; what is left is closed when the
        request is settled.
    :ivar created: when it came, in seconds of the monitor's clock
    :ivar deadline: when it times out, in seconds of the monitor's clock; C{None}: never, or not started yet
    :ivar started: its turn has come; not yet, it waits in its session's queue
    :ivar cancelled: it was cancelled, or its deadline passed: the result is of no use any more
    :ivar left: its caller has gone
    :ivar done: it is settled: C{result} or C{error} holds the answer
    :ivar result: plain JSON data (or a L{JSONText<twisted_qmon.qapi.types.json_text.JSONText>})
    :ivar error: the L{CommandError} it was answered with, or C{None}
    :ivar current: progress so far, in the command's own unit
    :ivar total: what C{current} is on its way to; 0 while unknown
    :ivar pending: the monitor keeps it among its pending requests
    :ivar detached: its caller has gone, and it runs on
    :ivar abandoned: it is settled, and its handler runs on
    :ivar begun: how the audit recorded its beginning; C{None}: it did not
    :ivar work: the Deferred that its handler returned, until it fires
    """

    # A Struct, because there is one for each command that is not done at once, and those are made quickly.

    # Found by this mark where importing this module would be circular.
    __qmon_request__: ClassVar[bool] = True

    _dispatcher: Dispatcher
    number: int
    name: str
    arguments: Mapping[str, JSON] | None
    caller: ICaller
    id: RequestId
    oob: bool = False
    _observer: Callable[[int, int], None] | None = None
    descriptor: Descriptor | None = None
    done: bool = False
    error: CommandError | None = None
    result: Any = None
    cancelled: bool = False
    created: float = 0.0
    deadline: float | None = None
    current: int = 0
    total: int = 0
    pending: bool = False
    started: bool = False
    abandoned: bool = False
    detached: bool = False
    left: bool = False
    begun: Begun | None = None
    work: Deferred[object] | None = None
    _callback: Callable[[Request], object] | None = None
    _timer: IDelayedCall | None = None

    def progress(self, current: int, total: int) -> None:
        """
        Say how far the command is. The caller is told at once if it asked for that; C{query-pending} shows the latest.

        :param current: what is done, in the command's own unit (bytes, blocks, per cent)
        :param total: what there is to do, in the same unit; may change
        :raise TypeError: when they are no integers
        """
        self.current = current = index(current)
        self.total = total = index(total)
        if self._observer is not None and not self.done:
            self._observer(current, total)

    def notify(self, callback: Callable[[Request], object]) -> None:
        """
        Call back once, when the request is settled; at once if it is.

        :param callback: called with the request
        :raise RuntimeError: when there is a callback already
        """
        if self.done:
            callback(self)
        elif self._callback is not None:
            raise RuntimeError(f"{self!r} has a callback already")
        else:
            self._callback = callback

    def cancel(self) -> None:
        """
        Cancel it: it is answered with L{CommandCancelled<twisted_qmon.errors.CommandCancelled>}, then its Deferred is cancelled.
        Nothing happens if it is settled already.
        """
        self._dispatcher.cancel(self)

    # -- for the dispatcher

    def settle(self, result: JSON | JSONText, error: CommandError | None) -> None:
        """Give it its answer: stop its timer, and call back."""
        self.done = True
        self.result = result
        self.error = error
        timer = self._timer
        if timer is not None:
            self._timer = None
            if timer.active():
                timer.cancel()
        if self.descriptor is not None:
            self.descriptor.close()
        callback = self._callback
        if callback is not None:
            self._callback = None
            callback(self)

    @property
    def working(self) -> bool:
        """The Deferred that the handler returned has not fired."""
        return self.work is not None

    def stop_at(self, timer: IDelayedCall) -> None:
        """Remember the timer of its deadline, which is stopped when it is settled."""
        self._timer = timer

    def leave(self) -> None:
        """Its caller has gone: call nothing back."""
        self.left = True
        self._callback = None
        self._observer = None

    def detach(self) -> None:
        """Run on without the caller. The id, which may be as long as a message, is of no use any more."""
        self.detached = True
        self.id = ABSENT

    def __repr__(self) -> str:
        state = "done" if self.done else "pending"
        return f"<Request {self.number} {self.name!r} of {getattr(self.caller, 'name', self.caller)} {state}>"

"""
One execution of one command: who asked, under which id, until when; how far it is; and its one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import UNSET, Struct

from twisted_qmon.errors import CommandError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from twisted_qmon.core.dispatcher import Dispatcher

__all__ = ["ABSENT", "Request"]

#: Stands where a JSON value may be missing and C{None} would mean C{null}. It is msgspec's own word for that, so that what is
#: absent in a message is absent here, and the other way round.
ABSENT: Final = UNSET


class Request(Struct, eq=False, weakref=True):
    """
    One command being served. A handler that has a parameter annotated C{Request} is given it.

    It is a C{Struct} because there is one for each command, and those are made quickly.

    A request is settled once, with a result or an error; whatever its handler does later changes nothing for the caller.

    :ivar number: unique in its monitor (C{query-pending} lists it, C{cancel-command} takes it)
    :ivar name: the command's name
    :ivar caller: the L{ICaller<twisted_qmon.interfaces.ICaller>} who asked
    :ivar id: the caller's id, any JSON value, or L{ABSENT}
    :ivar arguments: the arguments as they came, or C{None}
    :ivar oob: executed out of band
    :ivar created: when it came, in seconds of the monitor's clock
    :ivar deadline: when it times out, in seconds of the monitor's clock; C{None}: never, or not started yet
    :ivar cancelled: somebody cancelled it, or its deadline passed: nobody waits for the result
    :ivar left: its caller has gone
    :ivar done: it is settled: C{result} or C{error} holds the answer
    :ivar result: plain JSON data (or a L{JSONText<twisted_qmon.qapi.json_text.JSONText>})
    :ivar error: the L{CommandError} it was answered with, or C{None}
    :ivar current: progress so far, in the command's own unit
    :ivar total: what C{current} is on its way to; 0 while unknown
    """

    # Found by this mark where importing this module would be circular.
    __qmon_request__: ClassVar[bool] = True

    _monitor: Dispatcher
    number: int
    name: str
    arguments: Mapping[str, Any] | None
    caller: Any
    id: Any
    oob: bool = False
    _observer: Callable[[int, int], None] | None = None
    done: bool = False
    error: CommandError | None = None
    result: Any = None
    cancelled: bool = False
    created: float = 0.0
    deadline: float | None = None
    current: int = 0
    total: int = 0
    abandoned: bool = False
    detached: bool = False
    left: bool = False
    _callback: Callable[[Request], object] | None = None
    _deferred: Deferred[Any] | None = None
    _timer: IDelayedCall | None = None
    _kept: bool = False

    def progress(self, current: int, total: int) -> None:
        """
        Say how far the command is. Whoever asked to be told is told at once; C{query-pending} shows the latest.

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
        Be told, once, when the request is settled; at once if it is.

        :param callback: called with the request
        :raise RuntimeError: when somebody else is to be told already
        """
        if self.done:
            callback(self)
        elif self._callback is not None:
            raise RuntimeError(f"{self!r} already notifies somebody")
        else:
            self._callback = callback

    def cancel(self) -> None:
        """
        Cancel it: it is answered with L{CommandCancelled<twisted_qmon.errors.CommandCancelled>}, then its Deferred is cancelled.
        Nothing happens if it is settled already.
        """
        self._monitor.cancel(self)

    def __repr__(self) -> str:
        state = "done" if self.done else "pending"
        return f"<Request {self.number} {self.name!r} of {getattr(self.caller, 'name', self.caller)} {state}>"

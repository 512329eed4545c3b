"""
The road that every request takes, whoever asks and whatever its handler returns: started, settled once, forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._reactor import global_reactor
from twisted_qmon.core.pending import Pending
from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.errors import (
    LOGGED,
    CommandCancelled,
    CommandError,
    CommandNotFound,
    CommandTimedOut,
    GenericError,
    ShuttingDown,
)
from twisted_qmon.qapi.json_text import JSONText

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["MAX_ABANDONED", "Dispatcher", "not_found"]

#: How many executions of one command may be abandoned (settled, but their handler is still at it) before new ones are refused.
MAX_ABANDONED = 1000

#: What most handlers return. Deferred is an abstract class: asking whether something is one takes longer than many a handler.
_AT_ONCE = frozenset({dict, list, str, int, float, bool, type(None), JSONText})


class Dispatcher:
    """
    Serves requests for commands that somebody else looks up: the part of a L{Monitor<twisted_qmon.Monitor>} that runs them.

    :param lookup: gives the L{ICommand} of a name, or C{None}
    :param lookup_direct: gives it only if its handler does not ask for the request
    :param clock: for deadlines; C{None}: the global reactor, fetched when first needed
    :param timeout: seconds that a command has unless it says otherwise; C{None}: any time it likes
    :param max_abandoned: how many abandoned executions of one command are borne
    :param not_found: makes the error for the name of a command that there is not
    :ivar pending: the requests that are not answered yet
    """

    _log = Logger()

    def __init__(
        self,
        lookup: Callable[[str], Any],
        lookup_direct: Callable[[str], Any],
        clock: IReactorTime | None,
        timeout: float | None,
        max_abandoned: int,
        not_found: Callable[[str], CommandError],
    ) -> None:
        self.timeout = timeout
        self.max_abandoned = max_abandoned
        self.pending = Pending()
        self._lookup = lookup
        self._lookup_direct = lookup_direct
        self._clock = clock
        self._numbers = count(1).__next__
        self._refusal: CommandError | None = None
        self._not_found = not_found

    @property
    def clock(self) -> IReactorTime:
        """The clock it was made with, or the global reactor."""
        if self._clock is None:
            self._clock = global_reactor()
        return self._clock

    def submit(
        self,
        name: str,
        arguments: Mapping[str, Any] | None,
        caller: Any,
        id: Any = ABSENT,
        oob: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Request:
        """
        Serve one request: every one takes this road, whoever asks and whatever its handler returns.

        :param name: the command's name
        :param arguments: its arguments, as they came
        :param caller: the L{ICaller} who asks
        :param id: the caller's id for it
        :param oob: execute it out of band
        :param progress: called with (current, total)
        :return: the request; done already, or it notifies once. Nothing is raised.
        """
        request = Request(self, self._numbers(), name, arguments, caller, id, oob, progress)
        if self._refusal is None:
            self.start(request)
        else:
            self._settle(request, None, self._refusal)
        return request

    def serve(self, name: str, arguments: Mapping[str, Any] | None, caller: Any, id: Any) -> Any:
        """
        Serve one request in band, as L{submit} does, but without a L{Request} if it turns out that nobody would ever see it: the
        handler does not ask for it, and what it gives is there at once.

        :return: the plain result; or else the request, which is pending, or done
        """
        command = self._lookup_direct(name)
        if command is None or self._refusal is not None or self.pending.abandoned_by_name:
            return self.submit(name, arguments, caller, id)
        try:
            result = command.direct(arguments)
            kind = type(result)
            if kind in _AT_ONCE:
                return result if kind is JSONText else command.finish(result)
        except BaseException as e:
            request = Request(self, self._numbers(), name, arguments, caller, id)
            self._raised(request, e)
            return request
        request = Request(self, self._numbers(), name, arguments, caller, id)
        self._set_deadline(request, command)
        self._returned(request, command, result)
        return request

    def prepare(self, name: str, arguments: Mapping[str, Any] | None, caller: Any, id: Any, oob: bool) -> Request:
        """
        Accept a request that has to wait for its turn: L{start} starts it. Until then it can be cancelled.

        :return: the request; done already if no new ones are taken
        """
        request = Request(self, self._numbers(), name, arguments, caller, id, oob, None)
        if self._refusal is not None:
            self._settle(request, None, self._refusal)
        else:
            self._keep(request)
        return request

    def start(self, request: Request) -> None:
        """Run the handler of a request that is not done yet, and settle it with what it gives, now or later."""
        command = self._lookup(request.name)
        if command is None:
            self._settle(request, None, self._not_found(request.name))
            return
        if request.oob and not command.oob:
            self._settle(request, None, GenericError(f"The command {request.name} does not support OOB"))
            return
        if self.pending.abandoned_by_name and self.pending.is_over(request.name, self.max_abandoned):
            self._settle(
                request, None, GenericError(f"Command '{request.name}' has {self.max_abandoned} abandoned executions")
            )
            return
        self._set_deadline(request, command)
        try:
            result = command.invoke(request, request.arguments)
        except BaseException as e:
            self._raised(request, e)
        else:
            self._returned(request, command, result)

    def _set_deadline(self, request: Request, command: Any) -> None:
        timeout = command.timeout or self.timeout
        if timeout is not None and timeout != inf:
            request.deadline = self.clock.seconds() + timeout

    def _returned(self, request: Request, command: Any, result: Any) -> None:
        try:
            if type(result) not in _AT_ONCE and isinstance(result, (Deferred, CoroutineType)):
                self._wait(request, command, result)
                return
            result = command.finish(result)
        except BaseException as e:
            self._raised(request, e)
        else:
            self._settle(request, result, None)

    def _raised(self, request: Request, error: BaseException) -> None:
        """While an exception of the command's is being handled."""
        if isinstance(error, CommandError):
            self._settle(request, None, error)
        elif isinstance(error, KeyboardInterrupt):
            raise error
        else:
            # With SystemExit too: a reactor lets nobody out, the connection would end and this request have no answer.
            self._settle(request, None, self._opaque(request, Failure()))

    def _wait(self, request: Request, command: Any, result: Any) -> None:
        deferred: Any = result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)
        if hasattr(deferred, "_qmon_taken"):
            raise RuntimeError(
                f"the handler of {request.name!r} returned a Deferred that was returned before: each request needs its own"
            )
        deferred._qmon_taken = True
        request._deferred = deferred
        deferred.addCallbacks(self._fired, self._failed, callbackArgs=(request, command), errbackArgs=(request,))
        if request._deferred is None:
            return
        if request.done:
            # Cancelled by its own handler before it returned.
            self._abandon(request)
            return
        if not request._kept:
            self._keep(request)
        if request.deadline is not None:
            timeout: Any = command.timeout or self.timeout
            request._timer = self.clock.callLater(timeout, self._timed_out, request, timeout)

    def _fired(self, result: Any, request: Request, command: Any) -> None:
        request._deferred = None
        if request.done:
            self._late(request, None)
            return
        try:
            result = command.finish(result)
        except Exception:
            self._settle(request, None, self._opaque(request, Failure()))
        else:
            self._settle(request, result, None)

    def _failed(self, failure: Failure, request: Request) -> None:
        request._deferred = None
        if request.done:
            self._late(request, failure)
        elif isinstance(failure.value, CommandError):
            self._settle(request, None, failure.value)
        else:
            self._settle(request, None, self._opaque(request, failure))

    def _opaque(self, request: Request, failure: Failure) -> CommandError:
        self._log.failure(
            "while executing {command} for {caller}", failure, command=request.name, caller=request.caller.name
        )
        return GenericError(f"Command '{request.name}' {LOGGED}")

    def _settle(self, request: Request, result: Any, error: CommandError | None) -> None:
        if request.done:
            return
        request.done = True
        request.result = result
        request.error = error
        if request._kept:
            self.pending.remove(request)
            if request._timer is not None or request.detached:
                self._release(request)
        callback = request._callback
        if callback is not None:
            request._callback = None
            callback(request)
        # Whoever waits for the last request to be answered is told after its answer.
        if self.pending.waiters:
            self.pending.tell_waiters()

    # -- requests that stay for a while

    def _keep(self, request: Request) -> None:
        request.created = (self._clock or self.clock).seconds()
        self.pending.add(request)

    def _release(self, request: Request) -> None:
        timer = request._timer
        if timer is not None:
            request._timer = None
            if timer.active():
                timer.cancel()
        if request.detached:
            outcome = "completed" if request.error is None else f"failed: {request.error.desc}"
            self._log.info(
                "{command}, asked for by {caller} who has left, {outcome}",
                command=request.name,
                caller=request.caller.name,
                outcome=outcome,
            )

    def _timed_out(self, request: Request, timeout: float) -> None:
        self._stop(request, CommandTimedOut(f"Command '{request.name}' timed out after {timeout:g} s"))

    def cancel(self, request: Request) -> None:
        """See L{Request.cancel}."""
        self._stop(request, CommandCancelled(f"Command '{request.name}' was cancelled"))

    def _stop(self, request: Request, error: CommandError) -> None:
        if request.done:
            return
        request.cancelled = True
        # The answer first: whatever the handler makes of the cancellation, the caller has it.
        self._settle(request, None, error)
        self._abandon(request)

    def _abandon(self, request: Request) -> None:
        deferred = request._deferred
        if deferred is None:
            return
        try:
            deferred.cancel()
        except Exception:
            self._log.failure("while cancelling {command}", command=request.name)
        if request._deferred is not None:
            request.abandoned = True
            self.pending.abandon(request)

    def _late(self, request: Request, failure: Failure | None) -> None:
        abandoned = request.abandoned
        if abandoned:
            request.abandoned = False
            self.pending.recover(request)
        if failure is None:
            self._log.info("{command} completed after it had been answered", command=request.name)
        elif isinstance(failure.value, CommandError):
            self._log.info(
                "{command} failed after it had been answered: {error}", command=request.name, error=failure.value.desc
            )
        elif not failure.check(CancelledError):
            self._log.failure("while executing {command}, which had been answered", failure, command=request.name)
        elif abandoned:
            self._log.info("{command}, which had been answered, gave way to its cancellation", command=request.name)

    def leave(self, caller: Any) -> None:
        """See L{IMonitor.leave}."""
        for request in self.pending.of(caller):
            request._callback = None
            request._observer = None
            request.left = True
            command = self._lookup(request.name)
            if request._deferred is None or (command is not None and command.on_disconnect == "cancel"):
                self.cancel(request)
            else:
                request.detached = True

    # -- stopping

    def refuse(self) -> None:
        """Take no new requests from now on; L{ShuttingDown} is the answer."""
        self._refusal = ShuttingDown("The monitor is shutting down")

    @property
    def refusing(self) -> bool:
        """It takes no new requests."""
        return self._refusal is not None

    def accept(self) -> None:
        """Take new requests again, after L{refuse}."""
        self._refusal = None

    def drain(self, seconds: float, *, exclude: Request | None = None) -> Deferred[int]:
        """
        Take no new requests, and wait for those pending.

        :param seconds: how long; those pending after that are cancelled, and answered so
        :param exclude: a request that is not waited for and not cancelled: the one that asked for this
        :return: fires with how many had to be cancelled
        """
        self.refuse()

        cancelled: list[Request] = []

        def give_up() -> None:
            cancelled.extend(request for request in self.pending if request is not exclude)
            for request in cancelled:
                self.cancel(request)

        empty = self.pending.when_empty(exclude)
        if empty.called:
            return succeed(0)
        timer = self.clock.callLater(seconds, give_up)

        def stopped(_: object) -> int:
            if timer.active():
                timer.cancel()
            return len(cancelled)

        return empty.addCallback(stopped)


def not_found(name: str) -> CommandError:
    """:return: what QEMU says of a command that it does not have"""
    return CommandNotFound(f"The command {name} has not been found")

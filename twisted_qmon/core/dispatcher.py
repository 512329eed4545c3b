"""
Every request, whatever asks and whatever its handler returns, is started, settled once and forgotten here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon._log_publisher import publish
from twisted_qmon._reactor import global_reactor
from twisted_qmon.core.guard import ASKING, begin_coroutine
from twisted_qmon.core.leaving import leave, log_outcome
from twisted_qmon.core.pending import Pending
from twisted_qmon.core.request import ABSENT, Request
from twisted_qmon.core.tally import BOUNDS
from twisted_qmon.errors import (
    LOGGED,
    CommandCancelled,
    CommandError,
    CommandNotFound,
    CommandTimedOut,
    GenericError,
    ShuttingDown,
)
from twisted_qmon.qapi.types.json_text import JSONText

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.core.access.standing import Standing
    from twisted_qmon.core.descriptor import Descriptor
    from twisted_qmon.core.guard import Guard
    from twisted_qmon.core.registry import CalledCommand, DirectCommand, RecordedCommand, Registry
    from twisted_qmon.core.request import Begun, RequestId
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICaller, ICommand

__all__ = ["MAX_ABANDONED", "MAX_DEPTH", "Dispatcher", "not_found"]

#: How many executions of one command may be unattended (their requests are answered, or their callers have left, and their
#: handlers run on) before new ones are refused.
MAX_ABANDONED = 1000

#: How many commands may execute each other before the first of them returns. A cycle of them would use up the stack.
MAX_DEPTH = 32

#: What most handlers return. Deferred is an abstract class: asking whether something is one takes longer than many a handler.
_AT_ONCE = frozenset({dict, list, str, int, float, bool, type(None), JSONText})

#: The attribute of a Deferred that a handler has returned.
_TAKEN = "_qmon_taken"


#: Finds a command by its name, or gives C{None}.
Finder: TypeAlias = "Callable[[str], DirectCommand | None]"


class Dispatcher:
    """
    Serves requests for the commands of a registry: the part of a L{Monitor<twisted_qmon.Monitor>} that runs them.

    :param registry: has the commands
    :param clock: for deadlines; C{None}: the global reactor, fetched when first needed
    :param timeout: seconds from the start of a command to its deadline, unless it says otherwise; C{None}: no deadline
    :param max_abandoned: see L{MAX_ABANDONED}
    :param not_found: makes the error for the name of a command that is not registered
    :ivar pending: the requests that are not answered yet
    :ivar find_direct: finds, for L{serve}, commands for a caller that is not guarded
    :ivar guard: decides about the requests of callers who may not run everything, and records what is done; C{None}: there is
        nothing to decide and nothing to record
    :ivar on_leave: called with each caller that has left, when its requests have been dealt with; perhaps more than once
    """

    _log = Logger(observer=publish)

    def __init__(
        self,
        registry: Registry,
        clock: IReactorTime | None,
        timeout: float | None,
        max_abandoned: int,
        not_found: Callable[[str], CommandError],
    ) -> None:
        self.pending = Pending(max_abandoned)
        self._timeout = timeout
        self._find = registry.find
        self.find_direct = registry.find_direct
        self._registry = registry
        self._tallies = registry.tallies
        self._tally_of = registry.tallies.find
        self._clock = clock
        self._numbers = count(1).__next__
        self._refusal: CommandError | None = None
        self._depth = 0
        self._not_found = not_found
        self.guard: Guard | None = None
        self.on_leave: list[Callable[[ICaller], object]] = []

    @property
    def clock(self) -> IReactorTime:
        """The clock it was made with, or the global reactor."""
        if self._clock is None:
            self._clock = global_reactor()
        return self._clock

    # -- requests come

    def submit(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None,
        caller: ICaller,
        id: RequestId = ABSENT,
        oob: bool = False,
        progress: Callable[[int, int], None] | None = None,
        descriptor: Descriptor | None = None,
    ) -> Request:
        """
        See L{Monitor.submit<twisted_qmon.core.monitor.Monitor.submit>}.

        :param descriptor: the file descriptor that came with the request
        """
        request = Request(self, self._numbers(), name, arguments, caller, id, oob, progress, descriptor)
        if self._refusal is None:
            self.start(request)
        else:
            self._settle(request, None, self._refusal)
        return request

    def finder(self, caller: ICaller) -> Finder:
        """:return: finds, for L{serve}, the commands that this caller may run at once: there is nothing to decide or to record"""
        if self.guard is None:
            return self.find_direct
        standing = self.guard.standing_of(caller)
        if not standing.guarded:
            return self.find_direct
        if standing.view is None:
            standing.view = self._registry.view(standing.is_free)
        return standing.view.get

    def serve(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None,
        caller: ICaller,
        id: RequestId,
        find: Finder | None = None,
    ) -> JSON | JSONText | Request:
        """
        See L{Monitor.serve<twisted_qmon.core.monitor.Monitor.serve>}.

        :param find: what L{finder} gave for the caller, if that is at hand
        """
        command = (find or self.finder(caller))(name)
        if command is None and self.guard is not None:
            return self._serve_guarded(self.guard, name, arguments, caller, id)
        if command is None or self._refusal is not None or self.pending.full:
            return self.submit(name, arguments, caller, id)
        try:
            result = command.direct(arguments)
            if type(result) in _AT_ONCE:
                answer = command.finish(result)
                command.tally.at_once += 1
                return answer
        except BaseException as e:
            request = Request(self, self._numbers(), name, arguments, caller, id)
            self._fail(request, e)
            return request
        request = Request(self, self._numbers(), name, arguments, caller, id, started=True)
        self._set_deadline(request, command.timeout)
        self._returned(request, command, result)
        return request

    def _serve_guarded(
        self, guard: Guard, name: str, arguments: Mapping[str, JSON] | None, caller: ICaller, id: RequestId
    ) -> JSON | JSONText | Request:
        """Serve a request that it is not known of yet what there is to do about it, or more than to run it at once."""
        standing = guard.standing_of(caller)
        if standing.recorded is None:
            standing.recorded = self._registry.view(standing.is_only_recorded)
        command = standing.recorded.get(name)
        if command is None:
            # Decided once for each command.
            if standing.view is not None and standing.view[name] is not None:
                return self.serve(name, arguments, caller, id, standing.view.get)
            command = standing.recorded[name]
        if command is None or self._refusal is not None or self.pending.full:
            return self.submit(name, arguments, caller, id)
        return self._serve_recorded(guard, standing, cast("RecordedCommand", command), arguments, caller, id)

    def _serve_recorded(
        self,
        guard: Guard,
        standing: Standing,
        command: RecordedCommand,
        arguments: Mapping[str, JSON] | None,
        caller: ICaller,
        id: RequestId,
    ) -> JSON | JSONText | Request:
        """Serve a request that is permitted, and to be recorded. A L{Request} is made only as in L{serve}."""
        number = self._numbers()
        begun: Begun | None = None
        asking = None if ASKING.get() is standing else ASKING.set(standing)
        try:
            begun = guard.begin(standing, number, command, arguments)
            result = command.direct(arguments)
            if type(result) in _AT_ONCE:
                answer = command.finish(result)
                guard.end(standing, number, begun, None)
                command.tally.at_once += 1
                return answer
            result = begin_coroutine(result)
        except BaseException as e:
            request = Request(self, number, command.name, arguments, caller, id, begun=begun)
            self._fail(request, e)
            return request
        finally:
            if asking is not None:
                ASKING.reset(asking)
        request = Request(self, number, command.name, arguments, caller, id, started=True, begun=begun)
        self._set_deadline(request, command.timeout)
        self._returned(request, command, result)
        return request

    def answered(
        self, caller: ICaller, id: RequestId, result: JSON | JSONText = None, error: CommandError | None = None
    ) -> Request:
        """:return: a request that was answered without a command: what came is no command, or the caller serves it itself"""
        return Request(self, 0, "", None, caller, id, done=True, result=result, error=error)

    def takes_descriptor(self, name: str) -> bool:
        """:return: whether there is such a command, and it takes a file descriptor"""
        return _takes_descriptor(self._find(name))

    @property
    def takes_descriptors(self) -> bool:
        """There is a command that takes a file descriptor."""
        return any(map(_takes_descriptor, self._registry.active.values()))

    def prepare(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None,
        caller: ICaller,
        id: RequestId,
        oob: bool,
        descriptor: Descriptor | None = None,
    ) -> Request:
        """
        Accept a request that has to wait for its turn: L{start} starts it. Until then it can be cancelled.

        :param descriptor: the file descriptor that came with it
        :return: the request; done already if no new ones are taken
        """
        request = Request(self, self._numbers(), name, arguments, caller, id, oob, None, descriptor)
        if self._refusal is None:
            self.pending.add(request, self.clock.seconds())
        else:
            self._settle(request, None, self._refusal)
        return request

    def start(self, request: Request) -> None:
        """Run the handler of a request that is not done yet, and settle it with its result, now or later."""
        request.started = True
        self._depth += 1
        try:
            command = self._admit(request)
            self._set_deadline(request, command.timeout)
            if self.guard is None:
                result = command.invoke(request, request.arguments)
            else:
                result = self.guard.invoke(request, command)
        except BaseException as e:
            self._fail(request, e)
        else:
            self._returned(request, command, result)
        finally:
            self._depth -= 1

    def _admit(self, request: Request) -> ICommand:
        """
        Decide whether a request may run: the one place for that, before its arguments are looked at. (L{serve} skips it where
        there is nothing to decide.)

        :raise CommandError: when it may not
        """
        command = self._find(request.name)
        if command is None:
            error = self._not_found(request.name)
            if self.guard is not None:
                self.guard.unknown(request, error)
            raise error
        if self.guard is not None:
            self.guard.permit(request, command)
        if request.oob and not command.oob:
            raise GenericError(f"The command {request.name} does not support OOB")
        if request.name in self.pending.full:
            raise GenericError(f"Command '{request.name}' has {self.pending.max_unattended} abandoned executions")
        if self._depth > MAX_DEPTH:
            raise GenericError(f"Command '{request.name}' is nested in {MAX_DEPTH} other commands")
        return command

    # -- handlers return

    def _set_deadline(self, request: Request, timeout: float | None) -> None:
        timeout = timeout or self._timeout
        if timeout is not None and timeout != inf:
            request.deadline = self.clock.seconds() + timeout

    def _returned(self, request: Request, command: CalledCommand, result: object) -> None:
        try:
            if type(result) not in _AT_ONCE and isinstance(result, (Deferred, CoroutineType)):
                self._wait(request, command, result)
                return
            answer = command.finish(result)
        except BaseException as e:
            self._fail(request, e)
        else:
            self._settle(request, answer, None)

    def _wait(
        self, request: Request, command: CalledCommand, result: Deferred[Any] | Coroutine[Deferred[Any], Any, Any]
    ) -> None:
        work = result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)
        if hasattr(work, _TAKEN):
            raise RuntimeError(
                f"the handler of {request.name!r} returned a Deferred that was returned before: each request needs its own"
            )
        setattr(work, _TAKEN, True)
        request.work = work
        work.addBoth(self._ended, request, command)
        if not request.working:
            if not request.done:
                # What the callback raised stays in the Deferred. It raises nothing while there is room on the stack.
                work.addErrback(lambda _: None)
                raise RecursionError(f"the handler of {request.name!r} left no room on the stack")
        elif request.done:
            # Cancelled by its own handler before it returned.
            self._abandon(request)
        else:
            if not request.pending:
                self.pending.add(request, (self._clock or self.clock).seconds())
            if request.deadline is not None:
                timeout = command.timeout or self._timeout
                assert timeout is not None
                request.stop_at(self.clock.callLater(timeout, self._timed_out, request, timeout))

    def _ended(self, outcome: object, request: Request, command: CalledCommand) -> None:
        request.work = None
        if request.done:
            self._late(request, outcome)
        elif isinstance(outcome, Failure):
            assert outcome.value is not None
            self._fail(request, outcome.value, outcome)
        else:
            try:
                result = command.finish(outcome)
            except Exception as e:
                self._fail(request, e)
            else:
                self._settle(request, result, None)

    def _fail(self, request: Request, error: BaseException, failure: Failure | None = None) -> None:
        """
        Settle a request that ended with an exception.

        :param failure: the exception's; C{None}: it is being handled
        """
        if isinstance(error, CommandError):
            self._settle(request, None, error)
            return
        if failure is None:
            if isinstance(error, KeyboardInterrupt):
                raise
            # With SystemExit too: the reactor stops it, but the connection would end and this request have no answer.
            failure = Failure()
        try:
            # Before the answer: its caller may look for it in the log at once.
            self._log_failure(request, failure)
        except Exception:
            # Where a recursion has used up the stack, there is room again in the next turn of the reactor.
            self.clock.callLater(0, self._log_failure, request, failure)
        finally:
            self._settle(request, None, GenericError(f"Command '{request.name}' {LOGGED}"))

    def _log_failure(self, request: Request, failure: Failure) -> None:
        self._log.failure(
            "while executing {command} for {caller}", failure, command=request.name, caller=request.caller.name
        )

    def _settle(self, request: Request, result: JSON | JSONText, error: CommandError | None) -> None:
        if request.done:
            return
        tally = self._tally_of(request.name) or self._tallies.unknown
        if request.pending:
            self.pending.remove(request)
            # Here and not in a method: there is one of these for each request that waits.
            seconds = (self._clock or self.clock).seconds() - request.created
            tally.pended[bisect_left(BOUNDS, seconds)] += 1
            tally.pended_total += seconds
            if error is not None:
                tally.settled(error, True)
        else:
            tally.settled(error, False)
        if request.begun is not None and self.guard is not None:
            self.guard.settled(request, error)
        request.settle(result, error)
        if request.detached:
            log_outcome(request, error)
        # After its answer: that of the last request is written before the drain goes on.
        if self.pending.waiters:
            self.pending.tell_waiters()

    # -- requests that stay for a while

    def _timed_out(self, request: Request, timeout: float) -> None:
        self._stop(request, CommandTimedOut(f"Command '{request.name}' timed out after {timeout:g} s"))

    def cancel(self, request: Request) -> None:
        """See L{Request.cancel}."""
        self._stop(request, CommandCancelled(f"Command '{request.name}' was cancelled"))

    def _stop(self, request: Request, error: CommandError) -> None:
        if request.done:
            return
        request.cancelled = True
        # The answer first: whatever the handler does about the cancellation, the caller has it.
        self._settle(request, None, error)
        self._abandon(request)

    def _abandon(self, request: Request) -> None:
        if request.work is None:
            return
        try:
            request.work.cancel()
        except Exception:
            self._log.failure("while cancelling {command}", command=request.name)
        if request.working:
            self.pending.abandon(request)

    def _late(self, request: Request, outcome: object) -> None:
        abandoned = request.abandoned
        if abandoned:
            self.pending.recover(request)
        if not isinstance(outcome, Failure):
            self._log.info("{command} completed after it had been answered", command=request.name)
        elif isinstance(outcome.value, CommandError):
            self._log.info(
                "{command} failed after it had been answered: {error}", command=request.name, error=outcome.value.desc
            )
        elif not outcome.check(CancelledError):
            self._log.failure("while executing {command}, which had been answered", outcome, command=request.name)
        elif abandoned:
            self._log.info("{command} ended its cancellation after it had been answered", command=request.name)

    def leave(self, caller: ICaller) -> None:
        """See L{IMonitor.leave}."""
        leave(caller, self.pending, self._find, self.cancel)
        for left in self.on_leave:
            left(caller)

    # -- stopping

    def refuse(self) -> None:
        """See L{Monitor.refuse<twisted_qmon.core.monitor.Monitor.refuse>}."""
        self._refusal = ShuttingDown("The monitor is shutting down")

    @property
    def refusing(self) -> bool:
        """It takes no new requests."""
        return self._refusal is not None

    def accept(self) -> None:
        """See L{Monitor.accept<twisted_qmon.core.monitor.Monitor.accept>}."""
        self._refusal = None

    def drain(self, seconds: float, *, exclude: Request | None = None) -> Deferred[int]:
        """See L{Monitor.drain<twisted_qmon.core.monitor.Monitor.drain>}."""
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


def _takes_descriptor(command: ICommand | None) -> bool:
    return getattr(command, "takes_descriptor", False)


def not_found(name: str) -> CommandError:
    """:return: QEMU's error for a command that it does not have"""
    return CommandNotFound(f"The command {name} has not been found")

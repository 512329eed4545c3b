"""
A coroutine beside Twisted's reactor, for commands without a prompt; and what follows something for as long as it can be written.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, ParamSpec

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from twisted_qmon._reactor import global_reactor
from twisted_qmon.shell.errors import INTERRUPTED
from twisted_qmon.shell.faults import show_faults

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.shell.output import Output

__all__ = ["READER_PERIOD", "Following", "run"]

#: Seconds between two looks whether the output still has a reader.
READER_PERIOD = 1.0

_P = ParamSpec("_P")


def run(make: Callable[[IReactorTime], Coroutine[Deferred[object], object, int]], output: Output) -> int:
    """
    Run a coroutine until it is done. Ctrl-C cancels it.

    :param make: called with the reactor when it runs; returns the coroutine
    :param output: where faults of this program are noted
    :return: what the coroutine returns; the usual status after Ctrl-C
    """
    reactor = global_reactor()
    show_faults(output.note)
    outcome: list[int | Failure] = []
    interrupts: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def begin() -> None:
        done = Deferred.fromCoroutine(make(reactor))

        def interrupt(number: int, frame: object) -> None:
            interrupts.append(number)
            reactor.callFromThread(done.cancel)

        signal.signal(signal.SIGINT, interrupt)
        done.addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        signal.signal(signal.SIGINT, before)
    [result] = outcome
    if not isinstance(result, Failure):
        return result
    if interrupts:
        return INTERRUPTED
    assert result.value is not None
    raise result.value


class Following:
    """
    Something that is written as it happens, for as long as there is a reader.

    :param clock: for the looks at the output
    :param output: where it is written to
    :ivar ended: fails with what ends it: an C{OSError} of the output (C{BrokenPipeError}: it has no reader), or L{failed}
    """

    def __init__(self, clock: IReactorTime, output: Output) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._stop())
        self._output = output
        self._lost = False
        self._over = False
        self._descriptor = output.descriptor()
        self._looking = LoopingCall(self.guarded(self._look))
        self._looking.clock = clock
        self._looking.start(READER_PERIOD)

    def guarded(self, write: Callable[_P, object]) -> Callable[_P, None]:
        """:return: the same function; when it can't write, that ends all"""

        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
            try:
                write(*args, **kwargs)
            except OSError as error:
                self.failed(error)

        return guarded

    def failed(self, error: Exception) -> None:
        """That ends all."""
        if not self.ended.called:
            self._stop()
            self.ended.errback(error)

    def connection(self, there: bool, reason: str) -> None:
        """What becomes of a connection that comes back: all but its begin is noted."""
        if self._over:
            return
        if not there:
            self._output.note(f"{reason}; reconnecting")
        elif self._lost:
            self._output.note("connected again")
        self._lost = not there

    def _stop(self) -> None:
        self._over = True
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        # What the output is a pipe to may end while nothing happens. An error is told unasked.
        if self._descriptor is not None:
            poll = select.poll()
            poll.register(self._descriptor, 0)
            if any(found & select.POLLERR for _, found in poll.poll(0)):
                raise BrokenPipeError

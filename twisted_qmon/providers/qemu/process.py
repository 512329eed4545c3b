"""
A QEMU that this process starts, with a monitor that is this process's alone, and ends.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.application.service import MultiService
from twisted.internet import unix
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectError, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from twisted_qmon.errors import CommandError
from twisted_qmon.providers.qemu.child_log import ChildLog
from twisted_qmon.providers.qemu.provider import Qemu
from twisted_qmon.qmp._client.waiters import Waiters

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.internet.posixbase import PosixReactorBase
    from twisted.python.failure import Failure

__all__ = ["GREETING", "LAST_WORDS", "QemuCommand", "QemuProcess"]

#: Seconds in which what a QEMU has printed before its end is still logged, where another process keeps its streams open.
LAST_WORDS = 1.0

#: Seconds after which the log says that a QEMU has not greeted yet. It may be allocating the guest's memory.
GREETING = 10.0

#: The descriptor that QEMU has its monitor at, and what that is called.
_MONITOR = 3
_CHARDEV = "twisted-qmon"

# Run by Python in the new process, which then becomes QEMU. The kernel sends that SIGTERM when this process is gone, in whatever
# way: the end of its monitor does not end a QEMU. Python ignores two signals that QEMU need not ignore.
_BECOME = """
import ctypes, os, signal, sys
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[3:])
"""


def _status_of(reason: Failure) -> int:
    value = reason.value
    if isinstance(value, ProcessDone):
        return 0
    if isinstance(value, ProcessTerminated):
        return value.exitCode if value.exitCode is not None else 128 + (value.signal or 0)
    return 1


class _Nowhere:
    """The port that a socket pair does not come from."""

    _realPortNumber = "a socket pair"


@implementer(IStreamClientEndpoint)
class QemuProcess(ProcessProtocol):
    """
    A QEMU, as an endpoint: the one connection that it gives is to the process that it starts.

    :param words: the program's path, and its arguments
    :param reactor: the reactor
    :param ended: called with the status when the process has ended: its own, or 128 and the number of the signal that ended it
    :ivar pid: the process's; C{None}: it has not been started, or has ended
    """

    _log = Logger()

    def __init__(self, words: Sequence[str], reactor: PosixReactorBase, ended: Callable[[int], object]) -> None:
        self._words = words
        self._reactor = reactor
        self._on_end = ended
        self._started = False
        self._is_over = False
        self._last_words: IDelayedCall | None = None
        self._waiting: Waiters[None] = Waiters()
        self._streams: dict[int, ChildLog] = {}
        self.pid: int | None = None

    def __repr__(self) -> str:
        return f"a socket pair ({os.path.basename(self._words[0])})"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Start it. That is done once."""
        if self._started:
            return fail(ConnectError(string="QEMU is started once"))
        self._started = True
        ours, theirs = socket.socketpair()
        try:
            self._spawn(theirs)
        except OSError as e:
            ours.close()
            self._over(1)
            return fail(ConnectError(e.errno, e.strerror))
        finally:
            theirs.close()
        ours.setblocking(False)
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        protocol.makeConnection(unix.Server(ours, protocol, None, _Nowhere(), 0, self._reactor))
        return succeed(protocol)

    def _spawn(self, monitor: socket.socket) -> None:
        self._streams = {
            1: ChildLog(self._reactor, "standard output", LogLevel.info),
            2: ChildLog(self._reactor, "standard error", LogLevel.warn),
        }
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        program = self._words[0]
        arguments = [
            *(sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), program, *self._words),
            *("-chardev", f"socket,id={_CHARDEV},fd={_MONITOR}", "-mon", f"chardev={_CHARDEV},mode=control"),
        ]
        try:
            child_fds = {0: nothing, 1: "r", 2: "r", _MONITOR: monitor.fileno()}
            self._reactor.spawnProcess(self, sys.executable, arguments, env=None, childFDs=child_fds)
        finally:
            os.close(nothing)

    # -- see ProcessProtocol

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.pid = self.transport.pid
        self._log.info("started {program}, pid {pid}", program=self._words[0], pid=self.pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._streams[childFD].write(data)

    def processExited(self, reason: Failure) -> None:
        self.pid = None
        self._last_words = self._reactor.callLater(LAST_WORDS, self._over, _status_of(reason))

    def processEnded(self, reason: Failure) -> None:
        if self._last_words is not None and self._last_words.active():
            self._last_words.cancel()
            self._over(_status_of(reason))

    def _over(self, status: int) -> None:
        self._is_over = True
        for stream in self._streams.values():
            stream.end()
        self._log.info("QEMU ended with status {status}", status=status)
        self._waiting.tell(None)
        self._on_end(status)

    # -- its end

    def signal(self, name: str) -> None:
        """Send it a signal, by its name without C{SIG}, if it is there."""
        if self.pid is not None and self.transport is not None:
            self._log.info("sending SIG{name} to QEMU", name=name)
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess(name)

    def when_over(self, seconds: float) -> Deferred[bool]:
        """:return: fires with whether it has ended, or has never been started, at the latest after so many seconds"""
        if self._is_over or not self._started:
            return succeed(True)
        waiting: Deferred[bool] = self._waiting.wait().addCallback(lambda _: True)
        return waiting.addTimeout(seconds, self._reactor, onTimeoutCancel=lambda *_: False)


class QemuCommand(MultiService):
    """
    Starts a QEMU, and ends it when it stops: it sends C{quit}, then SIGTERM, then SIGKILL.

    :param words: the program's path, and its arguments
    :param reactor: the reactor
    :param patience: seconds that QEMU has for C{quit}, and then for SIGTERM
    :param ended: called with its status when it has ended; see L{QemuProcess}
    :param upstream_lost: see L{Qemu}
    :ivar provider: to be registered with a monitor
    """

    _log = Logger()

    def __init__(
        self,
        words: Sequence[str],
        reactor: PosixReactorBase,
        *,
        patience: float,
        ended: Callable[[int], object],
        upstream_lost: str = "keep",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.setName("qemu-command")  # type: ignore[no-untyped-call]
        self._process = QemuProcess(words, reactor, ended)
        self._reactor = reactor
        self._patience = patience
        self._greeting: IDelayedCall | None = None
        self._next_step: Deferred[bool] | None = None
        self.provider = Qemu(self._process, reactor, upstream_lost=upstream_lost, once=True)
        self.provider.service.setServiceParent(self)

    def startService(self) -> None:
        """Start QEMU. When its monitor is lost and it goes on, it is ended: it can't be spoken to any more."""
        self.provider.upstream.service.when_idle().addCallback(self._lost)
        super().startService()  # type: ignore[no-untyped-call]
        self._greeting = self._reactor.callLater(GREETING, self._still_silent)

    def _still_silent(self) -> None:
        if not self.provider.connected and self._process.pid is not None:
            self._log.warn("QEMU has not greeted within {seconds} s; its clients wait", seconds=GREETING)

    def _lost(self, _: object) -> None:
        if self.running and self._process.pid is not None:
            Deferred.fromCoroutine(self._lost_for_good())

    async def _lost_for_good(self) -> None:
        # It closes its monitor a moment before it ends.
        if not await self._process.when_over(self._patience):
            self._log.error("QEMU's monitor is lost: ending QEMU")
            await self._end_by_signals()

    def hurry(self) -> None:
        """Wait no longer: take the next step to end it."""
        if self._next_step is not None:
            self._next_step.cancel()

    def stopService(self) -> Deferred[None]:
        """:return: fires when QEMU has ended"""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._greeting is not None and self._greeting.active():
            self._greeting.cancel()
        connection = self.provider.upstream.connection
        if connection is not None:
            connection.ask("quit").addErrback(lambda failure: failure.trap(CommandError))
            over = await self._wait()
        else:
            over = False
        if not over:
            await self._end_by_signals()
        await super().stopService()  # type: ignore[no-untyped-call]

    async def _end_by_signals(self) -> None:
        self._process.signal("TERM")
        if not await self._wait():
            self._process.signal("KILL")
            await self._process.when_over(self._patience + LAST_WORDS)

    async def _wait(self) -> bool:
        self._next_step = self._process.when_over(self._patience)
        try:
            return await self._next_step
        except CancelledError:
            return False
        finally:
            self._next_step = None

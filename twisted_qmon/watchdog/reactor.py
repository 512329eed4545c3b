"""
The second reactor of a process, which a thread runs. Linux only.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IProtocolFactory

__all__ = ["WatchdogReactor"]


class WatchdogReactor(EPollReactor):
    """
    A reactor beside the one of the main thread: it installs no signal handlers, is not the reactor that
    C{twisted.internet.reactor} is, and its thread is not the one that Twisted takes for the reactor's. Once stopped, it is done.

    :ivar on_wake: called when its thread has waited and comes to run, before anything else is done
    """

    # Twisted's own switch for this; L{unusable<twisted_qmon.watchdog.service.unusable>} looks whether it is there.
    _registerAsIOThread = False

    _log = Logger(observer=publish)

    def __init__(self) -> None:
        super().__init__()
        self.on_wake: Callable[[], object] = _nothing
        # An epoll object can itself be waited for.
        self._waiting = select.poll()
        self._waiting.register(self._poller.fileno(), select.POLLIN)

    def doIteration(self, timeout: float | None) -> None:
        """
        Wait, call L{on_wake}, and only then do what there is to do.

        :param timeout: seconds to wait at most; C{None}: until something comes
        """
        self._waiting.poll(None if timeout is None else timeout * 1000)
        try:
            self.on_wake()
        finally:
            super().doIteration(0)

    def mainLoop(self) -> None:
        """See C{ReactorBase}, whose own loop logs."""
        while self.running:
            try:
                while self.running:
                    self.runUntilCurrent()
                    self.doIteration(self.running and self.timeout())
            except BaseException:
                self._log.failure("in the loop of the watchdog")

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: IOpenSSLContextFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """See C{IReactorSSL}. Twisted's own would have TLS use the clock of the global reactor."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        wrapped = TLSMemoryBIOFactory(contextFactory, False, factory, self)
        listening: IListeningPort = self.listenTCP(port, wrapped, backlog, interface)
        return listening

    def be_quiet(self) -> None:
        """Have the ports that listen log nothing when they end, as Twisted's do: this would happen in the thread."""
        for reader in self.getReaders():
            if hasattr(reader, "_logConnectionLostMsg"):
                reader._logConnectionLostMsg = _nothing

    def run_here(self) -> None:
        """Run until it is stopped, then give back all file descriptors."""
        try:
            self.run(installSignalHandlers=False)
        finally:
            self.close()

    def close(self) -> None:
        """Give back all file descriptors. It must not be running."""
        for reader in list(self._internalReaders):
            self.removeReader(reader)
            reader.connectionLost(None)
        self._internalReaders.clear()
        # Who has it still may call callFromThread.
        self.waker = None
        self.disconnectAll()
        self._poller.close()


def _nothing() -> None:
    """Takes the place of what logs."""

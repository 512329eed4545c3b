"""
Servers in a thread of their own, for tests that have no reactor: L{MonitorServer}, and what
L{FakeQEMU<twisted_qmon.testing.FakeQEMU>} uses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument

from twisted_qmon._transport.endpoints import server_endpoint
from twisted_qmon.core.monitor import Monitor
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.qmp.protocol import QMPFactory
from twisted_qmon.watchdog.reactor import WatchdogReactor
from twisted_qmon.watchdog.service import unusable

if TYPE_CHECKING:
    from twisted.internet.protocol import ServerFactory

    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICommandProvider

__all__ = ["CALL_TIMEOUT", "MonitorServer", "ReactorThread", "SocketThread"]

#: Seconds that a call into the thread may take.
CALL_TIMEOUT = 30.0

_T = TypeVar("_T")


class ReactorThread:
    """
    A reactor that a thread runs. The global reactor is neither used nor installed. Linux only.

    :ivar reactor: the reactor
    :raise RuntimeError: when there can be none in this process
    """

    def __init__(self, name: str) -> None:
        why = unusable()
        if why is not None:
            raise RuntimeError(f"there can be no reactor in a thread here: {why}")
        self.reactor = WatchdogReactor()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; return when its reactor runs."""
        self._thread.start()
        self.call(lambda: None)

    def _run(self) -> None:
        self.reactor.run_here()

    def call(self, function: Callable[[], _T]) -> _T:
        """
        Call a function in the thread, and wait for its result; in the thread itself it is only called.

        :raise Exception: what the function raises
        :raise TimeoutError: when it took longer than L{CALL_TIMEOUT}
        """
        if threading.current_thread() is self._thread:
            return function()
        return self._outcome_of(lambda: maybeDeferred(function))

    def wait(self, function: Callable[[], Deferred[_T]]) -> _T:
        """
        Call a function in the thread, and wait for the result of the Deferred that it returns.

        :raise Exception: what the function raises, or the Deferred fails with
        :raise TimeoutError: when it took longer than L{CALL_TIMEOUT}
        :raise RuntimeError: in the thread itself, where nothing may wait
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("this takes a while: it can't be waited for in the server's own thread")
        return self._outcome_of(function)

    def _outcome_of(self, function: Callable[[], Deferred[_T]]) -> _T:
        done = threading.Event()
        results: list[_T] = []
        errors: list[BaseException] = []

        def begin() -> None:
            try:
                began = function()
            except BaseException as error:
                errors.append(error)
                done.set()
            else:
                began.addCallbacks(results.append, lambda failure: errors.append(failure.value))
                began.addBoth(lambda _: done.set())

        self.reactor.callFromThread(begin)
        if not done.wait(CALL_TIMEOUT):
            raise TimeoutError(f"the server's thread did not answer within {CALL_TIMEOUT:g} s")
        for error in errors:
            raise error
        return results[0]

    def stop(self) -> None:
        """End the thread, and wait for that."""
        if self._thread.is_alive():
            self.reactor.callFromThread(self.reactor.stop)
            self._thread.join(CALL_TIMEOUT)


class SocketThread:
    """
    A factory served at a unix socket by a thread.

    :param path: of the socket; C{None}: one in a folder of its own, which is removed at the end
    :ivar address: the socket's path
    """

    def __init__(self, path: str | os.PathLike[str] | None, name: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="qmon-") if path is None else None
        self.address = os.path.join(self._folder, "qmp.sock") if self._folder is not None else os.fspath(path or "")
        self.thread = ReactorThread(name)

    def start(self, make: Callable[[WatchdogReactor], ServerFactory]) -> None:
        """
        Start the thread, and serve there what a function makes.

        :param make: makes the factory; called in the thread
        :raise CannotListenError: when the socket can't be made
        """
        self.thread.start()
        try:
            self.thread.wait(lambda: self._listen(make))
        except BaseException:
            self.stop()
            raise

    def _listen(self, make: Callable[[WatchdogReactor], ServerFactory]) -> Deferred[None]:
        reactor = self.thread.reactor
        endpoint = server_endpoint(reactor, f"unix:{quoteStringArgument(self.address)}")
        return endpoint.listen(make(reactor)).addCallback(lambda _: reactor.be_quiet())

    def stop(self) -> None:
        """End the thread and its connections, and remove the socket."""
        self.thread.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        elif os.path.exists(self.address):
            os.unlink(self.address)


class MonitorServer:
    """
    A monitor that is served at a unix socket by a thread, as a context manager: for tests of clients, in any language.

    ::

        with MonitorServer() as server:
            server.register_command("answer", lambda: 42)
            subprocess.run(["qmon", server.address, "exec", "answer"], check=True)

    Handlers run in the thread. L{call} and L{wait} run anything else there.

    :param path: of the socket; C{None}: one in a folder of its own, which is removed at the end
    :param name: what C{query-name} answers; C{None}: nothing
    :param in_flight: as of L{QMPFactory<twisted_qmon.QMPFactory>}
    :raise RuntimeError: when a thread can have no reactor in this process
    :ivar address: the socket's path
    :ivar monitor: the monitor; to be used within L{call} and L{wait} only
    """

    monitor: Monitor

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, name: str | None = None, in_flight: int = IN_FLIGHT
    ) -> None:
        self._name = name
        self._in_flight = in_flight
        self._server = SocketThread(path, "qmon-monitor-server")
        self.address = self._server.address

    def start(self) -> MonitorServer:
        """
        Start serving.

        :raise CannotListenError: when the socket can't be made
        """
        self._server.start(self._make)
        return self

    def _make(self, reactor: WatchdogReactor) -> ServerFactory:
        self.monitor = Monitor(self._name, clock=reactor)
        return QMPFactory(self.monitor, in_flight=self._in_flight)

    def stop(self) -> None:
        """End serving, and all connections."""
        self._server.stop()

    def __enter__(self) -> MonitorServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def call(self, function: Callable[[], _T]) -> _T:
        """
        Call a function in the server's thread, and wait for its result.

        :raise Exception: what it raises
        :raise TimeoutError: when it took longer than L{CALL_TIMEOUT}
        """
        return self._server.thread.call(function)

    def wait(self, function: Callable[[], Deferred[_T]]) -> _T:
        """
        Call a function in the server's thread, and wait for the result of the Deferred that it returns.

        :raise Exception: what it raises, or the Deferred fails with
        :raise TimeoutError: when it took longer than L{CALL_TIMEOUT}
        :raise RuntimeError: in that thread itself, where nothing may wait
        """
        return self._server.thread.wait(function)

    def register(self, provider: ICommandProvider, *, shadow: bool = False) -> None:
        """As L{Monitor.register<twisted_qmon.core.monitor.Monitor.register>}, in the server's thread."""
        self.call(lambda: self.monitor.register(provider, shadow=shadow))

    def register_command(self, name: str, handler: Callable[..., object], *, args_type: str | None = None) -> None:
        """As L{Monitor.register_command<twisted_qmon.core.monitor.Monitor.register_command>}, in the server's thread."""
        self.call(lambda: self.monitor.register_command(name, handler, args_type=args_type))

    def emit(self, name: str, data: Mapping[str, JSON] | None = None) -> None:
        """As L{Monitor.emit<twisted_qmon.core.monitor.Monitor.emit>}, in the server's thread."""
        self.call(lambda: self.monitor.emit(name, data))

"""
A service that keeps one connection to a server, over all its restarts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_qmon._reactor import global_reactor
from twisted_qmon.qmp._client.waiters import Waiters

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.errors import CommandError

__all__ = ["MAX_DELAY", "Connection", "Reconnector", "failure_reason"]

#: Seconds between two attempts to connect, at most (plus up to one of chance, so that many clients don't come back at
#: once).
MAX_DELAY = 10.0


_RETRY_POLICY = backoffPolicy(initialDelay=0.2, maxDelay=MAX_DELAY, factor=1.5)


class Connection(Protocol):
    """What is kept connected: a L{ClientConnection<twisted_qmon.qmp._client.connection.ClientConnection>}."""

    def close(self) -> Deferred[None]:
        """Close it."""

    def when_lost(self) -> Deferred[CommandError]:
        """:return: fires with the reason when it is lost or closed"""


def _nothing() -> None:
    """There is nothing to give up."""


_Connection = TypeVar("_Connection", bound=Connection)


class Reconnector(Service, Generic[_Connection]):
    """
    Connects while it runs, and again after each failure and each loss.

    Twisted's C{ClientService} does not log why an attempt failed, and raises C{NoTransition} when a connection is lost
    while it is being prepared (Twisted 24.3 to 26.10): which is what a server does that refuses.

    :param connect: makes a connection that is ready for use
    :param server: what log lines call the server
    :param clock: C{None}: the global reactor, fetched when first needed
    :param retry_policy: seconds until the next attempt, for the number of failures since the last connection, of which
        its loss is the first; by default 0.3 and growing up to L{MAX_DELAY}
    :param before_close: called when it is stopped while there is a connection, which is closed when the Deferred fires
    :param once: there is no next attempt
    """

    _log = Logger()

    def __init__(
        self,
        connect: Callable[[], Deferred[_Connection]],
        server: str,
        clock: IReactorTime | None = None,
        retry_policy: Callable[[int], float] | None = None,
        before_close: Callable[[], Deferred[None]] | None = None,
        *,
        once: bool = False,
    ) -> None:
        self._before_close = before_close
        self._once = once
        self._connect = connect
        self._server = server
        self._clock = clock
        self._retry_policy = retry_policy or _RETRY_POLICY
        self._failures = 0
        self._connection: _Connection | None = None
        # What would end an attempt to connect, or the pause before it.
        self._give_up: Callable[[], object] = _nothing
        self._pausing: Deferred[None] | None = None
        self._active = False
        self._idle: Waiters[None] = Waiters()
        # Those who wait for a connection, and how many failures they bear.
        self._waiting: list[tuple[Deferred[_Connection], int | None]] = []

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()  # type: ignore[no-untyped-call]
        if not self._active:
            self._active = True
            Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None]:
        """:return: fires when there is no connection any more, and no attempt to make one"""
        super().stopService()  # type: ignore[no-untyped-call]
        if not self._active:
            return succeed(None)
        idle = self._idle.wait()
        if self._connection is None:
            self._give_up()
        elif self._before_close is None:
            self._connection.close()
        else:
            self._before_close().addBoth(self._close, self._connection)
        return idle

    def _close(self, outcome: object, connection: _Connection) -> None:
        connection.close()

    def when_idle(self) -> Deferred[None]:
        """:return: fires when there is no connection any more, and no attempt to make one"""
        return self._idle.wait()

    def retry_now(self) -> None:
        """There is a reason to believe that the next attempt succeeds: don't wait until it is due."""
        if self._pausing is not None:
            self._failures = 0
            self._pausing.cancel()

    def when_connected(self, fail_after: int | None = None) -> Deferred[_Connection]:
        """
        :param fail_after: fail with the last attempt's error after so many; C{None}: never
        :return: fires with the connection, at once if there is one; fails with C{CancelledError} when the service stops
        """
        if self._connection is not None:
            return succeed(self._connection)
        waiting: Deferred[_Connection] = Deferred()
        self._waiting.append((waiting, fail_after))
        return waiting

    async def _run(self) -> None:
        try:
            while self.running:
                await self._connect_once()
                if self._once:
                    break
        except Exception:
            self._log.failure("while connecting to {server}", server=self._server)
        self._active = False
        self._tell_failure(CancelledError(), final=True)
        self._idle.tell(None)

    async def _connect_once(self) -> None:
        """Connect, see the connection to its end, and wait until the next attempt is due."""
        try:
            connecting = self._connect()
            self._give_up = connecting.cancel
            connection = await connecting
        except Exception as error:
            if self.running:
                self._tell_failure(error)
            await self._pause(self._log.info, "can't connect to", failure_reason(error))
            return
        self._failures = 0
        self._connection = connection
        # Not needed any more, and there may be thousands of these.
        self._give_up = _nothing
        del connecting
        self._tell(connection)
        if not self.running:
            connection.close()
        reason = await connection.when_lost()
        self._connection = None
        await self._pause(self._log.warn, "disconnected from", reason.desc)

    async def _pause(self, log: Callable[..., None], what: str, reason: str) -> None:
        # It may have been stopped, and started again.
        self._idle.tell(None)
        if not self.running:
            return
        if self._once:
            log("{what} {server}: {reason}", what=what, server=self._server, reason=reason)
            return
        self._failures += 1
        seconds = self._retry_policy(self._failures)
        log(
            "{what} {server}: {reason}; next attempt in {seconds} s",
            what=what,
            server=self._server,
            reason=reason,
            seconds=round(seconds, 1),
        )
        if self._clock is None:
            self._clock = global_reactor()
        pausing = self._pausing = deferLater(self._clock, seconds)
        self._give_up = pausing.cancel
        with suppress(CancelledError):
            await pausing
        self._pausing = None

    def _tell(self, connection: _Connection) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred, _ in waiting:
            if not deferred.called:
                deferred.callback(connection)

    def _tell_failure(self, error: Exception, *, final: bool = False) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred, left in waiting:
            if final or left == 1:
                if not deferred.called:
                    deferred.errback(error)
            else:
                self._waiting.append((deferred, None if left is None else left - 1))


def failure_reason(error: Exception) -> str:
    """:return: why an attempt to connect has failed, in one line"""
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError)
    return str(error).rstrip(".")

"""
Finds out that a QEMU stands still: stopped with C{SIGSTOP}, say, or on a host that swaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon.errors import ConnectionClosed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.providers.qemu.upstream import UpstreamConnection

__all__ = ["HEARTBEAT", "Heartbeat"]

#: Seconds of silence, with a request pending, after which QEMU is asked for a sign of life, out of band; and seconds
#: that it has for it. A main loop that is busy (a snapshot, say) does not keep it from answering that; a stopped
#: process does.
HEARTBEAT = 5.0

#: The command that asks for the sign of life: allowed out of band, without effect, and in every QEMU since 6.0.
_COMMAND = "query-yank"


class Heartbeat:
    """
    Watches one connection, and aborts it when QEMU has not answered for twice L{HEARTBEAT}.

    :param patient: only log that, once: there is no other connection to be had
    """

    _log = Logger()

    def __init__(self, connection: UpstreamConnection, clock: IReactorTime, *, patient: bool = False) -> None:
        self._patient = patient
        self._connection = connection
        self._clock = clock
        # How often it was found silent since it was last heard, and when that was.
        self._silences = 0
        self._silent_since = connection.silent_since
        self._timer = clock.callLater(HEARTBEAT, self._look)

    def stop(self) -> None:
        """Watch no more."""
        if self._timer.active():
            self._timer.cancel()

    def _look(self) -> None:
        connection = self._connection
        silence = 0.0
        if connection.session.pending and connection.session.oob:
            silence = self._clock.seconds() - connection.silent_since
        if silence < HEARTBEAT or connection.silent_since != self._silent_since:
            self._silences = 0
        self._silent_since = connection.silent_since
        if silence >= HEARTBEAT:
            self._silences += 1
        next_look = HEARTBEAT
        if self._silences == 0:
            next_look -= silence
        elif self._silences == 1:
            # An error is a sign of life as well.
            connection.ask(_COMMAND, oob=True).addErrback(lambda _: None)
        elif self._silences == 2:
            # If it was this process that stood still, the answer may have come and is about to be read.
            next_look = 0.0
        elif self._patient:
            if self._silences == 3:
                self._log.warn("QEMU has not answered for {seconds} s; its requests wait", seconds=round(silence))
        else:
            connection.abort(ConnectionClosed(f"QEMU did not answer for {2 * HEARTBEAT:g} s"))
            return
        self._timer = self._clock.callLater(next_look, self._look)

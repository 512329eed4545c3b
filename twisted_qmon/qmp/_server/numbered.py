"""
The events of a session that asked for numbers: first those that it missed, as fast as its client reads, then those that come.
No I/O.

What it missed stays in the monitor's history until the transport takes it: the session has no more than a position there, however
much that is. Once it has caught up, events go through the write queue as those of other sessions do; but none is merged or
dropped.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon.qmp._server.limits import HIGH_WATER
from twisted_qmon.qmp._server.messages import encode_with_number

if TYPE_CHECKING:
    from twisted_qmon._transport.write_queue import WriteQueue
    from twisted_qmon.core.access.standing import Standing
    from twisted_qmon.core.events import EventMessage
    from twisted_qmon.core.events.history import EventHistory

__all__ = ["NumberedEvents"]

# How many events of the history are looked at in one go.
_AT_ONCE = 64


class NumberedEvents:
    """
    One selection of numbered events.

    :param history: where those are that were missed
    :param position: the number after which they begin
    :param names: the events wanted; C{None}: all
    :param standing: who gets them; events above its level are left out
    :param write_queue: where the bytes go
    :ivar position: the number of the last event that was sent or left out
    :ivar live: it has caught up: events are sent as they come
    :ivar overtaken: the history has dropped events before they could be sent
    """

    __slots__ = ("_history", "_names", "_policy", "_standing", "_write_queue", "live", "overtaken", "position")
    _log = Logger(observer=publish)

    def __init__(
        self,
        history: EventHistory,
        position: int,
        names: Collection[str] | None,
        standing: Standing,
        write_queue: WriteQueue,
    ) -> None:
        self._history = history
        self._names = None if names is None else frozenset(names)
        self._standing = standing
        self._write_queue = write_queue
        self.position = position
        self.live = False
        self.overtaken = False
        # A client that counts its events is rather disconnected than given only some of them: it comes back for the others.
        self._policy = write_queue.policy
        write_queue.policy = "disconnect"

    def end(self) -> None:
        """The client has selected other events."""
        self._write_queue.policy = self._policy

    def is_next(self, message: EventMessage) -> bool:
        """
        An event that was selected is being delivered.

        :return: whether it is to be sent now. If not, it is too early for it, or the history has given it already, or it is not
            for this client.
        """
        if not self.live or message.number <= self.position:
            return False
        self.position = message.number
        return message.level <= self._standing.verdict.level

    def catch_up(self) -> bool:
        """
        Send what was missed, until the transport is full or the client has caught up.

        :return: whether it has
        """
        write_queue = self._write_queue
        while not self.live and not write_queue.blocked:
            if self.position + 1 < self._history.first:
                self.overtaken = True
                write_queue.overflow()
                break
            lines = self._next_lines()
            if lines:
                write_queue.paced(b"".join(lines))
        return self.live

    def _next_lines(self) -> list[bytes]:
        messages = self._history.after(self.position, _AT_ONCE)
        self.live = not messages
        lines: list[bytes] = []
        size = 0
        for message in messages:
            self.position = message.number
            if self._wants(message):
                try:
                    line = encode_with_number(message)
                except TypeError:
                    # As when it was new: unchecked data need not be JSON.
                    self._log.failure("while encoding the event {event}", event=message.name)
                    continue
                lines.append(line)
                size += len(line)
                if size >= HIGH_WATER:
                    break
        return lines

    def _wants(self, message: EventMessage) -> bool:
        return (self._names is None or message.name in self._names) and message.level <= self._standing.verdict.level

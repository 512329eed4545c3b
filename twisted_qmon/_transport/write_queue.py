"""
One connection's write queue: replies and events in order, bounded, whether the client reads or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

__all__ = ["MAX_QUEUED", "SLOW_CLIENT", "WriteQueue"]

#: Bytes of events that wait for a client that does not read.
MAX_QUEUED = 1 << 20

#: What may happen to a client for which more than that would wait.
SLOW_CLIENT = ("disconnect", "drop-oldest")


class _Entry:
    """
    A message that waits and is more than an event's bytes: a reply, an event of which only the latest is wanted, or the place
    where events were dropped (C{data} is C{None}, C{lost} their number).
    """

    __slots__ = ("data", "key", "lost")

    def __init__(self, data: bytes | None, key: Hashable = None, lost: int = 0) -> None:
        self.data = data
        self.key = key
        self.lost = lost


class WriteQueue:
    """
    While the transport takes everything, a message goes straight through. Once the transport's buffer is over its high-water mark
    (L{block}), messages wait here, in order: replies without a limit of their own, since the session takes no new requests
    meanwhile; events up to C{max_queued} bytes, and of a rate-limited one only the latest.

    :param write: takes bytes for the transport
    :param max_queued: bytes of events that may wait
    :param policy: one of L{SLOW_CLIENT}
    :param limit_exceeded: called once when an event more would be too much (C{disconnect}), or after L{overflow}
    :param blocked: called when the transport wants no more
    :param unblocked: called when it has taken all that waited, and would take more
    :param push: has the transport send what it has taken at once, as far as the peer takes it; C{None}: it can't
    :param send: C{write} and C{push} in one; C{None}: it can't
    :ivar blocked: messages wait
    :ivar queued: bytes of events that wait
    :ivar handed_over: messages that had to wait, here or elsewhere, and have been given to the transport since
    :ivar lost: events that were dropped
    :ivar lost_message: makes the bytes that tell of so many dropped events; by default nothing is told
    """

    __slots__ = (
        "_by_key", "_entries", "_limit_exceeded", "_on_blocked", "_on_unblocked", "_push", "_send", "_write",
        "blocked", "closed", "handed_over", "lost", "lost_message", "max_queued", "policy", "queued",
    )  # fmt: skip

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        max_queued: int = MAX_QUEUED,
        policy: str = "disconnect",
        limit_exceeded: Callable[[], None],
        blocked: Callable[[], None],
        unblocked: Callable[[], None],
        push: Callable[[], object] | None = None,
        send: Callable[[bytes], object] | None = None,
    ) -> None:
        self._write = write
        self._send = write if send is None else send
        self._limit_exceeded = limit_exceeded
        self._on_blocked = blocked
        self._on_unblocked = unblocked
        self._push = push
        # Made when first needed: most connections never do.
        self._entries: deque[bytes | _Entry] | None = None
        self._by_key: dict[Hashable, _Entry] | None = None
        self.max_queued = max_queued
        self.policy = policy
        self.blocked = False
        self.closed = False
        self.queued = 0
        self.handed_over = 0
        self.lost = 0
        self.lost_message: Callable[[int], bytes] = lambda number: b""

    def reply(self, data: bytes) -> None:
        """Send bytes that must not be dropped."""
        if not self.blocked:
            self._write(data)
        elif not self.closed:
            self._queue().append(_Entry(data))

    def send(self, data: bytes) -> None:
        """L{reply} and L{push} in one."""
        if not self.blocked:
            self._send(data)
        else:
            self.reply(data)

    def push(self) -> None:
        """
        Send what has been written now and not in a turn of the reactor: the client waits for it, and nothing more is to come that
        could go with it.
        """
        if self._push is not None and not self.blocked:
            self._push()

    def paced(self, data: bytes) -> None:
        """
        Send a piece of what waits elsewhere until L{blocked} is not set. It is not set now.

        :param data: the piece; it does not count as queued
        """
        self.handed_over += 1
        self._write(data)

    def event(self, data: bytes, key: Hashable = None) -> None:
        """
        Send an event.

        :param data: its bytes
        :param key: of a rate-limited one, what its limit knows it by: an older one with the same key that still waits is dropped,
            and not counted as lost
        """
        if not self.blocked:
            self._write(data)
        elif not self.closed:
            self._enqueue(data, key)

    def _queue(self) -> deque[bytes | _Entry]:
        if self._entries is None:
            self._entries = deque()
            self._by_key = {}
        return self._entries

    def _enqueue(self, data: bytes, key: Hashable) -> None:
        entries = self._queue()
        assert self._by_key is not None
        if key is not None:
            older = self._by_key.pop(key, None)
            if older is not None and older.data is not None:
                self.queued -= len(older.data)
                entries.remove(older)
        if self.queued + len(data) > self.max_queued:
            if self.policy == "disconnect":
                self.overflow()
                return
            self._drop_oldest(entries, self.queued + len(data) - self.max_queued)
            if self.queued + len(data) > self.max_queued:
                self._mark_lost(entries)
                return
        self.queued += len(data)
        if key is None:
            # The bytes alone: ten thousand of them, the same for a thousand clients, are to cost no more than a pointer each.
            entries.append(data)
        else:
            entry = self._by_key[key] = _Entry(data, key)
            entries.append(entry)

    def overflow(self) -> None:
        """More waits for the client than may: drop everything, and have it disconnected."""
        self.close()
        self._limit_exceeded()

    def _drop_oldest(self, entries: deque[bytes | _Entry], size: int) -> None:
        kept: list[bytes | _Entry] = []
        marker: _Entry | None = None
        while entries and size > 0:
            entry = entries.popleft()
            event = self._event_of(entry)
            if event is None:
                kept.append(entry)
                if isinstance(entry, _Entry) and entry.lost:
                    marker = entry
                continue
            size -= len(event)
            self.lost += 1
            if marker is None:
                marker = _Entry(None)
                kept.append(marker)
            marker.lost += 1
        entries.extendleft(reversed(kept))

    def _event_of(self, entry: bytes | _Entry) -> bytes | None:
        """Take an event that has left the queue off the books. :return: its bytes; C{None} if it is no event"""
        if isinstance(entry, bytes):
            data = entry
        elif entry.key is not None and entry.data is not None:
            data = entry.data
            if self._by_key is not None:
                self._by_key.pop(entry.key, None)
        else:
            return None
        self.queued -= len(data)
        return data

    def _mark_lost(self, entries: deque[bytes | _Entry]) -> None:
        self.lost += 1
        for entry in entries:
            if isinstance(entry, _Entry) and entry.lost:
                entry.lost += 1
                return
        entries.append(_Entry(None, lost=1))

    def block(self) -> None:
        """The transport wants no more for now. It may say so again and again."""
        if not self.blocked and not self.closed:
            self.blocked = True
            self._on_blocked()

    def unblock(self) -> None:
        """The transport takes more: give it what waits, until it is full again."""
        if not self.blocked or self.closed:
            return
        self.blocked = False
        entries = self._entries
        while entries and not self.blocked:
            entry = entries.popleft()
            data = self._event_of(entry)
            if data is None:
                assert isinstance(entry, _Entry)
                data = entry.data if entry.data is not None else self.lost_message(entry.lost)
            self.handed_over += 1
            # May call block() before it returns.
            self._write(data)
        if self.blocked:
            return
        self._entries = self._by_key = None
        self._on_unblocked()

    def close(self) -> None:
        """Drop everything that waits or comes: it would not be read."""
        self.closed = self.blocked = True
        self._entries = self._by_key = None
        self.queued = 0

"""
One connection's outgoing queue: replies and events in order, bounded, whether the client reads or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["MAX_QUEUED", "SLOW_CLIENT", "Outgoing"]

#: Bytes of events that wait for a client that does not read.
MAX_QUEUED = 1 << 20

#: What may happen to a client for which more than that would wait.
SLOW_CLIENT = ("disconnect", "drop-oldest")


class _Entry:
    """One message that waits. C{data} is C{None} once it has been dropped."""

    __slots__ = ("data", "is_event", "lost")

    def __init__(self, data: bytes | None, is_event: bool) -> None:
        self.data = data
        self.is_event = is_event
        self.lost = 0


class Outgoing:
    """
    While the transport takes everything, a message goes straight through. Once the transport's buffer is over its high-water mark
    (L{block}), messages wait here, in order: replies without a limit of their own, since the session takes no new requests
    meanwhile; events up to C{max_queued} bytes, and of a rate-limited one only the latest.

    :param write: takes bytes for the transport
    :param max_queued: bytes of events that may wait
    :param policy: one of L{SLOW_CLIENT}
    :param limit_exceeded: called once when an event more would be too much (C{disconnect})
    :param blocked: called when the transport wants no more
    :param unblocked: called when it has taken all that waited, and would take more
    :ivar blocked: messages wait
    :ivar queued: bytes of events that wait
    :ivar lost: events that were dropped
    :ivar lost_message: makes the bytes that tell of C{n} dropped events; C{None}: nothing is told
    """

    __slots__ = (
        "_by_key", "_entries", "_limit_exceeded", "_on_blocked", "_on_unblocked", "_write",
        "blocked", "closed", "lost", "lost_message", "max_queued", "policy", "queued",
    )  # fmt: skip

    def __init__(
        self,
        write: Callable[[bytes], Any],
        *,
        max_queued: int = MAX_QUEUED,
        policy: str = "disconnect",
        limit_exceeded: Callable[[], None],
        blocked: Callable[[], None],
        unblocked: Callable[[], None],
    ) -> None:
        self._write = write
        self._limit_exceeded = limit_exceeded
        self._on_blocked = blocked
        self._on_unblocked = unblocked
        # Made when first needed: most connections never do.
        self._entries: deque[_Entry] | None = None
        self._by_key: dict[Hashable, _Entry] | None = None
        self.max_queued = max_queued
        self.policy = policy
        self.blocked = False
        self.closed = False
        self.queued = 0
        self.lost = 0
        self.lost_message: Callable[[int], bytes] | None = None

    def reply(self, data: bytes) -> None:
        """Send bytes that must not be dropped."""
        if not self.blocked:
            self._write(data)
        elif not self.closed:
            self._queue().append(_Entry(data, False))

    def event(self, data: bytes, key: Callable[[], Hashable] | None = None) -> None:
        """
        Send an event.

        :param data: its bytes
        :param key: for a rate-limited one, makes what tells it from the others: an older one with the same key that still waits
            is dropped, and not counted as lost
        """
        if not self.blocked:
            self._write(data)
        elif not self.closed:
            self._enqueue(data, key() if key is not None else None)

    def _queue(self) -> deque[_Entry]:
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
                older.data = None
                if not older.lost:
                    entries.remove(older)
        if self.queued + len(data) > self.max_queued:
            if self.policy == "disconnect":
                self.close()
                self._limit_exceeded()
                return
            self._drop_oldest(entries, self.queued + len(data) - self.max_queued)
            if self.queued + len(data) > self.max_queued:
                self._mark_lost(entries, 1)
                return
        entry = _Entry(data, True)
        entries.append(entry)
        self.queued += len(data)
        if key is not None:
            self._by_key[key] = entry

    def _drop_oldest(self, entries: deque[_Entry], size: int) -> None:
        dropped = 0
        marker = None
        for entry in entries:
            if size <= 0:
                break
            if entry.lost:
                marker = marker or entry
            elif entry.is_event and entry.data is not None:
                size -= len(entry.data)
                self.queued -= len(entry.data)
                entry.data = None
                dropped += 1
                if marker is None:
                    marker = entry
        if dropped and marker is not None:
            marker.lost += dropped
            self.lost += dropped
        # What has been dropped from the front need not be stepped over next time.
        while len(entries) > 1 and entries[0].data is None and not entries[0].lost:
            entries.popleft()
        if len(entries) > 2 and entries[0].lost:
            first = entries.popleft()
            while entries and entries[0].data is None and not entries[0].lost:
                entries.popleft()
            entries.appendleft(first)

    def _mark_lost(self, entries: deque[_Entry], number: int) -> None:
        for entry in entries:
            if entry.lost:
                entry.lost += number
                break
        else:
            marker = _Entry(None, True)
            marker.lost = number
            entries.append(marker)
        self.lost += number

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
            data = entry.data
            if entry.lost:
                data = self.lost_message(entry.lost) if self.lost_message is not None else None
            elif data is not None and entry.is_event:
                self.queued -= len(data)
            if data is not None:
                # May call block() before it returns.
                self._write(data)
        if self.blocked:
            return
        self._entries = self._by_key = None
        self._on_unblocked()

    def close(self) -> None:
        """Drop everything: nobody will read it."""
        self.closed = self.blocked = True
        self._entries = self._by_key = None
        self.queued = 0

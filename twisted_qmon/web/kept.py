"""
The requests that no connection waits for: their outcomes are kept until they are fetched, for a while.
"""

from __future__ import annotations

from collections.abc import ItemsView
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon.core.request import Request
from twisted_qmon.errors import LOGGED, GenericError
from twisted_qmon.info import JSON
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qmp.json.writer import encode_message, verbatim

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_log = Logger()

__all__ = ["FETCHED_AGE", "KEPT_AGE", "MAX_KEPT", "MAX_KEPT_BYTES", "Entry", "Kept", "describe"]

#: Seconds that an outcome is kept.
KEPT_AGE = 300.0

#: Seconds that it is kept once it was fetched: the answer may have been lost on its way.
FETCHED_AGE = 30.0

#: Outcomes that are kept for one token. Of more the oldest are dropped.
MAX_KEPT = 100

#: Bytes of them, as JSON. The latest one is kept, whatever its size.
MAX_KEPT_BYTES = 16 << 20


@dataclass(slots=True, eq=False)
class Entry:
    """
    One request.

    :ivar request: the request
    :ivar document: when it is done, what is told of it; empty before that
    :ivar timer: of its end
    """

    request: Request
    document: bytes = b""
    timer: IDelayedCall | None = None


class Kept:
    """
    The requests of one token that no connection waits for, by their numbers.

    :param clock: of their ages
    :ivar pending: how many are not done
    :ivar size: bytes of the outcomes
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._entries: dict[int, Entry] = {}
        # The numbers of those that are done, in that order.
        self._done: dict[int, None] = {}
        self.pending = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def items(self) -> ItemsView[int, Entry]:
        """:return: the numbers, and what is kept"""
        return self._entries.items()

    def get(self, number: int) -> Entry | None:
        """:return: what is kept under a number, or C{None}"""
        return self._entries.get(number)

    def add(self, request: Request) -> None:
        """Keep a request. When it is done, L{settled} is to be called."""
        self._entries[request.number] = Entry(request)
        self.pending += 1
        if request.done:
            self.settled(request)

    def settled(self, request: Request) -> None:
        """A request is done: from here on its outcome counts."""
        entry = self._entries[request.number]
        self.pending -= 1
        now = self._clock.seconds()
        entry.document = _outcome(request, now)
        # It is told as bytes, from here on.
        request.result = request.arguments = None
        self.size += len(entry.document)
        self._done[request.number] = None
        entry.timer = self._clock.callLater(KEPT_AGE, self.forget, request.number)
        while len(self._done) > MAX_KEPT or (self.size > MAX_KEPT_BYTES and len(self._done) > 1):
            self.forget(next(iter(self._done)))

    def fetch(self, number: int) -> bytes | None:
        """:return: the outcome, which is not kept for long from here on; C{None}: there is none, or not yet"""
        entry = self._entries.get(number)
        if entry is None or entry.timer is None:
            return None
        if entry.timer.getTime() - self._clock.seconds() > FETCHED_AGE:
            entry.timer.reset(FETCHED_AGE)
        return entry.document

    def forget(self, number: int) -> None:
        """Forget an outcome."""
        entry = self._entries.pop(number)
        del self._done[number]
        self.size -= len(entry.document)
        if entry.timer is not None and entry.timer.active():
            entry.timer.cancel()

    def clear(self) -> None:
        """Forget everything, what is pending too."""
        for number in list(self._done):
            self.forget(number)
        self._entries.clear()
        self.pending = 0


def describe(request: Request, now: float) -> dict[str, JSON]:
    """
    :param now: in seconds of the monitor's clock
    :return: what is told of a request, but for its result
    """
    document: dict[str, JSON] = {
        "number": request.number,
        "command": request.name,
        "state": "pending" if not request.done else "done" if request.error is None else "failed",
    }
    if not request.done:
        document["seconds"] = max(0.0, now - request.created)
    if request.total or request.current:
        document["progress"] = {"current": request.current, "total": request.total}
    if request.error is not None:
        document["error"] = request.error.to_wire()
    return document


def _outcome(request: Request, now: float) -> bytes:
    document: dict[str, object] = dict(describe(request, now))
    if request.error is None:
        result = request.result
        document["return"] = verbatim(result.text) if type(result) is JSONText else result
    try:
        return encode_message(document)
    except Exception:
        # The core has looked at the result; this is for what it was told to trust.
        _log.failure("while encoding the result of {command}", command=request.name)
        error = GenericError(f"The answer {LOGGED}")
        return encode_message({**describe(request, now), "state": "failed", "error": error.to_wire()})

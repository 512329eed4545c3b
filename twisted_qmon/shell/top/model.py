"""
What is known of a server, moment by moment. No I/O.

Each moment is the answers of the server to the commands of L{SOURCES}. Where it does not have one, the part of the screen
that would show it is not there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["KEEP", "MAX_EVENTS", "SORTS", "SOURCES", "Model", "Row"]

#: The commands that are asked each time.
SOURCES = (
    "query-name",
    "query-status",
    "query-whoami",
    "query-process",
    "query-reactor",
    "query-connections-monitor",
    "query-pending",
    "query-jobs",
    "query-stalls",
)

#: How many moments the curves have.
KEEP = 240

#: How many events are kept.
MAX_EVENTS = 200

#: What rows may be sorted by.
SORTS = ("age", "name", "session", "progress")


class Row(NamedTuple):
    """
    A request or a job.

    :ivar kind: C{"request"} or C{"job"}
    :ivar key: the number of the request, or the id of the job: what cancels it
    :ivar name: of the command, or the type of the job
    :ivar session: whose request it is, or the status of the job
    :ivar age: in seconds; C{None} where it is not told
    :ivar progress: how far it is, and of how much; C{None} where it is not told
    """

    kind: str
    key: int | str
    name: str
    session: str
    age: float | None
    progress: tuple[float, float] | None

    @property
    def part(self) -> float:
        """How much of it is done, from 0 to 1; -1 where that is not told."""
        return self.progress[0] / self.progress[1] if self.progress is not None and self.progress[1] > 0 else -1.0


class Model:
    """
    What is known.

    :ivar connected: there is a connection
    :ivar answers: by command, the last answer
    :ivar series: by name (C{"requests"} a second, C{"late"} in seconds, C{"memory"} in bytes, C{"cpu"} as a part of one
        processor): what was measured, oldest first
    :ivar events: the last events, latest last
    :ivar sort: one of L{SORTS}
    :ivar filter: only rows and events with this in their text
    """

    def __init__(self) -> None:
        self.connected = True
        self.answers: dict[str, Any] = {}
        self.series: dict[str, deque[float]] = {}
        self.events: deque[Mapping[str, Any]] = deque(maxlen=MAX_EVENTS)
        self.sort = SORTS[0]
        self.filter = ""
        self._requests: dict[str, int] = {}
        self._cpu: float | None = None
        self._at: float | None = None

    def happened(self, event: Mapping[str, Any]) -> None:
        """An event has come."""
        self.events.append(event)

    def lost(self) -> None:
        """The connection is lost: what is known is old, and the next moment is not comparable with the last."""
        self.connected = False
        self._at = None
        self._requests = {}

    def update(self, answers: Mapping[str, Any], now: float) -> None:
        """
        A moment has come.

        :param answers: by command; only of those that the server has
        :param now: in seconds, of any clock that is steady
        """
        self.connected = True
        self.answers = dict(answers)
        elapsed = None if self._at is None else max(0.001, now - self._at)
        self._at = now
        process = _object(answers.get("query-process"))
        latency = _object(_object(answers.get("query-reactor")).get("latency"))
        self._measure("late", _number(latency.get("last")))
        self._measure("memory", _number(process.get("resident-memory")))
        cpu = _number(process.get("cpu-seconds"))
        if cpu is not None and self._cpu is not None and elapsed is not None:
            self._measure("cpu", max(0.0, cpu - self._cpu) / elapsed)
        self._cpu = cpu
        self._count(answers.get("query-connections-monitor"), elapsed)

    def _count(self, sessions: Any, elapsed: float | None) -> None:
        """The requests of all sessions but this one: of a new one all, of one that has gone none."""
        if not isinstance(sessions, list):
            return
        own = _object(self.answers.get("query-whoami")).get("session")
        counts = {
            str(each.get("session")): int(_number(each.get("requests")) or 0)
            for each in sessions
            if isinstance(each, Mapping) and each.get("session") != own
        }
        if elapsed is not None:
            done = sum(max(0, count - self._requests.get(session, 0)) for session, count in counts.items())
            self._measure("requests", done / elapsed)
        self._requests = counts

    def _measure(self, name: str, value: float | None) -> None:
        if value is not None:
            self.series.setdefault(name, deque(maxlen=KEEP)).append(value)

    # -- rows

    def has(self, *sources: str) -> bool:
        """:return: whether the server has one of these commands"""
        return any(source in self.answers for source in sources)

    def rows(self) -> list[Row]:
        """:return: requests and jobs, filtered and sorted"""
        rows = [*_requests(self.answers.get("query-pending")), *_jobs(self.answers.get("query-jobs"))]
        wanted = self.filter.lower()
        rows = [row for row in rows if wanted in f"{row.key} {row.name} {row.session}".lower()]
        keys: dict[str, Any] = {
            "age": lambda row: -(row.age or 0.0),
            "name": lambda row: row.name,
            "session": lambda row: row.session,
            "progress": lambda row: -row.part,
        }
        return sorted(rows, key=keys[self.sort])

    def shown_events(self) -> list[Mapping[str, Any]]:
        """:return: the events that the filter lets through, latest last"""
        wanted = self.filter.lower()
        return [event for event in self.events if wanted in f"{event.get('event')} {event.get('data', '')}".lower()]

    def sort_next(self) -> None:
        """Sort by the next of L{SORTS}."""
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]


def _requests(answer: Any) -> Iterable[Row]:
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, Mapping) and "number" in each:
            command = str(each.get("command", "")) + (" (abandoned)" if each.get("abandoned") else "")
            progress = _object(each.get("progress"))
            yield Row(
                "request",
                each["number"],
                command,
                str(each.get("session", "")),
                _number(each.get("seconds")),
                _progress(progress.get("current"), progress.get("total")),
            )


def _jobs(answer: Any) -> Iterable[Row]:
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, Mapping) and "id" in each:
            progress = _progress(each.get("current-progress"), each.get("total-progress"))
            yield Row(
                "job", str(each["id"]), f"job {each.get('type', '')}", str(each.get("status", "")), None, progress
            )


def _progress(current: Any, total: Any) -> tuple[float, float] | None:
    found = _number(current), _number(total)
    return (found[0], found[1]) if found[0] is not None and found[1] else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

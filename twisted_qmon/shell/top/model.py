"""
What is known of a server, moment by moment. No I/O.

Each moment is the answers of the server to the commands of L{SOURCES}. Where it does not have one, the part of the screen
that would show it is not there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from twisted_qmon.info import JSON
from twisted_qmon.shell.rows import Row, job_rows, number_of, object_of, request_rows

__all__ = ["KEEP", "MAX_EVENTS", "SORTS", "SOURCES", "Model"]

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
        self.answers: dict[str, JSON] = {}
        self.series: dict[str, deque[float]] = {}
        self.events: deque[Mapping[str, JSON]] = deque(maxlen=MAX_EVENTS)
        self.sort = SORTS[0]
        self.filter = ""
        self._requests: dict[str, int] = {}
        self._cpu: float | None = None
        self._at: float | None = None

    def happened(self, event: Mapping[str, JSON]) -> None:
        """An event has come."""
        self.events.append(event)

    def lost(self) -> None:
        """The connection is lost: what is known is old, and the next moment is not comparable with the last."""
        self.connected = False
        self._at = None
        self._requests = {}

    def update(self, answers: Mapping[str, JSON], now: float) -> None:
        """
        A moment has come.

        :param answers: by command; only of those that the server has
        :param now: in seconds, of any clock that is steady
        """
        self.connected = True
        self.answers = dict(answers)
        elapsed = None if self._at is None else max(0.001, now - self._at)
        self._at = now
        process = object_of(answers.get("query-process"))
        latency = object_of(object_of(answers.get("query-reactor")).get("latency"))
        self._measure("late", number_of(latency.get("last")))
        self._measure("memory", number_of(process.get("resident-memory")))
        cpu = number_of(process.get("cpu-seconds"))
        if cpu is not None and self._cpu is not None and elapsed is not None:
            self._measure("cpu", max(0.0, cpu - self._cpu) / elapsed)
        self._cpu = cpu
        self._count(answers.get("query-connections-monitor"), elapsed)

    def _count(self, sessions: JSON, elapsed: float | None) -> None:
        """The requests of all sessions but this one: of a new one all, of one that has gone none."""
        if not isinstance(sessions, list):
            return
        own = object_of(self.answers.get("query-whoami")).get("session")
        counts = {
            str(each.get("session")): int(number_of(each.get("requests")) or 0)
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
        rows = [*request_rows(self.answers.get("query-pending")), *job_rows(self.answers.get("query-jobs"))]
        wanted = self.filter.lower()
        rows = [row for row in rows if wanted in f"{row.key} {row.name} {row.session}".lower()]
        keys: dict[str, Callable[[Row], float | str]] = {
            "age": lambda row: -(row.age or 0.0),
            "name": lambda row: row.name,
            "session": lambda row: row.session,
            "progress": lambda row: -row.part,
        }
        return sorted(rows, key=keys[self.sort])

    def shown_events(self) -> list[Mapping[str, JSON]]:
        """:return: the events that the filter lets through, latest last"""
        wanted = self.filter.lower()
        return [event for event in self.events if wanted in f"{event.get('event')} {event.get('data', '')}".lower()]

    def sort_next(self) -> None:
        """Sort by the next of L{SORTS}."""
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]

"""
What is pending at a server, out of what it answers. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from twisted_qmon.info import JSON

__all__ = ["Row", "find_progress", "job_rows", "number_of", "object_of", "request_rows"]


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


def request_rows(answer: JSON) -> Iterable[Row]:
    """:return: the requests in what C{query-pending} returned"""
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, Mapping) and "number" in each:
            command = str(each.get("command", "")) + (" (abandoned)" if each.get("abandoned") else "")
            progress = object_of(each.get("progress"))
            yield Row(
                "request",
                each["number"],
                command,
                str(each.get("session", "")),
                number_of(each.get("seconds")),
                _progress(progress.get("current"), progress.get("total")),
            )


def job_rows(answer: JSON) -> Iterable[Row]:
    """:return: the jobs in what C{query-jobs} returned"""
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, Mapping) and "id" in each:
            progress = _progress(each.get("current-progress"), each.get("total-progress"))
            yield Row(
                "job", str(each["id"]), f"job {each.get('type', '')}", str(each.get("status", "")), None, progress
            )


def _progress(current: JSON, total: JSON) -> tuple[float, float] | None:
    found = number_of(current), number_of(total)
    return (found[0], found[1]) if found[0] is not None and found[1] else None


def object_of(value: JSON) -> Mapping[str, JSON]:
    """:return: the value, or an empty object where it is none"""
    return value if isinstance(value, Mapping) else {}


def number_of(value: JSON) -> float | None:
    """:return: the value, or C{None} where it is no number"""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def find_progress(answer: JSON, name: str, elapsed: float) -> tuple[float, float] | None:
    """
    :param answer: what C{query-pending} returned
    :param name: of the command that is waited for
    :param elapsed: seconds for which it has been
    :return: how far it is, and of how much; C{None} where that is not told
    """
    found = [row for row in request_rows(answer) if row.name == name and row.progress is not None]
    # Another client may wait for the same command: the one that is as old as ours is meant.
    found.sort(key=lambda row: abs((row.age or 0.0) - elapsed))
    return found[0].progress if found else None

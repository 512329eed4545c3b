"""
Events and log entries as a line for a person. No I/O.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from twisted_qmon._text import json_text

__all__ = ["event_line", "event_parts", "log_line", "log_parts", "time_of_day"]


def time_of_day(timestamp: Any) -> str:
    """
    :param timestamp: as events have it
    :return: local time with milliseconds; C{--:--:--} where the server does not know it
    """
    seconds = timestamp.get("seconds") if isinstance(timestamp, Mapping) else None
    if not isinstance(seconds, int) or not 0 <= seconds < 1 << 40:
        return "--:--:--.---"
    microseconds = timestamp.get("microseconds")
    milliseconds = microseconds // 1000 if isinstance(microseconds, int) and 0 <= microseconds < 1_000_000 else 0
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{milliseconds:03d}"


def event_parts(event: Mapping[str, Any]) -> tuple[str, str, str]:
    """:return: when it happened, its name, and its data as C{key=value}"""
    data = event.get("data")
    pairs = [f"{key}={_short(value)}" for key, value in data.items()] if isinstance(data, Mapping) else []
    number = event.get("number")
    if isinstance(number, int):
        pairs.append(f"#{number}")
    return time_of_day(event.get("timestamp")), str(event.get("event")), " ".join(pairs)


def event_line(event: Mapping[str, Any]) -> str:
    """:return: the parts of an event on one line"""
    return "  ".join(part for part in event_parts(event) if part)


def log_parts(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """:return: when it was logged, its level, its namespace and its text, which may have several lines"""
    return (
        time_of_day(entry.get("timestamp")),
        str(entry.get("level", "")),
        str(entry.get("namespace", "")),
        str(entry.get("text", "")),
    )


def log_line(entry: Mapping[str, Any]) -> str:
    """:return: the parts of a log entry, further lines of its text indented"""
    when, level, namespace, text = log_parts(entry)
    return f"{when}  {level:<8}  {namespace}: " + text.rstrip("\n").replace("\n", "\n    ")


def _short(value: Any) -> str:
    if isinstance(value, str) and value and not any(c in value for c in ' "='):
        return value
    return json_text(value)

"""
Draws a L{Model<twisted_qmon.shell.top.model.Model>} as lines of styled text, in the style of prompt_toolkit. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from twisted_qmon._text import printable, short_number, size, span
from twisted_qmon.hmp.event_text import event_parts, time_of_day
from twisted_qmon.info import JSON
from twisted_qmon.shell.rows import Row
from twisted_qmon.shell.top.model import Model

__all__ = ["KEYS", "Line", "State", "draw", "sparkline"]

#: A line: styles and texts, next to each other.
Line = list[tuple[str, str]]

#: What the keys do.
KEYS = "up/down select   c cancel   s sort   / filter   p pause   q quit"

_LEVELS = "▁▂▃▄▅▆▇█"
_BAR = 20
_HEAD = "bold reverse"
_DIM = "ansibrightblack"
_LABEL = 10
_FIGURE = 26


class State(NamedTuple):
    """
    What is not the server's.

    :ivar title: of the server
    :ivar selected: the row in which the cursor is
    :ivar typing: the filter is being typed
    :ivar paused: nothing is asked at present
    :ivar message: what became of the last key
    """

    title: str
    selected: int = 0
    typing: bool = False
    paused: bool = False
    message: str = ""


def sparkline(values: Sequence[float], width: int, *, at_least: float = 0.0) -> str:
    """
    :param values: oldest first; as many of the last ones as there is room for are drawn
    :param width: columns
    :param at_least: what a full column stands for, if no value is greater
    :return: a curve from zero to the greatest value
    """
    shown = list(values)[-width:] if width > 0 else []
    top = max([at_least, *shown]) or 1.0
    return "".join(_LEVELS[min(len(_LEVELS) - 1, int(max(0.0, value) / top * len(_LEVELS)))] for value in shown)


def draw(model: Model, state: State, width: int, height: int) -> list[Line]:
    """:return: exactly as many lines as there is room for"""
    lines = [_title(model, state, width), *_summary(model, width)]
    left = height - len(lines) - 1
    stalls = _stalls(model, width)[: max(0, left // 4)]
    rows = _rows(model, state, width)
    events = _events(model, width)
    room = max(2, left - len(stalls))
    # Both have their half; what one does not need is the other's.
    for_rows = min(len(rows), max(room // 2, room - len(events)))
    first = max(0, min(state.selected - for_rows + 3, len(rows) - for_rows)) if for_rows > 1 else 0
    lines += rows[:1] + rows[1 + first : for_rows + first]
    for_events = room - for_rows
    lines += events[:1] + events[1:][-(for_events - 1) :] if for_events > 1 and events else []
    lines += stalls
    lines = lines[: height - 1]
    lines += [[("", "")]] * (height - 1 - len(lines))
    return [_clip(line, width) for line in (*lines, _footer(model, state))]


def _clip(line: Line, width: int) -> Line:
    clipped: Line = []
    for style, text in line:
        text = text[:width]
        width -= len(text)
        clipped.append((style, text))
    return clipped


def _title(model: Model, state: State, width: int) -> Line:
    name = _get(model, "query-name", "name")
    status = _get(model, "query-status", "status")
    uptime = _get(model, "query-process", "uptime")
    parts = [state.title, str(name or ""), str(status or "")]
    parts += [f"up {span(uptime)}"] if isinstance(uptime, (int, float)) else []
    text = printable("  ".join(part for part in parts if part))
    condition = "" if model.connected else "  not connected  "
    return [(_HEAD, f" {text} ".ljust(width - len(condition))), ("bold reverse ansired", condition)]


def _get(model: Model, source: str, key: str) -> JSON:
    answer = model.answers.get(source)
    return answer.get(key) if isinstance(answer, Mapping) else None


def _summary(model: Model, width: int) -> Iterable[Line]:
    series = model.series
    if "requests" in series:
        sessions = model.answers.get("query-connections-monitor")
        clients = len(sessions) if isinstance(sessions, list) else 0
        figure = f"{short_number(series['requests'][-1])}/s, {clients} client{'s' * (clients != 1)}"
        yield _curve("requests", figure, series["requests"], width, 1.0)
    if "late" in series:
        latency = _get(model, "query-reactor", "latency")
        worst = latency.get("worst") if isinstance(latency, Mapping) else None
        more = f", worst {span(worst)}" if isinstance(worst, (int, float)) else ""
        yield _curve("late", f"{span(series['late'][-1])}{more}", series["late"], width, 0.01)
    if "memory" in series:
        yield _curve("memory", size(series["memory"][-1]), series["memory"], width)
    if "cpu" in series:
        yield _curve("cpu", f"{100 * series['cpu'][-1]:.0f} %", series["cpu"], width, 1.0)


def _curve(label: str, figure: str, values: Sequence[float], width: int, at_least: float = 0.0) -> Line:
    room = width - _LABEL - _FIGURE
    return [
        ("bold", label.ljust(_LABEL)),
        ("", figure[: _FIGURE - 1].ljust(_FIGURE)),
        ("ansigreen", sparkline(values, room, at_least=at_least)),
    ]


def _head(text: str, width: int) -> Line:
    return [("bold underline", text.ljust(width))]


def _rows(model: Model, state: State, width: int) -> list[Line]:
    if not model.has("query-pending", "query-jobs"):
        return []
    rows = model.rows()
    about = f"PENDING {len(rows)}   by {model.sort}" + (
        f"   filter {printable(model.filter)!r}" if model.filter else ""
    )
    lines = [_head(about, width)]
    for number, row in enumerate(rows):
        lines.append(_row(row, "reverse" if number == state.selected else ""))
    return lines if rows else [*lines, [(_DIM, "nothing")]]


def _row(row: Row, style: str) -> Line:
    age = "" if row.age is None else span(row.age)
    line: Line = [
        (
            style,
            f"{printable(str(row.key)):<8.8} {printable(row.name):<28.28} {printable(row.session):<12.12} {age:>10} ",
        )
    ]
    if row.part >= 0:
        filled = round(_BAR * min(1.0, row.part))
        line += [("ansicyan", " " + "█" * filled + "░" * (_BAR - filled)), ("", f" {100 * min(1.0, row.part):3.0f} %")]
    return line


def _events(model: Model, width: int) -> list[Line]:
    lines = [_head(f"EVENTS {len(model.events)}", width)]
    for event in model.shown_events():
        when, name, data = map(printable, event_parts(event))
        lines.append([(_DIM, f"{when}  "), ("bold", f"{name}  "), ("", data)])
    return lines


def _stalls(model: Model, width: int) -> list[Line]:
    stalls = model.answers.get("query-stalls")
    if not isinstance(stalls, list):
        return []
    lines = [_head(f"STALLS {len(stalls)}", width)]
    for stall in stalls[::-1]:
        if isinstance(stall, Mapping):
            seconds = stall.get("seconds")
            took = span(seconds) if isinstance(seconds, (int, float)) else "?"
            when = time_of_day(stall.get("since"))
            lines.append(
                [(_DIM, f"{when}  "), ("ansired", f"{took:>9}  "), ("", printable(_where(stall.get("stack"))))]
            )
    return lines


def _where(stack: JSON) -> str:
    """The innermost frame first: the line is clipped at its end."""
    if not isinstance(stack, list):
        return str(stack or "")
    frames = [frame for frame in stack if isinstance(frame, Mapping)]
    places = [
        f"{frame.get('function')} ({str(frame.get('file')).rpartition('/')[2]}:{frame.get('line')})" for frame in frames
    ]
    return " < ".join(places[::-1] if len(frames) == len(stack) else map(str, stack))


def _footer(model: Model, state: State) -> Line:
    if state.typing:
        return [("bold", "filter: "), ("", printable(model.filter)), ("reverse", " ")]
    text = f"{state.message}   " if state.message else ""
    return [("bold", printable(text)), ("ansiyellow", "paused   " * state.paused), (_DIM, KEYS)]

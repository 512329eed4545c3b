"""
What a person sees of a closer look: tables that fit a terminal.

Each function takes the result of its command as plain JSON data, and returns text with lines ended by LF (none at the end).
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted_qmon._text import quantity, short_number, short_span, size, span, table
from twisted_qmon.providers.process.text import Row, short_path

__all__ = ["memory", "objects", "profile", "tasks"]

#: Characters of a line at most.
WIDTH = 80


def profile(info: Row) -> str:
    """The text of C{profile}."""
    head = (
        f"{info['samples']:,} samples in {span(info['seconds'])}, {span(info['cpu-seconds'])} of them on a processor; "
        f"one each {span(info['interval'])}"
    )
    return f"{head}\n\n{info['text']}"


def objects(info: Row) -> str:
    """The text of C{query-objects}."""
    changed = "since" in info
    since = f"; changes since {span(info['since'])} ago" if changed else ""
    head = f"{info['count']:,} objects, {size(info['size'])}{since}"
    rows = []
    for each in info["types"]:
        row = [f"{each['count']:,}", size(each["size"])]
        if changed:
            row[1:1] = [_signed(each["count-change"], f"{abs(each['count-change']):,}")]
            row.append(_signed(each["size-change"], size(abs(each["size-change"]))))
        rows.append([*row, _end(each["type"], 34)])
    titles = [">count", ">change", ">size", ">change", "type"] if changed else [">count", ">size", "type"]
    return "\n".join([head, "", table(titles, rows), *_more(info["type-count"] - len(rows), "type")])


def _signed(number: int, text: str) -> str:
    return f"{'-' if number < 0 else '+' if number else ''}{text}"


def _more(hidden: int, what: str) -> Iterable[str]:
    return [f"... and {quantity(hidden, what)} more (limit=0 shows all)"] if hidden > 0 else []


def _end(text: str, length: int) -> str:
    return text if len(text) <= length else f"~{text[1 - length :]}"


def memory(info: Row) -> str:
    """The text of C{memory-trace}."""
    if not info["tracing"]:
        return "allocations are not traced"
    for_how_long = f" for {span(info['seconds'])}" if "seconds" in info else ""
    head = (
        f"traced{for_how_long}: {size(info['traced'])} are there, {size(info['peak'])} were at most; "
        f"the trace occupies {size(info['overhead'])}"
    )
    if not info["lines"]:
        return head
    changed = "since" in info
    rows = []
    for line in info["lines"]:
        row = [size(line["size"]), short_number(line["count"])]
        if changed:
            row.append(_signed(line["size-change"], size(abs(line["size-change"]))))
        rows.append([*row, _end(f"{short_path(line['file'])}:{line['line']}", 50)])
        rows += [
            ["", "", *([""] if changed else []), f"  {_end(short_path(each), 48)}"] for each in line.get("callers", ())
        ]
    titles = [">size", ">blocks", *([">change"] if changed else []), "line"]
    since = [f"changes since {span(info['since'])} ago"] if changed else []
    return "\n".join([head, *since, "", table(titles, rows)])


def tasks(info: Row) -> str:
    """The text of C{query-tasks}."""
    head = f"{quantity(info['coroutines'], 'coroutine')} and {quantity(info['deferreds'], 'Deferred')} wait"
    lines = [head]
    for place in info["places"]:
        lines += ["", *_place(place)]
    return "\n".join([*lines, *_more(info["place-count"] - len(info["places"]), "place")])


def _place(place: Row) -> Iterable[str]:
    age = ""
    if "age" in place:
        exactly = "" if place["age-from"] == "request" else "at least "
        age = f", {exactly}{short_span(place['age'])}"
    numbers = f", request {', '.join(map(str, place['requests']))}" if place["requests"] else ""
    yield f"{place['count']:,} {place['kind']} {place['name'] or '(nothing waits for it)'}{age}{numbers}"
    if "created" in place:
        yield f"  made at {_where(place['created'])}"
    for frame in place["stack"]:
        yield f"  {_where(frame)}"
        if "source" in frame:
            yield f"    {frame['source'][: WIDTH - 4]}"


def _where(frame: Row) -> str:
    return f"{short_path(frame['file'])}:{frame['line']} in {frame['function']}"

"""
What a person sees of the process: tables, a tree, times in words.

Each function takes the result of its command as plain JSON data, and returns text with lines ended by LF (none at the end).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from twisted_qmon._text import printable, quantity, size, span, table

__all__ = [
    "connections",
    "levels",
    "log",
    "ports",
    "process",
    "reactor",
    "services",
    "stacks",
]


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs) + 1
    return "\n".join(f"{name + ':':{width}} {printable(value)}".rstrip() for name, value in pairs)


def process(info: Mapping[str, Any]) -> str:
    """The text of C{query-process}."""
    pairs = [
        ("pid", str(info["pid"])),
        ("command", " ".join(info["argv"])),
        ("up", span(info["uptime"])),
        ("processor time", span(info["cpu-seconds"])),
    ]
    if "resident-memory" in info:
        pairs.append(("memory", size(info["resident-memory"])))
    if "file-descriptors" in info:
        limit = info.get("file-descriptor-limit")
        pairs.append(("file descriptors", f"{info['file-descriptors']} of {'any number' if limit is None else limit}"))
    pairs += [("Python", info["python-version"]), ("Twisted", info["twisted-version"])]
    return _facts(pairs)


def reactor(info: Mapping[str, Any]) -> str:
    """The text of C{query-reactor}."""
    late = info["latency"]
    pairs = [
        ("reactor", info["class"]),
        (
            "late by",
            f"{span(late['last'])} now; mean {span(late['mean'])}, worst {span(late['worst'])}"
            f" in the last {span(late['window'])}",
        ),
    ]
    pool = info.get("thread-pool")
    if pool is not None:
        pairs.append(
            (
                "threads",
                f"{pool['busy']} busy, {pool['idle']} idle, at most {pool['maximum']};"
                f" {quantity(pool['queued'], 'call')} waiting",
            )
        )
    parts = [_facts(pairs)]
    for title, count, members in (
        ("reads from", info["reader-count"], info["readers"]),
        ("writes to", info["writer-count"], info["writers"]),
    ):
        rows = [[str(member.get("fd", "-")), member["class"], member["name"]] for member in members]
        parts.append(_section(f"{title} {count}", [">fd", "class", "name"], rows, count))
    calls = info["delayed-calls"]
    rows = [[_when(call["when"]), call["what"]] for call in calls]
    count = info["delayed-call-count"]
    parts.append(_section(quantity(count, "delayed call"), ["when", "what"], rows, count))
    return "\n\n".join(parts)


def _when(seconds: float) -> str:
    return f"in {span(seconds)}" if seconds >= 0 else f"late by {span(-seconds)}"


def _section(title: str, head: Sequence[str], rows: list[list[str]], count: int) -> str:
    if not rows:
        return title
    text = f"{title}:\n" + _indent(table(head, rows))
    return text if count <= len(rows) else f"{text}\n  ... and {count - len(rows)} more"


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def services(infos: Sequence[Mapping[str, Any]]) -> str:
    """The text of C{query-services}: the tree, each with the last part of its path, which is what is typed."""
    if not infos:
        return "no services"
    depths = [0 if not info["path"] else info["path"].count("/") + 1 for info in infos]
    rows = []
    for index, (info, depth) in enumerate(zip(infos, depths, strict=True)):
        label = info["path"].rpartition("/")[2] if depth else info["name"] or "."
        rows.append([_branch(depths, index) + label, "running" if info["running"] else "stopped", info["class"]])
    return table(["service", "state", "class"], rows)


def _branch(depths: Sequence[int], index: int) -> str:
    """The lines of the tree in front of one entry: at each level, does a sibling follow further down?"""
    depth = depths[index]
    parts = []
    for level in range(1, depth + 1):
        later = next((other for other in depths[index + 1 :] if other <= level), 0)
        follows = later == level
        if level == depth:
            parts.append("|-- " if follows else "`-- ")
        else:
            parts.append("|   " if follows else "    ")
    return "".join(parts)


def ports(infos: Sequence[Mapping[str, Any]]) -> str:
    """The text of C{query-ports}."""
    if not infos:
        return "no listening ports"
    rows = [[str(info.get("fd", "-")), info["address"], info["factory"]] for info in infos]
    return table([">fd", "address", "factory"], rows)


def connections(infos: Sequence[Mapping[str, Any]]) -> str:
    """The text of C{query-connections}."""
    if not infos:
        return "no connections"
    rows = [
        [
            info["peer"] or "-",
            info["host"] or "-",
            *(size(info[key]) if key in info else "-" for key in ("received", "sent", "queued")),
            info["protocol"],
        ]
        for info in infos
    ]
    return table(["peer", "host", ">received", ">sent", ">queued", "protocol"], rows)


def log(infos: Sequence[Mapping[str, Any]]) -> str:
    """The text of C{query-log}, in this machine's local time."""
    if not infos:
        return "nothing logged"
    lines = []
    for info in infos:
        when = info["timestamp"]
        time = datetime.fromtimestamp(when["seconds"]).strftime("%Y-%m-%d %H:%M:%S")
        source = f"{info['namespace']}#{info['level']}"
        lines.append(f"{time}.{when['microseconds'] // 1000:03d} {info['number']} [{source}] {info['text']}")
    return "\n".join(lines)


def levels(infos: Sequence[Mapping[str, Any]]) -> str:
    """The text of C{query-log-levels}."""
    return table(["namespace", "from level"], [[info["namespace"] or "(all others)", info["level"]] for info in infos])


def stacks(info: Mapping[str, Any]) -> str:
    """The text of C{query-stacks}."""
    parts = []
    for thread in info["threads"]:
        parts.append(f"thread {thread['name'] or '?'} ({thread['id']})\n{_stack(thread['stack'])}")
    for waiting in info["coroutines"]:
        times = "" if waiting["count"] == 1 else f" ({waiting['count']} of them)"
        parts.append(f"coroutine {waiting['name']}{times}\n{_stack(waiting['stack'])}")
    if not info["coroutines"]:
        parts.append("no coroutines waiting")
    return "\n\n".join(parts)


def _stack(frames: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for frame in frames:
        lines.append(f"  {frame['file']}:{frame['line']} in {frame['function']}")
        if "source" in frame:
            lines.append(f"    {frame['source']}")
    return "\n".join(lines)

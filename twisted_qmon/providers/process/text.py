"""
What a person sees of the process: tables, a tree, times in words.

Each function takes the result of its command as plain JSON data, and returns text with lines ended by LF (none at the end).
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeAlias

import twisted

from twisted_qmon._text import SHOWN, cut, more, printable, quantity, short_number, short_span, size, span, table
from twisted_qmon.providers.process import stacks as stacks_module

__all__ = [
    "GROUP_FROM",
    "Arguments",
    "Row",
    "Rows",
    "connections",
    "delayed_calls",
    "levels",
    "log",
    "ports",
    "process",
    "reactor",
    "services",
    "short_path",
    "stacks",
    "stalls",
    "summary",
]

#: Of more readers, writers, connections or delayed calls than this, a person is told first how many there are of each kind.
GROUP_FROM = 20

#: The arguments of a command.
Arguments: TypeAlias = Mapping[str, Any]

NO_ARGUMENTS: Arguments = {}

#: An object of a command's result, and a list of them.
Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]

# Those of Twisted and of this package.
_OWN_FOLDERS = tuple(
    f"{folder}{os.sep}" for folder in (Path(twisted.__file__).parent, Path(stacks_module.__file__).parents[2])
)


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs) + 1
    return "\n".join(f"{name + ':':{width}} {printable(value)}".rstrip() for name, value in pairs)


def process(info: Row) -> str:
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


def reactor(info: Row) -> str:
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
    for title, what in (("reads from", "reader"), ("writes to", "writer")):
        parts.append(_descriptors(title, info[f"{what}-count"], info[f"{what}s"], info.get(f"{what}-groups", ())))
    parts.append(_calls(info["delayed-call-count"], info["delayed-calls"], info.get("delayed-call-groups", ())))
    return "\n\n".join(parts)


def _descriptors(title: str, total: int, members: Rows, groups: Rows) -> str:
    if total > GROUP_FROM:
        rows = [[f"{group['count']:,}", group["class"]] for group in groups]
        return _section(f"{title} {total:,}", [">count", "class"], rows)
    rows = [[str(member.get("fd", "-")), member["class"], member["name"]] for member in members]
    return _section(f"{title} {total}", [">fd", "class", "name"], rows)


def _calls(total: int, calls: Rows, groups: Rows) -> str:
    title = quantity(total, "delayed call")
    if total > len(groups) > 0:
        rows = [[f"{group['count']:,}", _when(group["when"]), group["what"]] for group in groups]
        text = _section(title, [">count", "next", "what"], rows)
        hidden = total - sum(group["count"] for group in groups)
    else:
        text = _section(title, ["when", "what"], [[_when(call["when"]), call["what"]] for call in calls])
        hidden = total - len(calls)
    return f"{text}\n  ... and {hidden:,} more" if hidden else text


def delayed_calls(infos: Rows, arguments: Arguments = NO_ARGUMENTS, total: Callable[[], int] = int) -> str:
    """The text of C{query-delayed-calls}; of many, first how many there are of each function."""
    if not infos:
        return "no delayed calls"
    shown, hidden = cut(infos, arguments, total)
    lines = [table(["when", "what"], [[_when(call["when"]), call["what"]] for call in shown])]
    counts = Counter(call["what"] for call in infos).most_common(SHOWN)
    if len(infos) > GROUP_FROM and len(counts) < len(infos) and arguments.get("limit") is None:
        soonest = {call["what"]: call["when"] for call in sorted(infos, key=lambda call: call["when"], reverse=True)}
        rows = [[f"{n:,}", _when(soonest[what]), what] for what, n in counts]
        lines.insert(0, _section(quantity(len(infos), "delayed call"), [">count", "next", "what"], rows) + "\n")
    return "\n".join([*lines, more(hidden)] if hidden else lines)


def _when(seconds: float) -> str:
    return f"in {span(seconds)}" if seconds >= 0 else f"late by {span(-seconds)}"


def _section(title: str, head: Sequence[str], rows: list[list[str]]) -> str:
    return f"{title}:\n" + _indent(table(head, rows)) if rows else title


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def services(infos: Rows) -> str:
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


def ports(infos: Rows) -> str:
    """The text of C{query-ports}."""
    if not infos:
        return "no listening ports"
    rows = [[str(info.get("fd", "-")), info["address"], info["factory"]] for info in infos]
    return table([">fd", "address", "factory"], rows)


def connections(infos: Rows, arguments: Arguments = NO_ARGUMENTS, total: Callable[[], int] = int) -> str:
    """The text of C{query-connections}; of many, first how many there are of each protocol."""
    if not infos:
        return "no connections"
    shown, hidden = cut(infos, arguments, total)
    lines = [_numbered_connections(shown) if any("fd" in info for info in shown) else _plain_connections(shown)]
    if len(infos) > GROUP_FROM and not arguments.get("limit"):
        groups = Counter(info["protocol"] or "-" for info in infos).most_common()
        head = _section(f"{len(infos):,} connections", [">count", "protocol"], [[f"{n:,}", name] for name, n in groups])
        lines.insert(0, f"{head}\n")
    return "\n".join([*lines, more(hidden)] if hidden else lines)


def _plain_connections(infos: Rows) -> str:
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


def _numbered_connections(infos: Rows) -> str:
    """What fits a terminal: the names without what they begin with, numbers with few digits."""
    rows = [
        [
            str(info.get("fd", "-")),
            info["peer"].removeprefix("tcp:") or "-",
            _short_host(info["host"]),
            *(short_span(info[key]) if key in info else "-" for key in ("age", "idle")),
            *(short_number(info[key]) if key in info else "-" for key in ("received", "sent", "queued")),
            _end(info["protocol"].rpartition(".")[2], 20) + (" (paused)" if info.get("paused") else ""),
        ]
        for info in infos
    ]
    return table([">fd", "peer", "host", ">age", ">idle", ">in", ">out", ">queue", "protocol"], rows)


def _short_host(host: str) -> str:
    """Of our own address the port, or the name of the file."""
    kind, _, rest = host.partition(":")
    if kind == "unix":
        return _end(rest.rpartition("/")[2], 12) or kind
    return f":{rest.rpartition(':')[2]}" if rest else host or "-"


def _end(text: str, length: int) -> str:
    return text if len(text) <= length else f"~{text[1 - length :]}"


def summary(info: Row) -> str:
    """The text of C{query-summary}."""
    late, pending = info["latency"], info["pending"]
    pairs = [
        ("up", f"{span(info['uptime'])}; pid {info['pid']}"),
        (
            "late by",
            f"{span(late['last'])}; mean {span(late['mean'])}, worst {span(late['worst'])} in {span(late['window'])}",
        ),
    ]
    if "stalls" in info:
        stalls = info["stalls"]
        last = f", the last {span(stalls['last'])} ago" if "last" in stalls else ""
        worst = f", the longest {span(stalls['worst'])}" if "last" in stalls else ""
        pairs.append(("stalls", f"{stalls['count']}{worst}{last}"))
    pairs.append(("errors", f"{info['errors']:,} logged in the last minute"))
    if "processor" in info:
        pairs.append(("processor", f"{info['processor'] * 100:.1f} % of a core in the last minute"))
    if "resident-memory" in info:
        changes = (f"; {_change(change['bytes'])} in {span(change['seconds'])}" for change in info["memory-changes"])
        pairs.append(("memory", size(info["resident-memory"]) + "".join(changes)))
    if "file-descriptors" in info:
        limit = info.get("file-descriptor-limit")
        pairs.append(("descriptors", f"{info['file-descriptors']} of {'any number' if limit is None else limit}"))
    oldest = f", the oldest {span(pending['oldest'])}" if "oldest" in pending else ""
    abandoned = f"; {pending['abandoned']} abandoned" if pending["abandoned"] else ""
    pairs += [
        ("clients", ", ".join(f"{each['count']} {each['kind']}" for each in info["clients"]) or "none"),
        ("pending", quantity(pending["count"], "request") + oldest + abandoned),
        ("connections", f"{info['connections']:,}, {info['outgoing']:,} of them not accepted by a port"),
    ]
    return f"{_facts(pairs)}\n{_ports_of_summary(info)}".rstrip()


def _change(number: int) -> str:
    return f"{'-' if number < 0 else '+'}{size(abs(number))}"


def _ports_of_summary(info: Row) -> str:
    if not info["ports"]:
        return ""
    rows = [
        [
            f"{port['connections']:,}",
            f"{port['accepted']:,}" if "accepted" in port else "-",
            _end(port["address"], 34),
            _end(port["factory"].rpartition(".")[2], 22),
        ]
        for port in info["ports"]
    ]
    hidden = info["port-count"] - len(rows)
    lines = "\n".join(f"  {line}" for line in table([">open", ">accepted", "port", "factory"], rows).splitlines())
    return f"\n{lines}" + (f"\n  ... and {quantity(hidden, 'port')} more" if hidden else "")


def log(infos: Rows, arguments: Arguments = NO_ARGUMENTS, total: Callable[[], int] = int) -> str:
    """The text of C{query-log}, in this machine's local time."""
    if not infos:
        return "nothing logged"
    shown, hidden = cut(infos, arguments, total, latest=True)
    lines = [more(hidden, "before these")] if hidden else []
    for info in shown:
        when = info["timestamp"]
        time = datetime.fromtimestamp(when["seconds"]).strftime("%Y-%m-%d %H:%M:%S")
        source = f"{info['namespace']}#{info['level']}"
        lines.append(f"{time}.{when['microseconds'] // 1000:03d} {info['number']} [{source}] {info['text']}")
    return "\n".join(lines)


def levels(infos: Rows) -> str:
    """The text of C{query-log-levels}."""
    return table(["namespace", "from level"], [[info["namespace"] or "(all others)", info["level"]] for info in infos])


def stacks(info: Row) -> str:
    """
    The text of C{query-stacks}: coroutines first, then the threads. Of the thread that answers, the reactor's and the monitor's
    frames are one line.
    """
    parts = []
    for waiting in info.get("coroutines", ()):
        times = "" if waiting["count"] == 1 else f" ({waiting['count']} of them)"
        parts.append(f"coroutine {waiting['name']}{times}\n" + "\n".join(map(_frame, waiting["stack"])))
    if not parts:
        parts.append("no coroutines waiting" if "coroutines" in info else "coroutines: not to be seen from this thread")
    for thread in info["threads"]:
        title = f"thread {thread['name'] or '?'} ({thread['id']})"
        parts.append("\n".join([title, *_thread_frames(thread["stack"])]))
    return "\n\n".join(parts)


def stalls(infos: Rows) -> str:
    """The text of C{query-stalls}, in this machine's local time."""
    if not infos:
        return "the reactor has not stalled"
    return "\n\n".join("\n".join([_stall(info), *map(_frame, info["stack"])]) for info in infos)


def _stall(info: Row) -> str:
    when = datetime.fromtimestamp(info["since"]["seconds"]).isoformat(sep=" ")
    frozen = "; the watchdog did not run either" if info["frozen"] else ""
    return f"{info['number']}  {when}  {span(info['seconds'])}{'' if info['over'] else ' so far'}{frozen}"


def _thread_frames(stack: Rows) -> list[str]:
    answering = any(frame["file"] == stacks_module.__file__ for frame in stack)
    shown = list(takewhile(lambda frame: not _is_own(frame["file"]), stack)) if answering else stack
    lines = [_frame(frame) for frame in shown]
    if len(shown) < len(stack):
        lines.append(f"  ... {len(stack) - len(shown)} frames: the reactor, and this command")
    return lines


def _is_own(file: str) -> bool:
    return file.startswith(_OWN_FOLDERS)


def _frame(frame: Row) -> str:
    line = f"  {short_path(frame['file'])}:{frame['line']} in {frame['function']}"
    return f"{line}\n    {frame['source']}" if "source" in frame else line


def short_path(file: str) -> str:
    """:return: the path below the folder that Python found it in: C{"twisted/web/http.py"}; unchanged if there is none"""
    folders = [folder for folder in sys.path if folder and file.startswith(folder + os.sep)]
    return file[len(max(folders, key=len)) + 1 :] if folders else file

"""
What a version of QEMU says of itself, recorded: greeting, schema, what it answers to queries, and what its error texts show.

L{Recording.load} reads one, by its version (those that ship are in C{recordings/}) or by its path. L{record} makes one of a QEMU
that runs. A recording has only data that the program has put out.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted_qmon.errors import CommandError
from twisted_qmon.qapi.from_schema import SchemaDetails, SchemaTypes
from twisted_qmon.testing.probing import probe_details

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["Execute", "Recording", "record", "versions"]

#: The number of the files' format.
FORMAT = 1

#: The human monitor's lines that are recorded with their output.
LINES = ("help", "info", "info version", "info name", "info block", "info jobs")

_SUFFIX = ".json.gz"

#: Executes a command on a server, and returns its result or raises L{CommandError}.
Execute: TypeAlias = "Callable[[str, Mapping[str, JSON]], JSON]"


@dataclass
class Recording:
    """
    One recorded server.

    :ivar greeting: the C{QMP} member of the greeting
    :ivar answers: what queries without arguments were answered: C{{"return": ...}} or C{{"error": ...}}
    :ivar lines: what lines of the human monitor print
    :ivar details: what its error texts show, and its schema does not
    :ivar source: where it is from
    """

    greeting: Mapping[str, JSON]
    answers: Mapping[str, Mapping[str, JSON]]
    lines: Mapping[str, str] = field(default_factory=dict)
    details: SchemaDetails = field(default_factory=SchemaDetails)
    source: str = ""
    _types: SchemaTypes | None = field(default=None, repr=False, compare=False)

    @property
    def schema(self) -> Sequence[Mapping[str, JSON]]:
        """What C{query-qmp-schema} answers."""
        return cast("Sequence[Mapping[str, JSON]]", self.answers["query-qmp-schema"]["return"])

    @property
    def types(self) -> SchemaTypes:
        """The types of the schema."""
        if self._types is None:
            self._types = SchemaTypes(self.schema, self.details)
        return self._types

    @property
    def version(self) -> tuple[int, int, int]:
        """Major, minor, micro."""
        numbers: Any = self.greeting["version"]
        return numbers["qemu"]["major"], numbers["qemu"]["minor"], numbers["qemu"]["micro"]

    @classmethod
    def load(cls, name: str | Path) -> Recording:
        """
        :param name: a version that ships (C{"7.2"}), or the path of a file that L{save} wrote
        :raise ValueError: when there is no such version or file, or it is no recording
        """
        return _load(str(name))

    def save(self, path: str | Path) -> None:
        """
        Write it to a file, the same bytes each time.

        :raise OSError: when the file can't be written
        """
        content = {
            "format": FORMAT,
            "source": self.source,
            "greeting": self.greeting,
            "answers": self.answers,
            "lines": self.lines,
            "unsigned": sorted(self.details.unsigned),
            "alternates": dict(sorted(self.details.alternates.items())),
            "open": sorted(self.details.open),
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        Path(path).write_bytes(gzip.compress(text, 9, mtime=0))


def versions() -> list[str]:
    """:return: the versions whose recordings ship with this package"""
    folder = files("twisted_qmon.testing") / "recordings"
    return sorted(each.name.removesuffix(_SUFFIX) for each in folder.iterdir() if each.name.endswith(_SUFFIX))


@lru_cache(maxsize=8)
def _load(name: str) -> Recording:
    packaged = files("twisted_qmon.testing") / "recordings" / f"{name}{_SUFFIX}"
    path: Any = packaged if "/" not in name and packaged.is_file() else Path(name)
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        details = SchemaDetails(
            frozenset(content["unsigned"]), content["alternates"], complete=True, open=frozenset(content["open"])
        )
        return Recording(content["greeting"], content["answers"], content["lines"], details, content["source"])
    except FileNotFoundError:
        known = ", ".join(versions())
        raise ValueError(f"{name!r} is neither a recorded version ({known}) nor a file") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as e:
        raise ValueError(f"{name!r} is not a recording: {e}") from e


def record(greeting: Mapping[str, JSON], execute: Execute, source: str) -> Recording:
    """
    Record a server. Only queries are executed, and requests with arguments that it refuses.

    :param greeting: the C{QMP} member of its greeting
    :param execute: executes a command there, after the negotiation
    :param source: what it is, for readers of the file
    :raise CommandError: when it has no schema
    """
    schema = cast("Sequence[Mapping[str, JSON]]", execute("query-qmp-schema", {}))
    types = SchemaTypes(schema)
    answers = {"query-qmp-schema": {"return": schema}, **_queries(types, execute)}
    lines: dict[str, str] = {}
    if "human-monitor-command" in types.commands:
        lines = {line: str(execute("human-monitor-command", {"command-line": line})) for line in LINES}
    details = probe_details(schema, lambda name, arguments: _error_of(execute, name, arguments))
    return Recording(greeting, answers, lines, details, source)


def _queries(types: SchemaTypes, execute: Execute) -> dict[str, Mapping[str, JSON]]:
    answers: dict[str, Mapping[str, JSON]] = {}
    for name in types.commands:
        if not name.startswith("query-") or name == "query-qmp-schema" or _needs_arguments(types, name):
            continue
        try:
            answers[name] = {"return": execute(name, {})}
        except CommandError as error:
            answers[name] = {"error": error.to_wire()}
    return answers


def _needs_arguments(types: SchemaTypes, name: str) -> bool:
    members = cast(
        "Iterable[Mapping[str, JSON]]", types.entry(str(types.commands[name]["arg-type"])).get("members", ())
    )
    return any("default" not in member for member in members)


def _error_of(execute: Execute, name: str, arguments: Mapping[str, JSON]) -> str:
    try:
        execute(name, arguments)
    except CommandError as error:
        return error.desc
    return ""

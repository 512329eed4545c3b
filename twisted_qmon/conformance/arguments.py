"""
Wrong arguments of every kind, for every command that a server's schema has: what is to be said to them, the schema says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted_qmon.conformance.comparing import NEGATIVE, Known, canonical, equal_but_for, unknown_to_schema
from twisted_qmon.conformance.reference import Reference
from twisted_qmon.conformance.report import DIFFERS, KNOWN, OK, SKIPPED, Outcome
from twisted_qmon.conformance.talk import LOST, MAX_DEAD, Differs, Talk
from twisted_qmon.conformance.wire import Connect
from twisted_qmon.qapi.types.errors import ArgumentError
from twisted_qmon.testing.probing import Refused, refused_requests

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["wrong_arguments"]


def wrong_arguments(connect: Connect, reference: Reference, known: Sequence[Known]) -> Iterator[Outcome]:
    """
    Send each command of the server wrong arguments. They are refused before anything is executed.

    :return: what came out, for each command
    """
    types = reference.recording.types
    by_command: dict[str, list[Refused]] = {}
    for refused in refused_requests(types):
        by_command.setdefault(refused.command, []).append(refused)
    for name in types.commands:
        if name.startswith("query-") and name not in types.details.open:
            by_command.setdefault(name, []).append(Refused(name, "", "", {"no-such-member": 1}))
    lost = 0
    for name, requests in by_command.items():
        if lost >= MAX_DEAD:
            yield Outcome("arguments", name, SKIPPED, "the server had no answer to those before")
            continue
        outcome = _one_command(connect, reference, known, name, requests)
        lost = lost + 1 if outcome.text.endswith(LOST) else 0
        yield outcome
    yield from _negative(connect, reference, known)


def _one_command(
    connect: Connect, reference: Reference, known: Sequence[Known], name: str, requests: Sequence[Refused]
) -> Outcome:
    found: list[Known] = []
    arguments: Mapping[str, JSON] = {}
    try:
        with Talk(connect) as talk:
            for request in requests:
                arguments = request.arguments
                expected = _expected(reference, request)
                if expected is None:
                    continue
                talk.send({"execute": name, "arguments": dict(arguments)})
                came = unknown_to_schema(canonical(talk.line()))
                more = equal_but_for([expected], [came], known)
                if more is None:
                    return Outcome(
                        "arguments", name, DIFFERS, f"{json.dumps(arguments)}\nexpected: {expected}\ncame:     {came}"
                    )
                found += more
    except Differs as e:
        return Outcome("arguments", name, DIFFERS, f"{json.dumps(arguments)}\n{e.text}")
    except TimeoutError:
        return Outcome("arguments", name, DIFFERS, f"{json.dumps(arguments)}\n{LOST}")
    except (EOFError, OSError) as e:
        return Outcome("arguments", name, DIFFERS, f"{json.dumps(arguments)}\n{e}: {LOST}")
    names = tuple(dict.fromkeys(each.name for each in found))
    return Outcome("arguments", name, KNOWN if names else OK, known=names)


def _expected(reference: Reference, request: Refused) -> str | None:
    """:return: the error that is to come; C{None}: the arguments are valid after all"""
    try:
        reference.recording.types.arguments(request.command).decode(request.arguments)
    except ArgumentError as e:
        error = {"error": {"class": "GenericError", "desc": str(e)}}
        return unknown_to_schema(canonical(reference.worded(json.dumps(error).encode())))
    return None


def _negative(connect: Connect, reference: Reference, known: Sequence[Known]) -> Iterator[Outcome]:
    """Queries with a negative integer: QEMU takes it, as a large one if need be."""
    types = reference.recording.types
    for name, entry in types.commands.items():
        members: Sequence[Mapping[str, JSON]] = types.entry(str(entry["arg-type"])).get("members", ())  # type: ignore[assignment]
        if not name.startswith("query-") or any("default" not in member for member in members):
            continue
        for member in members:
            if types.entry(str(member["type"])).get("json-type") == "int":
                yield _negative_member(connect, known, name, str(member["name"]))


def _negative_member(connect: Connect, known: Sequence[Known], name: str, member: str) -> Outcome:
    title = f"{name}: a negative {member}"
    try:
        with Talk(connect) as talk:
            talk.send({"execute": name, "arguments": {member: -1}})
            came = canonical(talk.line())
    except (Differs, TimeoutError, EOFError, OSError) as e:
        return Outcome("arguments", title, DIFFERS, str(e))
    if "expects uint" not in came and "expected: integer" not in came:
        return Outcome("arguments", title)
    if NEGATIVE in known:
        return Outcome("arguments", title, KNOWN, came, (NEGATIVE.name,))
    return Outcome("arguments", title, DIFFERS, came)

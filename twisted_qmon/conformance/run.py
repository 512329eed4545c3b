"""
Runs everything against one server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any, cast

from twisted_qmon.conformance.arguments import wrong_arguments
from twisted_qmon.conformance.cases import MODES
from twisted_qmon.conformance.comparing import KINDS, Known, canonical, equal_but_for, is_event, kind_of
from twisted_qmon.conformance.random_cases import RandomCases
from twisted_qmon.conformance.reference import Reference
from twisted_qmon.conformance.report import DIFFERS, KNOWN, OK, SKIPPED, Outcome, Report
from twisted_qmon.conformance.session import CHECKS, INTRUSIVE, Check
from twisted_qmon.conformance.talk import LOST, MAX_DEAD, Differs, NotPossible, Talk
from twisted_qmon.conformance.wire import Connect
from twisted_qmon.info import JSON

__all__ = ["COUNT", "GROUPS", "recorded_cases", "run"]

#: What there is to look at.
GROUPS = ("session", "recorded", "arguments", "random")

#: Random cases, unless another number is wanted.
COUNT = 1000


def recorded_cases() -> Sequence[Mapping[str, Any]]:
    """:return: input that was recorded with what a QEMU 7.2 answered to it"""
    cases: Sequence[Mapping[str, Any]] = json.loads(
        (files("twisted_qmon.conformance") / "recorded.json").read_text("utf-8")
    )
    return cases


def run(
    connect: Connect,
    *,
    seed: int,
    count: int = COUNT,
    kind: str | None = None,
    intrusive: bool = False,
    groups: Collection[str] = GROUPS,
    told: Callable[[Outcome], object] = lambda _: None,
) -> Report:
    """
    Compare a server with QEMU.

    :param connect: connects to it
    :param seed: of the random cases
    :param count: how many of these
    :param kind: which kind of server it is (L{KINDS<twisted_qmon.conformance.comparing.KINDS>}): its known differences are no
        differences; C{None}: found out
    :param intrusive: also run what changes the state of the machine for a moment
    :param groups: what to look at
    :param told: called with each outcome
    :raise Differs: when it can't even be asked for its schema
    :raise EOFError: when it closes the connection before
    :raise TimeoutError: when it does not answer
    """
    greeting, schema = _introduction(connect)
    reference = Reference(greeting, schema)
    kind = kind_of(reference.commands) if kind is None else kind
    known = KINDS[kind]
    report = Report(_name(greeting), kind, seed)
    outcomes: dict[str, Iterator[Outcome]] = {
        "session": _sessions(connect, reference, known, {**CHECKS, **(INTRUSIVE if intrusive else {})}),
        "recorded": _recorded(connect, reference, known),
        "arguments": wrong_arguments(connect, reference, known),
        "random": RandomCases(connect, reference, known, seed).run(count),
    }
    for outcome in chain.from_iterable(outcomes[group] for group in groups):
        report.outcomes.append(outcome)
        told(outcome)
    return report


def _introduction(connect: Connect) -> tuple[Mapping[str, JSON], Sequence[Mapping[str, JSON]]]:
    with Talk(connect, negotiate=False) as talk:
        try:
            greeting = json.loads(talk.greeting)["QMP"]
            version = greeting["version"]["qemu"]
            _ = version["major"], version["minor"], version["micro"], greeting["capabilities"]
        except (ValueError, LookupError, TypeError):
            raise Differs(f"it does not begin with a greeting: {talk.greeting!r:.200}") from None
        talk.ask({"execute": "qmp_capabilities"})
        reply: Any = talk.ask({"execute": "query-qmp-schema"})
    if not isinstance(reply, dict) or not isinstance(reply.get("return"), list):
        raise Differs(f"it has no schema, which says what is to be compared: {reply!r:.200}")
    return greeting, reply["return"]


def _name(greeting: Mapping[str, JSON]) -> str:
    version = cast("Mapping[str, Mapping[str, int]]", greeting["version"])
    numbers = version["qemu"]
    return f"{numbers['major']}.{numbers['minor']}.{numbers['micro']} {version.get('package', '')}".rstrip()


def _sessions(
    connect: Connect, reference: Reference, known: Sequence[Known], checks: Mapping[str, Check]
) -> Iterator[Outcome]:
    for name, check in checks.items():
        yield _looked(name, check, connect, reference, known)


def _looked(name: str, check: Check, connect: Connect, reference: Reference, known: Sequence[Known]) -> Outcome:
    try:
        check(connect, reference)
    except Differs as e:
        if e.known is not None and e.known in known:
            return Outcome("session", name, KNOWN, e.text, (e.known.name,))
        return Outcome("session", name, DIFFERS, e.text)
    except NotPossible as e:
        return Outcome("session", name, SKIPPED, str(e))
    except TimeoutError:
        return Outcome("session", name, DIFFERS, LOST)
    except (EOFError, OSError, LookupError, TypeError, ValueError, AttributeError) as e:
        return Outcome("session", name, DIFFERS, f"{type(e).__name__}: {e}")
    return Outcome("session", name)


# -- recorded cases


def _recorded(connect: Connect, reference: Reference, known: Sequence[Known]) -> Iterator[Outcome]:
    dead = 0
    for case in recorded_cases():
        name = f"{case['section']}: {case['name']}"
        missing = _missing(case, reference)
        if dead >= MAX_DEAD:
            yield Outcome("recorded", name, SKIPPED, "the server had no answer to those before")
        elif missing:
            yield Outcome("recorded", name, SKIPPED, f"the server has no {missing}")
        else:
            outcome = _replay(connect, case, name, known)
            dead = dead + 1 if outcome.text.endswith(LOST) else 0
            yield outcome


def _missing(case: Mapping[str, Any], reference: Reference) -> str:
    """:return: a command that the case needs and the server does not have"""
    needed = [name for name in _NEEDED if f'"{name}"' in case["input"]]
    if case["caps"] == "oob" and "oob" not in cast("list[str]", reference.recording.greeting["capabilities"]):
        return "out-of-band execution"
    return next((name for name in needed if name not in reference.commands), "")


# What the recorded cases execute, or begin to.
_NEEDED = (
    *("query-name", "human-monitor-command", "set_link", "query-stats", "blockdev-add", "qom-set"),
    *("query-yank", "migrate-pause"),
)


def _replay(connect: Connect, case: Mapping[str, Any], name: str, known: Sequence[Known]) -> Outcome:
    data = case["input"].encode("latin-1")
    expected = [canonical(line.encode()) for line in case["out"] + case["after_ff"]]
    came: list[str] = []
    try:
        wire = connect()
        try:
            wire.line()
            if case["caps"] != "none":
                wire.send(MODES[case["caps"]])
                wire.line()
            wire.send(data)
            for _ in case["out"]:
                came.append(_canonical(wire.line()))
            # A control byte ends whatever was begun.
            wire.send(b'\xff{"execute":"nope","id":"END"}\n')
            while not came or '"END"' not in came[-1]:
                came.append(_canonical(wire.line()))
        finally:
            wire.close()
    except TimeoutError:
        return Outcome("recorded", name, DIFFERS, f"{data!r}\nexpected: {expected}\ncame:     {came}\n{LOST}")
    except (EOFError, OSError) as e:
        return Outcome("recorded", name, DIFFERS, f"{data!r}\nexpected: {expected}\ncame:     {came}\n{e}: {LOST}")
    came = [reply for reply in came if not is_event(reply)]
    found = equal_but_for(expected, came, known)
    if found is None:
        return Outcome("recorded", name, DIFFERS, f"{data!r}\nexpected: {expected}\ncame:     {came}")
    names = tuple(each.name for each in found)
    return Outcome("recorded", name, KNOWN if names else OK, known=names)


def _canonical(line: bytes) -> str:
    if not line:
        raise EOFError("the server has closed the connection")
    try:
        return canonical(line) if line.endswith(b"\r\n") else f"no CR LF: {line!r}"
    except ValueError:
        return f"no JSON in ASCII: {line!r}"

"""Hypothesis strategies for JSON, for what nearly is JSON, and for how it comes in pieces."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from twisted_qmon import ABSENT
from twisted_qmon.conformance.cases import TOKENS
from twisted_qmon.qmp.json.reader import CommandMessage, Malformed, MessageReader

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12),
    st.sampled_from(["a:b", "\\", '"', "0e1", "é", "\x7f", "{", "\x00"]),
)
_keys = st.one_of(
    st.sampled_from(["execute", "arguments", "id", "a", "b"]), st.text(max_size=4).filter(str.isprintable)
)

#: Values that JSON can say and QEMU reads.
values: st.SearchStrategy[Any] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)

_commands = st.fixed_dictionaries(
    {"execute": st.sampled_from(["query-status", "a:b", "é"])},
    optional={"arguments": st.dictionaries(_keys, values, max_size=4), "id": _scalars},
)

#: Objects, as commands are; about half of them are proper ones.
objects = st.dictionaries(_keys, values, max_size=4) | _commands


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """Objects in some JSON writer's form, with or without a newline between them."""
    parts = []
    for value in draw(st.lists(objects, max_size=5)):
        separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\n")]))
        parts.append(json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators).encode())
        parts.append(draw(st.sampled_from([b"\n", b"\r\n", b"", b" ", b"\n\n"])))
    return b"".join(parts)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """JSON with something put in, taken out or said twice."""
    data = draw(written())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 3)))
        data = data[:at] + draw(st.sampled_from([*TOKENS, data[at : at + 20], b""])) + data[until:]
    return data


#: Anything that may arrive.
inputs = st.one_of(
    mutated(), written(), st.lists(st.sampled_from(TOKENS), max_size=30).map(b"".join), st.binary(max_size=60)
)


def read(*pieces: bytes, fast: bool = True, max_message: int = 64 << 20, commands: bool = False) -> list[Any]:
    """What a reader makes of bytes that arrive in pieces."""
    reader = MessageReader(max_message=max_message, commands=commands)
    reader.fast = fast
    messages: list[Any] = []
    for piece in pieces:
        reader.feed(piece)
        while batch := reader.next_batch():
            messages += batch
    return messages


def exact(value: Any) -> str:
    """A value in a form that tells C{1} from C{1.0} and C{True}, and C{0.0} from C{-0.0}."""
    return repr(value)


def exact_commands(messages: list[Any]) -> str:
    """The same of messages of which some may be L{CommandMessage}s, which do not know the order of their members."""
    plain: list[Any] = []
    for message in messages:
        if isinstance(message, CommandMessage):
            members = {"execute": message.execute, "arguments": message.arguments, "id": message.id}
            # Arguments that are null can't be in one of these.
            message = {
                name: value for name, value in members.items() if value is not (None if name == "arguments" else ABSENT)
            }
        plain.append(dict(sorted(message.items())) if isinstance(message, dict) else message)
    return exact(plain)


def errors(*pieces: bytes, **options: Any) -> list[str]:
    """The errors in what arrives, without what they have in common; C{""} for what is none."""
    return [
        message.desc.removeprefix("JSON parse error, ") if isinstance(message, Malformed) else ""
        for message in read(*pieces, **options)
    ]

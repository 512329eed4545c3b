"""
Replies in a form in which equal ones are equal, and the differences that are known of a kind of server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted_qmon.errors import GenericError
from twisted_qmon.qmp._server.messages import check_message
from twisted_qmon.qmp.json.reader import MessageReader
from twisted_qmon.testing.qemu_form import without_element_names

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = [
    "KINDS",
    "Known",
    "canonical",
    "equal_but_for",
    "faults",
    "is_event",
    "kind_of",
    "messages_in",
    "unknown_to_schema",
    "whichever",
]

# QEMU writes an infinite double as a bare word.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\binf\b')
_INFINITE = '"\\u221e"'
_INFINITY = re.compile(r'"(-?)\\u221e"')
_UNSIGNED = re.compile(r"Parameter '([^']*)' expects uint64")
_ALTERNATE = re.compile(
    r"(Invalid parameter type for '[^']*', expected: )(?!string|integer|number|boolean|object|array|null)\w+"
)


@dataclass(frozen=True)
class Known:
    """
    A difference that is known, and meant.

    :ivar name: as the documentation names it
    :ivar alike: makes the replies on both sides alike
    """

    name: str
    alike: Callable[[str], str] = str


#: An infinite number in a reply.
INFINITE = Known("an infinite number in a reply", lambda reply: _INFINITY.sub(r"\1Infinity", reply))
#: What is wrong with an element of a list is named, as newer versions of QEMU do.
ELEMENT = Known(
    "a wrong value of an enumeration in a list",
    lambda reply: without_element_names(reply.encode()).decode(),
)
BLANKS = Known("blanks in a reply")
NUMBERS = Known("numbers in a reply")
CONTROL = Known("control characters in a reply")
TOKEN = Known("a bad token in an error")
CLIENTS = Known("clients at one socket")
NEGATIVE = Known("a negative size or unsigned integer")

#: What is known of each kind of server. C{strict} is none: every difference counts.
KINDS: Mapping[str, Sequence[Known]] = {
    "qemu": (),
    "qemu-storage-daemon": (),
    "twisted-qmon": (INFINITE, ELEMENT, BLANKS, NUMBERS, CONTROL, TOKEN, CLIENTS, NEGATIVE),
    "strict": (),
}


def kind_of(commands: frozenset[str]) -> str:
    """
    :param commands: the names of the commands that a server has
    :return: which kind of server it is
    """
    if "query-pending" in commands:
        return "twisted-qmon"
    return "qemu-storage-daemon" if "query-status" not in commands and "blockdev-add" in commands else "qemu"


def canonical(line: bytes) -> str:
    """
    :return: a reply in a form in which equal ones are equal, and C{true} isn't 1: what a command returns is left out
    :raise ValueError: when it is no JSON in ASCII
    """
    text = _WORD.sub(lambda found: _INFINITE if found.group() == "inf" else found.group(), line.decode("ascii"))
    text = text.replace("-" + _INFINITE, '"-\\u221e"')
    try:
        reply = json.loads(text)
        if isinstance(reply, dict) and "return" in reply:
            reply["return"] = "..."
        return json.dumps(_plain(reply), sort_keys=True)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def is_event(reply: str) -> bool:
    """:return: whether it is an event, and no reply"""
    return '"event": ' in reply and '"timestamp": ' in reply


def _plain(value: Any) -> Any:
    """Numbers as JSON compares them: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def unknown_to_schema(reply: str) -> str:
    """:return: a reply without what a schema does not say: which integers are unsigned, and the names of alternates"""
    reply = _UNSIGNED.sub(r"Invalid parameter type for '\1', expected: integer", reply)
    return _ALTERNATE.sub(r"\1alternate", reply)


def equal_but_for(expected: Sequence[str], actual: Sequence[str], known: Sequence[Known]) -> list[Known] | None:
    """
    Compare replies.

    :param known: the differences that may be there
    :return: those of them that are there; C{None}: there are others
    """
    if list(expected) == list(actual):
        return []
    found = []
    for each in known:
        alike = [each.alike(reply) for reply in expected], [each.alike(reply) for reply in actual]
        if alike != (list(expected), list(actual)):
            found.append(each)
        expected, actual = alike
        if expected == actual:
            return found
    return None


# -- what QEMU's hash table decides


def messages_in(data: bytes) -> list[Any]:
    """:return: the messages in bytes, as QEMU reads them"""
    reader = MessageReader()
    reader.feed(data)
    messages: list[Any] = []
    while batch := reader.next_batch():
        messages += batch
    return messages


def faults(case: bytes) -> list[set[str]]:
    """
    Of each message with several faulty members, what may be said of it: QEMU names the one that its hash table has first, a
    reference the first one sent.
    """
    found: list[set[str]] = []
    for message in messages_in(case):
        if not isinstance(message, dict):
            continue
        named = [{_error({key: message[key], **message}, oob) for key in message} for oob in (False, True)]
        if isinstance(arguments := message.get("arguments"), dict):
            named.append({f"Parameter '{name}' is unexpected" for name in arguments})
        for texts in (texts for texts in named if len(texts) > 1):
            # With another message's that may be said of this one too.
            common = [other for other in found if other & texts]
            found = [other for other in found if not other & texts] + [texts.union(*common)]
    return found


def _error(message: dict[str, JSON], oob: bool) -> str:
    try:
        check_message(message, oob)
    except GenericError as e:
        return e.desc
    return ""


def whichever(replies: Sequence[str], faults: Sequence[set[str]]) -> list[str]:
    """:return: the replies, in which any of several faults stands for all of them"""
    changed = []
    for reply in replies:
        desc = _desc(reply)
        texts = next((texts for texts in faults if desc in texts), None)
        changed.append(reply if texts is None else reply.replace(json.dumps(desc), json.dumps(sorted(texts))))
    return changed


def _desc(reply: str) -> JSON:
    try:
        decoded = json.loads(reply)
    except ValueError:
        return None
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return error.get("desc") if isinstance(error, dict) else None

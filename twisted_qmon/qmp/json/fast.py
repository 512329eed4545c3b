"""
The fast path: whole messages through msgspec, behind a gate.

msgspec is not QEMU: it takes duplicate keys (the last one wins), C{0e1}, integers of any size and noncharacters. The gate lets
only through what both are sure to read alike; for all else there is the dialect, which is always right. L{decode_plain} has
the cheapest gate and takes nearly all commands there are; L{decode_checked} takes more and looks closer. The dialect itself has
msgspec decode text and numbers of which it has already made sure what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec

from twisted_qmon.core.request import ABSENT, RequestId
from twisted_qmon.info import JSON
from twisted_qmon.qmp.json.limits import MAX_NESTING

__all__ = [
    "RISKY_UTF8",
    "CommandMessage",
    "Malformed",
    "Decoded",
    "decode_checked",
    "decode_items",
    "decode_plain",
    "decode_text",
]

#: Noncharacters in UTF-8 hold one of these.
RISKY_UTF8 = (b"\xef\xb7", b"\xbf\xbe", b"\xbf\xbf")

_Arguments = TypeVar("_Arguments")
_Id = TypeVar("_Id")


class CommandMessage(msgspec.Struct, Generic[_Arguments, _Id], forbid_unknown_fields=True, omit_defaults=True):
    """
    A message that is a proper command, in band: these members, of these types, and no others.

    :ivar execute: the command's name
    :ivar arguments: the arguments, or C{None}
    :ivar id: the id, or L{ABSENT<twisted_qmon.ABSENT>}
    """

    execute: str
    # A default is not checked, so null is refused all the same.
    arguments: _Arguments = None  # type: ignore[assignment]
    id: _Id = ABSENT  # type: ignore[assignment]


class Malformed:
    """
    What stands in the place of a message that QEMU's dialect refuses.

    :ivar desc: the whole text of the error: C{"JSON parse error, expecting value"}
    """

    __slots__ = ("desc",)

    def __init__(self, desc: str) -> None:
        self.desc = desc

    def __repr__(self) -> str:
        return f"Malformed({self.desc!r})"

    def __eq__(self, other: object) -> bool:
        return self.desc == other.desc if isinstance(other, Malformed) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.desc)


#: What comes out of bytes.
Decoded: TypeAlias = "CommandMessage[Mapping[str, JSON] | None, RequestId] | Malformed | JSON"

_Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Scalar = str | _Int64 | bool | None

# The types do half of the gate's work: no lists, no float (so no 0e1), no integer beyond 64 bits, no depth.
_Plain = CommandMessage[dict[str, _Scalar | dict[str, _Scalar | dict[str, _Scalar]]], str | _Int64]
_decode_plain = msgspec.json.Decoder(_Plain).decode_lines
_decode_commands = msgspec.json.Decoder(CommandMessage[dict[str, Any], Any]).decode_lines
_decode_objects = msgspec.json.Decoder(dict[str, Any]).decode_lines

_AnyCommand: TypeAlias = "CommandMessage[Mapping[str, JSON] | None, RequestId]"

#: Decodes an array of strings and integers.
decode_items = msgspec.json.Decoder(list[str | int]).decode

#: Decodes one string.
decode_text = msgspec.json.Decoder(str).decode

_encode = msgspec.json.Encoder().encode

_REFUSED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

_BACKSLASH = ord("\\")

# Escapes that the two may read differently (surrogates, FDD0 and its kind, FFFE and FFFF), or that hide a colon.
_RISKY_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|[fF]|003[aA])")

# C{0e1}: one number for msgspec, a 0 and a keyword for QEMU.
_RISKY_NUMBER = re.compile(rb"[ \t\r\n:,\[-]0[eE]")

# Nineteen digits may be more than 64 bits.
_ZERO_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 19


def decode_plain(data: bytes) -> list[Decoded] | None:
    """
    Decode messages, if they are plain: ASCII without escapes, commands whose id is a string or an int64 and whose arguments are
    strings, int64, booleans, null and objects of those.

    :param data: whole messages, with any blanks around them
    :return: the messages, all of them L{CommandMessage}, or C{None} if it isn't sure that QEMU reads the same
    """
    if _BACKSLASH in data or not data.isascii():
        return None
    try:
        messages: list[Any] = _decode_plain(data)
        colons = data.count(b":")
        keys = 0
        for message in messages:
            keys += 1 if message.id is ABSENT else 2
        # Without arguments, and without a colon in a string, the colons of the outermost keys are all there are.
        if keys == colons or _count_colons(messages) == colons:
            return messages
    except _REFUSED:
        pass
    return None


def decode_checked(data: bytes, *, commands: bool = False) -> list[Decoded] | None:
    """
    Decode messages that are objects, if it is sure that QEMU reads the same.

    :param data: whole messages, with any blanks around them
    :param commands: they are L{CommandMessage}s, if all of them can be that
    :return: the messages, or C{None}
    """
    if _BACKSLASH in data and _RISKY_ESCAPE.search(data):
        return None
    if not data.isascii() and any(risk in data for risk in RISKY_UTF8):
        return None
    if _RISKY_NUMBER.search(data) or _MANY_DIGITS in data.translate(_ZERO_DIGITS):
        return None
    for decode in (_decode_commands, _decode_objects) if commands else (_decode_objects,):
        try:
            messages: list[Any] = decode(data)
            # Each message has one bracket at least, so the deepest can have no more than what remains.
            depth = data.count(b"{") + data.count(b"[") - len(messages) + 1
            if depth <= MAX_NESTING and _count_colons(messages) == data.count(b":"):
                return messages
        except _REFUSED:
            pass
    return None


def _count_colons(messages: list[Decoded]) -> int:
    """
    How many colons the messages need: one for each key, and those in their strings.

    In the bytes that they came from there are as many, or more if a key came twice and so was lost: no escape that is let
    through makes or hides a colon. Encoding them again is the quickest way to count.
    """
    return _encode(messages).count(b":")

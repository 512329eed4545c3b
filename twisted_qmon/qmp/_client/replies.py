"""
What a QMP server sends, as messages: lines in, replies and events out. No I/O, and no state of the conversation.

A server writes one message per line. Each line is decoded at once, into an object with the members that QMP knows. A
line that is not a message by itself goes to the reader of QEMU's dialect, together with the lines that follow, until
what it began is complete: so a server that spreads its messages over many lines (C{pretty=on}) is understood, and
garbage is told apart from it.

A reply that can't be decoded, but whose C{id} can be found, becomes an error reply with that id: its request must not
wait for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from reprlib import Repr
from typing import Any

import msgspec

from twisted_qmon.core.request import ABSENT
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.qmp.json.reader import Malformed, MessageReader
from twisted_qmon.qmp.json.writer import encode

__all__ = [
    "Malformed",
    "Message",
    "MessageTooLong",
    "RawMessage",
    "ReplyReader",
    "excerpt",
    "text_of",
]

# The errors of older versions of msgspec are no ValueErrors.
_REFUSED = (msgspec.MsgspecError, RecursionError, TypeError, ValueError)
_NAMES = {"returned": "return", "greeting": "QMP"}


class Message(msgspec.Struct, gc=False, rename=_NAMES):
    """
    One message of a server. What it does not have is L{ABSENT}.

    :ivar id: of the request that is answered
    :ivar returned: the C{return} member
    :ivar error: the C{error} member
    :ivar event: the name of an event
    :ivar data: the event's data
    :ivar timestamp: when it happened
    :ivar number: the event's number
    :ivar upstream: behind which connection to the server's own server it happened
    :ivar greeting: the C{QMP} member of the greeting
    """

    id: Any = ABSENT
    returned: Any = ABSENT
    error: Any = ABSENT
    event: Any = ABSENT
    data: Any = ABSENT
    timestamp: Any = ABSENT
    greeting: Any = ABSENT
    number: Any = ABSENT
    upstream: Any = ABSENT


class RawMessage(Message, gc=False, rename=_NAMES):
    """A L{Message} whose C{return} member stays as it came: a C{msgspec.Raw}, one JSON value in ASCII."""

    returned: msgspec.Raw = ABSENT  # type: ignore[assignment]


_decode = msgspec.json.Decoder(Message).decode
_decode_undecoded = msgspec.json.Decoder(RawMessage).decode


def _decode_raw(line: bytes) -> Message:
    message: Message = _decode_undecoded(line)
    if not line.isascii() and message.returned is not ABSENT:
        # It was not looked at: it may not even be UTF-8.
        message.returned = msgspec.Raw(encode(msgspec.json.decode(message.returned)))
    return message


#: A reply, whatever its C{return} or C{error} member may be. QEMU writes C{id} last in the one and first in the other.
_any_reply = re.compile(
    rb"""\s*\{\s*(?:
        "id":\s*(?P<first>\d{1,18}),\s*"(?:return|error)":.*
      | "(?:return|error)":.*,\s*"id":\s*(?P<last>\d{1,18})\s*
    )\}\s*\Z""",
    re.DOTALL | re.VERBOSE,
).match

#: Bytes of an unreadable reply that its error shows.
_SHOWN = 200


def _error_in_place_of(text: bytes | bytearray) -> Message | None:
    """
    :param text: what can't be decoded
    :return: an error reply, if it is a reply whose id can be found; C{None}: it is something else
    """
    match = _any_reply(text)
    if match is None:
        return None
    error = "can't be decoded" if _is_utf8(text) else "is not UTF-8"
    desc = f"The server's reply {error}: {text[:_SHOWN].decode('ascii', 'backslashreplace').strip()}"
    return Message(id=int(match["first"] or match["last"]), error={"class": "GenericError", "desc": desc})


def _is_utf8(text: bytes | bytearray) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class MessageTooLong(Exception):
    """The server sends a message of more bytes than are accepted. What comes after it can't be told from it any
    more."""


def text_of(message: Message) -> JSONText:
    """
    :param message: a L{RawMessage} with a C{return} member
    :return: its result, as it came; but in ASCII, which QEMU always writes
    """
    return JSONText(bytes(message.returned))


_shorten = Repr()
_shorten.maxlevel = 3
_shorten.maxstring = _shorten.maxother = _SHOWN


def excerpt(message: Message) -> str:
    """:return: what a message is, for an error or a log line; short, however big or deep it is"""
    members = {name: getattr(message, field) for field, name in _FIELDS}
    return _shorten.repr({name: value for name, value in members.items() if value is not ABSENT})


class ReplyReader:
    """
    Turns what arrives into messages, in time linear in its length, however it is cut.

    :param raw: leave C{return} members undecoded
    :param max_message: bytes that one message may have. QEMU's schema has 200 KB, a dump of the guest's memory through
        C{human-monitor-command} many times that.
    """

    __slots__ = ("_decode", "_max_message", "_partial", "_raw", "_size", "_slow", "_slow_text")

    def __init__(self, *, raw: bool = False, max_message: int = MAX_MESSAGE) -> None:
        self._decode: Callable[[bytes], Message] = _decode_raw if raw else _decode
        self._raw = raw
        self._max_message = max_message
        self._partial: list[bytes] = []
        self._size = 0
        self._slow: MessageReader | None = None
        #: What the slow reader was fed and has not made a message of.
        self._slow_text = bytearray()

    @property
    def buffered(self) -> int:
        """How many bytes are held of a message that is not complete."""
        return self._size + (0 if self._slow is None else self._slow.buffered)

    def feed(self, data: bytes) -> list[Message | Malformed]:
        """
        :param data: what has arrived
        :return: the messages that are complete now, and what could not be read, in order
        :raise MessageTooLong: when the message that has begun is too long
        """
        if b"\n" not in data:
            self._partial.append(data)
            self._size += len(data)
            if self._size > self._max_message:
                raise MessageTooLong(f"the server sends a message of more than {self._max_message} bytes")
            return []
        if self._partial:
            data = b"".join([*self._partial, data])
            self._partial.clear()
            self._size = 0
        lines = data.split(b"\n")
        rest = lines.pop()
        if rest:
            self._partial.append(rest)
            self._size = len(rest)
        found: list[Message | Malformed] = []
        decode = self._decode
        for line in lines:
            try:
                found.append(decode(line))
            except _REFUSED:
                self._feed_slowly(line, found)
            else:
                if self._slow is not None:
                    self._check_whole(line, found)
        return found

    def _check_whole(self, line: bytes, found: list[Message | Malformed]) -> None:
        """
        The line just decoded may be a part of a message of many lines. If it is a message in its own right, what is
        open before it was garbage.
        """
        message = found[-1]
        assert not isinstance(message, Malformed)
        if any(value is not ABSENT for value in (message.returned, message.error, message.event, message.greeting)):
            found.insert(-1, Malformed("a message that did not end"))
            self._end_slow()
        else:
            found.pop()
            self._feed_slowly(line, found)

    def _feed_slowly(self, line: bytes, found: list[Message | Malformed]) -> None:
        if self._slow is None:
            if not line.strip():
                return
            error = _error_in_place_of(line)
            if error is not None:
                found.append(error)
                return
            self._slow = MessageReader(max_message=self._max_message)
        slow, text = self._slow, self._slow_text
        # Bytes that are not UTF-8 are replaced, as QEMU does it: what stands around them has to be found.
        slow.feed(line.decode("utf-8", "replace").encode("utf-8") + b"\n")
        text += line + b"\n"
        if len(text) > self._max_message:
            text.clear()
        while batch := slow.next_batch():
            found.extend(map(self._from_value, batch))
            text.clear()
        if not slow.buffered:
            self._end_slow()

    def _end_slow(self) -> None:
        self._slow = None
        self._slow_text.clear()

    def _from_value(self, value: object) -> Message | Malformed:
        if isinstance(value, Malformed):
            error = _error_in_place_of(self._slow_text)
            self._slow_text.clear()
            return error or value
        if not isinstance(value, dict):
            return Malformed("a message must be a JSON object")
        message = Message(**{field: value[name] for field, name in _FIELDS if name in value})
        if not _is_utf8(self._slow_text) and (error := _error_in_place_of(self._slow_text)) is not None:
            return error
        if not self._raw or message.returned is ABSENT:
            return message
        return RawMessage(id=message.id, returned=msgspec.Raw(encode(message.returned)))


_FIELDS = [(field, _NAMES.get(field, field)) for field in Message.__struct_fields__]

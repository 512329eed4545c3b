"""
What a QMP server sends, as messages: lines in, replies and events out. No I/O, and no state of the conversation.

A server writes one message per line. Each line is decoded at once, into an object with the few members that QMP
knows. A line that is not a message by itself goes to the reader of QEMU's dialect, together with the lines that
follow, until what it began is complete: so a server that spreads its messages over many lines (C{pretty=on}) is
understood, and garbage is told apart from it.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import msgspec

from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qmp.json.reader import Malformed, MessageReader
from twisted_qmon.qmp.json.writer import encode

__all__ = ["MAX_MESSAGE", "UNSET", "Malformed", "Message", "MessageTooLong", "RawMessage", "ReplyReader", "text_of"]

#: Bytes that one message of the server may have; a client that accepts less than QEMU sends is of no use (its schema
#: has 200 KB, a dump of the guest's memory through C{human-monitor-command} many times that).
MAX_MESSAGE = 64 * 1024 * 1024

UNSET = msgspec.UNSET

# The errors of older versions of msgspec are no ValueErrors.
_REFUSED = (msgspec.MsgspecError, ValueError, RecursionError)
_NAMES = {"returned": "return", "greeting": "QMP"}


class Message(msgspec.Struct, gc=False, rename=_NAMES):
    """
    One message of a server. What it does not have is L{UNSET}.

    :ivar id: of the request that is answered
    :ivar returned: the C{return} member
    :ivar error: the C{error} member
    :ivar event: the name of an event
    :ivar data: the event's data
    :ivar timestamp: when it happened
    :ivar greeting: the C{QMP} member of the greeting
    """

    id: Any = UNSET
    returned: Any = UNSET
    error: Any = UNSET
    event: Any = UNSET
    data: Any = UNSET
    timestamp: Any = UNSET
    greeting: Any = UNSET


class RawMessage(msgspec.Struct, gc=False, rename=_NAMES):
    """A L{Message} whose C{return} member stays as it came: a C{msgspec.Raw}, one JSON value in bytes."""

    id: Any = UNSET
    returned: msgspec.Raw = UNSET  # type: ignore[assignment]
    error: Any = UNSET
    event: Any = UNSET
    data: Any = UNSET
    timestamp: Any = UNSET
    greeting: Any = UNSET


AnyMessage: TypeAlias = "Message | RawMessage"

_decode = msgspec.json.Decoder(Message).decode
_decode_raw = msgspec.json.Decoder(RawMessage).decode


_whole_reply = re.compile(rb'\{"return": ?.*, ?"id": ?(?P<id>\d{1,18})\}\s*\Z', re.DOTALL).match


class MessageTooLong(Exception):
    """The server sends a message of more bytes than are accepted. What comes after it can't be told from it any
    more."""


def text_of(message: AnyMessage) -> JSONText:
    """
    :param message: of a reader in raw mode; it has a C{return} member
    :return: its result, as it came (in pure ASCII, which QEMU always writes)
    """
    text = bytes(message.returned)
    if not text.isascii():
        text = encode(msgspec.json.decode(text))
    return JSONText(text)


class ReplyReader:
    """
    Turns what arrives into messages, in time linear in its length, however it is cut.

    :param raw: leave C{return} members undecoded
    :param max_message: see L{MAX_MESSAGE}
    """

    __slots__ = ("_decode", "_max_message", "_partial", "_raw", "_size", "_slow")

    def __init__(self, *, raw: bool = False, max_message: int = MAX_MESSAGE) -> None:
        self._decode: Any = _decode_raw if raw else _decode
        self._raw = raw
        self._max_message = max_message
        self._partial: list[bytes] = []
        self._size = 0
        self._slow: MessageReader | None = None

    @property
    def buffered(self) -> int:
        """How many bytes are held of a message that is not complete."""
        return self._size + (0 if self._slow is None else self._slow.buffered)

    def feed(self, data: bytes) -> list[AnyMessage | Malformed]:
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
        found: list[AnyMessage | Malformed] = []
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

    def _check_whole(self, line: bytes, found: list[AnyMessage | Malformed]) -> None:
        """
        The line just decoded may be a part of a message of many lines. If it is a message in its own right, what is
        open before it was garbage.
        """
        message: Any = found[-1]
        if any(value is not UNSET for value in (message.returned, message.error, message.event, message.greeting)):
            self._give_up(found)
        else:
            found.pop()
            self._feed_slowly(line, found)

    def _give_up(self, found: list[AnyMessage | Malformed]) -> None:
        if self._slow is not None:
            found.insert(-1, Malformed("a message that did not end"))
            self._slow = None

    def _feed_slowly(self, line: bytes, found: list[AnyMessage | Malformed]) -> None:
        if self._slow is None:
            if not line.strip():
                return
            whole = _whole_reply(line)
            if whole is not None:
                # QEMU writes a number that is out of range as "inf". Who waits for this reply must not wait for ever.
                error = {"class": "GenericError", "desc": "The reply is not JSON"}
                found.append(Message(id=int(whole["id"]), error=error))
                return
            self._slow = MessageReader(max_message=self._max_message)
        slow = self._slow
        slow.feed(line + b"\n")
        while batch := slow.next_batch():
            found.extend(map(self._from_value, batch))
        if slow.buffered > self._max_message:
            raise MessageTooLong(f"the server sends a message of more than {self._max_message} bytes")
        if not slow.buffered:
            self._slow = None

    def _from_value(self, value: Any) -> AnyMessage | Malformed:
        if isinstance(value, Malformed):
            return value
        if not isinstance(value, dict):
            return Malformed("a message must be a JSON object")
        message = Message(**{field: value[name] for field, name in _FIELDS if name in value})
        if not self._raw or message.returned is UNSET:
            return message
        return RawMessage(id=message.id, returned=msgspec.Raw(encode(message.returned)))


_FIELDS = [(field, _NAMES.get(field, field)) for field in Message.__struct_fields__]

"""
From bytes to messages. No I/O.

Ordinary input goes through msgspec, many messages at a time; whatever is not certain to mean the same to QEMU, and a message
that comes in pieces, goes through QEMU's dialect. Which of the two served a message can't be told from the result.
"""

from __future__ import annotations

from typing import Any

from twisted_qmon.qmp.jsonfast import CommandMessage, decode_checked, decode_plain
from twisted_qmon.qmp.jsonlexer import Lexer
from twisted_qmon.qmp.jsonparser import Malformed

__all__ = ["DEFAULT_MAX_MESSAGE", "CommandMessage", "Malformed", "MessageReader"]

#: QEMU's own limit: 64 MiB.
DEFAULT_MAX_MESSAGE = 64 * 1024 * 1024

# How many bytes one call looks at, unless there is no message in them.
_SLICE = 8192

_CLOSING_BRACE = ord("}")
_NEWLINE = ord("\n")


class MessageReader:
    """
    The messages in a stream of bytes, as QEMU would find them.

    :param max_message: in bytes, the limit of one message's tokens together (blanks between them don't count). What is beyond it
        is answered C{JSON token size limit exceeded}.
    :param commands: what comes is commands, so they may be L{CommandMessage}s; otherwise all messages are plain values
    :ivar fast: whether the fast path is taken where it can be. Tests switch it off, to compare.
    :raise ValueError: when the limit is not positive
    """

    __slots__ = (
        "_at",
        "_chunk",
        "_commands",
        "_lexer",
        "_lines_to",
        "_not_plain_to",
        "_slice",
        "_slow_to",
        "_untouched",
        "_waiting",
        "_waiting_size",
        "fast",
    )

    def __init__(self, *, max_message: int = DEFAULT_MAX_MESSAGE, commands: bool = False) -> None:
        if max_message < 1:
            raise ValueError(f"max_message must be positive, not {max_message}")
        self._lexer = Lexer(max_message)
        # Tokens in a slice can't break the limit, so only the dialect has to know it.
        self._slice = max(1, min(_SLICE, max_message - 1))
        self._commands = commands
        self._chunk = b""
        self._at = 0
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        # Nobody has looked at the chunk yet, and it may be plain.
        self._untouched = False
        # In the chunk, the fast path was tried in vain up to here: the cheapest gate; all but single lines; all of it.
        self._not_plain_to = 0
        self._lines_to = 0
        self._slow_to = 0
        self.fast = max_message > 1

    def feed(self, data: bytes) -> None:
        """Append bytes. Nothing is parsed before L{next_batch}."""
        if self._chunk:
            self._waiting.append(data)
            self._waiting_size += len(data)
        else:
            self._chunk = data
            self._untouched = self._commands and self.fast and 0 < len(data) <= self._slice and self._lexer.idle

    @property
    def buffered(self) -> int:
        """Bytes held: those not looked at yet, and the tokens of an unfinished message."""
        return len(self._chunk) - self._at + self._waiting_size + self._lexer.held

    def next_batch(self) -> list[Any]:
        """
        The next messages.

        :return: decoded values, L{CommandMessage}s and L{Malformed}, in order: those in the next few KiB. Empty: more bytes
            are needed.
        """
        if self._untouched:
            # Nearly always, what has come is whole, plain messages, and nothing else is there.
            self._untouched = False
            chunk = self._chunk
            if chunk[-1] == _NEWLINE or chunk[-1] == _CLOSING_BRACE:
                messages = decode_plain(chunk)
                if messages is None:
                    self._not_plain_to = len(chunk)
                elif messages and not self._waiting:
                    self._chunk = b""
                    return messages
        while self._chunk and (self._at < len(self._chunk) or self._next_chunk()):
            if not self.fast or self._at < self._slow_to or not self._lexer.idle:
                messages = self._by_dialect()
            elif self._at < self._lines_to:
                messages = self._by_line()
            else:
                messages = self._by_slice()
            if messages:
                return messages
        return []

    def _next_chunk(self) -> bool:
        """The chunk is used up: go on with all that has come since, if anything has."""
        waiting = self._waiting
        self._at = self._slow_to = self._lines_to = self._not_plain_to = 0
        if not waiting:
            self._chunk = b""
            return False
        self._chunk = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        self._waiting = []
        self._waiting_size = 0
        return bool(self._chunk)

    def _by_slice(self) -> list[Any]:
        """Try the fast path with the whole messages at the head of the chunk."""
        chunk = self._chunk
        at = self._at
        if len(chunk) - at <= self._slice:
            end = len(chunk)
            if chunk[-1] != _NEWLINE and chunk[-1] != _CLOSING_BRACE:
                end = chunk.rfind(b"\n", at) + 1 or chunk.rfind(b"}{", at) + 1
        else:
            end = at + self._slice
            end = chunk.rfind(b"\n", at, end) + 1 or chunk.rfind(b"}{", at, end) + 1
        if end <= at:
            self._slow_to = min(len(chunk), at + self._slice)
            return []
        data = chunk if end - at == len(chunk) else chunk[at:end]
        messages = decode_plain(data) if self._commands and end > self._not_plain_to else None
        if messages is None:
            messages = decode_checked(data, commands=self._commands)
        if messages is None:
            self._lines_to = end
            if chunk.find(b"\n", at, end - 1) < 0:
                self._slow_to = end
            return []
        if end < len(chunk) or self._waiting:
            self._at = end
        else:
            self._chunk = b""
            self._at = self._slow_to = self._lines_to = self._not_plain_to = 0
        return messages

    def _by_line(self) -> list[Any]:
        """The slice was refused: try it with one line of it."""
        chunk = self._chunk
        at = self._at
        end = chunk.find(b"\n", at, self._lines_to) + 1 or self._lines_to
        messages = decode_checked(chunk[at:end], commands=self._commands)
        if messages is None:
            self._slow_to = end
            return []
        self._at = end
        return messages

    def _by_dialect(self) -> list[Any]:
        """Let the dialect have what only it understands, at most to where the fast path may be tried again."""
        lexer = self._lexer
        at = self._at
        end = self._slow_to
        stop = end <= at
        if stop:
            end = len(self._chunk)
        end = min(end, at + self._slice)
        self._at = lexer.run(self._chunk, at, end, stop)
        messages = lexer.parser.out
        if messages:
            lexer.parser.out = []
        return messages

"""
From bytes to messages. No I/O.

Ordinary input goes through msgspec, many messages at a time; whatever is not certain to mean the same to QEMU, and a message
that comes in pieces, goes through QEMU's dialect. Which of the two served a message can't be told from the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_qmon.qmp.json.fast import CommandMessage, Decoded, Malformed, decode_checked, decode_plain
from twisted_qmon.qmp.json.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from twisted_qmon.qmp.json.lexer import Lexer

__all__ = ["CommandMessage", "Decoded", "Malformed", "MessageReader"]

# How many bytes one call looks at, unless there is no message in them.
_SLICE = 8192

# How messages end, when they end where a chunk does.
_ENDS = (b"\n", b"}")


class MessageReader:
    """
    The messages in a stream of bytes, as QEMU would find them.

    :param max_message: in bytes, the limit of one message's tokens together (blanks between them don't count). What is beyond it
        is answered C{JSON token size limit exceeded}.
    :param commands: what comes is commands, so they may be L{CommandMessage}s; otherwise all messages are plain values
    :ivar chunk: the bytes that are being looked at; empty: there are no others
    :ivar fast: whether the fast path is taken where it can be. Tests switch it off, to compare.
    :raise ValueError: when the limit is not positive
    """

    __slots__ = (
        "_at",
        "_commands",
        "_idle",
        "_lexer",
        "_lines_to",
        "_max_message",
        "_not_plain_to",
        "_slice",
        "_slow_to",
        "_waiting",
        "_waiting_size",
        "chunk",
        "fast",
    )

    def __init__(self, *, max_message: int = MAX_MESSAGE, commands: bool = False) -> None:
        if max_message < 1:
            raise ValueError(f"max_message must be positive, not {max_message}")
        self._max_message = max_message
        # The dialect, from when it is first needed: most connections never do, nor do many processes.
        self._lexer: Lexer | None = None
        # It is not within a message.
        self._idle = True
        # Tokens in a slice can't break the limit, so only the dialect has to know it.
        self._slice = max(1, min(_SLICE, max_message - 1))
        self._commands = commands
        self.chunk = b""
        self._at = 0
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        # In the chunk, the fast path was tried in vain up to here: the cheapest gate; all but single lines; all of it.
        self._not_plain_to = 0
        self._lines_to = 0
        self._slow_to = 0
        self.fast = max_message > 1

    def feed(self, data: bytes) -> None:
        """Append bytes. Nothing is parsed before L{next_batch}."""
        if self.chunk:
            self._waiting.append(data)
            self._waiting_size += len(data)
        else:
            self.chunk = data

    def read(self, data: bytes) -> list[Decoded]:
        """
        Append bytes, and have the next messages.

        :return: as L{next_batch}
        """
        if self.chunk or not self._idle or not self._commands or not self.fast:
            self.feed(data)
        else:
            self.chunk = data
            if len(data) <= self._slice and data.endswith(_ENDS):
                # The usual case: a few whole messages, and nothing before or behind them.
                messages = decode_plain(data)
                if messages is not None:
                    self.chunk = b""
                    return messages
                self._not_plain_to = len(data)
        return self.next_batch()

    @property
    def buffered(self) -> int:
        """Bytes held: those not looked at yet, and the tokens of an unfinished message."""
        return len(self.chunk) - self._at + self._waiting_size + (self._lexer.held if self._lexer is not None else 0)

    def next_batch(self) -> list[Decoded]:
        """
        The next messages.

        :return: decoded values, L{CommandMessage}s and L{Malformed}, in order: those in the next few KiB. Empty: more bytes
            are needed.
        """
        while self.chunk and (self._at < len(self.chunk) or self._next_chunk()):
            if not self.fast or self._at < self._slow_to or not self._idle:
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
            self.chunk = b""
            return False
        self.chunk = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        self._waiting = []
        self._waiting_size = 0
        return bool(self.chunk)

    def _by_slice(self) -> list[Decoded]:
        """Try the fast path with the whole messages at the head of the chunk."""
        chunk = self.chunk
        at = self._at
        if len(chunk) - at <= self._slice:
            end = len(chunk)
            if not chunk.endswith(_ENDS):
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
            self.chunk = b""
            self._at = self._slow_to = self._lines_to = self._not_plain_to = 0
        return messages

    def _by_line(self) -> list[Decoded]:
        """The slice was refused: try it with one line of it."""
        chunk = self.chunk
        at = self._at
        end = chunk.find(b"\n", at, self._lines_to) + 1 or self._lines_to
        messages = decode_checked(chunk[at:end], commands=self._commands)
        if messages is None:
            self._slow_to = end
            return []
        self._at = end
        return messages

    def _by_dialect(self) -> list[Decoded]:
        """Let the dialect have what only it understands, at most to where the fast path may be tried again."""
        lexer = self._lexer
        if lexer is None:
            from twisted_qmon.qmp.json.lexer import Lexer

            lexer = self._lexer = Lexer(self._max_message)
        at = self._at
        end = self._slow_to
        stop = end <= at
        if stop:
            end = len(self.chunk)
        end = min(end, at + self._slice)
        self._at = lexer.run(self.chunk, at, end, stop)
        self._idle = lexer.idle
        messages = lexer.parser.out
        if messages:
            lexer.parser.out = []
        return messages

"""
From tokens to values: the streamer, which finds where a message ends and watches its limits, and the parser, which builds the
value and says what is wrong with it.

QEMU collects the tokens of a message and parses them when it ends. Here they are parsed as they come, so the end of a big
message costs nothing special. What is seen from outside is the same: the first error of a message is remembered until the
message ends, and is forgotten if a lexical error or a limit comes before that end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted_qmon.info import JSON
from twisted_qmon.qmp.json.fast import Decoded, Malformed
from twisted_qmon.qmp.json.limits import MAX_NESTING, MAX_TOKENS
from twisted_qmon.qmp.json.strings import decode_string, show_token

__all__ = ["Parser"]

# What the parser waits for.
TOP, FIRST_ITEM, ITEM, ITEM_END, FIRST_KEY, KEY, COLON, VALUE, MEMBER_END = range(9)

_EXPECTING_VALUE = "expecting value"

# The error for a token that does not fit, by what was waited for.
_EXPECTED = [_EXPECTING_VALUE] * 9
_EXPECTED[ITEM_END] = "expected separator in list"
_EXPECTED[COLON] = "missing : in object pair"
_EXPECTED[MEMBER_END] = "expected separator in dict"

# In which of them a value may begin (a key is parsed as any value and then looked at).
_TAKES_VALUE = [state not in (ITEM_END, COLON, MEMBER_END) for state in range(9)]

_ITEM_STATES = (ITEM, FIRST_ITEM)
_LIST_MAY_END = (ITEM_END, FIRST_ITEM)
_OBJECT_MAY_END = (MEMBER_END, FIRST_KEY)

_OPENING = (0x7B, 0x5B)

_KEYWORDS = {b"true": True, b"false": False, b"null": None}


def number(token: bytes) -> int | float:
    """
    The value of a number token: an int64, else a uint64, else a double, which may be infinite.
    """
    if len(token) <= 20 and not (b"." in token or b"e" in token or b"E" in token):
        value = int(token)
        if -(1 << 63) <= value < 1 << 64:
            return value
    return float(token)


class Parser:
    """
    The messages of one connection, out of tokens.

    :ivar out: where finished messages go: values, and L{Malformed} for those that are none
    :ivar size: bytes of the tokens of the unfinished message
    :ivar count: how many tokens it has; 0 between messages
    :ivar error: the first error in it, or C{None}
    :ivar state: what it waits for
    :param max_message: the limit of C{size}
    """

    __slots__ = (
        "_braces",
        "_brackets",
        "_stack",
        "container",
        "count",
        "error",
        "key",
        "max_message",
        "out",
        "size",
        "state",
    )

    def __init__(self, max_message: int) -> None:
        self.max_message = max_message
        self.out: list[Decoded] = []
        self._reset()

    def _reset(self) -> None:
        self.state = TOP
        self.size = 0
        self.count = 0
        self.error: str | None = None
        self.container: Any = None
        self.key = ""
        # The containers around the current one, each with the key that it waits to use and with its state.
        self._stack: list[tuple[Any, str, int]] = []
        self._braces = 0
        self._brackets = 0

    def abort(self, desc: str) -> None:
        """Drop the unfinished message; this error stands in its place."""
        self._reset()
        self.out.append(Malformed(desc))

    def stray(self, token: bytes) -> None:
        """The lexer refused these bytes."""
        self.abort(f"JSON parse error, stray '{show_token(token)}'")

    def has_room(self, size: int, count: int) -> bool:
        """Whether so many more bytes in so many more tokens stay within the limits."""
        return self.size + size < self.max_message and self.count + count <= MAX_TOKENS

    def _admit(self, size: int) -> bool:
        """Count one token, or drop the message for a limit."""
        if self.size + size + 1 > self.max_message:
            self.abort("JSON token size limit exceeded")
        elif self.count + 1 > MAX_TOKENS:
            self.abort("JSON token count limit exceeded")
        elif self._braces + self._brackets > MAX_NESTING:
            self.abort("JSON nesting depth limit exceeded")
        else:
            self.size += size
            self.count += 1
            return True
        return False

    def _fail(self, error: str) -> None:
        self.error = error
        # What there is of the value is of no use.
        self.container = None
        self._stack.clear()

    def _end_of_message(self, value: JSON) -> None:
        error = self.error
        self._reset()
        self.out.append(value if error is None else Malformed(f"JSON parse error, {error}"))

    def _store(self, value: JSON) -> None:
        """Put a complete value, which may begin here, in its place."""
        state = self.state
        if state == VALUE:
            if self.key in self.container:
                self._fail("duplicate key")
            else:
                self.container[self.key] = value
                self.state = MEMBER_END
        elif state in _ITEM_STATES:
            self.container.append(value)
            self.state = ITEM_END
        elif type(value) is str:
            self.key = value
            self.state = COLON
        else:
            self._fail("key is not a string in object")

    def scalar(self, value: JSON, size: int) -> None:
        """A token that is a good string, number or keyword."""
        if not self._admit(size):
            return
        if self.error is None:
            if self.state == TOP:
                self._end_of_message(value)
            elif _TAKES_VALUE[self.state]:
                self._store(value)
            else:
                self._fail(_EXPECTED[self.state])
        # Inside a message no scalar ends it; outside there is nothing to remember an error for.

    def bad_scalar(self, error: str, size: int) -> None:
        """A token that the lexer let pass, but that has no value."""
        if not self._admit(size):
            return
        if self.error is None:
            self._fail(error if _TAKES_VALUE[self.state] else _EXPECTED[self.state])
        if self.state == TOP:
            self._end_of_message(None)

    def string(self, token: bytes) -> None:
        """A string token, with its quotes."""
        value, error = decode_string(token) if self.error is None else ("", None)
        if error is None:
            self.scalar(value, len(token))
        else:
            self.bad_scalar(error, len(token))

    def keyword(self, token: bytes) -> None:
        """A token of lower-case letters."""
        if token in _KEYWORDS:
            self.scalar(_KEYWORDS[token], len(token))
        else:
            self.bad_scalar(f"invalid keyword '{show_token(token)}'", len(token))

    def number(self, token: bytes) -> None:
        """A number token."""
        self.scalar(number(token), len(token))

    def structural(self, byte: int) -> None:
        """One of C{{}[]:,}."""
        if self.state == TOP and byte not in _OPENING and self.max_message > 1:
            self.out.append(Malformed(f"JSON parse error, {_EXPECTING_VALUE}"))
            return
        if byte == 0x7B:
            self._braces += 1
        elif byte == 0x7D:
            self._braces -= 1
        elif byte == 0x5B:
            self._brackets += 1
        elif byte == 0x5D:
            self._brackets -= 1
        if not self._admit(1):
            return
        value = None
        if self.error is None:
            value = self._build(byte)
        braces, brackets = self._braces, self._brackets
        if braces < 0 or brackets < 0 or (braces == 0 and brackets == 0):
            self._end_of_message(value)

    def member(self, key: str, value: JSON, size: int, more: bool) -> None:
        """
        A whole member of the object at hand, which has none of that name: four tokens, for which there is room.

        :param more: whether a comma follows it, not a brace
        """
        self.container[key] = value
        self.size += size
        self.count += 4
        if more:
            self.state = KEY
        else:
            self.size -= 1
            self.count -= 1
            self.state = MEMBER_END
            self.structural(0x7D)

    def items(self, values: Sequence[JSON], size: int) -> None:
        """Items of the list at hand, each with a comma behind it, for which there is room."""
        self.container += values
        self.size += size
        self.count += 2 * len(values)
        self.state = ITEM

    def _build(self, byte: int) -> JSON:
        """What a structural token does to the value; returns the value if that completed it."""
        state = self.state
        if byte == 0x2C and state == MEMBER_END:
            self.state = KEY
        elif byte == 0x2C and state == ITEM_END:
            self.state = ITEM
        elif byte == 0x3A and state == COLON:
            self.state = VALUE
        elif (byte == 0x7D and state in _OBJECT_MAY_END) or (byte == 0x5D and state in _LIST_MAY_END):
            return self._close()
        elif (byte == 0x7B or byte == 0x5B) and _TAKES_VALUE[state]:
            self._stack.append((self.container, self.key, state))
            self.container = {} if byte == 0x7B else []
            self.state = FIRST_KEY if byte == 0x7B else FIRST_ITEM
        else:
            self._fail(_EXPECTED[state])
        return None

    def _close(self) -> JSON:
        value: JSON = self.container
        self.container, self.key, self.state = self._stack.pop()
        if self.state != TOP:
            self._store(value)
        return value

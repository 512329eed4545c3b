"""
From bytes to tokens, as QEMU's lexer reads them: a scanner that remembers its place.

Whole tokens of the usual forms are found by regular expressions, several at a time where that is possible. What those don't match
(a token that goes on behind the end of the bytes, one that is wrong, one of a rare form) is followed state by state and run by
run; the state is kept from one call to the next, so nothing is looked at twice.
"""

from __future__ import annotations

import re

from twisted_qmon.qmp.json.fast import decode_items
from twisted_qmon.qmp.json.parser import FIRST_ITEM, FIRST_KEY, ITEM, KEY, Parser
from twisted_qmon.qmp.json.strings import StringDecoder, show_token

__all__ = ["Lexer"]

# Where a token stands. START: between tokens. RECOVERY: skipping what follows a lexical error. DONE: complete with this byte;
# DONE_BEFORE: complete without it; BAD: this byte makes it a lexical error.
(
    START,
    RECOVERY,
    DOUBLE,
    DOUBLE_ESCAPE,
    SINGLE,
    SINGLE_ESCAPE,
    SIGN,
    ZERO,
    DIGITS,
    MANTISSA,
    MANTISSA_DIGITS,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
    KEYWORD,
    DONE,
    DONE_BEFORE,
    BAD,
) = range(18)

_DIGIT = b"0123456789"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_IN_STRING = bytes(range(0x20, 0xFE))


def _row(otherwise: int, *transitions: tuple[bytes, int]) -> bytes:
    """The next state for each byte."""
    row = bytearray([otherwise]) * 256
    for characters, state in transitions:
        for byte in characters:
            row[byte] = state
    return bytes(row)


_NEXT = {
    START: _row(
        BAD, (b'"', DOUBLE), (b"'", SINGLE), (b"-", SIGN), (b"0", ZERO), (b"123456789", DIGITS), (_LETTERS, KEYWORD)
    ),
    DOUBLE: _row(BAD, (_IN_STRING, DOUBLE), (b"\\", DOUBLE_ESCAPE), (b'"', DONE)),
    DOUBLE_ESCAPE: _row(BAD, (_IN_STRING, DOUBLE)),
    SINGLE: _row(BAD, (_IN_STRING, SINGLE), (b"\\", SINGLE_ESCAPE), (b"'", DONE)),
    SINGLE_ESCAPE: _row(BAD, (_IN_STRING, SINGLE)),
    SIGN: _row(BAD, (b"0", ZERO), (b"123456789", DIGITS)),
    ZERO: _row(DONE_BEFORE, (_DIGIT, BAD), (b".", MANTISSA)),
    DIGITS: _row(DONE_BEFORE, (_DIGIT, DIGITS), (b".", MANTISSA), (b"eE", EXPONENT)),
    MANTISSA: _row(BAD, (_DIGIT, MANTISSA_DIGITS)),
    MANTISSA_DIGITS: _row(DONE_BEFORE, (_DIGIT, MANTISSA_DIGITS), (b"eE", EXPONENT)),
    EXPONENT: _row(BAD, (b"+-", EXPONENT_SIGN), (_DIGIT, EXPONENT_DIGITS)),
    EXPONENT_SIGN: _row(BAD, (_DIGIT, EXPONENT_DIGITS)),
    EXPONENT_DIGITS: _row(DONE_BEFORE, (_DIGIT, EXPONENT_DIGITS)),
    KEYWORD: _row(DONE_BEFORE, (_LETTERS, KEYWORD)),
}

# Runs of bytes that leave the state as it is.
_RUNS = {
    DOUBLE: re.compile(rb'[^"\\\x00-\x1f\xfe\xff]*(?:\\[^\x00-\x1f\xfe\xff][^"\\\x00-\x1f\xfe\xff]*)*'),
    SINGLE: re.compile(rb"[^'\\\x00-\x1f\xfe\xff]*(?:\\[^\x00-\x1f\xfe\xff][^'\\\x00-\x1f\xfe\xff]*)*"),
    DIGITS: re.compile(rb"[0-9]*"),
    MANTISSA_DIGITS: re.compile(rb"[0-9]*"),
    EXPONENT_DIGITS: re.compile(rb"[0-9]*"),
    KEYWORD: re.compile(rb"[a-z]*"),
}

# Where L{Lexer._run} may find more than one token.
_ITEM_STATES = (ITEM, FIRST_ITEM)
_RUN_STATES = (KEY, FIRST_KEY, *_ITEM_STATES)
_STRINGS = (DOUBLE, DOUBLE_ESCAPE, SINGLE, SINGLE_ESCAPE)

_SPACE = re.compile(rb"[ \t\r\n]*")
_RESYNC = re.compile(rb"[\[\]{}:,\x00-\x08\n-\x1f\xfe\xff]")

# A few blanks. Not any number: where nothing follows that matches, they would be tried one by one.
_BLANKS = rb"[ \t\r\n]{0,16}"
_PLAIN = rb'"([^"\\\x00-\x1f\x80-\xff]*)"'
_INTEGER = rb"(-?(?:0|[1-9][0-9]{0,17}))"

# One whole token: structural, plain string in either quotes, integer, any other number, keyword, any other string. Numbers and
# keywords only where what follows surely ends them.
_TOKEN = re.compile(
    _BLANKS + rb"(?:([{}\[\]:,])|" + _PLAIN + rb"|'([^'\\\x00-\x1f\x80-\xff]*)'"
    rb"|(?:" + _INTEGER + rb"|(-?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]{1,40})?)|([a-z]{1,40}))(?=[ \t\r\n,:\[\]{}])"
    rb'|("[^"\\\x00-\x1f\xfe\xff]*(?:\\[^\x00-\x1f\xfe\xff][^"\\\x00-\x1f\xfe\xff]*)*"'
    rb"|'[^'\\\x00-\x1f\xfe\xff]*(?:\\[^\x00-\x1f\xfe\xff][^'\\\x00-\x1f\xfe\xff]*)*'))"
)
_STRUCTURAL, _DQ_TEXT, _SQ_TEXT, _INT, _NUMBER, _WORD, _STRING = range(1, 8)
_TEXTS = (_DQ_TEXT, _SQ_TEXT)
_OTHERS = {_NUMBER: Parser.number, _WORD: Parser.keyword, _STRING: Parser.string}

# A whole member of an object, up to and with what follows it: four tokens at once.
_MEMBER = re.compile(
    _BLANKS + _PLAIN + _BLANKS + rb":" + _BLANKS + rb"(?:" + _PLAIN + rb"|" + _INTEGER + rb")" + _BLANKS + rb"([,}])"
)

# Items of a list without blanks between them, each with its comma.
_ITEMS = re.compile(rb'(?:(?:"[^"\\\x00-\x1f\x80-\xff]*"|-?(?:0|[1-9][0-9]{0,17})),){4,}')

# The errors for bytes that can begin no token.
_STRAY_BYTES = [f"JSON parse error, stray '{show_token(bytes([byte]))}'" for byte in range(256)]

#: At most so many messages are given out by one call, so that a storm of errors is served in turns too.
MAX_RESULTS = 64

# How many bytes of a long string are decoded at once.
_STRING_PIECE = 16384


class Lexer:
    """
    The tokens of one connection, fed to a L{Parser}.

    :ivar parser: its parser; finished messages are in C{parser.out}
    """

    __slots__ = ("_decoded", "_decoder", "_state", "_token", "parser")

    def __init__(self, max_message: int) -> None:
        self.parser = Parser(max_message)
        self._state = START
        self._token = bytearray()
        self._drop_token()

    def _drop_token(self) -> None:
        self._token.clear()
        self._decoder: StringDecoder | None = None
        self._decoded = 1

    @property
    def idle(self) -> bool:
        """Whether nothing is remembered of the bytes so far."""
        return self._state == START and not self.parser.count

    @property
    def held(self) -> int:
        """Bytes of tokens held for the unfinished message."""
        return len(self._token) + self.parser.size

    def run(self, data: bytes, at: int, end: int, stop: bool) -> int:
        """
        Take bytes.

        :param data: where they are
        :param at: the first of them
        :param end: the position behind the last one
        :param stop: return at the end of the first message
        :return: the position of the first byte not taken: C{end}, or less when enough messages came out
        """
        parser = self.parser
        out = parser.out
        enough = 1 if stop else MAX_RESULTS
        while at < end:
            if len(out) >= enough and not parser.count:
                break
            if self._state == START:
                at = self._tokens(data, at, end)
            elif self._state == RECOVERY:
                found = _RESYNC.search(data, at, end)
                if found is None:
                    return end
                at = found.start()
                self._state = START
            else:
                at = self._follow(data, at, end)
        return at

    def _tokens(self, data: bytes, at: int, end: int) -> int:
        """Take whole tokens, until a message ends or there is something that isn't whole."""
        parser = self.parser
        match = _TOKEN.match
        while at < end:
            if parser.state in _RUN_STATES and (after := self._run(data, at, end)) > at:
                at = after
            elif (found := match(data, at, end)) is None:
                at = self._begin(data, at, end)
                if self._state != START:
                    return at
                continue
            else:
                at = found.end()
                kind = found.lastindex
                assert kind is not None
                token = found[kind]
                if kind == _STRUCTURAL:
                    parser.structural(token[0])
                elif kind in _TEXTS:
                    parser.scalar(str(token, "ascii"), len(token) + 2)
                elif kind == _INT:
                    parser.scalar(int(token), len(token))
                else:
                    _OTHERS[kind](parser, token)
            if not parser.count:
                return at
        return at

    def _run(self, data: bytes, at: int, end: int) -> int:
        """Take several tokens at once, if they are of the usual forms. :return: where they end; C{at} if they are not"""
        if self.parser.error is not None:
            return at
        if self.parser.state in _ITEM_STATES:
            found = _ITEMS.match(data, at, end)
            return at if found is None or not self._items(found.group()) else found.end()
        found = _MEMBER.match(data, at, end)
        return at if found is None or not self._member(found) else found.end()

    def _member(self, found: re.Match[bytes]) -> bool:
        """Take a whole member, if nothing is to be said against it."""
        parser = self.parser
        key, text, digits, mark = found.groups()
        size = len(key) + 4 + (len(digits) if text is None else len(text) + 2)
        name = str(key, "ascii")
        if name in parser.container or not parser.has_room(size, 4):
            return False
        parser.member(name, int(digits) if text is None else str(text, "ascii"), size, mark == b",")
        return True

    def _items(self, run: bytes) -> bool:
        """Take items of a list, if the limits allow it."""
        items = decode_items(b"[%b]" % run[:-1])
        if not self.parser.has_room(len(run), 2 * len(items)):
            return False
        self.parser.items(items, len(run))
        return True

    def _begin(self, data: bytes, at: int, end: int) -> int:
        """Pass over blanks; if there are none, begin a token that is not whole or not good."""
        space = _SPACE.match(data, at, end)
        assert space is not None
        if at < space.end():
            return space.end()
        byte = data[at]
        self._state = _NEXT[START][byte]
        if self._state == BAD:
            self._state = RECOVERY
            self.parser.abort(_STRAY_BYTES[byte])
        else:
            self._token.append(byte)
        return at + 1

    def _follow(self, data: bytes, at: int, end: int) -> int:
        """Go on with the token that was begun, to its end, to the end of the bytes or to its limit."""
        parser = self.parser
        begin = at
        end = min(end, at + parser.max_message + 1 - len(self._token))
        state = self._state
        while at < end:
            if state in _RUNS:
                run = _RUNS[state].match(data, at, end)
                assert run is not None
                at = run.end()
                if at == end:
                    break
            following = _NEXT[state][data[at]]
            if following == DONE_BEFORE:
                self._state = START
                self._finish(state, data[begin:at])
                return at
            at += 1
            if following == DONE:
                self._state = START
                self._finish(state, data[begin:at])
                return at
            if following == BAD:
                self._state = RECOVERY
                token = bytes(self._token) + data[begin:at]
                self._drop_token()
                parser.stray(token)
                return at
            state = following
        self._state = state
        self._token += data[begin:at]
        if len(self._token) > parser.max_message:
            self._state = START
            self._drop_token()
            parser.abort("JSON token size limit exceeded")
        elif state in _STRINGS and parser.error is None and len(self._token) - self._decoded >= _STRING_PIECE:
            self._decode()
        return at

    def _decode(self) -> None:
        """Decode what has come of a long string, so that its end comes cheap."""
        if self._decoder is None:
            self._decoder = StringDecoder()
        self._decoder.feed(bytes(memoryview(self._token)[self._decoded :]))
        self._decoded = len(self._token)

    def _finish(self, state: int, piece: bytes) -> None:
        """The token is complete with this piece."""
        parser = self.parser
        decoder = self._decoder
        if decoder is not None:
            decoder.feed(bytes(memoryview(self._token)[self._decoded :]) + piece[:-1])
            size = len(self._token) + len(piece)
            self._drop_token()
            value = decoder.finish(piece[-1:])
            if decoder.error is None:
                parser.scalar(value, size)
            else:
                parser.bad_scalar(decoder.error, size)
            return
        token = bytes(self._token) + piece
        self._drop_token()
        if state in _STRINGS:
            parser.string(token)
        elif state == KEYWORD:
            parser.keyword(token)
        else:
            parser.number(token)

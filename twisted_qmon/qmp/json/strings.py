"""
The text of string tokens: escapes, "modified UTF-8" and what QEMU refuses in them.

A string is decoded in the pieces in which it arrives, so that a long one never needs a long look at once.
"""

from __future__ import annotations

import re

from twisted_qmon.qmp.json.fast import RISKY_UTF8, decode_text

__all__ = ["StringDecoder", "decode_string", "show_token"]

#: Bytes of a bad token that an error shows. (QEMU shows all of it, which may be 64 MiB.)
MAX_SHOWN = 1 << 20

_INVALID_ESCAPE = "invalid escape sequence in string"
_INVALID_UTF8 = "invalid UTF-8 sequence in string"

# The longest element that has to be seen whole: a surrogate pair, twelve bytes of escapes.
_LOOKAHEAD = 12

# ASCII text without C{\\u}. It has no raw double quote, so it can be put between two.
_PLAIN = re.compile(rb'(?:[^\\"\x80-\xff]|\\["\\/bfnrt\'])+')
_UNICODE_ESCAPES = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")
# What QEMU takes for one bad sequence, each byte as "surrogateescape" gives it.
_BAD_SEQUENCE = re.compile(
    "[\udcc0-\udcdf][\udc80-\udcbf]?|[\udce0-\udcef][\udc80-\udcbf]{0,2}|[\udcf0-\udcf7][\udc80-\udcbf]{0,3}"
    "|[\udcf8-\udcfb][\udc80-\udcbf]{0,4}|[\udcfc-\udcfd][\udc80-\udcbf]{0,5}|[\udc80-\udcff]"
)
_CONTINUATION = re.compile(rb"[\x80-\xbf]*")
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)) + "]"
)
_SIMPLE_ESCAPES = {
    ord('"'): '"',
    ord("'"): "'",
    ord("\\"): "\\",
    ord("/"): "/",
    ord("b"): "\b",
    ord("f"): "\f",
    ord("n"): "\n",
    ord("r"): "\r",
    ord("t"): "\t",
}


class _BadString(Exception):
    """What is wrong with a string, in QEMU's words."""


def _is_character(point: int) -> bool:
    """Whether QEMU takes this code point in a string: no surrogate, no noncharacter, nothing beyond Unicode."""
    return (
        0 <= point <= 0x10FFFF
        and not 0xD800 <= point <= 0xDFFF
        and not 0xFDD0 <= point <= 0xFDEF
        and point & 0xFFFE != 0xFFFE
    )


def _decode_utf8(data: bytes) -> tuple[str, bool]:
    """
    Bytes as text, with U+FFFD for each sequence that QEMU refuses. U+0000 may be written C0 80 ("modified UTF-8").

    :return: the text, and whether all of it was good
    """
    good = True
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape").replace("\udcc0\udc80", "\0")
        text, bad = _BAD_SEQUENCE.subn("\ufffd", text)
        good = not bad
    if any(risk in data for risk in RISKY_UTF8):
        text, bad = _NONCHARACTER.subn("\ufffd", text)
        good = good and not bad
    return text, good


def show_token(token: bytes) -> str:
    """
    A token as the text of an error shows it: up to the first NUL, bad UTF-8 as U+FFFD (one for each sequence).
    """
    return _decode_utf8(token[:MAX_SHOWN].partition(b"\0")[0])[0]


def _decode_plain(text: bytes) -> str:
    """ASCII text without C{\\u}, all at once by msgspec, which only doesn't know C{\\'}."""
    if b"\\'" in text:
        text = b"\\\\".join([part.replace(b"\\'", b"'") for part in text.split(b"\\\\")])
    return decode_text(b'"%b"' % text)


class StringDecoder:
    """
    Decodes what stands between the quotes of one string, fed in pieces.

    :ivar error: what is wrong with it, in QEMU's words; C{None} as long as nothing is
    """

    __slots__ = ("_parts", "_rest", "error")

    def __init__(self) -> None:
        self.error: str | None = None
        self._parts: list[str] = []
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Decode the next bytes. A few at the end may be kept back until what follows them is known."""
        if self.error is not None:
            return
        if not self._rest and data.isascii() and 92 not in data:
            self._parts.append(str(data, "ascii"))
        else:
            data = self._rest + data
            self._decode(data, len(data) - _LOOKAHEAD, len(data))

    def finish(self, quote: bytes) -> str:
        """
        The string, now that all of it was fed. Its text is worth nothing if there is an C{error}.

        :param quote: the closing quote; the error about a bad C{\\u} may show it
        """
        if self.error is None and self._rest:
            data = self._rest + quote
            self._decode(data, len(data) - 1, len(data) - 1)
        return "".join(self._parts)

    def _decode(self, data: bytes, safe: int, end: int) -> None:
        """
        Decode, and keep the rest.

        :param safe: what begins before this position is known to be there whole
        :param end: the end of the text
        """
        at = 0
        try:
            while at < end:
                plain = _PLAIN.match(data, at, end)
                if plain is not None:
                    # The end may cut an escape in two, but then its backslash is not part of the match.
                    at = plain.end()
                    self._parts.append(_decode_plain(plain.group()))
                if at >= safe:
                    break
                at = self._special(data, at, safe)
        except _BadString as e:
            self.error = str(e)
            self._parts.clear()
            at = end
        self._rest = data[at:end]

    def _special(self, data: bytes, at: int, safe: int) -> int:
        """Decode what is not plain; return where the next element begins."""
        byte = data[at]
        if byte >= 0x80:
            return self._utf8(data, at, safe)
        if byte != 92:
            self._parts.append(chr(byte))
            return at + 1
        if data[at + 1] == 117:
            return self._unicode_escapes(data, at, safe)
        simple = _SIMPLE_ESCAPES.get(data[at + 1])
        if simple is None:
            raise _BadString(_INVALID_ESCAPE)
        self._parts.append(simple)
        return at + 2

    def _utf8(self, data: bytes, at: int, safe: int) -> int:
        run = _HIGH_BYTES.match(data, at, safe)
        assert run is not None
        # The last sequence may go on behind the safe end, by far less than is known to be there.
        rest = _CONTINUATION.match(data, run.end())
        assert rest is not None
        text, good = _decode_utf8(data[at : rest.end()])
        if not good:
            raise _BadString(_INVALID_UTF8)
        self._parts.append(text)
        return rest.end()

    def _unicode_escapes(self, data: bytes, at: int, safe: int) -> int:
        run = _UNICODE_ESCAPES.match(data, at, safe)
        if run is None:
            return self._unicode_escape(data, at)
        stop = run.end()
        if stop - at > 2 * _LOOKAHEAD:
            # The last one may be the first half of a pair; the loop below knows what to do with it.
            stop -= 6
            if _HIGH_SURROGATE.match(data, stop - 6):
                stop -= 6
            try:
                text = data[at:stop].decode("raw_unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                pass
            else:
                if not _NONCHARACTER.search(text):
                    self._parts.append(text)
                    return stop
        while at < stop:
            at = self._unicode_escape(data, at)
        return at

    def _unicode_escape(self, data: bytes, at: int) -> int:
        """Decode one C{\\uXXXX}, or the pair of them that stands for one character."""
        digits = _HEX4.match(data, at + 2)
        point = int(digits.group(), 16) if digits is not None else -1
        stop = at + 6
        if 0xD800 <= point <= 0xDBFF and data[stop : stop + 2] == b"\\u":
            digits = _HEX4.match(data, stop + 2)
            low = int(digits.group(), 16) if digits is not None else -1
            if 0xDC00 <= low <= 0xDFFF:
                point = 0x10000 + ((point & 0x3FF) << 10 | low & 0x3FF)
                stop += 6
            else:
                point = -1
        if not _is_character(point):
            raise _BadString(f"{show_token(data[at:stop])} is not a valid Unicode character")
        self._parts.append(chr(point))
        return stop


def decode_string(token: bytes) -> tuple[str, str | None]:
    """
    Decode a whole string token.

    :param token: the token with its quotes
    :return: the string, and what is wrong with it in QEMU's words, or C{None}
    """
    if token.isascii() and 92 not in token:
        return str(token[1:-1], "ascii"), None
    decoder = StringDecoder()
    decoder.feed(token[1:-1])
    return decoder.finish(token[-1:]), decoder.error

"""
The form in which QEMU writes JSON: a client that reads it with C{grep} sees the difference.
"""

from __future__ import annotations

import re
from math import inf

__all__ = ["as_qemu", "without_element_names"]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[:,]')
_ESCAPE = re.compile(rb"\\(u[0-9a-f]{4}|.)")

# Up to 7.2 the errors for a value that an enumeration does not have, and for what no option of an alternate takes, have no name
# for an element of a list.
_ELEMENT = re.compile(
    rb"Parameter '[^']*\[\d+\]'(?= does not accept value)"
    rb"|(?<=Invalid )parameter type for '[^']*\[\d+\]'(?=, expected: (?!(?:string|integer|number|boolean|object|array|null)\b))"
)


def as_qemu(line: bytes) -> bytes:
    """
    :param line: JSON as this package writes it, pure ASCII without blanks
    :return: the same values as QEMU writes them: blanks after colons and commas, numbers as C{%.17g}, escapes in capitals
    """
    return _TOKEN.sub(_token, line)


def _token(found: re.Match[bytes]) -> bytes:
    token = found.group()
    first = token[:1]
    if first in b":,":
        return token + b" "
    if first == b'"':
        return _ESCAPE.sub(_escape, token) if b"\\" in token else token
    return _number(token) if re.search(rb"[.eE]", token) else token


def _escape(found: re.Match[bytes]) -> bytes:
    escape = found.group()
    return b"\\u" + escape[2:].upper() if len(escape) == 6 else escape


def _number(token: bytes) -> bytes:
    value = float(token)
    if abs(value) == inf:
        return b"inf" if value > 0 else b"-inf"
    return b"%.17g" % value


def without_element_names(line: bytes) -> bytes:
    """:return: a reply as QEMU 7.2 and older word it: an element of a list that is no value of an enumeration is not named"""
    return _ELEMENT.sub(lambda found: found.group().partition(b"'")[0] + b"'null'", line)

"""
The lines of the audit: JSON, whole, and of a bounded length.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

__all__ = ["MAX_ARGUMENTS", "MAX_LINE", "CallerLines", "LineMaker", "argument_names", "members"]

#: Bytes of the longest line, with its end.
MAX_LINE = 16 << 10

#: How many arguments are named of a command that was refused.
MAX_ARGUMENTS = 16

#: Characters of a name, and of an error's text.
_MAX_NAME = 64
_MAX_TEXT = 512

#: How many names of commands are kept, encoded. Clients may ask for any.
_MAX_NAMES = 4096

#: For how many commands of a caller the lines are prepared.
_MAX_TEMPLATES = 256

# What takes few bytes, however it is written.
_SCALARS = frozenset({int, float, bool, type(None)})

_encode = msgspec.json.Encoder().encode


class LineMaker:
    """
    Makes lines. What is the same in many of them is encoded once.
    """

    def __init__(self) -> None:
        self._second = -1
        self._prefix = b""
        self._names: dict[str, bytes] = {}

    def time(self, seconds: float) -> bytes:
        """:return: a time since the epoch, in the form of RFC 3339, to the microsecond"""
        whole = int(seconds)
        if whole != self._second:
            self._begin_second(whole)
        return b"%b.%06dZ" % (self._prefix, int((seconds - whole) * 1_000_000))

    def _begin_second(self, whole: int) -> None:
        self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)).encode("ascii")
        self._second = whole

    def name(self, command: str) -> bytes:
        """:return: the name of a command, encoded"""
        known = self._names.get(command)
        if known is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            known = self._names[command] = _encode(_sayable(command, _MAX_TEXT))
        return known

    def line(
        self,
        seconds: float,
        phase: bytes,
        number: int | None,
        caller: bytes,
        command: str | None = None,
        arguments: Mapping[str, object] | list[str] | None = None,
        rest: Mapping[str, object] | None = None,
    ) -> bytes:
        """
        :param seconds: when, since the epoch
        :param phase: the step: C{b"start"}
        :param number: the request's
        :param caller: what L{members} made of the caller
        :param command: its name
        :param arguments: what may be shown of its arguments, or only their names
        :param rest: more members
        :return: the line, with its end
        """
        head = b'{"time":"%b","phase":"%b"' % (self.time(seconds), phase)
        if number is not None:
            head += b',"number":%d' % number
        head += caller
        if command is not None:
            head += b',"command":' + self.name(command)
        tail = members(rest) + b"}\n" if rest else b"}\n"
        if not arguments:
            return head + tail
        return _with_arguments(head, arguments, tail)

    def start(
        self,
        seconds: float,
        number: int,
        caller: CallerLines,
        command: str,
        arguments: Mapping[str, object] | list[str] | None,
    ) -> bytes:
        """:return: the line of a command that is about to run, which is what L{line} makes of it, made quickly"""
        whole = int(seconds)
        if whole != self._second:
            self._begin_second(whole)
        template = (caller.templates.get(command) or caller.make(command, self.name(command))).start
        if not arguments:
            return template % (self._prefix, int((seconds - whole) * 1_000_000), number, b"")
        text = _encode_few(arguments)
        if text is None:
            return self.line(seconds, b"start", number, caller.members, command, arguments)
        return template % (self._prefix, int((seconds - whole) * 1_000_000), number, b',"arguments":' + text)

    def success(self, seconds: float, number: int, caller: CallerLines, command: str, took: float) -> bytes:
        """:return: the line of a command that succeeded, which is what L{line} makes of it, made quickly"""
        whole = int(seconds)
        if whole != self._second:
            self._begin_second(whole)
        template = (caller.templates.get(command) or caller.make(command, self.name(command))).success
        return template % (self._prefix, int((seconds - whole) * 1_000_000), number, took)


class _Templates(NamedTuple):
    """Lines of one command of one caller, with places for what differs: second, microseconds, number, and the rest."""

    start: bytes
    success: bytes


class CallerLines:
    """
    What the lines about one caller have in common.

    :param identity: its text
    :param session: the name of its session
    :param endpoint: where it came in
    :ivar members: these, as members of an object
    :ivar templates: the lines of its commands, by name
    """

    __slots__ = ("members", "templates")

    def __init__(self, identity: str, session: str, endpoint: str) -> None:
        self.members = members({"identity": identity, "session": session, "endpoint": endpoint})
        self.templates: dict[str, _Templates] = {}

    def make(self, command: str, name: bytes) -> _Templates:
        """
        :param name: the command's, encoded
        :return: the templates for a command, which are kept
        """
        if len(self.templates) >= _MAX_TEMPLATES:
            self.templates.clear()
        about = b'%b,"command":%b' % (self.members, name)
        same = about.replace(b"%", b"%%")
        made = self.templates[command] = _Templates(
            b'{"time":"%b.%06dZ","phase":"start","number":%d' + same + b"%b}\n",
            b'{"time":"%b.%06dZ","phase":"end","number":%d' + same + b',"outcome":"ok","seconds":%.6f}\n',
        )
        return made


def _with_arguments(head: bytes, arguments: Mapping[str, object] | list[str], tail: bytes) -> bytes:
    space = MAX_LINE - len(head) - len(tail) - len(b',"arguments":')
    text = _encode_within(arguments, space)
    if text is not None:
        return b'%b,"arguments":%b%b' % (head, text, tail)
    text = _encode_within(argument_names(arguments), space - len(b',"truncated":true'))
    if text is None:
        return head + b',"truncated":true' + tail
    return b'%b,"arguments":%b,"truncated":true%b' % (head, text, tail)


def members(values: Mapping[str, object]) -> bytes:
    """
    :param values: strings and numbers
    :return: them as members of a JSON object, each behind a comma
    """
    shown = {key: _sayable(value, _MAX_TEXT) if isinstance(value, str) else value for key, value in values.items()}
    return b"," + _encode(shown)[1:-1] if shown else b""


def argument_names(arguments: Iterable[str] | None) -> list[str]:
    """:return: the names of some arguments: all that is kept of arguments that were not checked"""
    names: list[str] = []
    for name in arguments or ():
        if len(names) == MAX_ARGUMENTS:
            break
        names.append(_sayable(name, _MAX_NAME))
    return names


def _encode_few(arguments: Mapping[str, object] | list[str]) -> bytes | None:
    """:return: the JSON text of few and short arguments, which a line has room for in any case; C{None} for others"""
    if type(arguments) is not dict or len(arguments) > MAX_ARGUMENTS:
        return None
    size = 0
    for key, value in arguments.items():
        size += len(key)
        if type(value) is str:
            size += len(value)
        elif type(value) not in _SCALARS:
            return None
    # Each character takes at most six bytes, and the rest of a line at most 9 KiB.
    return _encoded(arguments) if size <= 1024 else None


def _encode_within(value: object, space: int) -> bytes | None:
    """:return: the JSON text, or C{None} when it takes more space, or is nothing that JSON can say"""
    text = _encoded(value) if _is_within(value, space) else None
    return text if text is not None and len(text) <= space else None


def _encoded(value: object) -> bytes | None:
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # A lone surrogate, a number beyond 64 bits, an object of the program's own.
        return None


def _is_within(value: object, space: int) -> bool:
    """Whether it may have room: what is far too long is not encoded to find that out."""
    stack = [value]
    while stack and space >= 0:
        each = stack.pop()
        space -= 1
        if isinstance(each, str):
            space -= len(each)
        elif isinstance(each, Mapping):
            space -= len(each)
            stack.extend(each.keys() if space >= 0 else ())
            stack.extend(each.values() if space >= 0 else ())
        elif isinstance(each, (list, tuple)):
            space -= len(each)
            stack.extend(each if space >= 0 else ())
    return space >= 0


def _sayable(text: str, limit: int) -> str:
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    # A lone surrogate is nothing that UTF-8 can say.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")

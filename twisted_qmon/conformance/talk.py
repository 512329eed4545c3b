"""
A session with the server that is looked at, as checks hold it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from twisted_qmon.conformance.comparing import Known, canonical, is_event
from twisted_qmon.conformance.wire import Connect, Wire

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["LOST", "MAX_DEAD", "QUIET", "Differs", "NotPossible", "Talk", "expect"]

#: When so many things in a row got no answer, the server is taken for dead.
MAX_DEAD = 5

#: The end of the text of what got none.
LOST = "no answer"


#: Seconds in which a server that is to say nothing could have said something.
QUIET = 0.3


class Differs(Exception):
    """
    The server does something else than QEMU.

    :ivar text: what
    :ivar known: the difference that this may be, if it is known of the kind of server
    """

    def __init__(self, text: str, known: Known | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.known = known


class NotPossible(Exception):
    """It can't be looked at with this server; the text says why."""


def expect(expected: JSON | bytes, came: JSON | bytes, known: Known | None = None) -> None:
    """
    Compare.

    :raise Differs: when they are not the same
    """
    same = expected == came and type(expected) is type(came)
    if not same:
        raise Differs(f"expected: {expected!r:.2000}\ncame:     {came!r:.2000}", known)


class Talk:
    """
    One connection, as a context manager: greeted, and negotiated if that is wanted.

    :param connect: connects to the server
    :param negotiate: negotiate the capabilities at once
    :param enable: and enable these
    :ivar greeting: the line that the server began with
    :ivar events: the events that came so far
    """

    def __init__(self, connect: Connect, *, negotiate: bool = True, enable: Sequence[str] = ()) -> None:
        self.wire: Wire = connect()
        self.events: list[Any] = []
        try:
            self.greeting = self.wire.line()
            if negotiate:
                reply = self.ask({"execute": "qmp_capabilities", "arguments": {"enable": list(enable)}})
                expect({"return": {}}, reply)
        except BaseException:
            self.wire.close()
            raise

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.wire.close()

    def send(self, *messages: JSON | bytes) -> None:
        """Send messages in one piece: JSON values, or bytes as they are."""
        self.wire.send(b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\n" for m in messages))

    def line(self, seconds: float | None = None) -> bytes:
        """
        :return: the next line that is no event
        :raise Differs: when it is no line of JSON in pure ASCII that ends in CR LF, or the connection has ended
        :raise TimeoutError: when none has come in time
        """
        while True:
            line = self.wire.line(seconds)
            if not line.endswith(b"\r\n"):
                raise Differs(f"no line that ends in CR LF: {line!r:.2000}" if line else "the connection has ended")
            if not line.isascii():
                raise Differs(f"a line that is not pure ASCII: {line!r:.2000}")
            try:
                reply = canonical(line)
            except ValueError as error:
                raise Differs(f"a line that is no JSON: {error}: {line!r:.2000}") from None
            if not is_event(reply):
                return line
            self.events.append(json.loads(line))

    def reply(self) -> JSON:
        """:return: the next reply"""
        value: JSON = json.loads(self.line())
        return value

    def replies(self, count: int) -> list[JSON]:
        """:return: so many replies"""
        return [self.reply() for _ in range(count)]

    def ask(self, message: JSON | bytes) -> JSON:
        """Send a message. :return: the next reply"""
        self.send(message)
        return self.reply()

    def quiet(self) -> None:
        """
        Look whether nothing comes but events.

        :raise Differs: when something comes
        """
        try:
            line = self.line(QUIET)
        except TimeoutError:
            return
        raise Differs(f"nothing was to come; this came: {line!r:.2000}")

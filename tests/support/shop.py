"""
A provider for the live tests of C{qmon}: commands that take their time and tell how far they are, enums, files, and text that
does what it can to a terminal.
"""

from __future__ import annotations

import enum
import time
from typing import Literal

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_qmon import CommandProvider, Event, GenericError, Request, command

__all__ = ["CONTROLS", "HOSTILE", "Shop"]

#: Each control character, those of eight bits, and what turns the direction of writing.
CONTROLS = "".join(map(chr, (*range(32), *range(127, 160)))) + "\u202e\u2028"

#: Each of them between brackets, so that one that gets through is told from those that a terminal program writes itself; and some
#: sequences that set a title, clear the screen, and answer for the person.
HOSTILE = "".join(f"<{c}>" for c in CONTROLS) + "\x1b]0;pwned\x07\x1b[2J\x9b2J\x1b[6n\x1bP$qm\x1b\\"

_log = Logger()


class Colour(enum.Enum):
    """Some colours."""

    RED = "red"
    GREEN = "green"
    GREENISH = "greenish-blue"


class Shop(CommandProvider):
    """Commands for tests."""

    events = (Event("SALE", what=str, number=int),)

    @command
    def paint(self, colour: Colour, coats: int = 1, glossy: bool = False) -> str:
        """paint the shop"""
        return f"painted {colour.value}, {coats} coats{', glossy' if glossy else ''}"

    @command(args_type="file:F")
    def load(self, file: str) -> str:
        """load a file"""
        return f"loaded {file}"

    @command(on_disconnect="cancel")
    def wait_(self, request: Request, seconds: float = 1000.0) -> Deferred[str]:
        """wait, and tell how far it is"""
        done: Deferred[str] = Deferred()
        assert self.monitor is not None
        clock = self.monitor.clock
        began = clock.seconds()

        def tick() -> None:
            passed = clock.seconds() - began
            if done.called:
                return
            if passed >= seconds:
                done.callback(f"waited {seconds:g} s")
                return
            request.progress(round(1000 * passed), round(1000 * seconds))
            clock.callLater(0.05, tick)

        tick()
        return done

    @command
    def sell(self, what: str = "shoes", number: int = 1) -> None:
        """emit a SALE event"""
        assert self.monitor is not None
        self.monitor.emit("SALE", {"what": what, "number": number})

    @command
    def flood(self, rate: int, seconds: float) -> None:
        """emit so many SALE events a second, for a time"""
        assert self.monitor is not None
        monitor = self.monitor
        clock = monitor.clock
        began = clock.seconds()
        sent = 0

        def tick() -> None:
            nonlocal sent
            passed = min(seconds, clock.seconds() - began)
            while sent < passed * rate:
                sent += 1
                monitor.emit("SALE", {"what": "flood", "number": sent})
            if passed < seconds:
                clock.callLater(0.005, tick)

        tick()

    @command
    def block(self, seconds: float) -> None:
        """keep the reactor from running"""
        time.sleep(seconds)

    @command
    def text(self, size: int) -> str:
        """return so many bytes of lines"""
        return ("x" * 99 + "\n") * (size // 100)

    @command
    def hostile(self, how: Literal["return", "raise", "event", "log"]) -> str:
        """say what does something to a terminal"""
        assert self.monitor is not None
        if how == "raise":
            raise GenericError(f"raised {HOSTILE} here")
        if how == "event":
            self.monitor.emit("SALE", {"what": f"sold {HOSTILE} here", "number": 1})
        if how == "log":
            _log.error("logged {what} here", what=HOSTILE)
        return f"returned {HOSTILE} here" if how == "return" else ""

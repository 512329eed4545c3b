"""
Telling systemd how the process is: the protocol of C{sd_notify(3)}, for units of C{Type=notify} and with C{WatchdogSec=}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon._text import printable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["Notifier", "notifier_of"]

_log = Logger()


def notifier_of(environment: Mapping[str, str], clock: IReactorTime) -> Notifier | None:
    """
    :param environment: that of the process: C{NOTIFY_SOCKET}, C{WATCHDOG_USEC}, C{WATCHDOG_PID}
    :param clock: for the watchdog
    :return: what tells the manager that started the process; C{None}: there is none
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return None
    # An at sign stands for the null byte that abstract addresses begin with.
    return Notifier(
        _sender(address.replace("@", "\0", 1) if address[0] == "@" else address), clock, _period(environment)
    )


def _period(environment: Mapping[str, str]) -> float | None:
    """:return: seconds between two signs of life: half of what the manager waits for; C{None}: it waits for none"""
    text = environment.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdecimal() and int(text)):
        return None
    process = environment.get("WATCHDOG_PID")
    return int(text) / 2e6 if process in (None, str(os.getpid())) else None


def _sender(address: str) -> Callable[[bytes], object]:
    """:return: sends a datagram, if that can be done at once"""

    def send(data: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(data, address)

    return send


class Notifier:
    """
    Tells the manager of this process how it is.

    :param send: sends a message
    :param clock: for the watchdog
    :param period: seconds between two signs of life; C{None}: none are waited for
    """

    def __init__(self, send: Callable[[bytes], object], clock: IReactorTime, period: float | None = None) -> None:
        self._send = send
        self._clock = clock
        self._period = period
        self._failed = False
        self._watched = False

    def ready(self, status: str) -> None:
        """
        The process serves. From now on there are signs of life as long as the reactor turns.

        :param status: one line for people
        """
        self._tell("READY=1", f"STATUS={printable(status)}")
        if not self._watched and self._period is not None:
            self._watched = True
            self._live(self._period)

    def stopping(self, status: str) -> None:
        """The process begins to end."""
        self._tell("STOPPING=1", f"STATUS={printable(status)}")

    def _live(self, period: float) -> None:
        self._clock.callLater(period, self._live, period)
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        try:
            self._send("\n".join(lines).encode("utf-8", "backslashreplace"))
        except OSError as e:
            # A manager that is busy, or gone, holds nothing up.
            if not self._failed:
                self._failed = True
                _log.warn("the service manager can't be told {message}: {reason}", message=lines[0], reason=e.strerror)
        else:
            self._failed = False

"""
What fails while the process starts: one line, status 1, no traceback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import Logger

__all__ = ["StartError", "StartUp", "one_line"]

_log = Logger()


def one_line(error: BaseException) -> str:
    """:return: what an exception says, on one line; its class's name if it says nothing"""
    return " ".join(str(error).split()) or type(error).__name__


class StartError(Exception):
    """A service can't start. The text is one line."""


# twistd passes the name and the text to the process that started the daemon, both together at most 98 bytes.
StartError.__module__ = "builtins"


class StartUp:
    """
    Turns what fails while services are started into what ends the process with one line. Make it when the service is made: under
    C{twistd} without C{-n} the services are started in another process, the daemon.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    def error(self, text: str) -> BaseException:
        """
        :param text: one line
        :return: what to raise. C{SystemExit} is printed, and ends the process with status 1, without a traceback. In the daemon
            nothing would report it, and the process that started it would wait for ever: there it is a L{StartError}, which
            twistd passes on, and the whole line is in the log.
        """
        if os.getpid() == self._pid:
            return SystemExit(f"twistd qmon: {text}")
        _log.critical("{text}", text=text)
        return StartError(text)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """
        What fails in here fails while the process starts.

        :param what: what it is that fails, for the message
        :raise SystemExit: instead of an exception; or L{StartError}, see L{error}
        """
        try:
            yield
        except StartError:
            raise
        except Exception as e:
            raise self.error(f"{what}: {one_line(e)}") from e

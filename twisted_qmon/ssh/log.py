"""
A logger for the classes of conch that are used here.
"""

from __future__ import annotations

from twisted.logger import Logger, LogLevel

__all__ = ["QuietLogger"]


class QuietLogger(Logger):
    """
    conch tells of each step, of each packet that it does not know, and of a client that takes its leave as an error. What is
    worth knowing is logged by this package itself: of conch only failures are.
    """

    def emit(self, level: LogLevel, format: str | None = None, **kwargs: object) -> None:
        """See L{Logger}."""
        if "log_failure" in kwargs:
            super().emit(level, format, **kwargs)

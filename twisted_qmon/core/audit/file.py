"""
A file of whole lines, appended one at a time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from twisted.logger import Logger

from twisted_qmon._log_publisher import publish

__all__ = ["LOG_PERIOD", "AuditFile"]

#: Seconds between two lines in the log about lines that can't be written.
LOG_PERIOD = 60.0

# Not blocked by a FIFO without a reader: that it is no regular file is found out by looking at what was opened.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


_log = Logger(namespace="twisted_qmon.audit", observer=publish)


class AuditFile:
    """
    A regular file that lines are appended to: each with one C{write(2)}, whole or not at all.

    What can't be written is counted and logged, and tried again with the next line. A line that was torn, by a full disk or the
    end of the process, gets its end before the next one is written.

    :param path: the file's; made with mode 600 if it is not there
    :param seconds: the time, for how often a failure is logged
    :ivar lost: how many lines could not be written
    """

    def __init__(self, path: str, seconds: Callable[[], float]) -> None:
        self.path = path
        self.lost = 0
        self._seconds = seconds
        self._file: int | None = None
        self._torn = False
        self._failing = False
        self._said = 0.0

    def open(self) -> bool:
        """
        Open it, or open it again after it was moved away.

        :return: whether that was possible; if not it is logged, and tried again with the next line
        """
        self.close()
        try:
            self._open()
        except OSError as e:
            self._failed(e, 0)
            return False
        return True

    def _open(self) -> None:
        file = os.open(self.path, _FLAGS, 0o600)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "not a regular file")
            self._torn = status.st_size > 0 and os.pread(file, 1, status.st_size - 1) != b"\n"
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def close(self) -> None:
        """Close it. A line that comes later opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, line: bytes) -> bool:
        """
        :param line: the line, with its end
        :return: whether it was written, all of it
        """
        file = self._file
        if file is None or self._torn or self._failing:
            return self._write_carefully(line)
        try:
            written = os.write(file, line)
        except OSError as e:
            self._failed(e)
            return False
        return written == len(line) or self._tore(line, written)

    def _write_carefully(self, line: bytes) -> bool:
        try:
            if self._file is None:
                self._open()
            # What was torn stands on a line of its own, and does not spoil this one.
            data = b"\n" + line if self._torn else line
            written = os.write(self._file, data)  # type: ignore[arg-type]
        except OSError as e:
            self._failed(e)
            return False
        if written != len(data):
            return self._tore(data, written)
        self._torn = False
        if self._failing:
            self._recovered()
        return True

    def _tore(self, data: bytes, written: int) -> bool:
        """Only a part was written."""
        # If all that was written is the missing end of an earlier line, nothing is torn now.
        self._torn = not (self._torn and written == 1)
        self._failed(OSError(0, f"only {written} of {len(data)} bytes were written"))
        return False

    def _failed(self, error: OSError, lines: int = 1) -> None:
        self.lost += lines
        now = self._seconds()
        if not self._failing or now - self._said >= LOG_PERIOD:
            self._failing = True
            self._said = now
            _log.error(
                "the audit can't be written to {path}: {reason} (lines that are missing: {count})",
                path=self.path,
                reason=error.strerror,
                count=self.lost,
            )

    def _recovered(self) -> None:
        self._failing = False
        _log.info(
            "the audit can be written to {path} again (lines that are missing: {count})",
            path=self.path,
            count=self.lost,
        )

"""
The audit trail: what has happened, as records for the log and lines for a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from os import PathLike, fspath

from twisted.logger import Logger, LogLevel

from twisted_qmon._log_publisher import publish
from twisted_qmon._text import printable
from twisted_qmon.core.access.standing import Standing
from twisted_qmon.core.audit.file import AuditFile
from twisted_qmon.core.audit.record import CallerLines, LineMaker, argument_names
from twisted_qmon.errors import CommandCancelled, CommandError, CommandTimedOut, GenericError

__all__ = ["Audit"]

#: Characters of an error's text that are kept.
MAX_DESC = 512


_log = Logger(namespace="twisted_qmon.audit", observer=publish)


class Audit:
    """
    Keeps a record of each command above C{observe}, each refusal, each connection: one event of C{twisted.logger} in the
    namespace C{twisted_qmon.audit}, and lines in a file if there is one.

    :param path: the file's; C{None}: only the log
    :param required: a command whose line can't be written is refused
    :param seconds: the time, in seconds since the epoch
    :ivar file: the file, or C{None}
    """

    def __init__(
        self, path: str | PathLike[str] | None, seconds: Callable[[], float], *, required: bool = False
    ) -> None:
        self.file = AuditFile(fspath(path), seconds) if path is not None else None
        self.required = required
        self._seconds = seconds
        self._lines = LineMaker()

    # -- the file

    def open(self) -> None:
        """Open the file, or open it again after it was moved away."""
        if self.file is not None and not self.file.open() and self.required:
            _log.error(
                "commands above observe are refused until the audit can be written to {path}", path=self.file.path
            )

    def close(self) -> None:
        """Close the file. What comes later opens it again."""
        if self.file is not None:
            self.file.close()

    # -- connections

    def connected(self, standing: Standing) -> None:
        """A session begins."""
        _log.info(
            "{identity} connected: {session} at {endpoint}, level {access_level}",
            **_who(standing),
            access_level=str(standing.verdict.level),
        )
        self._write(b"connect", None, standing, rest={"level": str(standing.verdict.level)})

    def disconnected(self, standing: Standing) -> None:
        """A session has ended."""
        _log.info(
            "{identity} disconnected: {session} at {endpoint}",
            **_who(standing),
        )
        self._write(b"disconnect", None, standing)

    def turned_away(self, standing: Standing) -> None:
        """A connection is ended because its caller may do nothing here."""
        _log.warn(
            "{identity} was turned away at {endpoint}: it has level {access_level}",
            **_who(standing),
            access_level=str(standing.verdict.level),
        )
        self._write(b"refused", None, standing, rest={"outcome": "refused"})

    # -- commands

    def refused(
        self, standing: Standing, number: int, name: str, arguments: Mapping[str, object] | None, error: CommandError
    ) -> None:
        """A command was refused: nothing of it was done. Of its arguments only names are kept."""
        _log.warn(
            "{identity} ({session}): {command} was refused: {reason}",
            **_who(standing),
            command=_shown(name),
            reason=_shown(error.desc),
        )
        names = argument_names(arguments)
        self._write(b"refused", number, standing, name, names, {"outcome": "refused", "desc": _shown(error.desc)})

    def rejected(
        self, standing: Standing, number: int, name: str, arguments: Mapping[str, object] | None, error: CommandError
    ) -> None:
        """There is no such command: no handler ran. Of its arguments only names are kept."""
        _log.info(
            "{identity} ({session}): {command}: {outcome}",
            **_who(standing),
            command=_shown(name),
            outcome=_shown(error.desc),
            seconds=0.0,
        )
        rest = {"outcome": _outcome(error), "seconds": 0.0}
        self._write(b"end", number, standing, name, argument_names(arguments), rest)

    def invalid(self, standing: Standing, number: int, name: str, arguments: Mapping[str, object] | None) -> None:
        """The arguments of a command are wrong: no handler ran. What is wrong may have a value in it, and is not kept."""
        self.rejected(standing, number, name, arguments, GenericError("The arguments are not valid"))

    def begin(
        self, standing: Standing, number: int, name: str, arguments: Mapping[str, object] | list[str] | None
    ) -> float:
        """
        A command is about to run.

        :param arguments: what may be shown of them
        :return: when, in seconds since the epoch
        :raise GenericError: when it must not run, because that can't be written
        """
        now = self._seconds()
        file = self.file
        if file is not None:
            line = self._lines.start(now, number, standing.encoded or _encode(standing), name, arguments)
            if not file.write(line) and self.required:
                _log.warn(
                    "{identity} ({session}): {command} was refused: the audit can't be written",
                    identity=standing.identity.text,
                    session=standing.session,
                    command=_shown(name),
                )
                raise GenericError(f"'{_shown(name)}' is refused: the audit can't be written")
        return now

    def end(self, standing: Standing, number: int, name: str, seconds: float, error: CommandError | None) -> None:
        """
        A command is about to be answered.

        :param seconds: how long it took
        :param error: what it is answered with; C{None}: it succeeded
        """
        self._end(self._seconds(), standing, number, name, seconds, error)

    def ended(self, standing: Standing, number: int, name: str, began: float, error: CommandError | None) -> None:
        """
        The same.

        :param began: what L{begin} returned
        """
        now = self._seconds()
        self._end(now, standing, number, name, now - began if now > began else 0.0, error)

    def _end(
        self, now: float, standing: Standing, number: int, name: str, seconds: float, error: CommandError | None
    ) -> None:
        if error is None:
            _log_end(standing, name, "ok", seconds)
            if self.file is not None:
                caller = standing.encoded or _encode(standing)
                self.file.write(self._lines.success(now, number, caller, name, seconds))
            return
        outcome = _outcome(error)
        _log_end(standing, name, outcome if isinstance(outcome, str) else outcome["desc"], seconds)
        self._write(b"end", number, standing, name, None, {"outcome": outcome, "seconds": round(seconds, 6)})

    def _write(
        self,
        phase: bytes,
        number: int | None,
        standing: Standing,
        command: str | None = None,
        arguments: Mapping[str, object] | list[str] | None = None,
        rest: Mapping[str, object] | None = None,
    ) -> bool:
        if self.file is None:
            return True
        caller = (standing.encoded or _encode(standing)).members
        line = self._lines.line(self._seconds(), phase, number, caller, command, arguments, rest)
        return self.file.write(line)


def _who(standing: Standing) -> dict[str, str]:
    return {"identity": standing.identity.text, "session": standing.session, "endpoint": standing.endpoint}


_publish = _log.observer
_INFO = LogLevel.info


def _log_end(standing: Standing, name: str, outcome: str, seconds: float) -> None:
    """What C{_log.info} does, without looking whether there is such a level, which takes longer than all the rest."""
    _publish(
        {
            "identity": standing.identity.text,
            "session": standing.session,
            "endpoint": standing.endpoint,
            "command": _shown(name),
            "outcome": outcome,
            "seconds": seconds,
            "log_logger": _log,
            "log_level": _INFO,
            "log_namespace": "twisted_qmon.audit",
            "log_source": None,
            "log_format": "{identity} ({session}): {command}: {outcome}",
            "log_time": time.time(),
        }
    )


def _encode(standing: Standing) -> CallerLines:
    made = standing.encoded = CallerLines(standing.identity.text, standing.session, standing.endpoint)
    return made


def _outcome(error: CommandError) -> str | dict[str, str]:
    if isinstance(error, CommandCancelled):
        return "cancelled"
    if isinstance(error, CommandTimedOut):
        return "timed-out"
    return {"class": error.error_class[:64], "desc": _shown(error.desc)}


def _shown(text: str) -> str:
    if len(text) <= MAX_DESC and text.isprintable():
        return text
    return printable(text if len(text) <= MAX_DESC else text[: MAX_DESC - 3] + "...")

"""
Lines one after another, without a prompt: those of C{-c}, or of standard input. There is no reactor: each line is done before
the next one is looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from twisted_qmon.hmp.prompt import PROMPT
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.client import connect
from twisted_qmon.shell.faults import show_faults
from twisted_qmon.shell.lines.monitor import BlockingMonitor
from twisted_qmon.shell.lines.session import Session
from twisted_qmon.shell.output import Output

__all__ = ["run_batch"]


def run_batch(address: Destination, lines: Sequence[str]) -> int:
    """
    Run lines one after another.

    :param lines: the lines; none: those of standard input
    :return: 1 if one of them failed
    """
    output = Output()
    show_faults(output.note)
    writer = _Writer(output)
    with connect(address) as client:
        monitor = BlockingMonitor(client)

        def complain(text: str) -> None:
            # That it is over is said once, at the end.
            if monitor.over is None:
                writer.complain(text)

        session = Session(monitor, writer.write, complain)
        session.prepare()
        failed = False
        for line in lines or _typed(output):
            failed |= not _result(session, line)
            writer.check()
            if monitor.over is not None:
                raise monitor.over
            if session.left:
                break
    return 1 if failed else 0


def _result(session: Session, line: str) -> bool:
    """Run a line. :return: whether it was done"""
    results: list[bool] = []
    session.run(line).addCallback(results.append)
    [done] = results
    return done


class _Writer:
    """
    Writes what lines print. An error in that is kept until the line is done: it is none of the line's.

    :param output: where to
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._error: OSError | None = None

    def write(self, text: str) -> None:
        try:
            self._output.write(text)
        except OSError as error:
            self._error = error

    def complain(self, text: str) -> None:
        self._output.flush()
        self._output.stderr.write(text)
        self._output.stderr.flush()

    def check(self) -> None:
        """:raise OSError: when something could not be written"""
        if self._error is not None:
            raise self._error
        self._output.flush()


def _typed(output: Output) -> Iterator[str]:
    """The lines of standard input."""
    prompt = PROMPT if sys.stdin.isatty() else ""
    while True:
        output.write(prompt)
        output.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            return
        yield line.decode("utf-8", "backslashreplace").rstrip("\r\n")

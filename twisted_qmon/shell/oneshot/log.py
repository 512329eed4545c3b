"""
C{qmon ADDRESS log}: what a server has logged lately, and what it logs from now on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from twisted_qmon.hmp.event_text import log_line
from twisted_qmon.info import JSON
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.client import Client, connect
from twisted_qmon.shell.errors import Failed, NoConnection
from twisted_qmon.shell.oneshot.events import reconnect
from twisted_qmon.shell.options import Parser, add_format
from twisted_qmon.shell.output import Output

__all__ = ["LEVELS", "PERIOD", "LogReader", "run_log"]

LEVELS = ("debug", "info", "warn", "error", "critical")

#: Seconds between two looks at the log while it is followed. A C{LOG} event is a reason to look at once.
PERIOD = 1.0


def run_log(address: Destination, words: list[str]) -> int:
    """Write the log."""
    parser = Parser("log", "Show what the server has logged lately.")
    parser.add_argument("--level", choices=LEVELS, help="only from this level upwards")
    parser.add_argument(
        "--follow", action="store_true", help="go on with what is logged from now on, until interrupted"
    )
    add_format(parser)
    options = parser.parse_args(words)
    output = Output(options.as_json)
    reader = LogReader(options.level)

    def show(entries: list[Mapping[str, JSON]]) -> None:
        if output.as_json:
            output.rows(entries)
        else:
            for entry in entries:
                output.text(log_line(entry) + "\n")
        output.flush()

    client = connect(address, keep_events=True)
    while True:
        client.output = output.descriptor()
        with client:
            try:
                show(reader.resume(client))
                while options.follow:
                    _wait(client)
                    show(reader.new(client))
                return 0
            except NoConnection as error:
                if not options.follow:
                    raise
                output.note(f"{address.text}: {error}; reconnecting")
        client = reconnect(address)
        output.note(f"{address.text}: connected again")


def _wait(client: Client) -> None:
    deadline = time.monotonic() + PERIOD
    try:
        while client.next_event(deadline).get("event") != "LOG":
            pass
    except TimeoutError:
        return


class LogReader:
    """
    Reads the entries that were not there before.

    :param level: only from this one upwards; C{None}: all
    """

    def __init__(self, level: str | None) -> None:
        self._arguments: dict[str, JSON] = {} if level is None else {"level": level}
        self._last: Mapping[str, JSON] = {}

    def new(self, client: Client) -> list[Mapping[str, JSON]]:
        """
        :return: the entries since the last call, oldest first; all that there are at the first call
        :raise CommandError: what C{query-log} is answered with
        :raise Failed: when the entries have no numbers, by which new ones would be known
        """
        return self._query(client) if not self._last else self._query(client, after=self._number())

    def resume(self, client: Client) -> list[Mapping[str, JSON]]:
        """
        L{new} on a new connection. It may be another process now, whose entries have the same numbers: where the last entry seen
        is not in its place, all are new.
        """
        if not self._last:
            return self._query(client)
        last = self._last
        first, *more = self._query(client, after=self._number() - 1) or [{}]
        return more if first == last else self._query(client)

    def _number(self) -> int:
        number = self._last.get("number")
        if not isinstance(number, int):
            raise Failed("the server does not number what it logs: there is no way to follow it")
        return number

    def _query(self, client: Client, **more: JSON) -> list[Mapping[str, JSON]]:
        entries = _entries(client.execute("query-log", {**self._arguments, **more}))
        if entries:
            self._last = entries[-1]
        return entries


def _entries(answer: JSON) -> list[Mapping[str, JSON]]:
    return [entry for entry in answer if isinstance(entry, Mapping)] if isinstance(answer, list) else []

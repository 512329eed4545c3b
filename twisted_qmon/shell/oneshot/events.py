"""
C{qmon ADDRESS events [NAME ...]}: follow events, across restarts of the server.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from twisted_qmon.errors import CommandError
from twisted_qmon.hmp.event_text import event_line
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.client import Client, connect
from twisted_qmon.shell.errors import Failed, NoConnection
from twisted_qmon.shell.oneshot.schema import Entries, event_names, read_schema
from twisted_qmon.shell.options import Parser
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["FIRST_DELAY", "MAX_DELAY", "follow", "reconnect", "run_events"]

#: Seconds until the first attempt to reconnect, and at most between two. Each attempt waits half as long again.
FIRST_DELAY = 0.2
MAX_DELAY = 5.0


def run_events(address: Destination, words: list[str]) -> int:
    """Write events as they come, until interrupted."""
    parser = Parser("events", "Follow events, across restarts of the server.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="only events of these names")
    parser.add_argument(
        "--after",
        metavar="N",
        type=int,
        help="begin with what was missed after the event of this number, where the server numbers its events",
    )
    parser.add_argument("--json", dest="as_json", action="store_const", const=True, help="print JSON, an event a line")
    options = parser.parse_intermixed_args(words)
    output = Output(options.as_json)

    def write(event: Mapping[str, JSON]) -> None:
        if output.as_json:
            output.rows([dict(event)])
        else:
            output.lines([event_line(event)])

    for event in follow(address, options.names, options.after, output):
        write(event)
    return 0


def follow(
    address: Destination,
    names: list[str],
    after: int | None,
    output: Output,
) -> Iterator[Mapping[str, JSON]]:
    """
    Events of a server, one after the other, without end. Numbered ones are resumed after a connection was lost: none is missing
    and none comes twice, as far as the server still has them.

    :param names: the events wanted; empty: all
    :param after: the number of the last event seen
    :param output: where they go: it is told of what happens to the connection, and flushed when there is no further event at
        present; without a reader there, this ends
    :raise BrokenPipeError: when the output has no reader
    :raise Failed: when C{after} is given and the server does not number its events
    :raise NoConnection: when the first attempt to connect fails
    """
    position = _Position(names, after, output.note)
    client = connect(address, keep_events=True)
    while True:
        client.output = output.descriptor()
        with client:
            try:
                position.select(client)
                yield from _read(client, position, output)
            except NoConnection as error:
                output.note(f"{address.text}: {error}; reconnecting")
        client = reconnect(address)
        output.note(f"{address.text}: connected again")


def _read(client: Client, position: _Position, output: Output) -> Iterator[Mapping[str, JSON]]:
    """Events until the connection is lost."""
    while True:
        try:
            event = client.next_event(0)
        except TimeoutError:
            output.flush()
            event = client.next_event()
        if position.wants(event):
            yield event


def reconnect(address: Destination, sleep: Callable[[float], object] = time.sleep) -> Client:
    """Try to connect again and again. :return: the connection"""
    delay = FIRST_DELAY
    while True:
        sleep(delay)
        try:
            return connect(address, keep_events=True)
        except NoConnection:
            delay = min(MAX_DELAY, delay * 1.5)


class _Position:
    """
    Which events are wanted, and up to which they were seen.

    :param names: empty: all
    :param after: the number of the last one seen
    :param note: see L{follow}
    """

    def __init__(self, names: list[str], after: int | None, note: Callable[[str], object]) -> None:
        self._names = frozenset(names)
        self._after = after
        self._monitor: JSON = None
        self._note = note
        self._told: set[str] = set()

    def wants(self, event: Mapping[str, JSON]) -> bool:
        """Whether it is to be shown. It counts as seen."""
        number = event.get("number")
        if isinstance(number, int):
            self._after = number
        return not self._names or event.get("event") in self._names

    def select(self, client: Client) -> None:
        """
        Ask a new connection for the events wanted, from the position on.

        :raise Failed: when there is a position and the server does not number its events
        """
        # What comes before the answer is wanted as much as what comes after it.
        schema = read_schema(client)
        known = event_names(schema)
        for name in sorted(self._names - known - self._told):
            self._told.add(name)
            close = difflib.get_close_matches(name.upper(), sorted(known), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self._note(f"the server lists no event {name!r}{hint}")
        if not _numbers_events(schema):
            if self._after is not None:
                raise Failed("the server does not number its events: there is nothing that --after could refer to")
            return
        arguments: dict[str, JSON] = {"numbered": True}
        if self._names:
            arguments["names"] = sorted(self._names & known)
        if self._after is not None:
            arguments["after"] = self._after
        if self._monitor is not None:
            arguments["monitor"] = self._monitor
        try:
            self._take(client.execute("select-events", arguments))
        except CommandError as error:
            raise Failed(f"the server refuses to select events: {error.desc}") from None

    def _take(self, answer: JSON) -> None:
        if not isinstance(answer, dict):
            return
        first = answer.get("first")
        if answer.get("restarted"):
            self._note("the server was restarted: its whole history of events follows")
            # The numbers are other ones now.
            self._after = first - 1 if isinstance(first, int) else 0
        elif answer.get("lost"):
            self._note(f"{answer['lost']} events were lost: the server does not keep them any more")
        self._monitor = answer.get("monitor", self._monitor)
        if self._after is None and isinstance(answer.get("last"), int):
            self._after = answer["last"]


def _numbers_events(schema: Entries) -> bool:
    """Whether C{select-events} of this server takes C{after}."""
    entries = {entry.get("name"): entry for entry in schema}
    command = entries.get("select-events", {})
    members = entries.get(command.get("arg-type"), {}).get("members", ())
    return any(member.get("name") == "after" for member in members)

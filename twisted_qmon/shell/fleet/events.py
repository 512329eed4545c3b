"""
C{qmon fleet URL [PATTERN] events [NAME ...]}: the events of many members, each with the name of its member.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from twisted_qmon._text import json_text
from twisted_qmon.hmp.event_text import event_line
from twisted_qmon.shell.fleet.login import Login
from twisted_qmon.shell.fleet.running import Following, run
from twisted_qmon.shell.options import Parser
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.fleet.interfaces import FleetGap, Publication

__all__ = ["EventLines", "run_events"]


def run_events(login: Login, pattern: str, words: list[str]) -> int:
    """Write events as they come, until interrupted."""
    parser = Parser("events", "Follow the events of many members, also when the router or a member was away.")
    parser.prog = "qmon fleet URL [PATTERN] events"
    parser.add_argument("names", metavar="NAME", nargs="*", help="only events of these names")
    parser.add_argument("--json", dest="as_json", action="store_const", const=True, help="print JSON, an event a line")
    options = parser.parse_intermixed_args(words)
    output = Output(options.as_json)
    lines = EventLines(output, pattern, frozenset(options.names))

    async def main(reactor: IReactorTime) -> int:
        following = Following(reactor, output)
        client = login.client(reactor, following.connection, following.guarded(lines.gap))
        client.subscribe(following.guarded(lines.happened))
        await login.connected(client)
        try:
            await following.ended
        finally:
            await client.close()
        return 0

    return run(main, output)


class EventLines:
    """
    Writes events.

    :param output: where to
    :param pattern: only of members whose names match
    :param names: only events of these names; empty: all
    """

    def __init__(self, output: Output, pattern: str, names: frozenset[str]) -> None:
        self._output = output
        self._pattern = pattern
        self._names = names

    def happened(self, publication: Publication) -> None:
        """An event has come."""
        if not fnmatchcase(publication.member, self._pattern):
            return
        message = publication.message
        if self._names and message.get("event") not in self._names:
            return
        if self._output.as_json:
            self._output.write(json_text({"member": publication.member, **message}) + "\n")
        else:
            self._output.lines([f"{publication.member}  {event_line(message)}"])
        self._output.flush()

    def gap(self, gap: FleetGap) -> None:
        """Events are missing."""
        if fnmatchcase(gap.member, self._pattern):
            restarted = " was restarted: events may have been lost"
            self._output.note(gap.member + (restarted if gap.restarted else f": {gap.lost:,} events were lost"))

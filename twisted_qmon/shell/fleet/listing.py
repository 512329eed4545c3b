"""
C{qmon fleet URL ls [PATTERN] [--watch]}: who is there, and who comes and goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from twisted_qmon._text import json_text
from twisted_qmon.shell.fleet.login import Login
from twisted_qmon.shell.fleet.running import Following, run
from twisted_qmon.shell.options import Parser, add_format
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["Presence", "chosen", "run_ls", "show_names"]


def run_ls(login: Login, words: list[str]) -> int:
    """Write the names of the members; with C{--watch}, also who joins and who leaves from then on."""
    parser = Parser("ls", "List the members.")
    parser.prog = "qmon fleet URL ls"
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="only names that match: * ? [abc]")
    parser.add_argument("--watch", action="store_true", help="go on with who joins and who leaves, until interrupted")
    add_format(parser)
    options = parser.parse_args(words)
    output = Output(options.as_json)

    async def once(reactor: IReactorTime) -> int:
        fleet = await login.connect(reactor)
        try:
            show_names(output, chosen(await fleet.members(), options.pattern))
        finally:
            await fleet.close()
        return 0

    async def watch(reactor: IReactorTime) -> int:
        following = Following(reactor, output)
        client = login.client(reactor, following.connection)
        client.watch(following.guarded(Presence(output, options.pattern).changed), following.failed)
        await login.connected(client)
        try:
            await following.ended
        finally:
            await client.close()
        return 0

    return run(watch if options.watch else once, output)


def chosen(names: Iterable[str], pattern: str) -> list[str]:
    """:return: the names that match, sorted; a word without a pattern's characters matches itself"""
    return sorted(name for name in names if fnmatchcase(name, pattern))


def show_names(output: Output, names: Iterable[str]) -> None:
    """Write names, one a line."""
    if output.as_json:
        output.rows({"member": name} for name in names)
    else:
        output.lines(names)
    output.flush()


class Presence:
    """
    Writes who comes and goes.

    :param output: where to
    :param pattern: only members whose names match
    """

    def __init__(self, output: Output, pattern: str) -> None:
        self._output = output
        self._pattern = pattern

    def changed(self, name: str, present: bool) -> None:
        """A member has joined or left."""
        if not fnmatchcase(name, self._pattern):
            return
        if self._output.as_json:
            self._output.write(json_text({"member": name, "present": present}) + "\n")
        else:
            self._output.lines([f"{'+' if present else '-'} {name}"])
        self._output.flush()

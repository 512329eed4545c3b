"""
C{qmon fleet URL PATTERN exec NAME ...}: one command at many members.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError

from twisted_qmon.shell.errors import INTERRUPTED, NoConnection
from twisted_qmon.shell.fleet.listing import chosen
from twisted_qmon.shell.fleet.login import Login
from twisted_qmon.shell.fleet.report import Report
from twisted_qmon.shell.fleet.running import run
from twisted_qmon.shell.fleet.scatter import TIMEOUT, Scatter
from twisted_qmon.shell.oneshot.arguments import parse_arguments
from twisted_qmon.shell.options import Parser, add_format, seconds
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.fleet.interfaces import IFleet
    from twisted_qmon.info import JSON

__all__ = ["run_scatter", "scatter"]


def run_scatter(login: Login, pattern: str, words: list[str]) -> int:
    """Execute a command at each member that matches, and write the results."""
    parser = Parser("exec", "Execute a command at many members.")
    parser.prog = "qmon fleet URL PATTERN exec"
    parser.add_argument("name", metavar="NAME", help="the command's QMP name")
    parser.add_argument("arguments", metavar="key=value | key:=JSON", nargs="*", help="text, or any JSON value")
    parser.add_argument(
        "--timeout", metavar="S", type=seconds, default=TIMEOUT, help="seconds that each has (default: %(default)g)"
    )
    add_format(parser)
    options = parser.parse_intermixed_args(words)
    arguments = parse_arguments(options.arguments)
    output = Output(options.as_json)

    async def main(reactor: IReactorTime) -> int:
        fleet = await login.connect(reactor)
        try:
            return await scatter(fleet, reactor, output, pattern, options.name, arguments, options.timeout)
        finally:
            await fleet.close()

    return run(main, output)


async def scatter(
    fleet: IFleet,
    clock: IReactorTime,
    output: Output,
    pattern: str,
    name: str,
    arguments: Mapping[str, JSON],
    timeout: float,
) -> int:
    """
    :return: the exit status of the worst
    :raise NoConnection: when no member matches
    """
    names = chosen(await fleet.members(), pattern)
    if not names:
        raise NoConnection(f"no member matches {pattern!r}")
    report = Report(output, len(names), clock.seconds)
    try:
        await Scatter(fleet, clock, names, name, arguments, timeout, report.add).run()
    except CancelledError:
        report.finish()
        return INTERRUPTED
    report.finish()
    return report.status

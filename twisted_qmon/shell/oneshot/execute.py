"""
C{qmon ADDRESS exec NAME [key=value | key:=JSON ...]}: one command.
"""

from __future__ import annotations

import time
from contextlib import suppress

from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.client import connect
from twisted_qmon.shell.errors import UsageError
from twisted_qmon.shell.oneshot.arguments import parse_arguments
from twisted_qmon.shell.options import Parser, add_format, seconds
from twisted_qmon.shell.output import Output

__all__ = ["GRACE", "run_exec"]

#: With C{--no-wait}, seconds in which the command may be refused and a QEMU may begin to run it: when the connection ends it
#: forgets what it has not begun.
GRACE = 0.2


def run_exec(address: Destination, words: list[str]) -> int:
    """Execute a command and write its result."""
    parser = Parser("exec", "Execute a command.")
    parser.add_argument("name", metavar="NAME", help="the command's QMP name")
    parser.add_argument("arguments", metavar="key=value | key:=JSON", nargs="*", help="text, or any JSON value")
    parser.add_argument("--timeout", metavar="S", type=seconds, help="seconds until it is given up and cancelled")
    parser.add_argument("--no-wait", action="store_true", help="don't wait for its result")
    add_format(parser)
    options = parser.parse_intermixed_args(words)
    if options.no_wait and options.timeout is not None:
        raise UsageError("--no-wait and --timeout exclude each other")
    arguments = parse_arguments(options.arguments)
    output = Output(options.as_json)
    with connect(address) as client:
        if not options.no_wait:
            output.result(client.run(options.name, arguments, timeout=options.timeout))
            return 0
        with suppress(TimeoutError):
            client.reply(client.send(options.name, arguments), time.monotonic() + GRACE)
    return 0

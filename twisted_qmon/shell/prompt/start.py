"""
C{qmon [ADDRESS] [-c LINE ...]}: chooses between given lines, lines on standard input, and the prompt.
"""

from __future__ import annotations

import argparse
import os
import sys

from twisted_qmon.shell.address import Address
from twisted_qmon.shell.errors import Failed, UsageError
from twisted_qmon.shell.options import Parser

__all__ = ["NEEDS_EXTRA", "run_lines"]

#: What is said where the prompt's libraries are not installed.
NEEDS_EXTRA = "the prompt needs prompt_toolkit and rich: pip install 'twisted-qmon[shell]'"


def run_lines(address: Address, words: list[str]) -> int:
    """Run lines until there are no more."""
    parser = Parser("", "Run lines as a person types them: a prompt at a terminal, else the lines of standard input.")
    parser.add_argument(
        "-c", metavar="LINE", action="append", default=[], dest="lines", help="run this line; repeatable"
    )
    options: argparse.Namespace = parser.parse_args(words)
    if any("\n" in line for line in options.lines):
        raise UsageError("-c takes one line; it is repeatable")
    if options.lines or not _at_terminal():
        from twisted_qmon.shell.lines.batch import run_batch

        return run_batch(address, options.lines)
    try:
        from twisted_qmon.shell.prompt.loop import run_prompt
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("prompt_toolkit", "rich"):
            raise Failed(NEEDS_EXTRA) from None
        raise
    return run_prompt(address)


def _at_terminal() -> bool:
    """Whether there is a terminal at both ends that can do more than print."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

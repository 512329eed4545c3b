"""
C{qmon [ADDRESS] [-c LINE ...]}: chooses between given lines, lines on standard input, and the prompt. And C{qmon ADDRESS top}.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module

from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.errors import Failed, UsageError
from twisted_qmon.shell.options import Parser

__all__ = ["NEEDS_EXTRA", "run_lines", "run_top"]

#: What is said where the prompt's libraries are not installed.
NEEDS_EXTRA = "prompt and top need prompt_toolkit and rich: pip install 'twisted-qmon[shell]'"


def run_lines(address: Destination, words: list[str]) -> int:
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
    return _needs_extra("twisted_qmon.shell.terminal.loop", "run_prompt")(address)


def run_top(address: Destination, words: list[str]) -> int:
    """Show what the server is doing until the person quits."""
    Parser("top", "A screen of what the server is doing.").parse_args(words)
    if not _at_terminal():
        raise UsageError("top needs a terminal")
    return _needs_extra("twisted_qmon.shell.top.screen", "run_screen")(address)


def _needs_extra(module: str, function: str) -> Callable[[Destination], int]:
    try:
        run: Callable[[Destination], int] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("prompt_toolkit", "rich"):
            raise Failed(NEEDS_EXTRA) from None
        raise
    return run


def _at_terminal() -> bool:
    """Whether there is a terminal at both ends that can do more than print."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

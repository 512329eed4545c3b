"""
What the command lines of all subcommands have in common.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import NoReturn

from twisted_qmon.shell.errors import UsageError

__all__ = ["Parser", "add_format", "seconds"]


class Parser(argparse.ArgumentParser):
    """
    The parser of a subcommand's words. An error is a L{UsageError}.

    :param name: of the subcommand
    :param description: for C{--help}
    """

    def __init__(self, name: str, description: str) -> None:
        super().__init__(
            prog=f"qmon ADDRESS {name}".rstrip(),
            description=description,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=_columns()),
        )

    def error(self, message: str) -> NoReturn:
        """:raise UsageError: always"""
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}")


def _columns() -> int:
    """The terminal's width. argparse would import shutil for it, and make a formatter for each argument."""
    try:
        return max(40, os.get_terminal_size(sys.stdout.fileno()).columns - 2)
    except (OSError, ValueError):
        return 78


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add C{--json} and C{--table}."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--json", dest="as_json", action="store_const", const=True, help="print JSON (the default on a pipe)"
    )
    group.add_argument(
        "--table",
        dest="as_json",
        action="store_const",
        const=False,
        help="print a table or a tree (the default at a terminal)",
    )


def seconds(text: str) -> float:
    """
    Read a time.

    :raise ValueError: when it is no positive number
    """
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value

"""
What C{qmon} can do at a server: the words that follow its address.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from twisted_qmon.shell.errors import UsageError

if TYPE_CHECKING:
    from twisted_qmon.shell.address import Destination

    Run = Callable[[Destination, list[str]], int]

__all__ = ["SUBCOMMANDS", "run_at"]

#: Where each subcommand is: imported when it is asked for.
SUBCOMMANDS = {
    "exec": "oneshot.execute",
    "events": "oneshot.events",
    "log": "oneshot.log",
    "top": "terminal.start",
    "commands": "oneshot.describe",
    "schema": "oneshot.describe",
    "whoami": "oneshot.describe",
}


def run_at(address: Destination, words: list[str], usage: str) -> int:
    """
    Run what follows an address.

    :param words: a subcommand of L{SUBCOMMANDS} and its words; without one, those of the prompt
    :param usage: what is shown when it is none
    :return: the exit status
    :raise UsageError: when it is none
    """
    name = words[0] if words else ""
    if not name or name.startswith("-"):
        return _find("terminal.start", "run_lines")(address, words)
    if name not in SUBCOMMANDS:
        raise UsageError(f"{name!r} is not a command of qmon: {', '.join(SUBCOMMANDS)}\n{usage}")
    return _find(SUBCOMMANDS[name], f"run_{name}")(address, words[1:])


def _find(module: str, function: str) -> Run:
    run: Run = getattr(import_module(f"twisted_qmon.shell.{module}"), function)
    return run

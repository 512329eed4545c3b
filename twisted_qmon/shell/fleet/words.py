"""
The command line of C{qmon fleet URL ...}.
"""

from __future__ import annotations

import re

from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon.shell.errors import Failed, UsageError
from twisted_qmon.shell.fleet.login import Login, add_options, login_of
from twisted_qmon.shell.options import Parser
from twisted_qmon.shell.subcommands import run_at

__all__ = ["MAGIC", "USAGE", "run_fleet"]

USAGE = """\
usage: qmon fleet [OPTIONS] URL ls [PATTERN] [--watch] [--json | --table]
       qmon fleet [OPTIONS] URL events [NAME ...] [--json]
       qmon fleet [OPTIONS] URL MEMBER ...           all that `qmon ADDRESS ...` does
       qmon fleet [OPTIONS] URL PATTERN exec NAME [key=value | key:=JSON ...] [--timeout S] [--json | --table]
       qmon fleet [OPTIONS] URL PATTERN events [NAME ...] [--json]
options: [--realm REALM] [--authid NAME] [--ticket FILE] [--ca FILE]"""

#: The characters that make a word a pattern. None can be in a member's name.
MAGIC = frozenset("*?[")

_MEMBER = re.compile("[A-Za-z0-9_-]+")


def run_fleet(words: list[str]) -> int:
    """
    Do something with a fleet, or with one of its members.

    :param words: what follows C{fleet}
    :return: the exit status
    :raise UsageError: when the words are wrong
    :raise Failed: when the extra is not installed
    """
    login, rest = _login(words)
    lacks = missing_modules("fleet")
    if lacks:
        raise Failed(lacks)
    who, *more = rest
    if who == "ls":
        from twisted_qmon.shell.fleet.listing import run_ls

        return run_ls(login, more)
    if who == "events":
        return _events(login, "*", more)
    if MAGIC & set(who):
        return _many(login, who, more)
    if not _MEMBER.fullmatch(who):
        raise UsageError(f"{who!r} is not the name of a member: letters, digits, '_' and '-', or a pattern\n{USAGE}")
    from twisted_qmon.shell.fleet.member import Member

    return run_at(Member(login, who), more, USAGE)


def _login(words: list[str]) -> tuple[Login, list[str]]:
    """Read the options and the URL, which may stand in any order, up to the word that says who is meant."""
    parser = Parser("", "The monitors behind a router. Each option has an environment variable.")
    parser.prog = "qmon fleet"
    parser.usage = USAGE.removeprefix("usage: ")
    add_options(parser)
    parser.add_argument("url", metavar="URL", help="of the router: ws://, wss://, rs:// or rss://")
    parser.add_argument("who", metavar="ls | events | MEMBER | PATTERN", help="what is meant")
    own = _before_second(words)
    options = parser.parse_args(own)
    return login_of(options), [options.who, *words[len(own) :]]


def _before_second(words: list[str]) -> list[str]:
    """:return: the words up to the second one that is neither an option nor the value of one"""
    found = 0
    is_value = False
    for number, word in enumerate(words):
        if is_value:
            is_value = False
        elif word.startswith("--"):
            is_value = "=" not in word and word != "--help"
        elif not word.startswith("-"):
            found += 1
            if found == 2:
                return words[: number + 1]
    return words


def _many(login: Login, pattern: str, words: list[str]) -> int:
    name = words[0] if words else ""
    if name == "events":
        return _events(login, pattern, words[1:])
    if name == "exec":
        from twisted_qmon.shell.fleet.execute import run_scatter

        return run_scatter(login, pattern, words[1:])
    raise UsageError(f"with many members there is exec and events, not {name!r}\n{USAGE}")


def _events(login: Login, pattern: str, words: list[str]) -> int:
    from twisted_qmon.shell.fleet.events import run_events

    return run_events(login, pattern, words)

"""
The command C{qmon}: what its words mean, and how it ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from twisted_qmon.errors import CommandError
from twisted_qmon.shell.address import default_address, parse_address
from twisted_qmon.shell.errors import INTERRUPTED, ShellError, UsageError
from twisted_qmon.shell.subcommands import SUBCOMMANDS, run_at

__all__ = ["USAGE", "main"]

USAGE = """\
usage: qmon [ADDRESS]                              a prompt
       qmon [ADDRESS] -c LINE                      run a line as at the prompt; repeatable
       qmon ADDRESS exec NAME [key=value | key:=JSON ...] [--timeout S] [--no-wait] [--json | --table]
       qmon ADDRESS events [NAME ...] [--after N] [--json]
       qmon ADDRESS log [--level LEVEL] [--follow] [--json | --table]
       qmon ADDRESS top                            a screen of what the server is doing
       qmon ADDRESS commands [PATTERN] [--json | --table]
       qmon ADDRESS schema NAME [--json | --table]
       qmon ADDRESS whoami [--json | --table]
       qmon conformance [ADDRESS]                   compare a server with QEMU: qmon conformance --help
       qmon fleet URL ...                           the monitors behind a router: qmon fleet --help
       qmon help | --help | --version

A terminal client for any QMP server.

ADDRESS is the path of a unix socket (existing, or with a '/'), HOST:PORT, or any Twisted client endpoint. Without it,
$QMON_ADDRESS is used, else ./qmp.sock. `qmon ADDRESS COMMAND --help` says more about a command.

Exit status: 0 done, 1 the command failed, 2 wrong usage, 3 no connection, 4 timed out, 130 interrupted.
"""


def main(words: Sequence[str] | None = None) -> int:
    """
    Run C{qmon}.

    :param words: its arguments; by default those of the process
    :return: the exit status
    """
    # A result may be nested as deep as QEMU allows (1024).
    sys.setrecursionlimit(max(5000, sys.getrecursionlimit()))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(list(sys.argv[1:] if words is None else words))
        sys.stdout.flush()
        return status
    except CommandError as error:
        return _fail(error.desc, 1)
    except ShellError as error:
        return _fail(str(error), error.status)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Its reader has seen enough (`| head`). What is still buffered would be an error again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"cannot write the output: {error.strerror or error}", 1)


def _fail(text: str, status: int) -> int:
    from twisted_qmon._text import printable

    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stderr.write(f"qmon: {printable(text, keep=chr(10))}\n")
    return status


def _run(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ("help", "-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if first == "--version":
        from twisted_qmon import __version__

        sys.stdout.write(f"qmon {__version__}\n")
        return 0
    if first == "conformance" and not os.path.exists(first):
        compare: Callable[[list[str]], int] = import_module("twisted_qmon.shell.oneshot.conformance").run_conformance
        return compare(words[1:])
    if first == "fleet":
        run_fleet: Callable[[list[str]], int] = import_module("twisted_qmon.shell.fleet.words").run_fleet
        return run_fleet(words[1:])
    given = bool(first) and not first.startswith("-")
    rest = words[1:] if given else words
    if given and first in SUBCOMMANDS and not os.path.exists(first):
        raise UsageError(f"an address comes before {first!r}: qmon {default_address()} {' '.join(words)}")
    address = parse_address(first if given else default_address())
    return run_at(address, rest, USAGE.partition("\n\n")[0])

"""
The command that starts a QEMU, as it is typed.
"""

from __future__ import annotations

import os
import shlex
import shutil

__all__ = ["read_command"]


def read_command(command: str) -> list[str]:
    """
    Read a command line as a shell reads its words; there is no shell.

    :return: the words; the first is the program's path
    :raise ValueError: when it is not valid, or there is no such program
    """
    try:
        words = shlex.split(command)
    except ValueError as e:
        raise ValueError(f"{command!r}: {str(e)[:1].lower()}{str(e)[1:]}") from e
    if not words:
        raise ValueError("it is empty")
    program = shutil.which(words[0])
    if program is None:
        raise ValueError(f"there is no program {words[0]!r}")
    for word in words[1:]:
        if word in ("-daemonize", "--daemonize"):
            raise ValueError(f"{word}: QEMU has to stay in the foreground")
    return [os.path.abspath(program), *words[1:]]

"""The command that starts a QEMU, as it is typed."""

from __future__ import annotations

import os
import shutil

import pytest

from twisted_qmon._twistd.command_line import read_command


def test_words() -> None:
    """Words are as in a shell, but nothing is expanded; the program is found on the PATH."""
    program = shutil.which("env")
    assert program is not None
    assert read_command("""env 'a b' c"d" $HOME *""") == [os.path.abspath(program), "a b", "cd", "$HOME", "*"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("env 'x", "no closing quotation"),
        ("no-such-program -x", "there is no program 'no-such-program'"),
        ("./no-such-program", "there is no program './no-such-program'"),
        ("env -daemonize", "QEMU has to stay in the foreground"),
        ("env --daemonize", "QEMU has to stay in the foreground"),
    ],
)
def test_wrong(command: str, reason: str) -> None:
    """What can't be started is an error that says why."""
    with pytest.raises(ValueError, match=reason):
        read_command(command)

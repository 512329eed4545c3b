"""The status that the process ends with. Each test is a process: there is no other way to see it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "status", "printed"),
    [
        ("end_with(0)", 0, ""),
        ("end_with(3)", 3, ""),
        ("end_with(3); end_with(137)", 137, ""),
        ("end_with(3); end_with(0)", 0, ""),
        ("atexit.register(print, 'first'); end_with(5); atexit.register(print, 'last')", 5, "last\nfirst\n"),
        ("end_with(4); sys.stdout.close()", 4, ""),
        ("end_with(6); os.kill(os.getpid(), 15)", -15, ""),
    ],
)
def test_status(code: str, status: int, printed: str) -> None:
    """The last status holds, everything that is to be done at the end is done, and a signal's status is the signal's."""
    program = f"import atexit, os, sys; from twisted_qmon._twistd.exit_status import end_with; {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, printed, "")

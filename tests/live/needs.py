"""
What a live test asks for before it starts: a program that it talks to.
"""

from __future__ import annotations

import os
import shutil
import sys
import unittest
from pathlib import Path
from typing import NoReturn

__all__ = ["LIVE", "missing", "need"]

LIVE = os.environ.get("QMON_LIVE") == "1"
"""Live tests are compulsory: what they need must be there."""


def missing(what: str) -> NoReturn:
    """
    End the running test because something that it needs is not there.

    :param what: what is missing, and how to get it, for the report
    :raise unittest.SkipTest: when live tests are optional
    :raise AssertionError: when they are compulsory (QMON_LIVE=1)
    """
    if LIVE:
        raise AssertionError(f"{what}: missing, and QMON_LIVE=1 makes it compulsory")
    raise unittest.SkipTest(f"{what}: missing")


def need(program: str) -> str:
    """
    Find a program: first beside the running Python (what pip installed with us), then on the PATH.

    :return: its path
    :raise unittest.SkipTest: when it is not there and live tests are optional
    :raise AssertionError: when it is not there and they are compulsory (QMON_LIVE=1)
    """
    beside = str(Path(sys.executable).parent)
    path = shutil.which(program, path=beside) or shutil.which(program)
    if path is None:
        missing(program)
    return path

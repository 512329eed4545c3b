"""
The status that C{twistd} ends with: it knows none but 0, 1 and the signal that ended it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import suppress

__all__ = ["end_with"]

_status = 0


def end_with(status: int) -> None:
    """
    Have the process end with a status when it comes to its end, after everything that C{twistd} does then, such as removing its
    file with the pid. Where a signal ends it, its status is the signal's, as always.

    :param status: 0 to 255; the last one that was given holds
    """
    global _status
    _status = status


def _end() -> None:
    if not _status:
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(_status)


# The first that is registered is called last. Of what was registered before this module was loaded only the one above is of use.
atexit.register(_end)

"""
Files with keys.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["read_file"]


def read_file(path: str, limit: int) -> tuple[bytes, os.stat_result]:
    """
    :param path: of a regular file
    :param limit: bytes of the longest content
    :return: what is in it, and what the system says of the file that was read
    :raise OSError: when it can't be read, is no file, or is longer
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        data = b""
        while len(data) <= limit:
            more = os.read(descriptor, limit + 1 - len(data))
            if not more:
                return data, status
            data += more
    finally:
        os.close(descriptor)
    raise OSError(errno.EFBIG, f"it is longer than {limit} bytes")

"""
Server endpoint descriptions as C{twistd qmon} takes them, and unix sockets that nobody serves any more.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

__all__ = ["claim_path", "server_endpoint", "unix_path"]

#: The mode of a unix socket whose description names none. Twisted's own is 666: everybody.
MODE = "600"

#: Seconds to wait for whoever may be serving a unix socket to take a connection. One that is too busy to is alive.
PROBE_TIMEOUT = 1.0

# The fields of a description: separated by colons, with backslashes before what is meant literally.
_FIELD = re.compile(r"((?:\\.|[^\\:])*)(?::|$)", re.DOTALL)


def _fields(description: str) -> list[str]:
    return _FIELD.findall(description + ":")[:-1]


def unix_path(description: str) -> str | None:
    """:return: the path of a C{unix:} description, or C{None} for any other"""
    kind, *fields = _fields(description)
    if kind != "unix":
        return None
    for field in fields:
        if field.startswith("address="):
            return re.sub(r"\\(.)", r"\1", field[len("address=") :])
    return re.sub(r"\\(.)", r"\1", fields[0]) if fields else None


def server_endpoint(reactor: Any, description: str) -> Any:
    """
    Make the server endpoint that a description names. A C{unix:} one without a mode gets 600, and none gets Twisted's lock file:
    whether a socket is in use is found out by connecting (L{claim_path}).

    :param description: as C{twisted.internet.endpoints.serverFromString} takes it
    :return: provides C{IStreamServerEndpoint}
    :raise ValueError: when the description makes no sense
    """
    if unix_path(description) is not None:
        options = {field.partition("=")[0] for field in _fields(description)}
        if "mode" not in options:
            description += f":mode={MODE}"
        if "lockfile" not in options:
            description += ":lockfile=0"
    try:
        return serverFromString(reactor, description)
    except Exception as e:
        # Whatever the endpoint's parser stumbles over: a key file that is not there, a module that is not installed.
        raise ValueError(f"{description!r} is no server endpoint: {e}") from e


def claim_path(path: str) -> None:
    """
    Make way for a unix socket: one that nobody serves is removed, a live one is left alone.

    :param path: the path that is to be listened at
    :raise CannotListenError: when somebody serves it
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            # Too busy to take a connection, or not ours to connect to: not ours to remove.
            pass
    raise CannotListenError(None, path, OSError(errno.EADDRINUSE, "somebody serves this socket"))

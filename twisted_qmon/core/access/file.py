"""
The rules in force, and the file that they come from.
"""

from __future__ import annotations

import os
import stat
import sys

from twisted_qmon.core.access.identity import Identity
from twisted_qmon.core.access.rules import AccessError, Rules, parse_rules
from twisted_qmon.core.access.verdict import Verdict
from twisted_qmon.info import Level

__all__ = ["MAX_FILE", "Access", "load_rules", "load_toml", "read_regular"]

#: Bytes of the longest file of rules, keys or certificates.
MAX_FILE = 1 << 20


def read_regular(path: str, most: int = MAX_FILE) -> bytes:
    """
    Read a file that is read again while the reactor runs: one that would hold that up, such as a FIFO, or would have no end, is
    refused.

    :param path: the file's
    :param most: bytes that it may have
    :return: what is in it
    :raise OSError: when it can't be read, is no regular file, or is longer
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise OSError(0, "Is a directory" if stat.S_ISDIR(kind) else "not a regular file")
    with open(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(0, f"longer than {most} bytes")
    return content


def load_toml(path: str) -> dict[str, object]:
    """
    :param path: a TOML file
    :return: what is in it
    :raise AccessError: with one line, when it can't be read
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document: dict[str, object] = tomllib.loads(read_regular(path).decode("utf-8"))
    except OSError as e:
        raise AccessError(f"{path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise AccessError(f"{path}: not UTF-8 at byte {e.start}") from e
    except tomllib.TOMLDecodeError as e:
        raise AccessError(f"{path}: not TOML: {' '.join(str(e).split())}") from e
    except RecursionError as e:
        raise AccessError(f"{path}: not TOML: nested too deep") from e
    return document


def load_rules(path: str) -> Rules:
    """
    :param path: a TOML file
    :return: the rules in it
    :raise AccessError: with one line, when it can't be read or used
    """
    return parse_rules(load_toml(path), path)


class Access:
    """
    The rules in force.

    :param source: the rules, or the path of a TOML file with them
    :raise AccessError: when the file can't be read or used
    :ivar path: the file's, or C{None}
    """

    def __init__(self, source: Rules | str | os.PathLike[str]) -> None:
        self.path: str | None = None
        if isinstance(source, Rules):
            self.rules = source
        else:
            self.path = os.fspath(source)
            self.rules = load_rules(self.path)

    def reload(self) -> None:
        """
        Read the file again. Without one nothing happens.

        :raise AccessError: when it can't be read or used; the old rules stay
        """
        if self.path is not None:
            self.rules = load_rules(self.path)

    def verdict(self, identity: Identity, endpoint: str = "", cap: Level = Level.ADMIN) -> Verdict:
        """See L{Rules.verdict<twisted_qmon.core.access.rules.Rules.verdict>}."""
        return self.rules.verdict(identity, endpoint, cap)

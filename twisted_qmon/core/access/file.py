"""
The rules in force, and the file that they come from.
"""

from __future__ import annotations

import os
import sys

from twisted_qmon.core.access.identity import Identity
from twisted_qmon.core.access.rules import AccessError, Rules, parse_rules
from twisted_qmon.core.access.verdict import Verdict
from twisted_qmon.info import Level

__all__ = ["Access", "load_rules"]


def load_rules(path: str) -> Rules:
    """
    :param path: a TOML file
    :return: the rules in it
    :raise AccessError: with one line, when it can't be read or used
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as e:
        raise AccessError(f"{path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise AccessError(f"{path}: not UTF-8 at byte {e.start}") from e
    except tomllib.TOMLDecodeError as e:
        raise AccessError(f"{path}: not TOML: {' '.join(str(e).split())}") from e
    except RecursionError as e:
        raise AccessError(f"{path}: not TOML: nested too deep") from e
    return parse_rules(document, path)


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

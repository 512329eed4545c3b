"""
What one caller may do: all that a session knows of the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from twisted_qmon.errors import GenericError
from twisted_qmon.info import Level, Need

__all__ = ["BY_LEVEL", "PermissionDenied", "Verdict"]

#: How many names of commands a verdict remembers its answers for. More come only from words that people type at a QEMU.
_REMEMBERED = 4096


class PermissionDenied(GenericError):
    """The caller may not do that."""


class Verdict(msgspec.Struct, frozen=True, eq=False):
    """
    What one caller may do.

    :ivar level: the caller's level, that of its endpoint considered
    :ivar cap: the level of its endpoint: the most that C{also} gives
    :ivar also: patterns of commands that it may run beyond its level
    :ivar never: patterns of commands that it may not run, whatever else is said
    """

    level: Level = Level.ADMIN
    cap: Level = Level.ADMIN
    also: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    _answers: dict[tuple[str, tuple[str, ...]], tuple[bool, bool]] = {}

    @property
    def unlimited(self) -> bool:
        """Nothing is refused: there is nothing to ask."""
        return self.level is Level.ADMIN and not self.never

    def allows(self, need: Need) -> bool:
        """:return: whether the caller may have what is needed"""
        if not self.also and not self.never:
            return need.level <= self.level
        also, never = self._named(need.name, need.aliases)
        return not never and (need.level <= self.level or (also and need.level <= self.cap))

    def _named(self, name: str, aliases: tuple[str, ...]) -> tuple[bool, bool]:
        known = self._answers.get((name, aliases))
        if known is None:
            names = (name, *aliases)
            known = (_any_matches(self.also, names), _any_matches(self.never, names))
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[(name, aliases)] = known
        return known

    def denial(self, who: str, need: Need) -> PermissionDenied:
        """
        :param who: the caller, as L{Identity.name<twisted_qmon.core.access.identity.Identity>} has it
        :param need: what is needed
        :return: the error for what is not allowed
        """
        what = f"'{need.name}'{need.doing}"
        if need.level <= self.level:
            return PermissionDenied(f"Permission denied: {what} is never allowed to {who}")
        return PermissionDenied(f"Permission denied: {what} needs {need.level}, {who} has {self.level}")


#: By the level of the endpoint, the verdict on callers where there are no rules.
BY_LEVEL: Final[Mapping[Level, Verdict]] = {level: Verdict(level, level) for level in Level}


def _any_matches(patterns: Iterable[str], names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)

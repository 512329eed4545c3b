"""
What a connection brings along: who it is, where it came in, and the verdict on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import LOCAL, Identity
from twisted_qmon.core.access.verdict import Verdict
from twisted_qmon.info import CommandInfo, Level, Need, level_of

__all__ = ["HasInfo", "Standing", "need_of", "standing_of"]

#: How many commands a standing remembers its answers for.
_REMEMBERED = 4096


class HasInfo(Protocol):
    """The part of a command that is looked at here."""

    info: CommandInfo


@dataclass(slots=True, eq=False)
class Standing:
    """
    The standing of a caller with a monitor. All callers of one connection share it: what a person types, and what is run for it.

    :ivar identity: who it is
    :ivar session: the name of its session (C{qmp-3})
    :ivar endpoint: where it came in, as rules name it (C{unix:ops.sock}); empty: nowhere
    :ivar cap: the level of that endpoint
    :ivar verdict: what it may do, from now on
    :ivar guarded: there is something to decide about its requests, or to record of them
    :ivar encoded: the audit keeps here what it writes of it in each line
    """

    identity: Identity = LOCAL
    session: str = "local"
    endpoint: str = ""
    cap: Level = Level.ADMIN
    verdict: Verdict = field(default_factory=Verdict)
    guarded: bool = False
    encoded: bytes | None = None
    _recorded_from: Level | None = None
    _free: dict[object, bool] = field(default_factory=dict)

    def is_free(self, command: HasInfo) -> bool:
        """:return: whether the caller may run the command, and nothing is to be recorded of it: so it can be run at once"""
        free = self._free.get(command)
        if free is None:
            need = need_of(command)
            if len(self._free) >= _REMEMBERED:
                self._free.clear()
            free = self.verdict.allows(need) and getattr(command, "needs", None) is None
            if self._recorded_from is not None and need.level >= self._recorded_from:
                free = False
            self._free[command] = free
        return free

    def judge(self, access: Access | None, *, audited: bool = False) -> None:
        """
        Have a new verdict.

        :param access: the rules; C{None}: there are none, the endpoint's level is all
        :param audited: what it does is recorded
        """
        self._free.clear()
        if access is None:
            self.verdict = Verdict(level=self.cap, cap=self.cap)
        else:
            self.verdict = access.verdict(self.identity, self.endpoint, self.cap)
        # With rules everybody is, those they let do everything too: the rules may change within a batch of commands.
        self.guarded = audited or access is not None or not self.verdict.unlimited
        self._recorded_from = Level.OPERATE if audited else None

    def owns(self, other: Standing) -> bool:
        """:return: whether what the other asked for is one's own"""
        return self.identity.owns(self.session, other.identity, other.session)

    @property
    def level(self) -> Level:
        """What the caller may do, from now on."""
        return self.verdict.level

    def permits(self, need: Need) -> bool:
        """:return: whether the caller has what is needed"""
        return not self.guarded or self.verdict.allows(need)

    def may_run(self, command: HasInfo) -> bool:
        """:return: whether the caller may run the command, as far as that depends on the command alone"""
        return self.permits(need_of(command))

    def require(self, need: Need) -> None:
        """
        :param need: what is needed
        :raise PermissionDenied: when the caller does not have it
        """
        if not self.permits(need):
            raise self.verdict.denial(self.identity.name, need)


def need_of(command: HasInfo) -> Need:
    """:return: what a command needs, as far as that depends on the command alone"""
    info = command.info
    return Need(level_of(info), info.name, info.aliases)


_LOCAL = Standing()


def standing_of(caller: object) -> Standing:
    """
    :param caller: an L{ICaller<twisted_qmon.interfaces.ICaller>}
    :return: its standing; a caller without one is part of this program
    """
    standing = getattr(caller, "standing", None)
    return standing if isinstance(standing, Standing) else _LOCAL

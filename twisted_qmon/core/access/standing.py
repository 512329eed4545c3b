"""
What a connection brings along: who it is, where it came in, and the verdict on it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from itertools import count
from typing import TYPE_CHECKING, Protocol

import msgspec

from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import LOCAL, UNIX, Identity
from twisted_qmon.core.access.verdict import BY_LEVEL, PermissionDenied, Verdict
from twisted_qmon.info import CommandInfo, Level, Need

if TYPE_CHECKING:
    from twisted_qmon.core.audit.record import CallerLines
    from twisted_qmon.core.registry import DirectCommand

__all__ = ["LOCAL_STANDING", "HasInfo", "Standing", "session_name", "standing_of"]

_serial = count(1)


def session_name(kind: str) -> str:
    """
    :param kind: of the server: C{"qmp"}
    :return: a name for a session, unique in the process: C{"qmp-3"}
    """
    return f"{kind}-{next(_serial)}"


class HasInfo(Protocol):
    """The part of a command that is looked at here."""

    info: CommandInfo


class Standing(msgspec.Struct, eq=False):
    """
    The standing of a caller with a monitor. All callers of one connection share it: what a person types, and what is run for it.

    :ivar identity: who it is
    :ivar session: the name of its session (C{qmp-3})
    :ivar endpoint: where it came in, as rules name it (C{unix:ops.sock}); empty: nowhere
    :ivar cap: the level of that endpoint
    :ivar verdict: what it may do, from now on
    :ivar guarded: there is something to decide about its requests, or to record of them
    :ivar view: the dispatcher keeps here the commands that the caller may run at once (see L{is_free})
    :ivar recorded: and here those that it may run at once when they have been recorded (see L{is_only_recorded})
    :ivar begun: the commands that may go on with what an earlier request of the session began, and did begin something
    :ivar encoded: the audit keeps here what it writes of it in each line
    """

    identity: Identity = LOCAL
    session: str = "local"
    endpoint: str = ""
    cap: Level = Level.ADMIN
    verdict: Verdict = BY_LEVEL[Level.ADMIN]
    guarded: bool = False
    encoded: CallerLines | None = None
    view: MutableMapping[str, DirectCommand | None] | None = None
    recorded: MutableMapping[str, DirectCommand | None] | None = None
    begun: frozenset[str] = frozenset()
    _recorded_from: Level | None = None

    @classmethod
    def unknown(cls, session: str, endpoint: str, cap: Level) -> Standing:
        """:return: that of a connection of which it is not known yet who is at the other end: nothing is permitted"""
        return cls(UNIX, session, endpoint, cap, BY_LEVEL[Level.NONE], guarded=True)

    def is_free(self, command: HasInfo) -> bool:
        """:return: whether the caller may run the command, and nothing is to be recorded of it: so it can be run at once"""
        need = command.info.need
        recorded = self._recorded_from is not None and need.level >= self._recorded_from
        return not recorded and getattr(command, "needs", None) is None and self.verdict.allows(need)

    def is_only_recorded(self, command: HasInfo) -> bool:
        """:return: whether the caller may run the command, and it is known what is to be recorded of it"""
        plain = all(getattr(command, name, None) is None for name in ("needs", "called", "continues"))
        return plain and hasattr(command, "shown") and self.verdict.allows(command.info.need)

    def forget(self) -> None:
        """Its connection has ended: keep nothing of the commands."""
        self.view = self.recorded = None

    def judge(self, access: Access | None, *, audited: bool = False) -> None:
        """
        Have a new verdict.

        :param access: the rules; C{None}: there are none, the endpoint's level is all
        :param audited: what it does is recorded
        """
        for view in (self.view, self.recorded):
            if view is not None:
                view.clear()
        if access is None:
            self.verdict = BY_LEVEL[self.cap]
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

    @property
    def no_access(self) -> PermissionDenied:
        """The error for a caller whose level is none: what it is told before its connection is closed."""
        return PermissionDenied(f"Permission denied: {self.identity.name} has no access here")

    def permits(self, need: Need) -> bool:
        """:return: whether the caller has what is needed"""
        return not self.guarded or self.verdict.allows(need)

    def may_run(self, command: HasInfo) -> bool:
        """:return: whether the caller may run the command, as far as that depends on the command alone"""
        return self.permits(command.info.need)

    def require(self, need: Need) -> None:
        """
        :param need: what is needed
        :raise PermissionDenied: when the caller does not have it
        """
        if not self.permits(need):
            raise self.verdict.denial(self.identity.name, need)


#: That of a caller that brings none along, where there is no L{Guard<twisted_qmon.core.guard.Guard>} that has one for it.
LOCAL_STANDING = Standing()


def standing_of(caller: object) -> Standing:
    """
    :param caller: an L{ICaller<twisted_qmon.interfaces.ICaller>}
    :return: its standing; a caller without one is part of this program
    """
    standing = getattr(caller, "standing", None)
    return standing if isinstance(standing, Standing) else LOCAL_STANDING

"""
What a connection brings along: who it is, where it came in, and the verdict on it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import LOCAL, Identity
from twisted_qmon.core.access.verdict import Verdict
from twisted_qmon.info import CommandInfo, Level, Need

__all__ = ["HasInfo", "Standing", "standing_of"]


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
    :ivar view: the dispatcher keeps here the commands that the caller may run at once (see L{is_free})
    :ivar encoded: the audit keeps here what it writes of it in each line
    """

    identity: Identity = LOCAL
    session: str = "local"
    endpoint: str = ""
    cap: Level = Level.ADMIN
    verdict: Verdict = field(default_factory=Verdict)
    guarded: bool = False
    encoded: bytes | None = None
    view: MutableMapping[str, Any] | None = None
    _recorded_from: Level | None = None

    def is_free(self, command: HasInfo) -> bool:
        """:return: whether the caller may run the command, and nothing is to be recorded of it: so it can be run at once"""
        need = command.info.need
        recorded = self._recorded_from is not None and need.level >= self._recorded_from
        return not recorded and getattr(command, "needs", None) is None and self.verdict.allows(need)

    def judge(self, access: Access | None, *, audited: bool = False) -> None:
        """
        Have a new verdict.

        :param access: the rules; C{None}: there are none, the endpoint's level is all
        :param audited: what it does is recorded
        """
        if self.view is not None:
            self.view.clear()
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
        return self.permits(command.info.need)

    def require(self, need: Need) -> None:
        """
        :param need: what is needed
        :raise PermissionDenied: when the caller does not have it
        """
        if not self.permits(need):
            raise self.verdict.denial(self.identity.name, need)


_LOCAL = Standing()


def standing_of(caller: object) -> Standing:
    """
    :param caller: an L{ICaller<twisted_qmon.interfaces.ICaller>}
    :return: its standing; a caller without one is part of this program
    """
    standing = getattr(caller, "standing", None)
    return standing if isinstance(standing, Standing) else _LOCAL

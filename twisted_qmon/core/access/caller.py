"""
The caller of single requests, where one session has several: of a client of the web, or of a fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_qmon.interfaces import ICaller

if TYPE_CHECKING:
    from twisted_qmon.core.access.standing import Standing
    from twisted_qmon.info import Level

__all__ = ["SessionCaller"]


@implementer(ICaller)
class SessionCaller:
    """
    The caller of one or some requests of a session. Each can leave without the others. A subclass says of which C{kind} it is.

    :param standing: that of the session
    :param peer: where the requests come from, as text; may be empty
    """

    __slots__ = ("peer", "standing")

    kind: str

    def __init__(self, standing: Standing, peer: str) -> None:
        self.standing = standing
        self.peer = peer

    @property
    def name(self) -> str:
        """The name of its session."""
        return self.standing.session

    @property
    def identity(self) -> str:
        """The text of its identity."""
        return self.standing.identity.text

    @property
    def level(self) -> Level:
        """What it may do, from now on."""
        return self.standing.level

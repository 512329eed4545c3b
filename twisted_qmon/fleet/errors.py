"""
What can go wrong in a fleet, besides what goes wrong in a command.
"""

from __future__ import annotations

from twisted_qmon.errors import GenericError

__all__ = ["JoinRefused", "NameTaken", "NoSuchMember"]


class NameTaken(GenericError):
    """Another member has that name."""


class NoSuchMember(GenericError):
    """There is no member of that name."""


class JoinRefused(GenericError):
    """The router refuses who wants to join, or what it wants to do: a wrong ticket, an unknown realm, no permission."""

"""
The options that say who may do what, and where it is recorded.
"""

from __future__ import annotations

import os

from twisted.python.usage import UsageError

from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.tap.group import OptionGroup

__all__ = ["AccessOptions"]


class AccessOptions(OptionGroup):
    """C{--access} and C{--audit}."""

    optParameters = [
        ["access", None, None, "A file with the rules of who may do what (TOML)."],
        ["audit", None, None, "A file for the record of who did what."],
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self["audit-required"] = False
        self.access: Access | None = None

    def opt_audit_required(self) -> None:
        """Refuse commands above the level observe that can't be written to --audit."""
        self["audit-required"] = True

    def check(self) -> None:
        """:raise UsageError: when the rules can't be used"""
        if self["access"] is not None:
            try:
                # It is read again when the process may be in another folder.
                self.access = Access(os.path.abspath(self["access"]))
            except AccessError as e:
                raise UsageError(f"--access: {e}") from e
        if self["audit-required"] and self["audit"] is None:
            raise UsageError("--audit-required: there is no --audit")

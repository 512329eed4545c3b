"""A reactor's pulse that tests beat by hand, and stacks of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_qmon.providers.process.stacks import Place

__all__ = ["FakePulse", "place"]


def place(file: str, function: str, line: int = 1) -> Place:
    """:return: a place in a file that need not be there"""
    code = compile("", file, "exec").replace(co_name=function)
    if hasattr(code, "co_qualname"):
        names: dict[str, Any] = {"co_qualname": function}
        code = code.replace(**names)
    return Place(code, line, {})


def _nothing(beat: float, late: float) -> object:
    return None


class FakePulse:
    """
    Beats when told to.

    :ivar now: the monotonic time
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.beat: float | None = 100.0
        self.interval = 0.05
        self.thread = 7
        self.late_from: float | None = None
        self.on_late: Callable[[float, float], object] = _nothing

    def come_late(self, late: float) -> None:
        """Time passes, and the next beat is so late."""
        before = self.beat
        assert before is not None
        self.now = before + self.interval + late
        self.beat = self.now
        if self.late_from is not None and late >= self.late_from:
            self.on_late(before, late)

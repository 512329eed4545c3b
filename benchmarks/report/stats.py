"""
What pairs of measurements say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median


@dataclass(frozen=True)
class Ratio:
    """A ratio of rates: the median of its pairs, and where it lies with 95 % confidence."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.middle)} [{_short(self.low)}, {_short(self.high)}]"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """
    The median of C{ours / theirs}, pair by pair, and its confidence interval.

    The interval is that of the sign test: it takes nothing for granted about the noise, and one wild pair does not move it. With
    fewer than six pairs it is all that was seen.
    """
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    number = len(ratios)
    # The widest k for which fewer than 2.5 % of the time k or fewer pairs lie below the median.
    tail, k = 0.0, 0
    while tail + comb(number, k) / 2**number <= 0.025:
        tail += comb(number, k) / 2**number
        k += 1
    k = max(k - 1, 0)
    return Ratio(median(ratios), ratios[k], ratios[-1 - k])

"""
Types that refer to names that only this module knows, for classes in other modules that inherit from them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypedDict


class Elsewhere(enum.Enum):
    HERE = "here"


class BaseDict(TypedDict):
    place: Elsewhere


@dataclass
class BaseClass:
    place: Elsewhere

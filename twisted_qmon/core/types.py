"""
The types for annotations, under the name that the first release documented: they live in L{twisted_qmon.qapi.types}.
"""

from __future__ import annotations

from twisted_qmon.qapi.types import (
    Alternate,
    Boxed,
    Int8,
    Int16,
    Int32,
    Int64,
    Size,
    Tagged,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
)

__all__ = [
    "Alternate",
    "Boxed",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Size",
    "Tagged",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
]

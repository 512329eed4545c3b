"""
Types: what the annotations of arguments and results mean, and the names for those that Python has no word for.

::

    def resize(self, size: Size, channel: UInt8 = 0) -> None: ...

    BlockdevRef = Annotated[str | BlockdevOptions, Alternate("BlockdevRef")]
    BlockdevOptions = Annotated[RawOptions | NullOptions, Tagged("driver")]

Start with L{Type<twisted_qmon.qapi.types.base.Type>}, which says how to add one.
"""

from __future__ import annotations

from twisted_qmon.qapi.types.marks import (
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
    Width,
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
    "Width",
]

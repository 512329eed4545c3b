"""
Names for annotations: the types that Python has no word for.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from twisted_qmon.qapi.types.plain import UINT_HIGH

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


class Width(msgspec.Struct, frozen=True):
    """
    Marks C{int} as an integer of a certain width.

    :ivar name: QAPI's name for it (C{"int8"})
    :ivar low: the least value
    :ivar high: the greatest value
    """

    name: str
    low: int
    high: int

    @classmethod
    def signed(cls, bits: int) -> Width:
        """:return: a two's complement integer of so many bits"""
        return cls(f"int{bits}", -(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    @classmethod
    def unsigned(cls, bits: int) -> Width:
        """:return: a natural number of so many bits"""
        return cls(f"uint{bits}", 0, (1 << bits) - 1)


class Alternate(msgspec.Struct, frozen=True):
    """
    Marks a union of types that differ in their JSON type, which tells them apart: a string or an object, say. In such a
    union C{None} is JSON's C{null}.

    :ivar name: the name of the type, which error texts show; empty: made out of the names of the options
    """

    name: str = ""


class Boxed(msgspec.Struct, frozen=True):
    """
    Marks a handler's only parameter as taking all the arguments together, as one object::

        def blockdev_add(self, options: Annotated[BlockdevOptions, Boxed()]) -> None: ...
    """


class Tagged(msgspec.Struct, frozen=True):
    """
    Marks a union of classes that one string member, the tag, tells apart. Each class has it as a C{Literal}.

    :ivar member: the tag's name, in Python's spelling or that of the wire
    :ivar name: the name of the union
    """

    member: str
    name: str = ""


#: Bytes: an unsigned 64-bit integer. A person may type it with a suffix (C{512M}).
Size = Annotated[int, Width("size", 0, UINT_HIGH)]
Int8 = Annotated[int, Width.signed(8)]
Int16 = Annotated[int, Width.signed(16)]
Int32 = Annotated[int, Width.signed(32)]
Int64 = Annotated[int, Width.signed(64)]
UInt8 = Annotated[int, Width.unsigned(8)]
UInt16 = Annotated[int, Width.unsigned(16)]
UInt32 = Annotated[int, Width.unsigned(32)]
UInt64 = Annotated[int, Width.unsigned(64)]

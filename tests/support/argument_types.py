"""
Types that parameters of handlers are annotated with, in tests.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypedDict

import msgspec
import pytest

from tests.support.elsewhere_types import BaseClass, BaseDict
from twisted_qmon.errors import GenericError
from twisted_qmon.qapi.signature import Signature, compile_signature
from twisted_qmon.qapi.types import Alternate, Size, Tagged

if TYPE_CHECKING:
    from typing_extensions import NotRequired
else:
    try:
        from typing import NotRequired
    except ImportError:
        from typing_extensions import NotRequired


class Color(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark-blue"


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Line:
    start_at: Point
    end_at: Point | None = None
    color: Color = Color.RED
    tags: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Named:
    name: str
    from_: str = "here"


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


class Options(TypedDict, total=False):
    job_id: str
    speed: int


class Mixed(Options):
    node: str
    note: NotRequired[str]
    limit: int | None


class Inheriting(BaseDict, total=False):
    color: Annotated[NotRequired[Color], "some mark"]


@dataclass
class InheritingClass(BaseClass):
    computed: int = field(init=False, default=5)
    color: Color | None = None


class Packed(msgspec.Struct):
    job_id: str
    speed: int = 3
    tags: list[str] = msgspec.field(default_factory=list)


class Renamed(msgspec.Struct, rename="camel"):
    job_id: str


@dataclass
class Raw:
    driver: Literal["raw"]
    file: Ref


@dataclass
class OtherRaw:
    driver: Literal["raw"] = "raw"


@dataclass
class Null:
    driver: Literal["null", "zero"]
    size: Size = 0


Block = Annotated[Raw | Null, Tagged("driver", "Block")]


Ref = Annotated[str | Block, Alternate("BlockRef")]


UserName = NewType("UserName", str)

# What a client is told.
INTEGER = "Invalid parameter type for 'x', expected: integer"
UNSIGNED = "Parameter 'x' expects uint64"


def taking(annotation: Any, **more: Any) -> Signature:
    """:return: the signature of a handler with one required parameter, C{x}"""

    def handler(x: Any) -> None: ...

    handler.__annotations__["x"] = annotation
    return compile_signature(handler, **more)


def wrong(signature: Signature, arguments: Any) -> str:
    """:return: what is wrong with the arguments, once it is known to be a GenericError"""
    with pytest.raises(GenericError) as caught:
        signature.bind(arguments)
    assert caught.value.error_class == "GenericError"
    return caught.value.desc

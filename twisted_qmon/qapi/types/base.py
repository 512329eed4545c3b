"""
What every type has, and how to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_qmon.info import JSON, TypeInfo
from twisted_qmon.qapi.types.fast import In, Native, Out

__all__ = ["Type"]


class Type:
    """
    A type of arguments and results.

    To add one, write a subclass with C{info}, C{kinds}, C{decode} and C{encode}, in L{twisted_qmon.qapi.types.scalars} if it is
    of single values. Enter the class that it is annotated with in C{SIMPLE} there. Where that is C{Annotated}, as C{Size} is, its
    name goes to L{twisted_qmon.qapi.types.marks}, and a mark of a new kind needs a case in C{_annotated} of
    L{twisted_qmon.qapi.compiler}. That is all for a type that looks like one that is there already (its C{info} is that of a
    string, say). A new C{kind} of L{TypeInfo} is also named in C{_plain} or C{_JSON_TYPES} of L{twisted_qmon.qapi.schema}, in
    C{_SCALARS} of C{twisted_qmon.web.openapi}, in C{twisted_qmon.hmp.lines.line} and C{twisted_qmon.hmp.lines.args}, which read
    what a person types, and in C{_TYPES} of L{twisted_qmon.qapi.args_type}, if a letter of C{args_type} stands for it.

    In and out differ. What comes in comes from a client: what is wrong with it is the client's error, told in QEMU's words. What
    goes out comes from a handler: what is wrong with it is the program's error.

    :ivar info: the type as plain data, for the schema and for help
    :ivar kinds: the JSON types that it takes: C{string integer number boolean object array null}
    :ivar native: of scalars: the annotation by which msgspec does exactly what C{decode} and C{encode} do; C{None}: there is none
    :ivar passing: the class of values that C{encode} gives back as they are, if C{passes} is true of them: they are plain data
        already. C{None}: there are none.
    :ivar passes: see C{passing}; C{None}: all of that class pass
    """

    info: TypeInfo
    kinds: frozenset[str]
    native: Native = None
    passing: type | None = None
    passes: Callable[[Any], bool] | None = None

    def decode(self, value: JSON) -> object:
        """
        :return: the Python value of what came in
        :raise ArgumentError: when it is not of this type
        """
        raise NotImplementedError

    def encode(self, value: object) -> JSON:
        """
        :return: plain JSON data for a Python value; the value itself if it is that
        :raise ResultError: when it is not of this type, or JSON can't say it
        """
        raise NotImplementedError

    def fast_in(self) -> In:
        """:return: how msgspec decodes exactly as C{decode} does, if need be with its help"""
        return In(Any, self.decode) if self.native is None else In(self.native)

    def fast_out(self) -> Out | None:
        """:return: how msgspec encodes exactly as C{encode} does; C{None}: it does not"""
        return None if self.native is None else Out(self.native)

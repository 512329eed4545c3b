"""
Plain data that describes commands, for the core, the protocols and remote monitors. (Not the human monitor's C{info}: how
C{info X} finds its command is in L{twisted_qmon.hmp.commands.info}.)

L{twisted_qmon.qapi.signature} makes it out of annotations, L{twisted_qmon.qapi.args_type} out of
C{args_type} declarations, L{twisted_qmon.qapi.schema} out of a QMP schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

__all__ = [
    "JSON",
    "UPSTREAM",
    "ArgsItem",
    "CommandInfo",
    "Level",
    "Need",
    "ParameterInfo",
    "TypeInfo",
    "default_level",
]

#: Plain JSON data, as it is decoded or is about to be encoded. A type checker sees what it is made of; at run time it is
#: C{object}, which as an annotation of a handler means any JSON value.
if TYPE_CHECKING:
    JSON: TypeAlias = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None
else:
    JSON = object

#: The L{CommandInfo.origin} of an upstream QEMU's own commands.
UPSTREAM = "qemu"


class Level(IntEnum):
    """
    What a caller may do, and what a command needs. Each level contains the one before, and they compare so.

    In text they are written in small letters: C{str(Level.OPERATE)} is C{"operate"}.
    """

    #: As a caller's: it may not even connect. As a command's: it needs nothing.
    NONE = 0
    #: Look, subscribe to events, cancel what one has started oneself.
    OBSERVE = 1
    #: Change the work of the process.
    OPERATE = 2
    #: End the process, cancel what others have started.
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @classmethod
    def of(cls, value: Level | str) -> Level:
        """
        :param value: a level, or its name
        :return: the level
        :raise ValueError: when it is no level
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value == value.lower() and value.upper() in cls.__members__:
            return cls[value.upper()]
        raise ValueError(f"{value!r} is not a level: none, observe, operate or admin")


def default_level(name: str) -> Level:
    """:return: the level of a command that does not say it: C{observe} for C{query-...}, else C{operate}"""
    return Level.OBSERVE if name.startswith("query-") else Level.OPERATE


class Need(NamedTuple):
    """
    What a caller needs for one request.

    :ivar level: the level
    :ivar name: the command's name, as rules go by it
    :ivar aliases: its other names: a rule that matches one of them is meant
    :ivar doing: what of the command it is, if that is not all of it: C{" with 'number'"}
    """

    level: Level
    name: str
    aliases: tuple[str, ...] = ()
    doing: str = ""


class TypeInfo(msgspec.Struct, eq=False):
    """
    A QAPI type. Types may refer to themselves, so they are compared by identity.

    :ivar kind: C{"str"}, C{"int"} (any width), C{"size"} (bytes, an unsigned 64-bit integer), C{"number"}, C{"bool"}, C{"null"},
        C{"any"}, C{"enum"}, C{"list"}, C{"object"} or C{"alternate"}
    :ivar name: the type's own name: C{"int8"} ... C{"uint64"} for a width, the class's name for an enum, object or alternate
    :ivar values: the values of an enum
    :ivar element: the type of a list's elements
    :ivar members: the members of an object; C{None} where any member is allowed (a bare C{dict})
    :ivar options: the types that an alternate chooses from; of an object that is a flat union, its variants: objects with all
        their members
    :ivar tag: of a flat union, the member whose value says which variant it is; its C{members} are those that all have
    """

    kind: str
    name: str = ""
    values: tuple[str, ...] = ()
    element: TypeInfo | None = None
    members: tuple[ParameterInfo, ...] | None = None
    options: tuple[TypeInfo, ...] = ()
    tag: str = ""


class ParameterInfo(msgspec.Struct, eq=False):
    """
    One argument of a command, or one member of an object.

    :ivar name: as on the wire (with dashes)
    :ivar optional: it may be absent
    """

    name: str
    type: TypeInfo
    optional: bool = False


class ArgsItem(msgspec.Struct, frozen=True):
    """
    One item of an C{args_type} declaration (QEMU's C{key:TYPE} grammar).

    :ivar key: the argument's name, as on the wire
    :ivar letter: one of C{F B s S O i l M o T b /}, or C{-} for a flag
    :ivar optional: marked with C{?} (flags are always optional)
    :ivar dot: marked with C{.}: optional, and only there if the next character is a dot
    :ivar flag: for C{-x} and C{-xs}, the letter after the dash
    :ivar flag_value: the flag takes a string value (C{-xs})
    """

    key: str
    letter: str
    optional: bool = False
    dot: bool = False
    flag: str = ""
    flag_value: bool = False


@dataclass(frozen=True, slots=True)
class CommandInfo:
    """
    What a client can know of a command.

    :ivar name: its QMP name. In the human monitor C{query-x} is typed C{info x}.
    :ivar parameters: its arguments in declared order, or C{None} where any are taken
    :ivar args_type: the C{args_type} it was declared with, or C{None} if its arguments follow from the parameters
    :ivar items: the parsed C{args_type}, or C{None}
    :ivar params: the parameters as help shows them (C{"value"}, C{"path [freq]"})
    :ivar help: one line for help
    :ivar aliases: other names in the human monitor
    :ivar hidden: left out of help
    :ivar confirm: what else it does (C{"this ends 'web' as well"}), for which a person has to say it twice; empty: once is enough
    :ivar doc: the text after the first line of the docstring: more help
    :ivar returns: the type of its result, where known
    :ivar origin: where it runs: empty for here, or L{UPSTREAM}
    :ivar completes: it runs here, and completes what an upstream QEMU only begins. In the human monitor it comes before the
        QEMU's commands of the same names.
    :ivar level: what a caller needs to run it; C{None}: the default for its name
    :ivar need: the same with the names that rules go by
    :ivar boxed: the type of the arguments as a whole, where that is more than a list of parameters: a flat union. Its members
        are the parameters, those of one variant only as optional ones.
    :ivar line_need: of the command that runs lines of an upstream QEMU: what a line needs. Local only.
    :ivar thread_safe: the watchdog's thread may run it while the main one is stuck. Local only.
    :ivar printer: makes text for a person of a result; one with a second parameter is given the arguments as well, one with a
        third also who asked. It is not
        sent to remote monitors, and the core never calls it.
    :ivar printed: the remote monitor that this was learnt from has a printer for it, and prints it if asked
    """

    name: str
    parameters: tuple[ParameterInfo, ...] | None = ()
    args_type: str | None = None
    items: tuple[ArgsItem, ...] | None = None
    params: str = ""
    help: str = ""
    aliases: tuple[str, ...] = ()
    hidden: bool = False
    confirm: str = ""
    doc: str = ""
    returns: TypeInfo | None = None
    origin: str = ""
    completes: bool = False
    level: Level | None = None
    boxed: TypeInfo | None = None
    line_need: Callable[[str], Need] | None = None
    thread_safe: bool = False
    printer: Callable[..., str] | None = None
    printed: bool = False
    need: Need = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        level = default_level(self.name) if self.level is None else self.level
        # Asked for with each request of a caller who may not do everything.
        object.__setattr__(self, "need", Need(level, self.name, self.aliases))

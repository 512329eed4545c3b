"""
The steps that a L{FakeQEMU<twisted_qmon.testing.FakeQEMU>} can be told to take when a command comes, or a client.

::

    fake.once("migrate", Answer({}), Delay(2), Emit("MIGRATION", {"status": "completed"}))
    fake.once("query-block", Half([]))
    fake.on_connect(Silence())

The reply is sent at L{Answer} or L{Fail}, or L{Raw} stands for it; what comes after that happens after the reply. Steps without a
reply, and without L{Silence}, L{Drop} or L{Half}, end with what the fake does by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["Answer", "Delay", "Drop", "Emit", "Fail", "Half", "Raw", "Silence", "Step"]


@dataclass(frozen=True)
class Answer:
    """
    Reply with a result.

    :ivar value: the result
    :ivar check: it must be of the type that the schema has for it
    """

    value: JSON = field(default_factory=dict)
    check: bool = True


@dataclass(frozen=True)
class Fail:
    """
    Reply with an error.

    :ivar error_class: its class on the wire
    :ivar desc: its text
    """

    error_class: str = "GenericError"
    desc: str = "An error of the test"


@dataclass(frozen=True)
class Delay:
    """
    Wait.

    :ivar seconds: how long, by the fake's clock
    """

    seconds: float


@dataclass(frozen=True)
class Emit:
    """
    Send an event to all clients.

    :ivar name: its name
    :ivar data: its data; C{None}: it has none
    :ivar check: it must be an event of the schema, and the data of its type
    """

    name: str
    data: Mapping[str, JSON] | None = None
    check: bool = True


@dataclass(frozen=True)
class Raw:
    """
    Send bytes as they are: garbage, a reply in pieces, a reply that is wrong.

    :ivar data: the bytes
    :ivar reply: they stand for the reply, whatever they are: no other is sent
    """

    data: bytes
    reply: bool = False


@dataclass(frozen=True)
class Half:
    """
    Send the first half of a successful reply, then close the connection.

    :ivar value: the result
    """

    value: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """Never reply: it hangs. Commands that come after this one wait, as they do on QEMU."""


@dataclass(frozen=True)
class Drop:
    """Lose the connection, without a reply."""


Step: TypeAlias = Answer | Fail | Delay | Emit | Raw | Half | Silence | Drop

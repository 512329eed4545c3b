"""
What is to be answered: a fake QEMU with the server's own schema says it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from twisted_qmon.conformance.cases import HARMLESS
from twisted_qmon.qapi.from_schema import SchemaDetails
from twisted_qmon.testing.connections import Connection
from twisted_qmon.testing.fake_qemu import FakeQEMU
from twisted_qmon.testing.qemu_form import without_element_names
from twisted_qmon.testing.recording import Recording

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["Reference"]


class Reference:
    """
    A fake QEMU that stands for what the server should be.

    :param greeting: the C{QMP} member of the server's greeting
    :param schema: what it answers to C{query-qmp-schema}
    :ivar recording: of the fake
    """

    def __init__(self, greeting: Mapping[str, JSON], schema: Sequence[Mapping[str, JSON]]) -> None:
        # Of the integers in the random cases, none is unsigned.
        details = SchemaDetails(complete=True)
        self.recording = Recording(greeting, {"query-qmp-schema": {"return": schema}}, details=details)
        self._fake = FakeQEMU(self.recording, clock=Clock(), name="")
        for name in HARMLESS:
            if name in self.commands:
                self._fake.handle(name, lambda _: {})

    def worded(self, line: bytes) -> bytes:
        """:return: an error that names everything, as a server of this version words it"""
        return line if self._fake.factory.names_elements else without_element_names(line)

    @property
    def commands(self) -> frozenset[str]:
        """The names of the server's commands."""
        return frozenset(self.recording.types.commands)

    def lines(self, pieces: Iterable[bytes]) -> list[bytes]:
        """
        :param pieces: what a new client sends
        :return: the lines that it is answered with, without the greeting
        """
        client = Connection(self._fake.factory)
        for piece in pieces:
            client.send_bytes(piece)
        lines = client.take_bytes().splitlines(keepends=True)
        client.lose()
        self._fake.take_requests()
        return lines[1:]

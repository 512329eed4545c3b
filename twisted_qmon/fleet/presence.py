"""
Who is there, over all connections of a client: told as what changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_qmon.errors import CommandError

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from twisted_qmon.fleet.interfaces import IFleet

__all__ = ["Presence"]

_log = Logger()

_Receiver = Callable[[str, bool], object]
_Failed = Callable[[CommandError], object]


class Presence:
    """
    The members that a client has told of.

    :param begin: called when there is someone to tell, for the first time
    """

    def __init__(self, begin: Callable[[], object]) -> None:
        self._begin = begin
        self._receivers: dict[object, tuple[_Receiver, _Failed | None]] = {}
        self._present: dict[str, None] = {}
        self._fleet: IFleet | None = None

    @property
    def wanted(self) -> bool:
        """There is someone to tell."""
        return bool(self._receivers)

    def watch(self, receiver: _Receiver, failed: _Failed | None) -> Callable[[], None]:
        """See L{IFleetClient.watch<twisted_qmon.fleet.interfaces.IFleetClient.watch>}."""
        token = object()
        for name in list(self._present):
            _tell(receiver, name, True)
        self._receivers[token] = (receiver, failed)
        if self._fleet is None:
            self._begin()

        def end() -> None:
            self._receivers.pop(token, None)

        return end

    def connected(self, fleet: IFleet) -> None:
        """There is a connection: compare who is there with who was."""
        self._fleet = fleet
        there: set[str] = set()

        def changed(name: str, is_there: bool) -> None:
            if is_there:
                there.add(name)
            self._changed(name, is_there)

        def complete(_: object) -> None:
            if self._fleet is fleet:
                for name in [name for name in self._present if name not in there]:
                    self._changed(name, False)

        def refused(failure: Failure) -> None:
            error = failure.value
            if self._fleet is fleet:
                self._refused(error if isinstance(error, CommandError) else CommandError(str(error)))

        fleet.watch(changed).addCallbacks(complete, refused)

    def lost(self) -> None:
        """There is none any more."""
        self._fleet = None

    def _changed(self, name: str, there: bool) -> None:
        if (name in self._present) is there:
            return
        if there:
            self._present[name] = None
        else:
            del self._present[name]
        for receiver, _ in list(self._receivers.values()):
            _tell(receiver, name, there)

    def _refused(self, error: CommandError) -> None:
        self._fleet = None
        for _, failed in list(self._receivers.values()):
            if failed is not None:
                failed(error)
        if any(failed is None for _, failed in self._receivers.values()):
            _log.error("can't tell who joins and leaves: {reason}", reason=error.desc)


def _tell(receiver: _Receiver, name: str, there: bool) -> None:
    try:
        receiver(name, there)
    except Exception:
        _log.failure("while telling {receiver!r} of the member {name}", receiver=receiver, name=name)

"""
The error tree.

::

    MonitorError
     +-- RegistrationError            a command, event or provider that can't be registered (raised at the caller)
     +-- EventError                   an event that is not defined, or data that does not match it (raised at the emitter)
     +-- ProviderError                a provider that can't be found or made (raised by C{twistd qmon}: in _twistd/plugins.py)
     +-- CommandError                 an answer to a command; crosses the wire as {"class", "desc"}
          +-- GenericError
          |    +-- InvalidArguments   they are not what the command takes
          |    +-- CommandTimedOut    its deadline passed
          |    +-- CommandCancelled   it was cancelled
          |    +-- PermissionDenied   the caller may not do that (in core/access/verdict.py)
          |    +-- ShuttingDown       the monitor takes no new requests
          |    +-- ConnectionClosed   a remote monitor went away before it answered
          +-- CommandNotFound
          +-- DeviceNotActive
          +-- DeviceNotFound
          +-- KVMMissingCap

The five below C{CommandError} are QEMU's error classes (qapi/error.json); QEMU adds no new ones, so neither do we. A new
error is a subclass of C{GenericError}, entered here and in C{__all__}; one for users also stands in C{_MODULES}, C{__all__} and
the imports for type checkers of C{twisted_qmon/__init__.py}. Those of a fleet are in C{fleet/errors.py}.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "LOGGED",
    "MonitorError",
    "RegistrationError",
    "EventError",
    "CommandError",
    "GenericError",
    "InvalidArguments",
    "CommandTimedOut",
    "CommandCancelled",
    "ShuttingDown",
    "ConnectionClosed",
    "CommandNotFound",
    "DeviceNotActive",
    "DeviceNotFound",
    "KVMMissingCap",
]


#: The end of the error's text where the reason is not for clients.
LOGGED = "failed for a reason that was logged"


class MonitorError(Exception):
    """Everything that twisted-qmon raises on purpose."""


class RegistrationError(MonitorError, ValueError):
    """A command, event or provider can't be registered: its name is taken, or its declaration is not valid."""


class EventError(MonitorError, ValueError):
    """An event that is not defined, or data that does not match its definition."""


class CommandError(MonitorError):
    """
    The reply to a command that failed. Raise it, or one of its subclasses, in a handler: the client gets it as it is.

    :param desc: what went wrong, for a person to read
    :param error_class: the QMP error class; by default the one of the Python class. An unknown name from another server
        (a QEMU of another version, for example) is kept.
    """

    error_class: str = "GenericError"

    def __init__(self, desc: str, error_class: str | None = None) -> None:
        super().__init__(desc)
        self.desc = desc
        if error_class is not None:
            self.error_class = error_class

    _by_class: ClassVar[dict[str, type[CommandError]]] = {}

    @staticmethod
    def from_wire(error_class: str, desc: str) -> CommandError:
        """
        Make the exception for an error of another server.

        :param error_class: the QMP error class; an unknown one is kept as a name
        :param desc: the error's text
        """
        known = CommandError._by_class.get(error_class)
        return known(desc) if known is not None else CommandError(desc, error_class)

    def to_wire(self) -> dict[str, str]:
        """:return: the C{error} member of a QMP reply"""
        return {"class": self.error_class, "desc": self.desc}

    def __str__(self) -> str:
        return self.desc


class GenericError(CommandError):
    """Any failure without a class of its own."""

    error_class = "GenericError"


class InvalidArguments(GenericError):
    """An argument is missing, unexpected or wrong: the command has done nothing."""


class CommandTimedOut(GenericError):
    """The command's deadline passed before it completed."""


class CommandCancelled(GenericError):
    """The command was cancelled before it completed."""


class ShuttingDown(GenericError):
    """The monitor is stopping and takes no new requests."""


class ConnectionClosed(GenericError):
    """The connection to a remote monitor ended before it answered."""


class CommandNotFound(CommandError):
    """There is no such command, or not in this state of the session."""

    error_class = "CommandNotFound"


class DeviceNotActive(CommandError):
    """The device is there, but has not been activated."""

    error_class = "DeviceNotActive"


class DeviceNotFound(CommandError):
    """There is no such device."""

    error_class = "DeviceNotFound"


class KVMMissingCap(CommandError):
    """The kernel's KVM lacks a capability that the command needs."""

    error_class = "KVMMissingCap"


CommandError._by_class.update(
    {cls.error_class: cls for cls in (GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound, KVMMissingCap)}
)

"""
One monitor for any Twisted process, and a proxy in front of any QEMU.

Start with L{Monitor}: it holds commands and serves requests. Give it commands with a L{CommandProvider} whose methods are
marked with L{command}, or with L{Monitor.register_command}. Serve it to machines with a L{QMPFactory}, to people with an
L{HMPFactory}, at any Twisted endpoint; L{make_monitor_service} makes a service of it all. L{QMPClient} is the other end. Test
your commands with L{twisted_qmon.testing}.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_qmon.core.command import CommandInfo, CommandProvider, command
    from twisted_qmon.core.events import Event
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import ABSENT, Request
    from twisted_qmon.errors import (
        CommandCancelled,
        CommandError,
        CommandNotFound,
        CommandTimedOut,
        ConnectionClosed,
        DeviceNotActive,
        DeviceNotFound,
        EventError,
        GenericError,
        KVMMissingCap,
        MonitorError,
        RegistrationError,
        ShuttingDown,
    )
    from twisted_qmon.hmp.protocol import HMPFactory
    from twisted_qmon.info import Level
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
    from twisted_qmon.qapi.types.secret import Secret
    from twisted_qmon.qmp.client import QMPClient
    from twisted_qmon.qmp.protocol import QMPFactory
    from twisted_qmon.service import make_monitor_service

__version__ = "0.2.0"

__all__ = [
    "Monitor",
    "QMPFactory",
    "HMPFactory",
    "QMPClient",
    "make_monitor_service",
    "CommandProvider",
    "command",
    "CommandInfo",
    "Event",
    "Level",
    "Secret",
    "Request",
    "ABSENT",
    "Size",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Alternate",
    "Tagged",
    "Boxed",
    "MonitorError",
    "CommandError",
    "GenericError",
    "CommandNotFound",
    "DeviceNotActive",
    "DeviceNotFound",
    "KVMMissingCap",
    "CommandTimedOut",
    "CommandCancelled",
    "ShuttingDown",
    "ConnectionClosed",
    "RegistrationError",
    "EventError",
]

# By module, the names that are imported when they are first used: `qmon ADDRESS exec` needs no Twisted, and a program that only
# provides commands needs no protocol.
_MODULES = {
    "core.command": ("CommandInfo", "CommandProvider", "command"),
    "core.events": ("Event",),
    "core.monitor": ("Monitor",),
    "core.request": ("ABSENT", "Request"),
    "errors": (
        "CommandCancelled",
        "CommandError",
        "CommandNotFound",
        "CommandTimedOut",
        "ConnectionClosed",
        "DeviceNotActive",
        "DeviceNotFound",
        "EventError",
        "GenericError",
        "KVMMissingCap",
        "MonitorError",
        "RegistrationError",
        "ShuttingDown",
    ),
    "hmp.protocol": ("HMPFactory",),
    "info": ("Level",),
    "qapi.types.secret": ("Secret",),
    "qapi.types": (
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
    ),
    "qmp.client": ("QMPClient",),
    "qmp.protocol": ("QMPFactory",),
    "service": ("make_monitor_service",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

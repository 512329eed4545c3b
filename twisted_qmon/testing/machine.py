"""
The machine inside a L{FakeQEMU<twisted_qmon.testing.FakeQEMU>}: one without devices and disks, that runs or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from twisted_qmon.errors import CommandError, DeviceNotActive, DeviceNotFound, GenericError

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["Behaviour", "Host", "Machine"]

#: What a command does: given its arguments, which are valid, it returns the result or raises a L{CommandError}.
Behaviour: TypeAlias = "Callable[[Mapping[str, JSON]], JSON]"


class Host(Protocol):
    """What a machine needs of the fake that it is in."""

    def emit(self, name: str, data: Mapping[str, JSON] | None = None) -> None:
        """Send an event."""

    def end(self) -> None:
        """End, once what is being said has been said."""


class Machine:
    """
    A machine's state, and the commands that look at it and change it, with the events that QEMU sends.

    :param host: the fake
    :param name: what C{query-name} answers; empty: nothing
    :param paused: it does not run until C{cont}, as with QEMU's C{-S}
    :param lines: what lines of the human monitor print
    :param singlestep: this version's C{query-status} has this member
    :ivar status: what C{query-status} says it is
    :ivar lines: the same as the parameter
    """

    def __init__(
        self, host: Host, name: str, paused: bool, lines: Mapping[str, str], *, singlestep: bool = True
    ) -> None:
        self._host = host
        self._name = name
        self._singlestep = singlestep
        self.status = "prelaunch" if paused else "running"
        self.lines = dict(lines)
        self._words = _words(lines.get("help", "")) | {"info"}
        self._info_words = {word for line in lines.get("info", "").splitlines() for word in _name_of(line, "info ")}
        self.behaviours: Mapping[str, Behaviour] = {
            "query-status": self._query_status,
            "query-name": lambda _: {"name": self._name} if self._name else {},
            "stop": lambda _: self._stop(),
            "cont": lambda _: self._cont(),
            "system_reset": lambda _: self._reset(),
            "system_powerdown": lambda _: self._powerdown(),
            "quit": lambda _: self._quit("host-qmp-quit"),
            "human-monitor-command": self._line,
            **_WITHOUT_DEVICES,
        }

    @property
    def running(self) -> bool:
        """It runs."""
        return self.status == "running"

    def _query_status(self, _: Mapping[str, JSON]) -> JSON:
        more: dict[str, JSON] = {"singlestep": False} if self._singlestep else {}
        return {"status": self.status, **more, "running": self.running}

    def _stop(self) -> JSON:
        if self.running:
            self.status = "paused"
            self._host.emit("STOP")
        return {}

    def _cont(self) -> JSON:
        if not self.running:
            self.status = "running"
            self._host.emit("RESUME")
        return {}

    def _reset(self) -> JSON:
        self._host.emit("RESET", {"guest": False, "reason": "host-qmp-system-reset"})
        return {}

    def _powerdown(self) -> JSON:
        self._host.emit("POWERDOWN")
        return {}

    def _quit(self, reason: str) -> JSON:
        self._host.emit("SHUTDOWN", {"guest": False, "reason": reason})
        self._host.end()
        return {}

    # -- the human monitor

    def _line(self, arguments: Mapping[str, JSON]) -> JSON:
        line = str(arguments["command-line"]).strip()
        if line in self.lines:
            return self.lines[line]
        if line == "info status":
            paused = "" if self.running or self.status == "paused" else f" ({self.status})"
            return f"VM status: {'running' if self.running else 'paused'}{paused}\r\n"
        word, _, rest = line.partition(" ")
        action = _ACTIONS.get(word)
        if action is not None:
            action(self)
        elif word == "info" and rest and rest.split()[0] not in self._info_words:
            return f"unknown command: '{word} {rest.split()[0]}'\r\n"
        elif word and word not in self._words:
            return f"unknown command: '{word}'\r\n"
        return ""


_ACTIONS: Mapping[str, Callable[[Machine], object]] = {
    **dict.fromkeys(("stop", "s"), Machine._stop),
    **dict.fromkeys(("cont", "c"), Machine._cont),
    "system_reset": Machine._reset,
    "system_powerdown": Machine._powerdown,
    **dict.fromkeys(("quit", "q"), lambda machine: machine._quit("host-qmp-quit")),
}


def _words(help: str) -> set[str]:
    return {word for line in help.splitlines() for word in _name_of(line, "")}


def _name_of(line: str, before: str) -> list[str]:
    found = re.match(re.escape(before) + r"([\w|?-]+)", line)
    return found[1].split("|") if found else []


# -- what there is not


def _no_device(member: str) -> Behaviour:
    def fail(arguments: Mapping[str, JSON]) -> JSON:
        raise DeviceNotFound(f"Device '{arguments[member]}' not found")

    return fail


def _no_block_job(arguments: Mapping[str, JSON]) -> JSON:
    raise DeviceNotActive(f"Block job '{arguments['device']}' not found")


def _always(error: Callable[[], CommandError]) -> Behaviour:
    def fail(_: Mapping[str, JSON]) -> JSON:
        raise error()

    return fail


def _eject(arguments: Mapping[str, JSON]) -> JSON:
    device, id = arguments.get("device"), arguments.get("id")
    if (device is None) == (id is None):
        raise GenericError("Need exactly one of 'device' and 'id'")
    raise DeviceNotFound(f"Device '{id if device is None else device}' not found")


_no_balloon = _always(lambda: DeviceNotActive("No balloon device has been activated"))

_WITHOUT_DEVICES: Mapping[str, Behaviour] = {
    "set_link": _no_device("name"),
    "netdev_del": _no_device("id"),
    "device_del": _no_device("id"),
    "eject": _eject,
    **dict.fromkeys(("block-job-set-speed", "block-job-cancel", "block-job-pause", "block-job-resume"), _no_block_job),
    "balloon": _no_balloon,
    "query-balloon": _no_balloon,
    "migrate-pause": _always(
        lambda: GenericError("migrate-pause is currently only supported during postcopy-active state")
    ),
    "system_wakeup": _always(lambda: GenericError("Unable to wake up: guest is not in suspended state")),
}

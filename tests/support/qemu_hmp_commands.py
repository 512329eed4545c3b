"""
QEMU 7.2's human commands, declared by QEMU's own C{args_type}, with handlers that answer what a QEMU without any device answers.

What is tested with them is how lines are read and how errors and help are worded: the answers themselves are only there to
compare whole texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from zope.interface import implementer

from twisted_qmon.core.command import Command, CommandOptions
from twisted_qmon.errors import GenericError
from twisted_qmon.interfaces import ICommandProvider

Handler = Callable[..., Any]


def _nothing(**arguments: Any) -> None:
    """A command that prints nothing."""


def _fails(text: str) -> Handler:
    def handler(**arguments: Any) -> NoReturn:
        raise GenericError(text.format(**arguments))

    return handler


def _says(text: str) -> Handler:
    def handler(**arguments: Any) -> str:
        return text.format(**arguments)

    return handler


def _c_character(value: int) -> str:
    short = {10: "\\n", 13: "\\r", 39: "\\'", 92: "\\\\"}.get(value)
    if short is None:
        short = chr(value) if 32 <= value < 127 else f"\\x{value:02x}"
    return f"'{short}'"


def _print(count: int = 1, format: str = "x", size: int = 4, val: int = 0) -> str:
    unsigned = val % 2**64
    if format == "o":
        return f"0{unsigned:o}" if unsigned else "0"
    if format == "x":
        return f"{unsigned:#x}" if unsigned else "0"
    if format == "u":
        return str(unsigned)
    if format == "c":
        return _c_character(unsigned % 2**32)
    return str(val)


def _sendkey(keys: str, **arguments: Any) -> str | None:
    known = {"a", "ctrl", "alt", "ret", "f1"}
    unknown = [key for key in keys.split("-") if key not in known]
    return f"invalid parameter: {unknown[0]}" if unknown else None


def _device_add(device: dict[str, str]) -> NoReturn:
    # Its args_type does not tell which key a first word without `=` belongs to: QEMU's table of options does.
    driver = device.get("driver") or next((key for key, value in device.items() if value == "on"), None)
    if driver is None:
        raise GenericError("Parameter 'driver' is missing")
    if driver != "e1000":
        raise GenericError(f"'{driver}' is not a valid device model name")
    unknown = [key for key in device if key not in ("driver", driver)]
    raise GenericError(f"Property '{driver}.{unknown[0]}' not found" if unknown else "No 'PCI' bus found")


#: Name, args_type, params, help, handler, aliases; C{info x} is C{query-x}.
_COMMANDS: Sequence[tuple[str, str, str, str, Handler, tuple[str, ...]]] = (
    ("balloon", "value:M", "target", "request VM to change its memory allocation (in MB)",
     _fails("No balloon device has been activated"), ()),
    ("block_job_cancel", "force:-f,device:B", "[-f] device", "stop an active background block operation",
     _fails("Block job '{device}' not found"), ()),
    ("block_resize", "device:B,size:o", "device size", "resize a block image",
     _fails("Cannot find device='{device}' nor node-name=''"), ()),
    ("chardev-add", "args:s", "args", "add chardev", _nothing, ()),
    ("closefd", "fdname:s", "closefd name", "close a file descriptor previously passed via SCM rights",
     _fails("File descriptor named '{fdname}' not found"), ()),
    ("commit", "device:B", "device|all", "commit changes to the disk images (if -snapshot is used) or backing files",
     _says("Device '{device}' not found"), ()),
    ("cont", "", "", "resume emulation", _nothing, ("c",)),
    ("cpu", "index:i", "index", "set the default CPU", _says("invalid CPU index"), ()),
    ("device_add", "device:O", "driver[,prop=value][,...]", "add device, like -device on the command line",
     _device_add, ()),
    ("device_del", "id:s", "device", "remove device", _fails("Device '{id}' not found"), ()),
    ("drive_add", "node:-n,pci_addr:s,opts:s", "[-n] [[<domain>:]<bus>:]<slot>", "add drive to PCI storage controller",
     _nothing, ()),
    ("eject", "force:-f,device:B", "[-f] device", "eject a removable medium (use -f to force it)",
     _fails("Device '{device}' not found"), ()),
    ("getfd", "fdname:s", "getfd name", "receive a file descriptor via SCM rights and assign it a name",
     _fails("No file descriptor supplied via SCM_RIGHTS"), ()),
    ("i", "fmt:/,addr:i,index:i.", "/fmt addr", "I/O port read", _says("portl[0x{addr:04x}]"), ()),
    ("loadvm", "name:s", "tag", "restore a VM snapshot from its tag",
     _fails("no block device can store vmstate for snapshot"), ()),
    ("log", "items:s", "item1[,...]", "activate logging of the specified items", _nothing, ()),
    ("memsave", "val:l,size:i,filename:s", "addr size file", "save to disk virtual memory dump", _nothing, ()),
    ("migrate", "detach:-d,blk:-b,inc:-i,resume:-r,uri:s", "[-d] [-b] [-i] [-r] uri", "migrate to URI", _nothing, ()),
    ("migrate_set_capability", "capability:s,state:b", "capability state",
     "Enable/Disable the usage of a capability for migration", _fails("invalid parameter value: {capability}"), ()),
    ("migrate_set_parameter", "parameter:s,value:s", "parameter value", "Set the parameter for migration",
     _fails("invalid parameter value: {parameter}"), ()),
    ("object_add", "object:S", "[qom-type=]type,id=str[,prop=value][,...]", "create QOM object",
     _fails("Parameter 'qom-type' does not accept value '{object}'"), ()),
    ("print", "fmt:/,val:l", "/fmt expr", "print expression value (use $reg for CPU register access)", _print, ("p",)),
    ("qom-list", "path:s?", "path", "list QOM properties", _fails("Device '{path}' not found"), ()),
    ("query-block", "nodes:-n,verbose:-v,device:B?", "[-n] [-v] [device]",
     "show info of one block device or all block devices", _nothing, ()),
    ("query-history", "", "", "show the command line history", _nothing, ()),
    ("query-name", "", "", "show the current VM name", _nothing, ()),
    ("query-status", "", "", "show the current VM status (running|paused)", _says("VM status: paused (prelaunch)"), ()),
    ("query-version", "", "", "show the version of QEMU", _says("7.2.22Debian 1:7.2+dfsg-7+deb12u18+b3"), ()),
    ("quit", "", "", "quit the emulator", _nothing, ("q",)),
    ("savevm", "name:s?", "tag", "save a VM snapshot. If no tag is provided, a new snapshot is created",
     _fails("no block device can store vmstate for snapshot"), ()),
    ("screendump", "filename:F,format:-fs,device:s?,head:i?", "filename [-f format] [device [head]]",
     "save screen", _fails("There is no console to take a screendump from"), ()),
    ("sendkey", "keys:s,hold-time:i?", "keys [hold_ms]", "send keys to the VM", _sendkey, ()),
    ("set_link", "name:s,up:b", "name on|off", "change the link status of a network adapter",
     _fails("Device '{name}' not found"), ()),
    ("singlestep", "option:s?", "[on|off]", "run emulation in singlestep mode or switch to normal mode",
     _says("unexpected option {option}"), ()),
    ("sum", "start:i,size:i", "addr size", "compute the checksum of a memory region", _says("00000"), ()),
    ("watchdog_action", "action:s", "[reset|shutdown|poweroff|pause|debug|none]", "change watchdog action", _nothing, ()),
    ("x", "fmt:/,addr:l", "/fmt addr", "virtual memory dump starting at 'addr'", _says("No CPU available"), ()),
)  # fmt: skip


@implementer(ICommandProvider)
class QEMUCommands:
    """Register it with C{shadow=True}: some names are those of commands that every monitor has."""

    events: Sequence[Any] = ()

    def commands(self) -> Iterable[Command]:
        for name, args_type, params, help, handler, aliases in _COMMANDS:
            yield Command(handler, CommandOptions(name, args_type, params, help, aliases))

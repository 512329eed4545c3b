"""
QMP messages: the structural checks of a command message in QEMU's words, and the forms of what goes out.

The rules are those of QEMU's C{qapi/qmp-dispatch.c} as seen on the wire (QMP specification, sections 2.3 and 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, GenericError
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qmp.json.fast import CommandMessage, Malformed
from twisted_qmon.qmp.json.writer import NEWLINE, encode_line, encode_message, verbatim

if TYPE_CHECKING:
    from twisted_qmon.core.events import EventMessage
    from twisted_qmon.core.request import RequestId
    from twisted_qmon.info import JSON
    from twisted_qmon.qmp.json.fast import Decoded

__all__ = [
    "check_message",
    "encode_error",
    "encode_event",
    "encode_greeting",
    "encode_with_number",
    "encode_result",
    "id_of",
]


def id_of(message: Decoded) -> RequestId:
    """:return: the id that the reply to a message has"""
    if type(message) is CommandMessage:
        return message.id
    return message.get("id", ABSENT) if type(message) is dict else ABSENT


def check_message(message: Decoded, oob: bool) -> tuple[str, Mapping[str, JSON] | None, bool]:
    """
    Take a message apart.

    :param message: a decoded message
    :param oob: C{exec-oob} has been negotiated
    :return: the command's name, its arguments, and whether it is to be executed out of band
    :raise GenericError: in QEMU's words, when it is no proper command message. Of several faulty members the first one sent is
        named.
    """
    if type(message) is CommandMessage:
        return message.execute, message.arguments, False
    if type(message) is Malformed:
        raise GenericError(message.desc)
    if type(message) is not dict:
        raise GenericError("QMP input must be a JSON object")
    return _check_members(message, oob)


def _check_members(message: dict[str, Any], oob: bool) -> tuple[str, Mapping[str, JSON] | None, bool]:
    command = None
    for key, value in message.items():
        if key == "execute" or (key == "exec-oob" and oob):
            if type(value) is not str:
                raise GenericError(f"QMP input member '{key}' must be a string")
            if command is not None:
                raise GenericError(f"QMP input member '{key}' clashes with '{command}'")
            command = key
        elif key == "arguments":
            if type(value) is not dict:
                raise GenericError("QMP input member 'arguments' must be an object")
        elif key != "id":
            raise GenericError(f"QMP input member '{key}' is unexpected")
    if command is None:
        raise GenericError("QMP input lacks member 'execute'")
    return message[command], message.get("arguments"), command == "exec-oob"


def encode_result(result: JSON | JSONText, id: RequestId) -> bytes:
    """
    :param result: plain JSON data, or a L{JSONText}
    :return: a successful reply, without its line end
    :raise TypeError: when JSON has no form for the result
    """
    if type(result) is JSONText:
        result = verbatim(result.text)
    return encode_message({"return": result} if id is ABSENT else {"return": result, "id": id})


def encode_error(error: CommandError, id: RequestId) -> bytes:
    """:return: an error reply, without its line end"""
    wire = error.to_wire()
    return encode_message({"error": wire} if id is ABSENT else {"id": id, "error": wire})


def encode_event(message: EventMessage) -> bytes:
    """:return: the line of an event; encoded once, however many sessions it goes to"""
    line = message.encoded
    if line is None:
        line = message.encoded = encode_line(message)
    return line


def encode_with_number(message: EventMessage) -> bytes:
    """:return: the line of an event with its number, for a session that asked for that"""
    upstream = b"" if message.upstream is None else b',"upstream":%d' % message.upstream
    return b'%b,"number":%d%b}%b' % (encode_event(message)[: -1 - len(NEWLINE)], message.number, upstream, NEWLINE)


def encode_greeting(version: Mapping[str, JSON], capabilities: list[str]) -> bytes:
    """:return: the line that a server begins with"""
    return encode_line({"QMP": {"version": version, "capabilities": capabilities}})

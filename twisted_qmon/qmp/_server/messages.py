"""
QMP messages: the structural checks of a command message in QEMU's words, and the forms of what goes out.

The rules are those of QEMU's C{qapi/qmp-dispatch.c} as seen on the wire (QMP specification, sections 2.3 and 2.4).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, GenericError
from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qmp.json.writer import encode_line, verbatim

__all__ = ["check_message", "encode_error", "encode_event", "encode_greeting", "encode_result", "limit_key"]


def check_message(message: Any, oob: bool) -> tuple[str, dict[str, Any] | None, bool]:
    """
    Take a message apart.

    :param message: a decoded JSON value
    :param oob: C{exec-oob} has been negotiated
    :return: the command's name, its arguments, and whether it is to be executed out of band
    :raise GenericError: in QEMU's words, when it is no proper command message. Of several faulty members the first one sent is
        named.
    """
    if type(message) is not dict:
        raise GenericError("QMP input must be a JSON object")
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


def encode_result(result: Any, id: Any) -> bytes:
    """
    :param result: plain JSON data, or a L{JSONText}
    :return: the line of a successful reply
    :raise TypeError: when the result is nothing that JSON can say
    """
    if type(result) is JSONText:
        result = verbatim(result.text)
    return encode_line({"return": result} if id is ABSENT else {"return": result, "id": id})


def encode_error(error: CommandError, id: Any) -> bytes:
    """:return: the line of an error reply"""
    wire = error.to_wire()
    return encode_line({"error": wire} if id is ABSENT else {"id": id, "error": wire})


def encode_event(message: Any) -> bytes:
    """:return: the line of an event; encoded once, however many sessions it goes to"""
    line: bytes | None = message.encoded
    if line is None:
        line = message.encoded = encode_line(message)
    return line


def encode_greeting(version: Mapping[str, Any], capabilities: list[str]) -> bytes:
    """:return: the line that a server begins with"""
    return encode_line({"QMP": {"version": version, "capabilities": capabilities}})


def limit_key(message: Any, definition: Any) -> Hashable:
    """:return: what tells a rate-limited event from the others: of those with the same key only the latest need wait"""
    data = message.get("data", {})
    return (definition.name, *(repr(data.get(member)) for member in definition.key))

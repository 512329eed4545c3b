"""
Which arguments of QEMU's commands are secrets: they are neither logged nor audited nor shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_qmon.qapi.secret import HIDDEN

__all__ = ["hide_secrets"]

# By command, the members that are secrets. QEMU before 6.0 has the properties of object-add in a member of their own.
_SECRETS: dict[str, frozenset[str]] = {
    "block_passwd": frozenset({"password"}),
    "change": frozenset({"arg"}),
    "change-vnc-password": frozenset({"password"}),
    "guest-set-user-password": frozenset({"password"}),
    "object-add": frozenset({"data", "password"}),
    "sev-inject-launch-secret": frozenset({"secret", "packet-header"}),
    "set_password": frozenset({"password"}),
}


def hide_secrets(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    :param name: a QMP command of a QEMU
    :param arguments: its arguments, as they came
    :return: the same without secrets; the same mapping if it has none
    """
    if name == "qom-set":
        secret = arguments.get("property") in _SECRETS["object-add"]
        return {**arguments, "value": HIDDEN} if secret else arguments
    secrets = _SECRETS.get(name)
    if secrets is None:
        return arguments
    shown = {key: HIDDEN if key in secrets else value for key, value in arguments.items()}
    properties = shown.get("props")
    if name == "object-add" and isinstance(properties, Mapping):
        shown["props"] = hide_secrets(name, properties)
    return shown

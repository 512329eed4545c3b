"""
Which arguments of QEMU's commands are secrets: they are neither logged nor audited nor shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted_qmon.info import JSON
from twisted_qmon.qapi.types.secret import HIDDEN

__all__ = ["hide_secrets"]

# By command, the members that are secrets. QEMU before 6.0 has the properties of object-add in a member of their own.
_SECRETS: dict[str, frozenset[str]] = {
    "block_passwd": frozenset({"password"}),
    "change": frozenset({"arg"}),
    "change-vnc-password": frozenset({"password"}),
    "guest-set-user-password": frozenset({"password"}),
    # What is typed into the guest may be a password.
    "input-send-event": frozenset({"events"}),
    "ringbuf-write": frozenset({"data"}),
    "send-key": frozenset({"keys"}),
    "object-add": frozenset({"data", "password"}),
    "sev-inject-launch-secret": frozenset({"secret", "packet-header"}),
    "set_password": frozenset({"password"}),
}

# The cookie of a disk that is fetched by HTTP, at any depth of blockdev-add and the like.
_COOKIE = "cookie"

# What is nested deeper than QEMU's own types is not looked through.
_MAX_DEPTH = 32


def hide_secrets(name: str, arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """
    :param name: a QMP command of a QEMU
    :param arguments: its arguments, as they came
    :return: the same without secrets; what is nested very deep is left out
    """
    if name == "qom-set":
        secret = arguments.get("property") in _SECRETS["object-add"]
        return {**arguments, "value": HIDDEN} if secret else arguments
    if name.startswith("blockdev-"):
        return {key: _without_cookies(key, value, _MAX_DEPTH) for key, value in arguments.items()}
    secrets = _SECRETS.get(name)
    if secrets is None:
        return arguments
    shown = {key: HIDDEN if key in secrets else value for key, value in arguments.items()}
    properties = shown.get("props")
    if name == "object-add" and isinstance(properties, Mapping):
        shown["props"] = hide_secrets(name, properties)
    return shown


def _without_cookies(name: str, value: JSON, depth: int) -> JSON:
    if name == _COOKIE or depth == 0:
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _without_cookies(key, each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_cookies("", each, depth - 1) for each in value]
    return value

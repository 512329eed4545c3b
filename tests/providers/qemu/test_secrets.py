"""
The secrets among the arguments of QEMU's commands.
"""

from __future__ import annotations

from typing import Any

import pytest

from twisted_qmon.providers.qemu.secrets import hide_secrets


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        (
            "object-add",
            {"qom-type": "secret", "id": "s", "data": "x"},
            {"qom-type": "secret", "id": "s", "data": "***"},
        ),
        (
            "object-add",
            {"qom-type": "secret", "id": "s", "props": {"data": "x", "format": "raw"}},
            {"qom-type": "secret", "id": "s", "props": {"data": "***", "format": "raw"}},
        ),
        ("object-add", {"props": 1}, {"props": 1}),
        (
            "qom-set",
            {"path": "/o", "property": "data", "value": "x"},
            {"path": "/o", "property": "data", "value": "***"},
        ),
        ("qom-set", {"path": "/o", "property": "size", "value": 1}, {"path": "/o", "property": "size", "value": 1}),
        ("set_password", {"protocol": "vnc", "password": "x"}, {"protocol": "vnc", "password": "***"}),
        ("change-vnc-password", {"password": "x"}, {"password": "***"}),
        ("block_passwd", {"device": "d", "password": ["x"]}, {"device": "d", "password": "***"}),
        (
            "change",
            {"device": "vnc", "target": "password", "arg": "x"},
            {"device": "vnc", "target": "password", "arg": "***"},
        ),
        ("stop", {"password": "x"}, {"password": "x"}),
        ("send-key", {"keys": [{"type": "qcode", "data": "x"}]}, {"keys": "***"}),
        (
            "blockdev-add",
            {
                "driver": "qcow2",
                "file": {"driver": "https", "cookie": "x", "url": "u"},
                "backing": [{"cookie": "y"}, 1],
            },
            {
                "driver": "qcow2",
                "file": {"driver": "https", "cookie": "***", "url": "u"},
                "backing": [{"cookie": "***"}, 1],
            },
        ),
    ],
)
def test_secrets_are_hidden(name: str, arguments: dict[str, Any], shown: dict[str, Any]) -> None:
    """What is known to be a secret is replaced, whatever its type; all else stays."""
    before = repr(arguments)
    assert hide_secrets(name, arguments) == shown
    assert repr(arguments) == before


def test_what_is_nested_very_deep_is_left_out() -> None:
    """A disk in a disk, deeper than QEMU has them, uses up no stack, and shows nothing."""
    disk: dict[str, Any] = {"cookie": "marker"}
    for _ in range(1000):
        disk = {"file": disk}
    assert "marker" not in repr(hide_secrets("blockdev-add", disk))

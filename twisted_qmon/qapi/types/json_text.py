"""
Results that are JSON text already.
"""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakValueDictionary

from twisted_qmon.info import JSON

__all__ = ["JSONText", "shared_text"]


class JSONText:
    """
    A command's result that is already encoded: a reply passed on from elsewhere, or one that is the same for all clients.

    It is trusted: C{text} must be one JSON value in pure ASCII without line breaks.

    :ivar text: the JSON text
    """

    __slots__ = ("__weakref__", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text

    @classmethod
    def of(cls, value: JSON) -> JSONText:
        """:return: C{value}, plain JSON data, encoded"""
        return cls(json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii"))

    @property
    def value(self) -> Any:
        """The plain JSON data, decoded anew each time."""
        return json.loads(self.text)

    def __repr__(self) -> str:
        return f"<JSONText of {len(self.text)} bytes>"


_shared: WeakValueDictionary[bytes, JSONText] = WeakValueDictionary()


def shared_text(text: JSONText) -> JSONText:
    """:return: the same, as one object as long as it is used anywhere: for what many servers of one version say alike"""
    return _shared.setdefault(text.text, text)

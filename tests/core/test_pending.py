"""
Requests that have begun and are not done.
"""

from __future__ import annotations

from typing import Any

from twisted_qmon.core.pending import same_json


def test_sameJson() -> None:
    """Ids are the same only if their types are, however deep."""
    deep: Any = []
    other: Any = []
    for _ in range(5000):
        deep, other = [deep], [other]
    assert same_json(deep, other)
    assert same_json({"a": [1, None]}, {"a": [1, None]})
    for one, two in ((1, 1.0), (1, True), (0, False), ([1], [1, 1]), ({"a": 1}, {"b": 1}), (None, False), ("1", 1)):
        assert not same_json(one, two)

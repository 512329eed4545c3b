"""Which of several faults QEMU tells: what a running QEMU 7.2 named."""

from __future__ import annotations

import pytest

from twisted_qmon.qapi.hash_order import first_unexpected, qdict_bucket, qdict_order


@pytest.mark.parametrize(
    ("names", "unexpected", "named"),
    [
        (["b0", "g1", "d2"], ["b0", "g1", "d2"], "g1"),
        (["zz", "id", "yy", "xx"], ["zz", "yy", "xx"], "yy"),
        (["b0", "a1"], ["b0", "a1"], "a1"),
        (["name", "me", "e", "up"], ["me", "e"], "e"),
        (["a0", "e1", "c2"], ["a0", "e1", "c2"], "e1"),
        (["x"], ["x"], "x"),
    ],
)
def test_first_unexpected(names: list[str], unexpected: list[str], named: str) -> None:
    """The one that QEMU names does not depend on the order in which they were sent."""
    assert first_unexpected(names, unexpected) == named
    assert first_unexpected(names[::-1], unexpected[::-1]) == named


def test_many() -> None:
    """With any number of members, one of the unexpected is named."""
    for count in (8, 9, 20, 300, 2000):
        names = [f"n{n}" for n in range(count)]
        assert first_unexpected(names, names[count // 2 :]) in names[count // 2 :]


def test_order() -> None:
    """Members come in the order of their buckets, in one bucket the newest first."""
    assert qdict_order(["id", "return"]) == ["return", "id"]
    assert qdict_order(["error", "id"]) == ["id", "error"]
    assert qdict_order(["data", "event", "timestamp"]) == ["timestamp", "event", "data"]
    assert qdict_bucket("execute1e-400") == qdict_bucket("a-0.0rguments")
    assert qdict_order(["execute1e-400", "a-0.0rguments", "id"]) == ["a-0.0rguments", "execute1e-400", "id"]

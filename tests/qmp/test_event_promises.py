"""What a client that resumes saw, and what it was told that it lost, is all there was: random histories."""

from __future__ import annotations

import pytest

from tests.support.event_history import run


@pytest.mark.parametrize("seed", [20102, 20103])
def test_seededHistories(seed: int) -> None:
    """Histories from a seed, with restarts, slow readers and short histories: in order, none twice, none missing untold."""
    counts = run(8_000, seed=seed)
    assert counts["seen"] > counts["emitted"] / 2
    assert min(counts[each] for each in ("lost", "gaps", "restarts")) > 0

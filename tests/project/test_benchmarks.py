"""The benchmarks run, count right, and notice what is wrong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.load import Wrong, check, make_windows
from benchmarks.load.workloads import WORKLOADS
from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row

ROOT = Path(__file__).parent.parent.parent


def test_ratio() -> None:
    """The median of the pairs; the interval is that of the sign test: of 31 sorted pairs, from the 10th to the 22nd."""
    ratio = paired_ratio([float(n) for n in range(1, 32)], [1.0] * 31)
    assert (ratio.low, ratio.middle, ratio.high) == (10, 16, 22)


def test_few_pairs() -> None:
    """With few pairs the interval is all that was seen."""
    ratio = paired_ratio([4.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert (ratio.low, ratio.middle, ratio.high) == (2, 3, 4)
    assert str(paired_ratio([2.0], [4.0])) == "0.50 [0.50, 0.50]"


@pytest.mark.parametrize(
    ("goal", "smaller", "verdict"), [(0.5, False, ">= 0.5 yes"), (3, False, ">= 3 NO"), (3, True, "<= 3 yes")]
)
def test_verdict(goal: float, smaller: bool, verdict: str) -> None:
    """A goal is reached from above or from below."""
    row = Row("w", "c", rate=1.0, ratio=paired_ratio([2.0], [1.0]), goal=goal, smaller=smaller)
    assert row.verdict == verdict


def reply(id: Any, **more: Any) -> bytes:
    """One reply, as a line."""
    return json.dumps({"return": {}, "id": id, **more}).encode() + b"\r\n"


@pytest.mark.parametrize(
    "data",
    [
        reply(1),
        reply(1) + reply(3),
        reply(2) + reply(1),
        reply(1) + b'{"error": {"class": "GenericError", "desc": "x"}, "id": 2}\r\n',
    ],
    ids=["missing", "strange", "order", "error"],
)
def test_load_finds_fault(data: bytes) -> None:
    """A reply that is missing, somebody else's, out of order or an error does not pass."""
    check("qmp", reply(1) + reply(2), [1, 2], in_order=True)
    with pytest.raises(Wrong):
        check("qmp", data, [1, 2], in_order=True)


def test_requests_vary() -> None:
    """No window repeats the one before it: ids and commands differ."""
    (first, ids), (second, others), *_ = make_windows({"dialect": "qmp", "window": 64, "command": "query"})
    assert first != second
    assert not set(map(str, ids)) & set(map(str, others))
    assert len({json.loads(line)["execute"] for line in first.splitlines()}) == 3


def test_load_stands_alone() -> None:
    """The load imports nothing of what it measures, nor of what we measure with."""
    text = (ROOT / "benchmarks" / "load" / "load.py").read_text()
    assert "import twisted" not in text
    assert "from twisted" not in text
    assert "from benchmarks" not in text


def test_goals_have_a_contender() -> None:
    """Ours comes first in each workload, and is never compared with itself."""
    for workload in WORKLOADS:
        assert workload.contenders[0].goal is None
        assert workload.contenders[0].title.startswith("ours")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "cost").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_commands_import(path: Path) -> None:
    """What stands apart from the table is found, and finds what it measures."""
    module = importlib.import_module(f"benchmarks.cost.{path.stem}")
    assert module.__doc__
    assert hasattr(module, "MEASUREMENTS") or f"python -m benchmarks.cost.{path.stem}" in module.__doc__


@pytest.mark.live
@pytest.mark.slow
def test_command_runs() -> None:
    """C{python -m benchmarks} starts its contenders, and prints a line for each."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "window8",
            "memory",
            "--pairs",
            "1",
            "--seconds",
            "0.02",
            "--against",
            "echo",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    _head, _rule, *rows = done.stdout.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[1] for row in cells][:2] == ["ours", "bare echo"]
    assert all(row[2] for row in cells)
    assert any(row[0] == "an idle connection" for row in cells)

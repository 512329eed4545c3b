"""The benchmarks run, count right, and notice what is wrong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import chosen
from benchmarks.load.load import Wrong, check, make_windows
from benchmarks.load.workloads import WORKLOADS
from benchmarks.report.charts import chart
from benchmarks.report.publish import FIGURES, TITLES, files, publish
from benchmarks.report.results import Measured, Sitting, loads
from benchmarks.report.stats import Ratio, paired_ratio
from benchmarks.report.table import Row, goals
from benchmarks.report.why import WHY
from benchmarks.sections import sections

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


def test_sections() -> None:
    """Each measurement has one name, no section has the name of a measurement, and both can be chosen."""
    offered = sections()
    names = [name for section in offered for name in section.measurements]
    assert len(names) == len(set(names))
    assert {section.name for section in offered} <= TITLES.keys()
    assert [name for _, name, _ in chosen(["web", "window64"], offered)] == ["window64", "web-command", "web-events"]
    assert [name for _, name, _ in chosen([], offered)] == names
    with pytest.raises(ValueError, match="window65"):
        chosen(["window64", "window65"], offered)


def row(workload: str, contender: str, middle: float | None = None, **more: Any) -> Row:
    """A row."""
    ratio = None if middle is None else Ratio(middle, 0.9 * middle, 1.1 * middle)
    return Row(workload, contender, rate=1234.5, ratio=ratio, **more)


def sitting() -> Sitting:
    """A sitting of two sections."""
    rows = [
        Measured("server", "pingpong", row("ping & pong", "ours", cpu=0.00005, memory=48.123)),
        Measured("server", "pingpong", row("ping & pong", "bare", 0.9, goal=0.85)),
        Measured("server", "pingpong", row("ping & pong", "QEMU", 30.0)),
        Measured("start", "start", row("start-up", "trivial", 1.4, goal=1.3, smaller=True, unit="ms")),
    ]
    return Sitting({"python": "3.11", "processors": "2"}, {"pairs": 3, "seconds": 0.1}, rows=rows)


def test_json() -> None:
    """What is written can be read again, and says the same."""
    before = sitting()
    after = loads(before.dumps())
    assert files(after) == files(before)
    assert [each.row.reached for each in after.rows] == [None, True, None, False]
    with pytest.raises(ValueError, match="format"):
        loads('{"format": 0}')


def test_goals() -> None:
    """Each goal is a line: reached, or not, and then why, if that is known."""
    lines = list(goals((each.row for each in sitting().rows), {("start-up", "trivial"): "modules"}))
    assert lines[2:] == [
        "| ping & pong | bare | >= 0.85 | 0.90 [0.81, 0.99] | yes |  |",
        "| start-up | trivial | <= 1.3 | 1.40 [1.26, 1.54] | **NO** | modules |",
    ]


def test_reasons_are_of_goals() -> None:
    """A reason why a goal is missed is that of a goal of a workload, where workloads have goals."""
    titled = {(each.title, contender.title): contender for each in WORKLOADS for contender in each.contenders}
    for key in WHY.keys() & titled.keys():
        assert titled[key].goal is not None


def test_charts() -> None:
    """Each section with a ratio has a chart, which is XML, has a dot for each ratio, and loads nothing."""
    found = files(sitting())
    assert {name for name in found if name.endswith(".svg")} == {"server.svg", "start.svg"}
    tree = ElementTree.fromstring(found["server.svg"])
    dots = [each for each in tree.iter() if each.tag.endswith("circle")]
    assert len(dots) == 2
    # More is to the right.
    assert float(dots[0].attrib["cx"]) < float(dots[1].attrib["cx"])
    assert "href" not in found["server.svg"]
    assert chart("nothing", [row("w", "c")]) == ""


def test_published() -> None:
    """The tables and charts of the documentation are made of the figures beside them, and the page has each chart."""
    folder = ROOT / "docs" / "figures"
    found = files(loads((folder / FIGURES).read_text()))
    assert {path.name for path in folder.iterdir()} == found.keys()
    for name, text in found.items():
        assert (folder / name).read_text() == text, f"python -m benchmarks.report.publish {folder / FIGURES} {folder}"


def test_publish(tmp_path: Path) -> None:
    """The charts of a section that is not measured any more are taken away."""
    (tmp_path / "old.svg").write_text("")
    publish(sitting(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == files(sitting()).keys()


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
    table, goals = done.stdout.split("\n\n")
    assert goals.startswith("| goal ")
    _head, _rule, *rows = table.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[1] for row in cells][:2] == ["ours", "bare echo"]
    assert all(row[2] for row in cells)
    assert any(row[0] == "an idle connection" for row in cells)

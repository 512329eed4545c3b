"""
One sitting as JSON: where it was, and its rows. Who makes a table, a chart or a comparison reads this.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report.stats import Ratio
from benchmarks.report.table import Row

#: Of the file; another one when members change their meaning.
FORMAT = 1

_LIBRARIES = ("twisted", "msgspec", "uvloop", "qemu.qmp", "klein", "autobahn", "crossbar")


@dataclass(frozen=True)
class Measured:
    """
    A row, and where it belongs.

    :ivar section: the section's name
    :ivar name: the measurement's name, as on the command line
    :ivar row: what was measured
    """

    section: str
    name: str
    row: Row


@dataclass
class Sitting:
    """
    All that was measured in one go.

    :ivar machine: versions and processors
    :ivar settings: how much was measured
    :ivar began: when, as UTC in ISO 8601
    :ivar seconds: how long it took
    :ivar rows: what was measured
    """

    machine: dict[str, str]
    settings: dict[str, Any]
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    seconds: float = 0.0
    rows: list[Measured] = field(default_factory=list)

    def dumps(self) -> str:
        """:return: as JSON, a row on a line"""
        head = {
            "format": FORMAT, "began": self.began, "seconds": round(self.seconds), "machine": self.machine,
            "settings": self.settings,
        }  # fmt: skip
        rows = ",\n".join("  " + json.dumps(_as_json(each)) for each in self.rows)
        return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{rows}\n ]\n}}\n'


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _as_json(measured: Measured) -> dict[str, Any]:
    row = measured.row
    values = {name: value for name, value in asdict(row).items() if value is not None}
    if row.goal is not None:
        values["reached"] = row.reached
    for name in ("rate", "cpu", "memory"):
        if name in values:
            values[name] = _rounded(values[name])
    if row.ratio is not None:
        values["ratio"] = [_rounded(each) for each in (row.ratio.middle, row.ratio.low, row.ratio.high)]
    return {"section": measured.section, "name": measured.name, **values}


def loads(text: str) -> Sitting:
    """
    :return: what L{Sitting.dumps} wrote
    :raise ValueError: when it is something else
    """
    data = json.loads(text)
    if data.get("format") != FORMAT:
        raise ValueError(f"format {data.get('format')!r} is not {FORMAT}")
    rows = []
    for each in data["rows"]:
        section, name = each.pop("section"), each.pop("name")
        each.pop("reached", None)
        if "ratio" in each:
            each["ratio"] = Ratio(*each["ratio"])
        rows.append(Measured(section, name, Row(**each)))
    return Sitting(data["machine"], data["settings"], data["began"], data["seconds"], rows)


def machine() -> dict[str, str]:
    """:return: what the figures depend on, without the name of the machine"""
    found = {"python": platform.python_version(), "processors": str(os.cpu_count()), "system": platform.system()}
    # Of the last 15 minutes: what else the machine had to do.
    found["load"] = f"{os.getloadavg()[2]:.1f}"
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    cpus = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    if cpus:
        found["processor"] = cpus[0]
    if program := shutil.which("qemu-system-x86_64"):
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        found["qemu"] = said.split()[3] if len(said.split()) > 3 else said.strip()
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []

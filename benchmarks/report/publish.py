"""
What the documentation shows of a sitting: C{python -m benchmarks.report.publish FILE FOLDER} makes it anew from the JSON.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from benchmarks.report.charts import chart
from benchmarks.report.results import Sitting, loads
from benchmarks.report.table import goals, table
from benchmarks.report.why import WHY

#: The file with the figures.
FIGURES = "benchmarks.json"

#: What stands over each section's chart.
TITLES = {
    "server": "The QMP server", "events": "Events", "people": "The human monitor", "access": "Rules and audit",
    "client": "The client library", "growth": "What grows, and what takes memory", "start": "Start-up",
    "terminal": "qmon, the terminal client", "ssh": "SSH", "web": "HTTP", "qemu": "In front of a QEMU",
    "watchdog": "The watchdog's thread", "process": "A look into the process", "limits": "Clients and messages that do harm",
    "fleet": "The fleet",
}  # fmt: skip


def files(sitting: Sitting) -> dict[str, str]:
    """:return: each file's text, by its name"""
    rows = [each.row for each in sitting.rows]
    found = {
        FIGURES: sitting.dumps(),
        "table.md": table(rows),
        "goals.md": "\n".join(goals(rows, WHY)) + "\n",
        "machine.md": _machine(sitting) + "\n",
    }
    charts = []
    for section, measured in groupby(sitting.rows, key=lambda each: each.section):
        title = TITLES.get(section, section)
        if picture := chart(title, [each.row for each in measured]):
            found[f"{section}.svg"] = picture
            charts.append(f"## {title}\n\n![{title}: ratios with their intervals](figures/{section}.svg)\n")
    found["charts.md"] = "\n".join(charts)
    return found


def _machine(sitting: Sitting) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in sitting.machine.items() if name not in ("processors", "system", "load")
    )
    return (
        f"Measured on {sitting.began[:10]} in one go of {sitting.seconds / 60:.0f} minutes, {sitting.settings['pairs']} pairs "
        f"of {sitting.settings['seconds']:g} s each, on {sitting.machine['processors']} processors, whose load before was "
        f"{sitting.machine.get('load', 'not recorded')}: {versions}."
    )


def publish(sitting: Sitting, folder: Path) -> None:
    """Write the files, and take away the charts of sections that are not there any more."""
    folder.mkdir(parents=True, exist_ok=True)
    # As it can be made again from the file, in which figures are rounded.
    found = files(loads(sitting.dumps()))
    for path in folder.glob("*.svg"):
        if path.name not in found:
            path.unlink()
    for name, text in found.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    publish(loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))

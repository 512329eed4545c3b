"""
Side by side: C{python -m benchmarks} measures everything and prints one table, and one of the goals.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.report.publish import publish
from benchmarks.report.results import Measured, Sitting, machine
from benchmarks.report.table import Row, goals, header, line
from benchmarks.report.why import WHY
from benchmarks.sections import Measurement, Section, sections


def chosen(words: Sequence[str], offered: Iterable[Section]) -> list[tuple[Section, str, Measurement]]:
    """
    :param words: names of sections and measurements; none: all
    :return: what they name, in the order of the table
    :raise ValueError: when one names nothing
    """
    all_of_them = [(section, name, each) for section in offered for name, each in section.measurements.items()]
    unknown = set(words) - {name for section, name, _ in all_of_them} - {section.name for section, _, _ in all_of_them}
    if unknown:
        raise ValueError(f"no such section or measurement: {', '.join(sorted(unknown))}")
    return [
        (section, name, each) for section, name, each in all_of_them if not words or {section.name, name} & set(words)
    ]


def _list(offered: Iterable[Section]) -> None:
    for section in offered:
        print(f"{section.name:10}{section.title}\n{'':10}{', '.join(section.measurements)}")


def measure(sitting: Sitting, wanted: Iterable[tuple[Section, str, Measurement]], pairs: int, seconds: float) -> None:
    """Measure, print each row as soon as it is there, and keep it."""
    print(header(), flush=True)
    started = time.monotonic()
    before: Row | None = None
    for section, name, measurement in wanted:
        began = time.monotonic()
        for row in measurement(pairs, seconds):
            print(line(row, before), flush=True)
            before = row
            sitting.rows.append(Measured(section.name, name, row))
        # To standard error: the table is for a file, this for who waits.
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    sitting.seconds = time.monotonic() - started


def main() -> int:
    """:return: 0, also when a goal is missed: a table is no test"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", nargs="*", metavar="NAME", help="sections or measurements (--list has them); by default all"
    )
    parser.add_argument("--pairs", type=int, default=11, help="measurements of each contender (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement (default: %(default)s)")
    parser.add_argument("--against", default="", metavar="TEXT", help="only contenders with this in their name")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    parser.add_argument(
        "--publish", type=Path, metavar="FOLDER", help="write figures, tables and charts for the documentation"
    )
    options = parser.parse_args()
    offered = sections(options.against)
    if options.list:
        _list(offered)
        return 0
    if options.pairs < 1:
        parser.error("at least one pair")
    try:
        wanted = chosen(options.what, offered)
    except ValueError as error:
        parser.error(str(error))
    sitting = Sitting(machine(), {"pairs": options.pairs, "seconds": options.seconds})
    try:
        measure(sitting, wanted, options.pairs, options.seconds)
    finally:
        print()
        print("\n".join(goals((each.row for each in sitting.rows), WHY)))
        if options.json is not None:
            options.json.write_text(sitting.dumps())
        if options.publish is not None:
            publish(sitting, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())

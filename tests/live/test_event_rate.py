"""
The rate limit of events beside a real QEMU's.
"""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import pytest
from twisted.internet.task import Clock

from tests.live.plain_qemu import PlainQEMU
from twisted_qmon.core.events import Event, EventTable

#: When (seconds) which of two disks reads a sector that its copies disagree on; the sector's number is the index in this list.
#: Bursts, single ones within a period that was restarted, and quiet that is long enough for it to be forgotten.
READS = [(0.0, "q"), (0.1, "q"), (0.2, "r"), (0.3, "q"), (0.5, "r"), (1.5, "q"), (1.6, "r"), (3.6, "q"), (3.7, "q")]

#: A share of a second by which times may differ: QEMU's timer, two processes, one machine.
TOLERANCE = 0.15


def make_disks(qemu: PlainQEMU) -> None:
    """Two disks of three copies each, the third of which is wrong everywhere: each read reports it."""
    for name, byte in (("a", 0), ("b", 0), ("c", 255)):
        (qemu.folder / name).write_bytes(bytes([byte]) * (1 << 20))
    for disk in "qr":
        children = [
            {
                "driver": "raw",
                "node-name": disk + copy,
                "read-only": True,
                "file": {"driver": "file", "filename": str(qemu.folder / copy), "read-only": True},
            }
            for copy in "abc"
        ]
        arguments = {
            "driver": "quorum",
            "node-name": disk,
            "vote-threshold": 2,
            "children": children,
            "read-only": True,
        }
        assert qemu.execute("blockdev-add", arguments) == {"return": {}}


def seconds_of(message: dict[str, Any]) -> float:
    """A message's timestamp."""
    stamp = message["timestamp"]
    return float(stamp["seconds"] + stamp["microseconds"] / 1e6)


Report: TypeAlias = tuple[float, str, int, float]


def reports() -> tuple[list[Report], list[Report]]:
    """:return: what QEMU reports of the reads, and what an L{EventTable} makes of the same: when, of what, with which time"""
    emitted: list[tuple[float, str, int]] = []
    with PlainQEMU() as qemu:
        make_disks(qemu)
        start = time.time()
        for sector, (when, disk) in enumerate(READS):
            qemu.wait(start + when - time.time())
            emitted.append((time.time(), disk, sector))
            qemu.execute("human-monitor-command", {"command-line": f'qemu-io {disk} "read {sector * 512} 512"'})
        qemu.wait(1.5)
        theirs = [
            (arrival, message["data"]["node-name"], message["data"]["sector-num"], seconds_of(message))
            for arrival, message in qemu.events("QUORUM_REPORT_BAD")
        ]

    clock = Clock()
    clock.rightNow = start
    table = EventTable(lambda: clock)
    event = Event("QUORUM_REPORT_BAD", rate_limit=1.0, key=("node_name",), node_name=str, sector_num=int)
    table.define([event])
    ours: list[Report] = []
    table.subscribe(
        lambda message: ours.append(
            (clock.seconds(), message.data["node-name"], message.data["sector-num"], seconds_of(message))
        )
    )
    for when, disk, sector in emitted:
        run_to(clock, when)
        table.emit("QUORUM_REPORT_BAD", {"node_name": disk + "c", "sector_num": sector})
    run_to(clock, clock.seconds() + 1.5)
    return theirs, ours


def same(theirs: list[Report], ours: list[Report]) -> bool:
    """:return: whether they are the same reports, at the same times, with the same timestamps"""
    return len(theirs) == len(ours) and all(
        our[2] == their[2] and abs(our[0] - their[0]) < TOLERANCE and abs(our[3] - their[3]) < TOLERANCE
        for their, our in zip(theirs, ours, strict=True)
    )


def same_of_each_disk(theirs: list[Report], ours: list[Report]) -> bool:
    """:return: the same; the disks are independent of each other, and timers that end together may do so in either order"""
    return len(theirs) == len(ours) < len(READS) and all(
        same(of_key(theirs, key), of_key(ours, key)) for key in ("qc", "rc")
    )


@pytest.mark.live
def test_same_as_qemu() -> None:
    """
    The same reports at the same times: the same ones go out, at the same times, with the same timestamps.

    Both are measured in real time. Where the machine is busy it is done again, up to three times.
    """
    for _ in range(3):
        theirs, ours = reports()
        if same_of_each_disk(theirs, ours):
            break
    assert same_of_each_disk(theirs, ours), (theirs, ours)


def of_key(found: list[Report], key: str) -> list[Report]:
    """Those of one key."""
    return [report for report in found if report[1] == key]


def run_to(clock: Clock, when: float) -> None:
    """Let a clock run, in steps that are smaller than what is measured."""
    while clock.seconds() < when:
        clock.advance(min(0.01, when - clock.seconds()))

"""
Jobs beside a real QEMU's: the same is said and done to both, and must have the same answers, states and events.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.live.plain_qemu import PATIENCE, PlainQEMU
from tests.support.job_scenarios import RANDOM, SCENARIOS, Log, Ours, Scenario, comparable, random_scenario

MIB = 1 << 20
RECORD = Path(__file__).parent.parent / "data" / "qemu-jobs.json"

#: How long nothing must come before it is taken that no more comes, in seconds.
QUIET = 0.03


class Theirs:
    """A QEMU on which scenarios are played: its jobs create and copy images of 8 MiB."""

    def __init__(self, qemu: PlainQEMU) -> None:
        self._qemu = qemu
        for name in ("source", "target"):
            path = qemu.folder / name
            path.write_bytes(b"x" * (8 * MIB))
        self._nodes = 0

    def _node(self, file: str) -> str:
        self._nodes += 1
        arguments = {
            "driver": "raw",
            "node-name": f"n{self._nodes}",
            "file": {"driver": "file", "filename": str(self._qemu.folder / file), "locking": "off"},
        }
        assert self._qemu.execute("blockdev-add", arguments) == {"return": {}}
        return f"n{self._nodes}"

    def play(self, scenario: Scenario, expected: Log) -> Log:
        """
        :param expected: what is thought to come: how many changes of state each step is waited for
        :return: what came of each step
        """
        log: Log = []
        for step, (_, _, states) in zip(scenario.steps, expected, strict=True):
            before = len(self._qemu.messages)
            reply = self._step(*step.split())
            end = time.monotonic() + PATIENCE
            while len(self._states(before)) < len(states) and time.monotonic() < end:
                self._qemu.wait(0.01)
            self._qemu.wait(QUIET)
            log.append([step, reply, self._states(before)])
        return log

    def _states(self, before: int) -> list[str]:
        states = [
            f"{message['data']['id']} {message['data']['status']}"
            for _, message in self._qemu.messages[before:]
            if message.get("event") == "JOB_STATUS_CHANGE"
        ]
        # While it sets up a copy, QEMU itself pauses everything on that disk for a moment.
        if [state.split()[1] for state in states[:4]] == ["created", "running", "paused", "running"]:
            del states[2:4]
        return states

    def _step(self, word: str, *rest: str) -> Any:
        if word == "query":
            return [comparable(info) for info in self._qemu.execute("query-jobs")["return"]]
        reply = self._start(*rest) if word == "start" else self._qemu.execute(f"job-{word}", {"id": rest[0]})
        return reply["error"]["desc"] if "error" in reply else "ok"

    def _start(self, id: str, kind: str, *options: str) -> dict[str, Any]:
        if kind in ("create", "fail"):
            file = "/nowhere/x" if kind == "fail" else str(self._qemu.folder / "new")
            return self._qemu.execute(
                "blockdev-create", {"job-id": id, "options": {"driver": "file", "filename": file, "size": MIB}}
            )
        arguments: dict[str, Any] = {
            "job-id": id,
            "device": self._node("source"),
            "target": self._node("target"),
            "sync": "full",
            "auto-finalize": "manual-finalize" not in options,
            "auto-dismiss": "manual-dismiss" not in options,
        }
        if "long" in kind:
            arguments["speed"] = MIB // 16
        return self._qemu.execute("blockdev-mirror" if "mirror" in kind else "blockdev-backup", arguments)


@pytest.mark.live
@pytest.mark.parametrize(
    "scenarios",
    [SCENARIOS[::2], SCENARIOS[1::2], [random_scenario(seed) for seed in range(RANDOM)]],
    ids=["even", "odd", "random"],
)
def test_same_as_qemu(scenarios: list[Scenario]) -> None:
    """Every reply, every state in its order, and what query-jobs says, are the same."""
    with PlainQEMU() as qemu:
        theirs = Theirs(qemu)
        for scenario in scenarios:
            expected = Ours().play(scenario)
            assert theirs.play(scenario, expected) == expected, scenario.name
            for info in qemu.execute("query-jobs")["return"]:
                qemu.execute("job-dismiss", {"id": info["id"]})


@pytest.mark.live
@pytest.mark.skipif("QMON_RECORD" not in os.environ, reason="only to make the recording anew")
def test_record() -> None:
    """Write down what this QEMU does, for those who have none."""
    record: dict[str, Log] = {}
    with PlainQEMU() as qemu:
        theirs = Theirs(qemu)
        for scenario in [*SCENARIOS, *map(random_scenario, range(RANDOM))]:
            record[scenario.name] = theirs.play(scenario, Ours().play(scenario))
            for info in qemu.execute("query-jobs")["return"]:
                qemu.execute("job-dismiss", {"id": info["id"]})
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in log) + "\n]"
        for name, log in record.items()
    ]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    assert json.loads(RECORD.read_text()) == record

"""The soak notices what grows, and runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.live.needs import need
from tests.support.soak.figures import look, trend
from tests.support.soak.stage import TRACEBACK

ROOT = Path(__file__).parent.parent.parent


def noisy(slope: float, noise: float = 1.0) -> tuple[list[float], list[float]]:
    """A line with noise, of a hundred looks."""
    choose = Random(3)
    times = [n / 10 for n in range(1, 101)]
    return times, [100 + slope * time + choose.gauss(0, noise) for time in times]


def test_growth_is_noticed() -> None:
    """What grows by more than an allocator does is told from noise."""
    found = trend(*noisy(1.0), memory=True)
    assert not found.flat
    assert found.growth == pytest.approx(6.6, abs=1)
    assert found.error < 1.5


def test_noise_is_not_growth() -> None:
    """What only varies is flat, and so is what shrinks."""
    assert trend(*noisy(0), memory=True).flat
    assert trend(*noisy(-3), memory=True).flat


def test_the_beginning_does_not_count() -> None:
    """What is filled in the first third, such as the history of events, is no growth."""
    times, values = noisy(0)
    values = [value * min(1.0, 0.5 + time / 6) for time, value in zip(times, values, strict=True)]
    assert trend(times, values, memory=True).flat


def test_one_descriptor_is_one_too_many() -> None:
    """A descriptor that is added by and by is growth."""
    times = [float(n) for n in range(1, 61)]
    assert trend(times, [27.0] * 60).flat
    assert not trend(times, [27.0 + n // 20 for n in range(60)]).flat


def test_look() -> None:
    """A look at a process finds its memory, descriptors and threads."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        found = look(process.pid, 1.5, pending=0, clients=1)
        assert found.descriptors >= 3
        assert found.threads == 1
        assert 0 < found.memory < 100


def test_tracebacks() -> None:
    """Both forms of an exception in a log are noticed."""
    assert TRACEBACK.search("x\nTraceback (most recent call last):")
    assert TRACEBACK.search("[critical] Unhandled error in Deferred")
    assert not TRACEBACK.search("[twisted_qmon.audit#info] connected")


@pytest.mark.live
@pytest.mark.slow
def test_it_runs() -> None:
    """With everything switched on, all clients are answered, nothing is logged that must not be, and all of it ends."""
    need("qemu-system-x86_64")
    need("ssh")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.soak", "--minutes", "0.02", "--play", "2", "--seed", "7"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0 tracebacks in the logs, 0 wrong answers, seed 7", (
        done.stdout + done.stderr
    )

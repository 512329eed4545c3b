"""
From Tab to the completed word: at the prompt of C{qmon}, and of qmp-shell, which completes the names of commands too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.cost.terminal import QMON, drain, environment, serving
from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row

#: How often each completes.
TIMES = 30

#: The longest that it may take, in seconds: what a person takes for at once.
LONGEST = 0.1

# Words that only one command begins with, and what has to appear. People type C{info} for C{query-}.
_RESTS = (("stat", "us"), ("vers", "ion"), ("who", "ami"))


def _completions(programs: Sequence[tuple[Sequence[str], str, str]], folder: Path) -> list[list[float]]:
    """
    :param programs: each program's command, its prompt, and what it takes before the word
    :return: the seconds from Tab to the rest of the word, of each; in turn
    """
    import pexpect

    children = [
        pexpect.spawn(
            words[0], list(words[1:]), cwd=str(folder), env=environment(folder), dimensions=(40, 120), timeout=20
        )
        for words, _, _ in programs
    ]
    times: list[list[float]] = [[] for _ in children]
    try:
        for child, (_, prompt, _) in zip(children, programs, strict=True):
            child.delaybeforesend = None
            child.expect_exact(prompt)
        for number in range(TIMES + 1):
            word, rest = _RESTS[number % len(_RESTS)]
            for n in range(len(children)) if number % 2 else range(len(children) - 1, -1, -1):
                taken = _complete(children[n], programs[n][2] + word, rest)
                # The first one of each reads the commands.
                if number:
                    times[n].append(taken)
        return times
    finally:
        for child in children:
            child.close(force=True)


def _complete(child: object, word: str, rest: str) -> float:
    import pexpect

    assert isinstance(child, pexpect.spawn)
    child.send(word)
    # Until it is on the screen, and the prompt has nothing else to do.
    drain(child, 0.1)
    started = time.perf_counter()
    child.send("\t")
    child.expect_exact(rest)
    taken = time.perf_counter() - started
    child.send("\x15")
    drain(child, 0.05)
    return taken


def completion(pairs: int, seconds: float) -> Iterable[Row]:
    """Tab after the beginning of a command's name."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, serving(Path(name)) as address:
        shell = [sys.executable, "-c", "from qemu.qmp.qmp_shell import main; main()", address]
        ours, theirs = _completions(
            [([sys.executable, "-c", QMON, address], "(qmon)", "info "), (shell, "(QEMU)", "query-")], Path(name)
        )
    title = "a command's name completed"
    yield Row(title, "qmon, median", rate=median(ours) * 1000, unit="ms")
    yield Row(title, "qmp-shell", rate=median(theirs) * 1000, unit="ms", ratio=paired_ratio(ours, theirs))
    yield Row(
        title, f"{LONGEST * 1000:.0f} ms", rate=LONGEST * 1000, unit="ms",
        ratio=paired_ratio(ours, [LONGEST] * len(ours)), goal=1.0, smaller=True,
    )  # fmt: skip


MEASUREMENTS: dict[str, Callable[[int, float], Iterable[Row]]] = {"completion": completion}

"""
The audit's file: whole lines, whatever becomes of the disk, and nothing that holds anything up.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher

from twisted_qmon.core.audit.file import LOG_PERIOD, AuditFile


@pytest.fixture
def observer() -> Iterator[EventLoggingObserver]:
    """What is logged."""
    observer = EventLoggingObserver.createWithCleanup(_Cleanups(), globalLogPublisher)  # type: ignore[arg-type]
    yield observer
    globalLogPublisher.removeObserver(observer)


class _Cleanups:
    """Takes the place of a test case that has clean-ups: the fixture has its own."""

    def addCleanup(self, *arguments: object) -> None:
        """Nothing to do."""


def make(path: Path) -> tuple[AuditFile, Clock]:
    """A file, and the clock that says how often its failures are logged."""
    clock = Clock()
    return AuditFile(str(path), clock.seconds), clock


def test_lines_are_appended(tmp_path: Path) -> None:
    """Lines go behind what is there, in the order in which they were written; a new file belongs to its user alone."""
    path = tmp_path / "audit"
    file, _ = make(path)
    assert file.open()
    assert file.write(b"one\n")
    file.close()
    assert file.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.close()


def test_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """After a rotation, opening again goes on in a new file."""
    path = tmp_path / "audit"
    file, _ = make(path)
    file.write(b"one\n")
    path.rename(tmp_path / "audit.1")
    file.write(b"two\n")
    file.open()
    file.write(b"three\n")
    assert (tmp_path / "audit.1").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"
    file.close()


def test_torn_line_gets_its_end(tmp_path: Path) -> None:
    """What a killed process left unfinished stays alone on its line."""
    path = tmp_path / "audit"
    path.write_bytes(b'one\n{"torn')
    file, _ = make(path)
    file.write(b"two\n")
    file.write(b"three\n")
    assert path.read_bytes() == b'one\n{"torn\ntwo\nthree\n'
    file.close()


@pytest.mark.parametrize("kind", ["folder", "fifo", "missing"])
def test_only_a_regular_file_will_do(tmp_path: Path, kind: str, observer: EventLoggingObserver) -> None:
    """A path that is no regular file, or can't be made, fails at once and blocks nobody."""
    path = tmp_path / "audit"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = tmp_path / "none" / "audit"
    file, _ = make(path)
    assert not file.open()
    assert not file.write(b"one\n")
    assert file.lost == 1
    [event] = observer
    assert event["log_namespace"] == "twisted_qmon.audit"


def test_failures_are_counted_and_logged_once_a_minute(tmp_path: Path, observer: EventLoggingObserver) -> None:
    """A disk that stays full does not fill the log: one line at first, then one a minute with the count, then the recovery."""
    file, clock = make(tmp_path / "none" / "audit")
    for _ in range(5):
        assert not file.write(b"x\n")
    clock.advance(LOG_PERIOD)
    assert not file.write(b"x\n")
    assert [event["count"] for event in observer] == [1, 6]
    (tmp_path / "none").mkdir()
    assert file.write(b"y\n")
    assert [event["count"] for event in observer] == [1, 6, 6]
    assert file.lost == 6
    file.close()


def test_disk_that_fills_up_within_a_line(tmp_path: Path) -> None:
    """A line of which only the beginning fitted is one that was lost; the next one that fits is whole."""
    path = tmp_path / "audit"
    file, _ = make(path)
    assert file.write(b"one\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        assert not file.write(b"0123456789\n")
        assert not file.write(b"two\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert file.write(b"three\n")
    assert path.read_bytes() == b"one\n012345\nthree\n"
    assert file.lost == 2
    file.close()


def test_disk_that_is_full_between_two_lines(tmp_path: Path) -> None:
    """Also a line of which nothing fitted is lost, or only the end of the one before it; what comes then is whole."""
    path = tmp_path / "audit"
    file, _ = make(path)
    assert file.write(b"one\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
        assert not file.write(b"two\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard))
        assert not file.write(b"three\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, hard))
        # Only the end of the torn line fits.
        assert not file.write(b"four\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert file.write(b"five\n")
    assert path.read_bytes() == b"one\nt\nfive\n"
    assert file.lost == 3
    file.close()

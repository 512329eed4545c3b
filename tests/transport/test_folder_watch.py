"""What is noticed of the sockets in a folder. The folder and inotify are real; time is not."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import inotify
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher

from twisted_qmon._transport.folder_watch import CHECK, POLL, FolderWatch


def make_socket(path: Path) -> None:
    """Make a socket's file, which is not served."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def _refused(reactor: object) -> None:
    raise OSError("Too many open files")


class Watched:
    """
    A folder that is watched.

    :ivar seen: the names of the sockets, each time that they were told
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.reactor: Any = MemoryReactorClock()
        self.seen: list[list[str]] = []
        self.ids: Any = {}
        self.watch = FolderWatch(self.reactor, str(folder), self._changed)

    def _changed(self, sockets: Any) -> None:
        self.ids = sockets
        self.seen.append(sorted(sockets))

    def turn(self, seconds: float = 1.0) -> None:
        """Let inotify be read, and time pass."""
        for reader in list(self.reactor.getReaders()):
            reader.doRead()
        self.reactor.advance(seconds)

    @property
    def now(self) -> list[str]:
        """What was told last."""
        return self.seen[-1]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A folder that is watched, with one socket in it."""
    found = Watched(tmp_path / "folder")
    make_socket(found.folder / "a.sock")
    found.watch.start()
    yield found
    found.watch.stop()
    assert found.reactor.getDelayedCalls() == []
    found.turn()
    assert found.reactor.getReaders() == []


def test_come_and_go(watched: Watched) -> None:
    """Sockets that appear, are renamed and removed are noticed; files, folders, links and what is in folders are not."""
    assert watched.now == ["a.sock"]
    make_socket(watched.folder / "b.sock")
    watched.turn()
    assert watched.now == ["a.sock", "b.sock"]
    (watched.folder / "file").write_text("")
    (watched.folder / "link").symlink_to("a.sock")
    (watched.folder / "inner").mkdir()
    make_socket(watched.folder / "inner" / "c.sock")
    (watched.folder / "b.sock").rename(watched.folder / "d.sock")
    watched.turn()
    assert watched.now == ["a.sock", "d.sock"]
    (watched.folder / "a.sock").unlink()
    watched.turn()
    assert watched.now == ["d.sock"]


def test_replaced(watched: Watched) -> None:
    """A socket that takes another's place is another."""
    before = watched.ids["a.sock"]
    make_socket(watched.folder / "new")
    (watched.folder / "new").rename(watched.folder / "a.sock")
    watched.turn()
    assert watched.ids["a.sock"] != before


def test_flood(watched: Watched) -> None:
    """However much happens at a time, the folder is read once for it, and not again at once."""
    looks = len(watched.seen)
    for number in range(500):
        (watched.folder / f"{number}").write_text("")
    watched.turn(0)
    make_socket(watched.folder / "b.sock")
    for _ in range(100):
        watched.turn(0)
    assert len(watched.seen) <= looks + 1
    watched.turn()
    assert watched.now == ["a.sock", "b.sock"]


def test_overflow(watched: Watched) -> None:
    """When more happens than inotify keeps, what happened last is seen all the same."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    path = watched.folder / "file"
    for _ in range(most // 2 + 2):
        path.touch()
        path.unlink()
    make_socket(watched.folder / "late.sock")
    for _ in range(most):
        if watched.now == ["a.sock", "late.sock"]:
            break
        watched.turn(0.1)
    assert watched.now == ["a.sock", "late.sock"]


def test_removed_and_back(watched: Watched) -> None:
    """A folder that is removed has no sockets. When it is there again it is watched again."""
    shutil.rmtree(watched.folder)
    watched.turn()
    assert watched.now == []
    watched.turn(POLL)
    watched.folder.mkdir()
    watched.turn(POLL)
    make_socket(watched.folder / "b.sock")
    watched.turn()
    assert watched.now == ["b.sock"]


def test_moved_away(watched: Watched) -> None:
    """A folder that takes the other's place is watched instead."""
    other = watched.folder.with_name("other")
    other.mkdir()
    make_socket(other / "b.sock")
    watched.folder.rename(other.with_name("was"))
    other.rename(watched.folder)
    watched.turn(CHECK)
    assert watched.now == ["b.sock"]
    make_socket(watched.folder / "c.sock")
    watched.turn()
    assert watched.now == ["b.sock", "c.sock"]


def test_looks_again(watched: Watched) -> None:
    """It looks when it is asked to, and never after it was stopped."""
    looks = len(watched.seen)
    watched.watch.look()
    watched.turn()
    assert len(watched.seen) == looks + 1
    watched.watch.stop()
    watched.watch.look()
    watched.turn()
    assert len(watched.seen) == looks + 1


def test_told(tmp_path: Path) -> None:
    """One line is logged when a folder goes, and one when it is back."""
    observer = EventLoggingObserver()
    globalLogPublisher.addObserver(observer)
    watched = Watched(tmp_path / "folder")
    watched.watch.start()
    os.rmdir(watched.folder)
    for _ in range(5):
        watched.turn(POLL)
    watched.folder.mkdir()
    for _ in range(5):
        watched.turn(POLL)
    watched.watch.stop()
    globalLogPublisher.removeObserver(observer)
    texts = [formatEvent(event) for event in observer]
    assert [text.removeprefix(str(watched.folder)) for text in texts] == [": No such file or directory", " is back"]


def test_without_inotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no inotify, the folder is looked into every second, and one line says so."""
    monkeypatch.setattr(inotify, "INotify", _refused)
    observer = EventLoggingObserver()
    globalLogPublisher.addObserver(observer)
    watched = Watched(tmp_path / "folder")
    watched.watch.start()
    make_socket(watched.folder / "a.sock")
    watched.turn(POLL)
    watched.turn(POLL)
    watched.watch.stop()
    globalLogPublisher.removeObserver(observer)
    assert watched.now == ["a.sock"]
    assert ["it is looked at every 1 s" in formatEvent(event) for event in observer] == [True]

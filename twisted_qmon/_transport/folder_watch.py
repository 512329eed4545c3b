"""
The unix sockets in a folder: which there are, told again whenever that may have changed.

What inotify says is only taken as a sign that something has changed: the folder is then read as a whole. So it does no harm if
inotify's queue overflows. It has told something before, and the folder is read after the last that it tells.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from twisted.logger import Logger
from twisted.python.filepath import FilePath

from twisted_qmon._log_publisher import publish

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["CHECK", "POLL", "FileId", "FolderWatch", "Sockets"]

#: Seconds between two looks at whether the folder is still the one that is watched: something may have been mounted there.
CHECK = 5.0

#: Seconds between two looks into a folder that can't be watched, or is not there.
POLL = 1.0

#: Seconds between two looks into a folder in which much happens, at least; and how many times as long as one has taken.
_GAP = 0.02
_GAP_FACTOR = 10

#: What a file is known by, whatever its name: device and inode.
FileId: TypeAlias = "tuple[int, int]"

#: The names of the sockets, and what they are.
Sockets: TypeAlias = "Mapping[str, FileId]"


class _Notifier(Protocol):
    """What is used of Twisted's C{INotify}."""

    def startReading(self) -> None: ...
    def loseConnection(self) -> None: ...


class FolderWatch:
    """
    Watches a folder. Neither the folders in it nor symbolic links are looked into.

    :param reactor: the reactor
    :param folder: its path. It may be removed, and come back.
    :param changed: called with the sockets that are there, each time that they may have changed
    """

    _log = Logger(observer=publish)

    def __init__(self, reactor: IReactorTime, folder: str, changed: Callable[[Sockets], object]) -> None:
        self._reactor = reactor
        self._folder = folder
        self._changed = changed
        self._notifier: _Notifier | None = None
        self._watched: FileId | None = None
        self._missing = False
        self._told = False
        self._running = False
        self._next_scan: IDelayedCall | None = None
        self._next_check: IDelayedCall | None = None
        self._not_before = 0.0

    def start(self) -> None:
        """Look for the first time, and whenever something may have changed from now on."""
        self._running = True
        self._check()

    def stop(self) -> None:
        """Look no more."""
        self._running = False
        self._forget()
        for timer in (self._next_scan, self._next_check):
            if timer is not None and timer.active():
                timer.cancel()

    def look(self) -> None:
        """Look soon, whether anything has changed or not."""
        self._noticed(None, None, 0)

    # -- the watch

    def _check(self) -> None:
        """Watch the folder that is there now, if that is another than before, and look into it."""
        found = _file_id(self._folder)
        if found != self._watched or found is None or self._notifier is None:
            self._forget()
            if found is not None:
                self._notifier = self._watch()
            self._watched = found
            self._scan()
        self._next_check = self._reactor.callLater(POLL if self._notifier is None else CHECK, self._check)

    def _watch(self) -> _Notifier | None:
        try:
            from twisted.internet import inotify

            notifier = inotify.INotify(self._reactor)
        except (ImportError, OSError) as e:
            self._tell_once(f"it is looked at every {POLL:g} s: {e}")
            return None
        try:
            # Not IN_DELETE_SELF: Twisted then removes a watch that the kernel has removed. IN_IGNORED comes in any case.
            mask = inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_FROM | inotify.IN_MOVED_TO
            notifier.watch(FilePath(self._folder), mask | inotify.IN_MOVE_SELF, callbacks=[self._noticed])
            notifier.startReading()
        except (OSError, inotify.INotifyError) as e:
            notifier.loseConnection()
            self._tell_once(f"it is looked at every {POLL:g} s: {e}")
            return None
        watching: _Notifier = notifier
        return watching

    def _tell_once(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._log.warn("{folder}: {what}", folder=self._folder, what=what)

    def _forget(self) -> None:
        self._watched = None
        if self._notifier is not None:
            self._notifier.loseConnection()
            self._notifier = None

    def _noticed(self, ignored: object, path: object, mask: int) -> None:
        if self._running and (self._next_scan is None or not self._next_scan.active()):
            delay = max(0.0, self._not_before - self._reactor.seconds())
            self._next_scan = self._reactor.callLater(delay, self._scan_watched)

    # -- the look into it

    def _scan_watched(self) -> None:
        if _file_id(self._folder) != self._watched:
            # Removed, moved or mounted over.
            if self._next_check is not None and self._next_check.active():
                self._next_check.cancel()
            self._check()
        else:
            self._scan()

    def _scan(self) -> None:
        began = time.perf_counter()
        try:
            found = _sockets(self._folder)
        except OSError as e:
            if not self._missing:
                self._missing = True
                self._log.warn("{folder}: {reason}", folder=self._folder, reason=e.strerror)
            found = {}
        else:
            if self._missing:
                self._missing = False
                self._log.info("{folder} is back", folder=self._folder)
        took = time.perf_counter() - began
        self._not_before = self._reactor.seconds() + max(_GAP, _GAP_FACTOR * took)
        self._changed(found)


def _file_id(path: str) -> FileId | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sockets(folder: str) -> dict[str, FileId]:
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISSOCK(status.st_mode):
                found[entry.name] = (status.st_dev, status.st_ino)
    return found

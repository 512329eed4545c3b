"""
Listening at a unix socket: a path that no process serves any more is taken over, one that is served is left alone, and the end
removes what this process has made and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from twisted.internet import unix
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.python.failure import Failure

__all__ = ["LOCK_TIMEOUT", "FolderLock", "Owner", "UnixPort", "UnixReactor", "claim_path", "locked_path", "owner_of"]

#: Seconds that a connection to a path may take that another process may be serving. One that is too busy for it is alive.
PROBE_TIMEOUT = 1.0

#: Seconds to wait for another process that is about to listen at the same path.
LOCK_TIMEOUT = 10.0

#: The mode of the lock's file.
_LOCK_MODE = 0o600

#: The ids of a user and a group; -1: unchanged.
Owner = tuple[int, int]


def owner_of(uid: int | None, gid: int | None) -> Owner | None:
    """
    :param uid: the user that a process changes to; C{None}: it does not
    :param gid: the group; C{None}: the user's own, as C{twistd} has it
    """
    if uid is None:
        return None if gid is None else (-1, gid)
    return (uid, pwd.getpwuid(uid).pw_gid if gid is None else gid)


def _cannot_listen(path: str, number: int, words: str) -> CannotListenError:
    return CannotListenError(None, path, OSError(number, words))


@contextmanager
def locked_path(path: str, owner: Owner | None = None) -> Iterator[None]:
    """
    Keep other processes from claiming a path. Whether a path is served is found out by connecting; the lock is held only until
    that is done, and the process listens. Its file, C{PATH.lock}, stays.

    :param owner: who gets the file
    :raise CannotListenError: when the lock can't be had
    """
    name = f"{path}.lock"
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _LOCK_MODE)
    except OSError as e:
        number = e.errno or 0
        words = os.strerror(number)
        if number == errno.ELOOP:
            words = f"{name} is a symbolic link"
        elif number != errno.ENOENT:
            words = f"{name}: {words}"
        raise _cannot_listen(path, number, words) from e
    try:
        if owner is not None:
            os.fchown(lock, *owner)
        _wait_for(lock, path, name)
        yield
    finally:
        # Which releases it.
        os.close(lock)


# The folders that this process has locked as a whole.
_locked_folders: set[str] = set()


class FolderLock:
    """
    Keeps other processes that have such a lock from listening in a folder, as long as it is held: the sockets in it need none of
    their own.

    :param folder: the folder's path. The lock's file is C{.lock} in it, and stays.
    :raise CannotListenError: when the lock can't be had
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.abspath(folder)
        path = os.path.join(self._folder, ".lock")
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _LOCK_MODE)
        except OSError as e:
            raise _cannot_listen(folder, e.errno or 0, f"{path}: {e.strerror}") from e
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._lock)
            raise _cannot_listen(folder, e.errno or 0, f"another process holds {path}") from e
        _locked_folders.add(self._folder)

    def release(self) -> None:
        """Hold it no more."""
        _locked_folders.discard(self._folder)
        os.close(self._lock)


def _wait_for(lock: int, path: str, name: str) -> None:
    end = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as e:
            if time.monotonic() > end:
                raise _cannot_listen(path, errno.EAGAIN, f"another process holds {name}") from e
            time.sleep(0.01)


def claim_path(path: str) -> None:
    """
    Make way for a unix socket: one that no process serves is removed.

    :param path: the path that is to be listened at
    :raise CannotListenError: when a process serves it, or it is no socket
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise _cannot_listen(path, errno.EEXIST, f"{path} is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            # Removed by the process that served it.
            return
        except OSError:
            # Too busy to take a connection, or not ours to connect to: not ours to remove.
            pass
    raise _cannot_listen(path, errno.EADDRINUSE, "another process serves this socket")


class UnixPort(unix.Port):
    """
    A listening unix socket.

    :ivar path: where it is
    :ivar owner: who gets the socket: a process that starts as root, and goes on as another user, would lock that user out
    """

    path = ""
    owner: Owner | None = None
    _identity: tuple[int, int] | None = None
    _log = Logger(observer=publish)

    def startListening(self) -> None:
        if self.path.startswith("\0"):
            # Linux's abstract name space: no file.
            super().startListening()  # type: ignore[no-untyped-call]
            return
        # The process may change its folder before it ends.
        self.path = os.path.abspath(self.path)
        if self.wantPID or os.path.dirname(self.path) in _locked_folders:
            # Twisted's own lock has the same name.
            claim_path(self.path)
            self._listen()
        else:
            with locked_path(self.path, self.owner):
                claim_path(self.path)
                self._listen()

    def _listen(self) -> None:
        super().startListening()  # type: ignore[no-untyped-call]
        self._identity = _identity(self.path)
        if self.owner is not None:
            os.chown(self.path, *self.owner, follow_symlinks=False)

    def connectionLost(self, reason: Failure) -> None:
        self._remove()
        if self.lockFile is not None:
            self.lockFile.unlock()
        # Not unix.Port's, which removes whatever is at the path, and fails when there is nothing.
        super(unix.Port, self).connectionLost(reason)  # type: ignore[no-untyped-call]

    def _remove(self) -> None:
        """Remove the socket, unless it is gone, or another process listens at one of its own by now."""
        if self._identity is None or _identity(self.path) != self._identity:
            return
        try:
            os.unlink(self.path)
        except OSError as e:
            self._log.warn("can't remove {path}: {reason}", path=self.path, reason=e.strerror)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class UnixReactor:
    """
    What a C{unix:} endpoint uses of a reactor; its ports are L{UnixPort}s.

    :param reactor: the reactor
    :param owner: who gets the sockets
    """

    def __init__(self, reactor: ReactorBase, owner: Owner | None) -> None:
        self._reactor = reactor
        self._owner = owner

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> UnixPort:
        """See C{twisted.internet.interfaces.IReactorUNIX.listenUNIX}."""
        port = UnixPort(os.fsencode(address), factory, backlog, mode, self._reactor, wantPID)
        port.path = address
        port.owner = self._owner
        port.startListening()
        return port

"""
Unix sockets: who may listen at a path, what the end removes, and the lock in between.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
import time
from typing import Any, cast
from unittest import mock

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon._transport.unix_port import UnixReactor, locked_path, owner_of


def mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


class UnixPortTests(SynchronousTestCase):
    """Listening sockets in a folder of their own; nothing is accepted."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(folder.name, "sock")
        self.reactor: Any = MemoryReactorClock()

    def listen(self, **options: Any) -> Any:
        owner = options.pop("owner", None)
        reactor = UnixReactor(self.reactor, owner)
        return reactor.listenUNIX(self.path, ServerFactory(), mode=0o600, **options)

    def stop(self, port: Any) -> None:
        stopped = port.stopListening()
        self.reactor.advance(0)
        self.successResultOf(stopped)

    def refused(self, **options: Any) -> str:
        """:return: the words with which listening fails"""
        with self.assertRaises(CannotListenError) as caught:
            self.listen(**options)
        error = caught.exception.socketError
        assert isinstance(error, OSError)
        return str(error.strerror)

    def test_lifetime(self) -> None:
        """The socket has its mode, is gone at the end, and its lock's file stays, for its owner only."""
        port = self.listen()
        self.assertEqual((mode(self.path), mode(self.path + ".lock")), (0o600, 0o600))
        self.stop(port)
        self.assertEqual(os.listdir(self.folder), ["sock.lock"])

    def test_stale(self) -> None:
        """A socket that no process serves is taken over."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.stop(self.listen())

    def test_live(self) -> None:
        """One that a process serves is not, and the lock is free again."""
        port = self.listen()
        self.assertEqual(self.refused(), "another process serves this socket")
        self.stop(port)
        self.stop(self.listen())

    def test_busy(self) -> None:
        """One that is too busy to take a connection is taken for a live one; so is one that this process may not connect to."""
        with socket.socket(socket.AF_UNIX) as full:
            full.bind(self.path)
            for error in (TimeoutError(), PermissionError(13, "Permission denied")):
                with mock.patch("socket.socket.connect", side_effect=error):
                    self.assertEqual(self.refused(), "another process serves this socket")
        self.assertTrue(os.path.lexists(self.path))

    def test_goneMeanwhile(self) -> None:
        """One that its process removes at this moment is no obstacle."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)

            def remove(*_: object) -> None:
                os.unlink(self.path)
                raise FileNotFoundError

            with mock.patch("socket.socket.connect", side_effect=remove):
                self.stop(self.listen())

    def test_noSocket(self) -> None:
        """What is no socket is named, and stays."""
        os.mkdir(self.path)
        self.assertEqual(self.refused(), f"{self.path} is not a socket")
        self.assertTrue(os.path.isdir(self.path))

    def test_noFolder(self) -> None:
        """A folder that is not there is not told as the lock's."""
        self.path = os.path.join(self.folder, "nowhere", "sock")
        self.assertEqual(self.refused(), "No such file or directory")

    def test_lockIsALink(self) -> None:
        """The lock's file is not opened through a symbolic link."""
        os.symlink("/etc/passwd", self.path + ".lock")
        self.assertEqual(self.refused(), f"{self.path}.lock is a symbolic link")

    def test_lockIsAFolder(self) -> None:
        """What else keeps it from being opened is told with its name."""
        os.mkdir(self.path + ".lock")
        self.assertEqual(self.refused(), f"{self.path}.lock: Is a directory")

    def test_lockIsHeld(self) -> None:
        """While another process is about to listen this one waits, but not for ever."""
        times = iter([0.0, 1.0, 100.0])
        slept: list[float] = []
        self.patch(time, "monotonic", lambda: next(times))
        self.patch(time, "sleep", slept.append)
        with open(self.path + ".lock", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.assertEqual(self.refused(), f"another process holds {self.path}.lock")
        self.assertEqual(len(slept), 1)

    def test_lockIsFreedWhenItFails(self) -> None:
        """Whatever happens inside, the lock is free after it."""
        for _ in range(2):
            with self.assertRaises(ValueError), locked_path(self.path):
                raise ValueError
        self.stop(self.listen())

    def test_successor(self) -> None:
        """The end does not remove the socket of another process that listens there by now."""
        port = self.listen()
        os.unlink(self.path)
        successor = self.listen()
        self.stop(port)
        self.assertTrue(stat.S_ISSOCK(os.lstat(self.path).st_mode))
        self.stop(successor)
        self.assertFalse(os.path.lexists(self.path))

    def test_gone(self) -> None:
        """Nor does it fail when there is nothing to remove, or when it may not."""
        port = self.listen()
        os.unlink(self.path)
        self.stop(port)
        port = self.listen()
        observer = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        self.patch(os, "unlink", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
        self.stop(port)
        [event] = [event for event in observer if event.get("log_namespace", "").endswith("UnixPort")]
        self.assertEqual((event["path"], event["reason"]), (self.path, "Permission denied"))

    def test_changedFolder(self) -> None:
        """A relative path is where it was when the process began to listen."""
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        self.path = "sock"
        port = self.listen()
        os.chdir("/")
        self.stop(port)
        self.assertEqual(os.listdir(self.folder), ["sock.lock"])

    def test_owner(self) -> None:
        """The socket and the lock's file are given to the user that the process will be."""
        given: list[Any] = []
        self.patch(os, "chown", lambda path, *owner, follow_symlinks: given.append((path, owner, follow_symlinks)))
        self.patch(os, "fchown", lambda lock, *owner: given.append(owner))
        self.stop(self.listen(owner=(4, 7)))
        self.assertEqual(given, [(4, 7), (self.path, (4, 7), False)])

    def test_twistedsLock(self) -> None:
        """With Twisted's own lock, which has the same name, there is none of ours."""
        port = self.listen(wantPID=1)
        self.assertTrue(os.path.islink(self.path + ".lock"))
        self.stop(port)
        self.assertEqual(os.listdir(self.folder), [])

    def test_abstract(self) -> None:
        """A name in Linux's abstract name space is no file."""
        self.path = f"\0{self.path}"
        self.stop(self.listen())
        self.assertEqual(os.listdir(self.folder), [])

    def test_ownerOf(self) -> None:
        """The ids are as twistd has them: without a group the user's own."""
        self.assertEqual(owner_of(None, None), None)
        self.assertEqual(owner_of(None, 5), (-1, 5))
        self.assertEqual(owner_of(0, None), (0, 0))
        self.assertEqual(owner_of(3, 5), (3, 5))

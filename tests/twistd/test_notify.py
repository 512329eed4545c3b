"""
What a service manager is told.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon._twistd.notify import Notifier, notifier_of


class NotifierTests(SynchronousTestCase):
    """What is sent, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[bytes] = []

    def test_life(self) -> None:
        """Ready with a status, signs of life as long as the clock goes on, and the end; those go on while it ends."""
        notifier = Notifier(self.sent.append, self.clock, 5.0)
        notifier.ready("serving unix:qmp.sock\nMAINPID=1")
        self.assertEqual(self.sent, [b"READY=1\nSTATUS=serving unix:qmp.sock\\nMAINPID=1", b"WATCHDOG=1"])
        del self.sent[:]
        self.clock.pump([5] * 3)
        self.assertEqual(self.sent, [b"WATCHDOG=1"] * 3)
        notifier.stopping("2 pending requests")
        self.clock.advance(5)
        self.assertEqual(self.sent[3:], [b"STOPPING=1\nSTATUS=2 pending requests", b"WATCHDOG=1"])

    def test_again(self) -> None:
        """A service that is started again is ready again, and gives no more signs of life than before."""
        notifier = Notifier(self.sent.append, self.clock, 5.0)
        notifier.ready("one")
        notifier.ready("two")
        self.clock.advance(5)
        self.assertEqual(self.sent.count(b"WATCHDOG=1"), 2)

    def test_without_a_watchdog(self) -> None:
        """Where none are waited for there are no signs of life."""
        Notifier(self.sent.append, self.clock).ready("x")
        self.clock.advance(1000)
        self.assertEqual(self.sent, [b"READY=1\nSTATUS=x"])

    def test_manager_that_does_not_listen(self) -> None:
        """A manager that is gone is one line in the log, until it is back; nothing is held up."""
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        gone = True

        def send(data: bytes) -> None:
            if gone:
                raise ConnectionRefusedError(111, "Connection refused")
            self.sent.append(data)

        notifier = Notifier(send, self.clock, 5.0)
        notifier.ready("x")
        self.clock.pump([5] * 3)
        self.assertEqual([event["reason"] for event in observer], ["Connection refused"])
        gone = False
        self.clock.advance(5)
        self.assertEqual(self.sent, [b"WATCHDOG=1"])


@pytest.mark.parametrize(
    ("environment", "signs"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "10000000"}, True),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
    ],
)
@pytest.mark.parametrize("abstract", [False, True])
def test_environment(tmp_path: Path, environment: dict[str, str], signs: bool, abstract: bool) -> None:
    """The socket may have a path or an abstract name; signs of life come at half of the time, if this process is meant."""
    clock = Clock()
    name = f"@qmon-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.setblocking(False)
        notifier = notifier_of({**environment, "NOTIFY_SOCKET": name}, clock)
        assert notifier is not None
        notifier.ready("x")
        assert manager.recv(100) == b"READY=1\nSTATUS=x"
        for advance in (0.0, 4.9, 0.2):
            clock.advance(advance)
            if signs and advance != 4.9:
                assert manager.recv(100) == b"WATCHDOG=1"
            else:
                with pytest.raises(BlockingIOError):
                    manager.recv(100)


@pytest.mark.parametrize("address", ["", "vsock:2:3", "relative"])
def test_no_manager(address: str) -> None:
    """Without a socket of a known kind there is no manager to tell."""
    assert notifier_of({"NOTIFY_SOCKET": address}, Clock()) is None
    assert notifier_of({}, Clock()) is None

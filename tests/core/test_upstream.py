"""
A monitor in front of a server.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fronted_server import FakeFrontedServer
from twisted_qmon import CommandNotFound, DeviceNotActive, Monitor
from twisted_qmon.testing import QMPConnection

THEIRS = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "behind"}


class FrontedServerTests(SynchronousTestCase):
    """What a monitor leaves to the server that it fronts."""

    def setUp(self) -> None:
        self.monitor = Monitor()
        self.server = FakeFrontedServer()

    def test_version(self) -> None:
        """The greeting and query-version have the server's version as soon as it is known, and our own before and after."""
        ours = QMPConnection(self.monitor).greeting["QMP"]["version"]
        self.monitor.set_upstream(self.server)
        self.assertEqual(QMPConnection(self.monitor).greeting["QMP"]["version"], ours)
        self.server.version = THEIRS
        client = QMPConnection(self.monitor)
        self.assertEqual(client.greeting["QMP"]["version"], THEIRS)
        self.assertEqual(client.execute("query-version"), {"return": THEIRS})
        self.monitor.set_upstream(None)
        self.assertEqual(QMPConnection(self.monitor).greeting["QMP"]["version"], ours)
        self.assertEqual(client.execute("query-version"), {"return": ours})

    def test_version_of_the_program(self) -> None:
        """A program that embeds a monitor may have it tell a version of its own."""
        self.monitor.version = THEIRS
        self.assertEqual(QMPConnection(self.monitor).greeting["QMP"]["version"], THEIRS)

    def test_ready(self) -> None:
        """The protocols are told what they may wait for; without a server there is nothing to wait for."""
        self.assertIsNone(self.monitor.ready())
        ready: Deferred[None] = Deferred()
        self.monitor.set_upstream(FakeFrontedServer(ready))
        self.assertIs(self.monitor.ready(), ready)

    def test_unknown_command(self) -> None:
        """The server words the error for a command that is not registered."""
        self.monitor.set_upstream(self.server)
        error = self.failureResultOf(self.monitor.execute("nope"), DeviceNotActive)
        self.assertEqual(error.value.desc, "no nope behind")
        self.monitor.set_upstream(None)
        self.failureResultOf(self.monitor.execute("nope"), CommandNotFound)

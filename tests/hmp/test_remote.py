"""The same console over a remote monitor: what it knows comes through C{query-command-help}, and every command over the wire."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, HMPFactory, Monitor, Size, __version__, command
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.testing import HMPConnection, connected_client

P = "(qmon) "


class Remote(CommandProvider):
    """Commands of the monitor at the other end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @command(args_type="force:-f,value:M", aliases=["bl"])
    def balloon(self, value: Size, force: bool = False) -> dict[str, Any]:
        """set the size"""
        return {"value": value, "force": force}

    @command
    def query_size(self, name: str = "") -> Size:
        """show a size"""
        return 1 << 30

    @query_size.printer
    def _(size: Any) -> str:
        return "a printer stays where it is"

    @command
    def slow(self) -> Deferred[str]:
        """take five seconds"""
        deferred: Deferred[str] = Deferred()
        self.clock.callLater(5, deferred.callback, "done")
        return deferred


class RemoteTests(SynchronousTestCase):
    """A person at a console, a QMP connection, a monitor."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.monitor.register(Remote(self.clock))
        client, self.pump = connected_client(self.monitor)
        self.person = HMPConnection(client, factory=HMPFactory(client, banner="B"))

    def type(self, line: str) -> str:
        self.person.send_bytes(line.encode() + b"\n")
        self.pump.flush()
        return self.person.output()

    def test_a_session(self) -> None:
        """Arguments by the remote declaration, results by the remote types, errors of the remote command."""
        self.assertEqual(self.person.banner, "B\r\n")
        self.pump.flush()
        self.assertEqual(self.person.output(), P)
        self.assertEqual(self.type("bl -f 2"), f"value: 2097152\r\nforce: true\r\n{P}")
        self.assertEqual(self.type("info size"), f"1073741824 (1 GiB)\r\n{P}")
        self.assertEqual(self.type("bl"), f'unexpected end of expression\r\nTry "help bl" for more information\r\n{P}')
        self.assertEqual(self.type("help balloon"), f"balloon|bl [-f] value -- set the size\r\n{P}")
        self.assertEqual(self.type("foo"), f"unknown command: 'foo'\r\n{P}")

    def test_what_the_other_end_prints(self) -> None:
        """Where the other monitor offers it, its printers print, with the arguments; errors are errors."""
        self.monitor.register(HumanMonitorCommand())
        self.pump.flush()
        self.person.output()
        self.assertEqual(self.type("info size name=x"), f"a printer stays where it is\r\n{P}")
        self.assertEqual(self.type("bl 2"), f"value: 2097152\r\nforce: false\r\n{P}")
        self.assertEqual(self.type("info version"), f"{__version__} (twisted-qmon {__version__})\r\n{P}")

    def test_a_pending_command_suspends(self) -> None:
        """As over a monitor that is here."""
        self.pump.flush()
        self.person.output()
        self.assertEqual(self.type("slow\ninfo size"), "")
        self.assertEqual(self.person.transport.producerState, "paused")
        self.clock.advance(5)
        self.pump.flush()
        self.assertEqual(self.person.output(), f"done\r\n{P}info size\r\n1073741824 (1 GiB)\r\n{P}")

    def test_the_monitor_goes_away(self) -> None:
        """What is pending fails, and so does what is typed then; the session stays."""
        self.pump.flush()
        self.type("slow")
        self.person.output()
        self.pump.client.transport.loseConnection()
        self.pump.flush()
        text = self.person.output()
        self.assertRegex(text, r"\AError: .*\r\n\(qmon\) \Z")
        self.assertIn("Error: ", self.type("info size"))
        self.assertFalse(self.person.closed)

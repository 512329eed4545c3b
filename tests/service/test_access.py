"""
The service with levels, rules and an audit: what is served where, what is warned of, what is read again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon.core.access.identity import unix_identity
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.info import Level
from twisted_qmon.service import MonitorService
from twisted_qmon.testing import QMPConnection

ALICE = unix_identity(1000, 1, [1000], {1000: "alice"}, {})


class Port:
    """A port that listens at an address."""

    def __init__(self, address: Any) -> None:
        self._address = address

    def getHost(self) -> Any:
        """The address."""
        return self._address


class ServiceAccessTests(SynchronousTestCase):
    """A service on a reactor without sockets."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.monitor = Monitor(clock=self.reactor)
        self.observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)

    def serve(self, *qmp: str, **options: Any) -> MonitorService:
        """A service that has been started."""
        service = make_monitor_service(self.reactor, self.monitor, qmp, **options)
        service.privilegedStartService()
        service.startService()
        return service

    def logged(self, level: str = "warn") -> list[str]:
        """What was logged at this level since the last call."""
        texts = [event["log_format"].format(**event) for event in self.observer if event["log_level"].name == level]
        self.observer._events.clear()
        return texts

    def test_level_of_an_endpoint(self) -> None:
        """C{level=} is taken out of the description, and limits the clients of that endpoint."""
        service = self.serve("tcp:1:interface=127.0.0.1:level=observe", "tcp:2:interface=127.0.0.1")
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [1, 2])
        one, other = service.factories
        self.assertEqual(
            [(each.endpoint, each.level) for each in (one, other)], [("tcp:1", Level.OBSERVE), ("tcp:2", Level.ADMIN)]
        )
        client = QMPConnection(self.monitor, factory=one, identity=ALICE)
        self.assertIn("needs operate", client.execute("service-stop", {"path": "x"})["error"]["desc"])
        self.assertEqual(client.execute("query-whoami")["return"]["level"], "observe")
        client = QMPConnection(self.monitor, factory=other, identity=ALICE)
        self.assertEqual(client.execute("query-whoami")["return"]["level"], "admin")

    def test_people_too(self) -> None:
        """The same holds for the human monitor's endpoints."""
        service = make_monitor_service(self.reactor, self.monitor, hmp=["tcp:1:level=operate"])
        self.assertEqual(service.factories[0].level, Level.OPERATE)

    def test_rules_and_audit(self) -> None:
        """A path of rules and a path for the audit are all that it takes; the endpoint is in each line."""
        rules, audit = self.folder / "access.toml", self.folder / "audit"
        rules.write_text('[[grant]]\nwho = ["uid:alice"]\nlevel = "operate"\nendpoint = "tcp:1:interface=::1"')
        service = self.serve("tcp:1:interface=127.0.0.1", "tcp:2:interface=127.0.0.1", access=rules, audit=audit)
        client = QMPConnection(self.monitor, factory=service.factories[0], identity=ALICE)
        client.execute("set-log-level", {"level": "info"})
        self.assertTrue(
            QMPConnection(self.monitor, factory=service.factories[1], identity=ALICE, negotiate=False).closed
        )
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        self.assertEqual(
            [(line["phase"], line["endpoint"]) for line in lines],
            [("connect", "tcp:1"), ("start", "tcp:1"), ("end", "tcp:1"), ("refused", "tcp:2")],
        )
        self.stop(service)
        self.assertEqual(json.loads(audit.read_text().splitlines()[-1])["phase"], "disconnect")

    def stop(self, service: MonitorService) -> None:
        """Stop it."""
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)

    def test_log_is_kept_in_any_case(self) -> None:
        """Without a file, who did what is in the log."""
        service = self.serve("tcp:1:interface=127.0.0.1")
        QMPConnection(self.monitor, factory=service.factories[0], identity=ALICE).execute(
            "set-log-level", {"level": "info"}
        )
        texts = self.logged("info")
        self.assertIn("uid:1000(alice) pid:1 connected", texts[0])
        self.assertIn("set-log-level: ok", texts[1])

    def test_audit_of_the_monitor_stays(self) -> None:
        """An audit that the monitor has already is not replaced by one without a file."""
        audit = Audit(None, self.reactor.seconds)
        self.monitor.set_guard(audit=audit)
        self.serve("tcp:1:interface=127.0.0.1")
        self.assertIs(self.monitor.guard.audit, audit)

    def test_invalid_rules(self) -> None:
        """Rules that can't be used are an error where the service is made."""
        with self.assertRaisesRegex(AccessError, "none.toml: No such file or directory"):
            make_monitor_service(self.reactor, self.monitor, access=str(self.folder / "none.toml"))

    def listening(self, address: Any, description: str = "tcp:1", **options: Any) -> list[str]:
        """The warnings of a service whose endpoint turns out to listen at this address."""
        monitor = Monitor(clock=self.reactor)
        service = make_monitor_service(self.reactor, monitor, [description], **options)
        [listener] = service._listeners
        listener._endpoint = type("Endpoint", (), {"listen": lambda self, factory: succeed(Port(address))})()
        self.logged()
        listener.privilegedStartService()
        return self.logged()

    def test_warning(self) -> None:
        """A TCP endpoint that other hosts can reach gets one warning, unless there are rules."""
        for host in ("0.0.0.0", "192.0.2.7", "no address"):
            self.assertEqual(
                self.listening(IPv4Address("TCP", host, 1)),
                [f"tcp:1 is open to each host that can reach {host}: a client has level admin"],
            )
        self.assertEqual(len(self.listening(IPv6Address("TCP", "::", 1), "tcp:1:level=observe")), 1)
        for address in (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv6Address("TCP", "::1", 1),
            UNIXAddress(b"x"),
        ):
            self.assertEqual(self.listening(address), [])
        rules = self.folder / "access.toml"
        rules.write_text("")
        self.assertEqual(self.listening(IPv4Address("TCP", "0.0.0.0", 1), access=rules), [])

    def test_reread(self) -> None:
        """Rules are read again and the audit is opened again; rules that can't be used are one line, and the old ones stay."""
        rules, audit = self.folder / "access.toml", self.folder / "audit"
        rules.write_text("default = 'admin'")
        service = self.serve("tcp:1:interface=127.0.0.1", access=rules, audit=audit)
        client = QMPConnection(self.monitor, factory=service.factories[0], identity=ALICE)
        audit.rename(self.folder / "audit.1")
        rules.write_text("default = 'operate'")
        self.logged("error")
        service.reread()
        self.assertEqual(client.execute("query-whoami")["return"]["level"], "operate")
        client.execute("set-log-level", {"level": "info"})
        self.assertEqual(len(audit.read_text().splitlines()), 2)
        rules.write_text("default = 'all'")
        service.reread()
        self.assertEqual(
            self.logged("error"),
            [
                f"{rules}: default: 'all' is not a level: none, observe, operate or admin; the access rules stay as they were"
            ],
        )
        self.assertEqual(client.execute("query-whoami")["return"]["level"], "operate")

    def test_rules_for_an_endpoint_that_is_not_served(self) -> None:
        """A rule that can never apply, because its endpoint is misspelt, is warned of at the start and when they are read."""
        rules = self.folder / "access.toml"
        grant = '[[grant]]\nwho = ["*"]\nlevel = "observe"\nendpoint = "{}"\n'
        rules.write_text("".join(map(grant.format, ("tcp:1:interface=::1", "tcp:2", "guest-7.qmp"))))
        service = self.serve("tcp:1:interface=127.0.0.1", access=rules)
        self.assertEqual(self.logged(), [f"{rules}: grant[2].endpoint: tcp:2 is not served"])
        rules.write_text(grant.format("tcp:1"))
        service.reread()
        self.assertEqual(self.logged(), [])
        rules.write_text("default = 'admin'\n" + grant.format("tcp:3"))
        self.successResultOf(self.monitor.execute("access-reload"))
        self.assertEqual(self.logged(), [f"{rules}: grant[1].endpoint: tcp:3 is not served"])

    def test_required_audit_that_cannot_be_opened(self) -> None:
        """The service starts without it, says so, and refuses what would have to be recorded, until it can be written."""
        audit = self.folder / "later" / "audit"
        service = self.serve("tcp:1:interface=127.0.0.1", audit=audit, audit_required=True)
        self.assertEqual(
            self.logged("error"),
            [
                f"the audit can't be written to {audit}: No such file or directory (lines that are missing: 0)",
                f"commands above observe are refused until the audit can be written to {audit}",
            ],
        )
        client = QMPConnection(self.monitor, factory=service.factories[0], identity=ALICE)
        refused = client.execute("set-log-level", {"level": "info"})["error"]["desc"]
        self.assertEqual(refused, "'set-log-level' is refused: the audit can't be written")
        (line,) = (line for line in self.logged() if "was refused" in line)
        self.assertRegex(
            line, r"^uid:1000\(alice\)[^(]*\(qmp-\d+\): set-log-level was refused: the audit can't be written$"
        )
        self.assertIn("return", client.execute("query-status"))
        audit.parent.mkdir()
        self.assertEqual(client.execute("set-log-level", {"level": "info"}), {"return": {}})

    def test_what_can_be_read_again(self) -> None:
        """SIGHUP is for reading again where there is a file of rules, one for the audit, or a TLS endpoint."""
        rules = self.folder / "access.toml"
        rules.write_text("")
        for options, rereads in (({}, False), ({"access": rules}, True), ({"audit": self.folder / "audit"}, True)):
            service = make_monitor_service(self.reactor, Monitor(clock=self.reactor), ["tcp:1"], **options)  # type: ignore[arg-type]
            self.assertIs(service.rereads, rereads)
        service.factories[0].endpoint = "mtls:1"
        self.assertIs(service.rereads, True)

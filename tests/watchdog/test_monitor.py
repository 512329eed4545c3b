"""What the watchdog answers, and what it refuses: L{twisted_qmon.watchdog.monitor}."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, Monitor, command, make_monitor_service
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.identity import Identity
from twisted_qmon.core.access.rules import parse_rules
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.providers.quit import Quit
from twisted_qmon.testing import HMPConnection, QMPConnection
from twisted_qmon.watchdog.monitor import WatchdogMonitor

SERVED = {
    "human-monitor-command",
    "human-readable-text",
    "qmp_capabilities",
    "query-command-help",
    "query-commands",
    "query-connections-monitor",
    "query-log",
    "query-log-levels",
    "query-name",
    "query-pending",
    "query-process",
    "query-qmp-schema",
    "query-stacks",
    "query-stalls",
    "query-status",
    "query-version",
    "query-whoami",
    "select-events",
}


class Shop(CommandProvider):
    """Commands of a program, one of which may run in any thread."""

    @command(aliases=["o"])
    def order(self, item: str) -> None:
        """order an item"""

    @command(thread_safe=True)
    def query_price(self) -> int:
        """tell the price"""
        return 12


class WatchdogMonitorTests(SynchronousTestCase):
    """The monitor of the watchdog beside one that serves everything."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.main = Monitor("shop", clock=self.clock)
        make_monitor_service(MemoryReactorClock(), self.main)
        self.main.register(Quit(lambda request: None))  # type: ignore[arg-type, return-value]

    def watchdog(self) -> WatchdogMonitor:
        return WatchdogMonitor(self.main, self.clock)

    def names(self, client: QMPConnection) -> set[str]:
        return {each["name"] for each in client.execute("query-commands")["return"]}

    def error(self, client: QMPConnection, name: str) -> str:
        desc: str = client.execute(name)["error"]["desc"]
        return desc

    def test_served(self) -> None:
        """It serves what is declared thread-safe, what it has itself about the main monitor, and nothing else."""
        self.assertEqual(self.names(QMPConnection(self.watchdog())), SERVED)

    def test_allThatItServesIsDeclared(self) -> None:
        """Each command that it serves is declared thread-safe by the main monitor, but for those that run others here."""
        infos = self.main.registry.infos()
        runs_others = {"human-monitor-command", "human-readable-text"}
        self.assertEqual({name for name in SERVED if not infos[name].thread_safe}, runs_others)

    def test_refused(self) -> None:
        """A command of the main monitor is refused with the reason; one that there is not is not found."""
        client = QMPConnection(self.watchdog())
        words = "The command {} is not available from the watchdog: only the main thread can run it"
        for name in ("quit", "service-stop", "query-jobs", "cancel-command"):
            self.assertEqual(self.error(client, name), words.format(name))
        self.assertEqual(self.error(client, "frobnicate"), "The command frobnicate has not been found")

    def test_people(self) -> None:
        """A person is told the same, whatever stands behind the word, and sees in the help what there is."""
        self.main.register(Shop())
        person = HMPConnection(self.watchdog())
        refused = "Error: The command {} is not available from the watchdog"
        self.assertIn(refused.format("quit"), person.type("quit now"))
        self.assertIn(refused.format("order"), person.type("o tea item=coffee"))
        self.assertIn(refused.format("query-jobs"), person.type("info jobs"))
        self.assertIn("unknown command: 'frobnicate'", person.type("frobnicate"))
        self.assertIn("12", person.type("info price"))
        self.assertNotIn("quit", person.type("help"))
        self.assertIn("info stacks", person.type("help info"))
        self.assertIn("shop", person.type("info name"))

    def test_line(self) -> None:
        """Machines may have lines run, here."""
        client = QMPConnection(self.watchdog())
        ran = client.execute("human-monitor-command", {"command-line": "info name"})
        self.assertEqual(ran["return"].strip(), "shop")
        ran = client.execute("human-monitor-command", {"command-line": "quit"})
        self.assertIn("not available from the watchdog", ran["return"])

    def test_aboutTheMainOne(self) -> None:
        """What every monitor tells of itself it tells of the main one: version, name, status, and what is pending there."""
        self.main.version = {"qemu": {"major": 3, "minor": 2, "micro": 1}, "package": "shop 3.2.1"}
        QMPConnection(self.main).execute("query-status")
        self.main.register_command("wait", lambda: Deferred())
        self.main.execute("wait")
        client = QMPConnection(self.watchdog())
        self.assertEqual(client.execute("query-version")["return"]["package"], "shop 3.2.1")
        self.assertEqual(client.execute("query-name")["return"], {"name": "shop"})
        self.assertEqual(client.execute("query-status")["return"]["status"], "running")
        (pending,) = client.execute("query-pending")["return"]
        self.assertEqual((pending["command"], pending["session"]), ("wait", "local"))
        self.assertEqual(
            [each["last-command"] for each in client.execute("query-connections-monitor")["return"]], ["query-status"]
        )
        self.main.refuse()
        self.assertEqual(client.execute("query-status")["return"]["status"], "shutdown")

    def test_refresh(self) -> None:
        """A client that connects sees what the main monitor has by then; what it has no more is gone, also as a refusal."""
        watchdog = self.watchdog()
        first = QMPConnection(watchdog)
        shop = Shop()
        self.main.register(shop)
        self.main.name = "other"
        self.assertNotIn("query-price", self.names(first))
        second = QMPConnection(watchdog)
        self.assertEqual(self.names(second), SERVED | {"query-price"})
        self.assertEqual(second.execute("query-price")["return"], 12)
        self.assertEqual(second.execute("query-name")["return"], {"name": "other"})
        self.main.unregister(shop)
        third = QMPConnection(watchdog)
        self.assertEqual(self.names(third), SERVED)
        self.assertEqual(self.error(third, "query-price"), "The command query-price has not been found")

    def test_commandsAreTheSame(self) -> None:
        """As long as the main monitor's commands are the same, what people's sessions know of them is kept."""
        watchdog = self.watchdog()
        before = self.successResultOf(watchdog.commands())
        watchdog.refresh()
        self.assertIs(self.successResultOf(watchdog.commands()), before)

    def test_access(self) -> None:
        """The rules of the main monitor hold, also after they are read again."""
        rules = {"grant": [{"who": ["uid:7"], "level": "observe"}, {"who": ["uid:8"], "level": "operate"}]}
        access = Access(parse_rules(rules, "rules"))
        self.main.set_guard(access=access)
        watchdog = self.watchdog()
        observer = QMPConnection(watchdog, identity=Identity("uid:7", "uid:7", ("uid:7",)))
        self.assertIn("needs operate", self.error(observer, "query-stacks"))
        self.assertIn("return", observer.execute("query-process"))
        access.rules = parse_rules({"grant": []}, "rules")
        watchdog.reread()
        self.assertTrue(observer.closed)
        self.assertIn("has no access here", observer.received()[-1]["error"]["desc"])


class AuditTests(SynchronousTestCase):
    """Who asks the watchdog is recorded as with the main monitor."""

    def test_file(self) -> None:
        """Its lines are in the same file, whole, in between those of the main monitor."""
        folder = tempfile.TemporaryDirectory(prefix="qmon-")
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "audit")
        main = Monitor(clock=Clock(), audit=Audit(path, lambda: 0.0, required=True))
        make_monitor_service(MemoryReactorClock(), main)
        watchdog = WatchdogMonitor(main, Clock())
        clients = [QMPConnection(watchdog), QMPConnection(main)]
        for _ in range(3):
            for client in clients:
                client.execute("query-stacks")
        watchdog.reread()
        clients[0].execute("quit")
        clients[0].lose()
        watchdog.close()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        by_session: dict[str, list[Any]] = {}
        for line in lines:
            by_session.setdefault(line["session"], []).append((line["phase"], line.get("command")))
        theirs, ours = sorted(by_session.values(), key=len)
        asked = [("start", "query-stacks"), ("end", "query-stacks")] * 3
        self.assertEqual(theirs, [("connect", None), *asked])
        self.assertEqual(ours, [("connect", None), *asked, ("end", "quit"), ("disconnect", None)])

    def test_none(self) -> None:
        """Without a record of the main monitor there is none here."""
        watchdog = WatchdogMonitor(Monitor(clock=Clock()), Clock())
        self.assertIsNone(watchdog.guard.audit)
        watchdog.reread()
        watchdog.close()

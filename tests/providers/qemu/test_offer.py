"""
What the monitor offers while a QEMU is behind it: what that QEMU has, and what it has the means for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import COMMANDS, Proxy, make_schema
from twisted_qmon import CommandProvider, Event, Monitor, make_monitor_service
from twisted_qmon.errors import CommandNotFound, ConnectionClosed
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.providers.qemu import offer as _offer
from twisted_qmon.providers.qemu.long_commands import long_commands
from twisted_qmon.testing import HMPConnection

#: The names of QEMU 7.2's commands.
QEMU_COMMANDS = Path(__file__).parent.parent.parent / "data" / "qemu-commands.json"

#: What a storage daemon does not have.
MACHINE = ("query-status", "human-monitor-command", "query-migrate", "migrate", "snapshot-save", "quit")


class SmallServerTests(SynchronousTestCase):
    """A server that has less than a QEMU."""

    def setUp(self) -> None:
        self.proxy = Proxy(connect=False)
        self.proxy.qemu.greet()
        self.proxy.qemu.introduce(without=MACHINE)

    def names(self) -> set[str]:
        """The commands in C{query-commands}; the schema and the descriptions have the same."""
        execute = self.proxy.monitor.execute
        names = {each["name"] for each in self.successResultOf(execute("query-commands"))}
        schema = self.successResultOf(execute("query-qmp-schema"))
        self.assertEqual({each["name"] for each in schema if each["meta-type"] == "command"}, names)
        described = {each["name"] for each in self.successResultOf(execute("query-command-help"))}
        self.assertEqual(described | {"qmp_capabilities"}, names)
        commands = self.successResultOf(self.proxy.monitor.commands())
        self.assertEqual(set(commands), described)
        return names

    def test_does_not_answer_for_it(self) -> None:
        """What the server does not have is not answered by commands of ours that would be taken for its own."""
        for name in ("query-status", "query-name", "human-monitor-command"):
            failure = self.failureResultOf(self.proxy.monitor.execute(name), CommandNotFound)
            self.assertEqual(str(failure.value), f"The command {name} has not been found")
            self.assertNotIn(name, self.names())
        self.assertIn("query-pending", self.names())
        self.assertEqual(self.proxy.qemu.asked(), [])

    def test_at_the_prompt(self) -> None:
        """A person types its commands as those of any monitor; C{info status} is unknown."""
        person = HMPConnection(self.proxy.monitor, prompt="> ")
        self.assertEqual(person.type("info status"), "unknown command: 'info status'\r\n> ")
        person.type("info block")
        (request,) = self.proxy.qemu.asked()
        self.assertEqual(request["execute"], "query-block")

    def test_without_jobs(self) -> None:
        """In front of a server without jobs our own job commands are hidden, too."""
        self.proxy = Proxy(start=False)
        self.proxy.monitor.register(Jobs())
        self.assertEqual(self.successResultOf(self.proxy.monitor.execute("query-jobs")), [])
        self.proxy.provider.service.startService()
        self.proxy.qemu.greet()
        self.proxy.qemu.introduce(without=("query-jobs", "job-cancel", "job-complete", "job-dismiss"))
        self.assertFalse([name for name in self.names() if "job" in name])

    def test_long_commands(self) -> None:
        """Long commands are there if it has what they need."""
        long = {name for name in self.names() if name.startswith("qmon-")}
        self.assertEqual(
            long,
            {
                *("qmon-loadvm", "qmon-delvm", "qmon-block-commit"),
                *("qmon-block-stream", "qmon-drive-backup", "qmon-drive-mirror"),
            },
        )
        self.failureResultOf(self.proxy.monitor.execute("qmon-migrate", {"uri": "x"}), CommandNotFound)

    def test_another_behind(self) -> None:
        """With each server that takes its place it is decided anew."""
        small = self.names()
        for without in ((), MACHINE, MACHINE, ()):
            self.proxy.qemu.die()
            self.proxy.clock.advance(1)
            self.proxy.qemu.greet()
            self.proxy.qemu.introduce(without=without)
            names = self.names()
            if without:
                self.assertEqual(names, small)
            else:
                self.assertLessEqual({"query-status", "qmon-migrate", "qmon-savevm", "qmon-commit"}, names)
                status = self.proxy.monitor.execute("query-status")
                (request,) = self.proxy.qemu.asked()
                self.proxy.qemu.answer(request, "its own")
                self.assertEqual(self.successResultOf(status), "its own")

    def test_taken_out(self) -> None:
        """With the proxy taken out the monitor speaks for itself again."""
        monitor = self.proxy.monitor
        monitor.unregister(self.proxy.provider)
        self.assertEqual(self.successResultOf(monitor.execute("query-status"))["status"], "running")
        self.failureResultOf(monitor.execute("query-block"), CommandNotFound)
        self.assertFalse([name for name in monitor.registry.active if name.startswith("qmon-")])

    def test_own_command_of_a_hidden_name(self) -> None:
        """A program's own command may have the name; it stays when the others come back."""
        monitor = self.proxy.monitor
        monitor.register_command("query-status", lambda: "mine")
        self.assertEqual(self.successResultOf(monitor.execute("query-status")), "mine")
        monitor.unregister(self.proxy.provider)
        self.assertEqual(self.successResultOf(monitor.execute("query-status")), "mine")
        monitor.unregister("query-status")
        self.assertEqual(self.successResultOf(monitor.execute("query-status"))["status"], "running")


class OfferTests(SynchronousTestCase):
    """What can't be offered, and what is not in the schema."""

    def test_not_connected_yet(self) -> None:
        """Before the first connection there are no long commands; they fail as all of QEMU's commands do."""
        proxy = Proxy(connect=False)
        self.assertNotIn("qmon-migrate", self.successResultOf(proxy.monitor.commands()))
        failure = self.failureResultOf(proxy.monitor.execute("qmon-migrate", {"uri": "x"}), ConnectionClosed)
        self.assertEqual(str(failure.value), "QEMU is not connected")

    def test_refused(self) -> None:
        """A QEMU whose schema can't be registered is not served; what was offered before stays."""
        proxy = Proxy()
        before = set(proxy.monitor.registry.active)
        proxy.qemu.die()
        proxy.clock.advance(1)
        proxy.qemu.greet()
        (request,) = proxy.qemu.asked()
        twice = [{"name": "TWICE", "meta-type": "event", "arg-type": "0"}] * 2
        proxy.qemu.answer(request, [*make_schema({"another": (False, False)}), *twice])
        while requests := proxy.qemu.asked():
            for request in requests:
                proxy.qemu.answer(request, "" if request["execute"] == "human-monitor-command" else {})
        self.assertTrue(proxy.qemu.transport.disconnected)
        self.assertFalse(proxy.provider.connected)
        self.assertEqual(set(proxy.monitor.registry.active), before)
        self.failureResultOf(proxy.monitor.execute("query-status"), ConnectionClosed)

    def test_more_events(self) -> None:
        """
        An event that the schema does not have is added to it, up to a limit; beyond that, or with an endless name, it is
        delivered all the same. The next QEMU begins anew.
        """
        self.patch(_offer, "MAX_MORE_EVENTS", 3)
        proxy = Proxy()

        def in_schema() -> set[str]:
            schema = self.successResultOf(proxy.monitor.execute("query-qmp-schema"))
            return {each["name"] for each in schema if each["meta-type"] == "event"}

        before = in_schema()
        endless = "X" * 1000
        names = [endless, "A", "B", "C", "D", "E", "A"]
        for name in names:
            proxy.qemu.event(name, {"n": 1})
        self.assertEqual(proxy.event_names(), names)
        self.assertEqual(in_schema() - before, {"A", "B", "C"})
        proxy.qemu.die()
        proxy.clock.advance(1)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertEqual(in_schema(), before)
        proxy.qemu.event("D")
        self.assertEqual(in_schema() - before, {"D"})

    def test_malformed_event(self) -> None:
        """An event whose timestamp or data is none is dropped; the connection goes on."""
        proxy = Proxy()
        for more in ({"timestamp": "x" * 1000}, {"timestamp": {"seconds": "1"}}, {"data": [1]}):
            proxy.qemu.say({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}, **more})
        proxy.qemu.say({"event": "RESUME"})
        self.assertEqual(proxy.event_names(), ["RESUME"])
        self.assertTrue(proxy.provider.connected)

    def test_not_our_limit(self) -> None:
        """An event of QEMU's with the name of one of ours is passed on as it is, without our rate limit."""

        class Ours(CommandProvider):
            events = (Event("TEMPERATURE", degrees=int, rate_limit=1.0),)

        proxy = Proxy()
        proxy.monitor.register(Ours())
        for degrees in ("hot", "hotter"):
            proxy.qemu.event("TEMPERATURE", {"degrees": degrees})
        self.assertEqual([event["data"] for event in proxy.events], [{"degrees": "hot"}, {"degrees": "hotter"}])


def test_what_speaks_for_the_server() -> None:
    """
    Of the commands that a served monitor has, those with a name of QEMU's speak for the server; all others have names of ours,
    or are about what the proxy itself offers.
    """
    clock = Clock()
    monitor = Monitor(clock=clock)
    make_monitor_service(clock, monitor)
    theirs = json.loads(QEMU_COMMANDS.read_text())
    about_the_offer = {"qmp_capabilities", "query-version", "query-commands", "query-qmp-schema"}
    assert monitor.registry.active.keys() & set(theirs) - about_the_offer == _offer.SPEAK_FOR_THE_SERVER


def test_needs() -> None:
    """Each long command says what it needs of QEMU, and no other command is listed."""
    for make in long_commands():
        upstream: Any = None
        assert {command.name for command in make(upstream, ()).all_commands()} == set(make.needs)
        assert not list(make(upstream, ()).commands())


@pytest.mark.parametrize("missing", ["query-jobs", "job-dismiss", "job-cancel"])
def test_no_jobs(missing: str) -> None:
    """Without jobs there are no commands that wait for them."""
    upstream: Any = None
    available = COMMANDS.keys() - {missing}
    names = {command.name for make in long_commands() for command in make(upstream, available).commands()}
    assert names == {"qmon-migrate", "qmon-commit"}

"""C{human-monitor-command}: what a person would be shown, for a machine."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import twisted_qmon
from tests.support.hmp_commands import Commands
from twisted_qmon import GenericError, Monitor
from twisted_qmon.providers.human import HumanMonitorCommand
from twisted_qmon.testing import QMPConnection, connected_client


class HumanMonitorCommandTests(SynchronousTestCase):
    """The command, as a QMP client sees it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.commands = Commands(self.clock)
        self.provider = HumanMonitorCommand()
        self.monitor.register(self.commands)
        self.monitor.register(self.provider)
        self.client = QMPConnection(self.monitor)

    def run_line(self, line: str, **more: Any) -> Any:
        return self.client.execute("human-monitor-command", {"command-line": line, **more})

    def test_the_text_is_returned(self) -> None:
        """With CR LF at the end of each line; nothing for an empty line; a line feed is a blank."""
        self.assertEqual(self.run_line("now x"), {"return": "x\r\n"})
        self.assertEqual(self.run_line(""), {"return": ""})
        self.assertEqual(self.run_line("now\n x\n"), {"return": "x\r\n"})
        self.assertEqual(self.run_line('now "a\\nb"'), {"return": "a\r\nb\r\n"})

    def test_failures_are_in_the_text(self) -> None:
        """The reply itself is no error."""
        self.assertEqual(self.run_line("foo"), {"return": "unknown command: 'foo'\r\n"})
        self.assertEqual(self.run_line("refuse x"), {"return": "Error: refused x\r\n"})
        self.assertIn("string expected", self.run_line("now")["return"])

    def test_the_cpu_does_not_matter(self) -> None:
        """C{qmp-shell -H} sends it."""
        self.assertEqual(self.run_line("now x", **{"cpu-index": 0}), {"return": "x\r\n"})
        self.assertEqual(
            self.run_line("now x", **{"cpu-index": "a"})["error"]["desc"],
            "Invalid parameter type for 'cpu-index', expected: integer",
        )

    def test_slow_commands_complete_before_the_reply(self) -> None:
        """Later failures are in the text too. The command runs on behalf of a person at the same client."""
        self.assertIsNone(self.run_line("slow x"))
        assert self.commands.request is not None
        caller = self.commands.request.caller
        self.assertEqual((caller.kind, caller.name[:4]), ("hmp", "qmp-"))
        self.clock.advance(5)
        self.assertEqual([reply["return"] for reply in self.client.received()], ["x\r\n"])
        self.assertIsNone(self.run_line("fail x"))
        self.clock.advance(1)
        self.assertEqual([reply["return"] for reply in self.client.received()], ["Error: failed x\r\n"])

    def test_cancelling_it_cancels_what_it_waits_for(self) -> None:
        """And the client is answered once."""
        self.client.send(
            {"execute": "human-monitor-command", "arguments": {"command-line": "slow x"}, "id": 1},
            {"execute": "cancel-command", "arguments": {"id": 1}, "id": 2},
        )
        desc = "Command 'human-monitor-command' was cancelled"
        replies = {reply["id"]: reply.get("error", {}).get("desc") for reply in self.client.received()}
        self.assertEqual(replies, {1: desc, 2: None})
        assert self.commands.request is not None
        self.assertTrue(self.commands.request.cancelled)

    def test_when_the_client_leaves(self) -> None:
        """The command that was typed says whether it ends or runs on, however deep inside; nothing else of it stays."""
        self.monitor.register_command("gives-way", self.commands.slow, args_type="text:s", on_disconnect="cancel")
        for line, runs_on in (("gives-way x", False), ("slow x", True), ('human-monitor-command "gives-way x"', False)):
            with self.subTest(line=line):
                client = QMPConnection(self.monitor)
                self.commands.request = None
                client.send({"execute": "human-monitor-command", "arguments": {"command-line": line}})
                client.lose()
                request: Any = self.commands.request
                self.assertEqual((request.cancelled, request.done), (not runs_on, not runs_on))
                self.assertEqual(list(self.monitor.pending), [request] if runs_on else [])
                self.clock.advance(5)
                self.assertEqual(list(self.monitor.pending), [])

    def test_there_is_no_progress_to_show(self) -> None:
        """Nobody sees the text before it is complete."""
        self.assertEqual(self.run_line("progress on"), {"return": "there is no progress to show here\r\n"})

    def test_it_can_call_itself(self) -> None:
        """As pointless as on QEMU, and as harmless."""
        self.assertEqual(self.run_line('human-monitor-command "now x"'), {"return": "x\r\n"})

    def test_unregistered(self) -> None:
        """Without a monitor it has nothing to run."""
        self.monitor.unregister(self.provider)
        method: Any = self.provider.human_monitor_command
        self.assertRaises(GenericError, method, None, "x")


class HumanReadableTextTests(SynchronousTestCase):
    """C{human-readable-text}: a command's result as its printer prints it, for another monitor's people."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.commands = Commands(self.clock)
        self.provider = HumanMonitorCommand()
        self.monitor.register(self.commands)
        self.monitor.register(self.provider)
        self.monitor.register_command(
            "shout", self.commands.slow, printer=lambda text, arguments: f"{text.upper()} {arguments['seconds']}"
        )
        self.client = QMPConnection(self.monitor)

    def ask(self, command: str, /, **arguments: Any) -> Any:
        return self.client.execute("human-readable-text", {"command": command, "arguments": arguments})

    def test_the_printer_prints(self) -> None:
        """With the arguments; a result without a printer has its default form; both when the command completes."""
        self.assertEqual(self.ask("now", text="x"), {"return": {"human-readable-text": "x"}})
        self.assertEqual(self.ask("query-status"), {"return": {"human-readable-text": "Monitor status: running"}})
        self.assertIsNone(self.ask("shout", text="x", seconds=3.0))
        self.clock.advance(3)
        self.assertEqual([reply["return"] for reply in self.client.received()], [{"human-readable-text": "X 3.0"}])

    def test_it_is_told_which_commands_have_one(self) -> None:
        """In C{query-command-help}, and so to a client."""
        described = self.client.execute("query-command-help")["return"]
        self.assertLessEqual({"shout", "query-status"}, {each["name"] for each in described if each.get("printer")})
        self.assertNotIn("now", {each["name"] for each in described if each.get("printer")})
        client, pump = connected_client(self.monitor)
        infos = client.commands()
        pump.flush()
        found = self.successResultOf(infos)
        self.assertEqual((found["shout"].printed, found["now"].printed), (True, False))

    def test_failures_are_errors(self) -> None:
        """Those of the command, at once and later; it does not print itself."""
        self.assertEqual(self.ask("refuse", text="x")["error"], {"class": "GenericError", "desc": "refused x"})
        self.assertEqual(self.ask("nothing")["error"]["class"], "CommandNotFound")
        self.assertEqual(self.ask("human-readable-text", command="now")["error"]["desc"], "A text has no printer")
        self.assertIsNone(self.ask("fail", text="x"))
        self.clock.advance(1)
        self.assertEqual([reply["error"]["desc"] for reply in self.client.received()], ["failed x"])

    def test_a_command_that_goes_meanwhile(self) -> None:
        """Its result has the default form."""
        self.assertIsNone(self.ask("shout", text="x"))
        self.monitor.unregister("shout")
        self.clock.advance(5)
        self.assertEqual([reply["return"] for reply in self.client.received()], [{"human-readable-text": "x"}])

    def test_cancelling_it_cancels_the_command(self) -> None:
        """And the client is answered once."""
        arguments = {"command": "slow", "arguments": {"text": "x"}}
        self.client.send(
            {"execute": "human-readable-text", "arguments": arguments, "id": 1},
            {"execute": "cancel-command", "arguments": {"id": 1}, "id": 2},
        )
        replies = {reply["id"]: reply.get("error", {}).get("desc") for reply in self.client.received()}
        self.assertEqual(replies, {1: "Command 'human-readable-text' was cancelled", 2: None})
        assert self.commands.request is not None
        self.assertTrue(self.commands.request.cancelled)

    def test_when_the_client_leaves(self) -> None:
        """The command says whether it ends or runs on."""
        self.monitor.register_command("gives-way", self.commands.slow, on_disconnect="cancel")
        for command, runs_on in (("gives-way", False), ("slow", True)):
            with self.subTest(command=command):
                client = QMPConnection(self.monitor)
                arguments = {"command": command, "arguments": {"text": "x"}}
                client.send({"execute": "human-readable-text", "arguments": arguments})
                client.lose()
                request: Any = self.commands.request
                self.assertEqual((request.cancelled, list(self.monitor.pending)), (not runs_on, [request] * runs_on))
                self.clock.advance(5)
                self.assertEqual(list(self.monitor.pending), [])

    def test_a_caller_may_do_no_more_than_itself(self) -> None:
        """The command inside needs its own level."""
        self.monitor.register_command("admins-only", self.commands.now, level="admin")
        client = QMPConnection(self.monitor, level="observe")
        arguments = {"command": "admins-only", "arguments": {"text": "x"}}
        answer = client.execute("human-readable-text", arguments)
        self.assertIn("'admins-only' needs admin", answer["error"]["desc"])

    def test_unregistered(self) -> None:
        """Without a monitor it has nothing to run."""
        self.monitor.unregister(self.provider)
        method: Any = self.provider.human_readable_text
        self.assertRaises(GenericError, method, None, "x")


def test_a_line_of_any_length() -> None:
    """The limit of typed lines is that of the protocol for people: here the message's holds."""
    monitor = Monitor(clock=Clock())
    monitor.register(HumanMonitorCommand())
    monitor.register(Commands(Clock()))
    answers: list[Any] = []
    deferred: Deferred[Any] = monitor.execute("human-monitor-command", {"command-line": "now " + "x" * 100_000})
    deferred.addBoth(answers.append)
    assert answers == ["x" * 100_000 + "\r\n"]


HMP = Path(twisted_qmon.__file__).parent / "hmp"


@pytest.mark.parametrize("path", sorted(HMP.glob("*.py")), ids=lambda path: path.name)
def test_the_human_monitor_knows_only_the_interface(path: Path) -> None:
    """No module of it imports anything of ours but interfaces, plain data and errors; its protocol, what a connection needs."""
    allowed = {f"twisted_qmon.{name}" for name in ("_log_publisher", "_text", "interfaces", "info", "errors")}
    if path.name == "protocol.py":
        allowed |= {f"twisted_qmon._transport.{name}" for name in ("connection", "factory", "write_queue")}
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = {alias.name for alias in node.names}
            # The version, for the banner.
            imported |= set() if names == {"__version__"} else {node.module or ""}
    ours = {
        name for name in imported if name.split(".")[0] == "twisted_qmon" and not name.startswith("twisted_qmon.hmp")
    }
    assert ours <= allowed

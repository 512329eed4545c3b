"""One person's session, without I/O, over a monitor that provides IMonitor and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.hmp_fakes import FakeMonitor, qemu_answers
from twisted_qmon.errors import CommandCancelled, GenericError
from twisted_qmon.hmp.commands.command_index import make_names
from twisted_qmon.hmp.commands.help import UpstreamHelp, help_for
from twisted_qmon.hmp.console import PREPARE_TIMEOUT, Console, Person
from twisted_qmon.info import ArgsItem, CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.interfaces import ICaller, IMonitor

ADD = CommandInfo(
    "add",
    parameters=(ParameterInfo("a", TypeInfo("int")), ParameterInfo("b", TypeInfo("int"), optional=True)),
    params="a [b]",
    help="add numbers",
    aliases=("plus",),
    doc=":param a: a number\n    of any size\n:return: their C{sum}\n:raise GenericError: when it is\n    too hard\n\nMore.",
)
SLOW = CommandInfo("slow", help="take some time")


def printer(value: Any) -> str:
    return f"<{value}>"


class ConsoleCase(SynchronousTestCase):
    """Has a console of a fake monitor, and what it told."""

    def make(self, monitor: FakeMonitor, **options: Any) -> Console:
        self.monitor = monitor
        self.written: list[str] = []
        self.told: list[str] = []
        console = Console(
            monitor,
            Person("hmp-1", "here"),
            write=self.written.append,
            on_suspend=lambda: self.told.append("suspend"),
            on_resume=lambda: self.told.append("resume"),
            **options,
        )
        console.start()
        return console

    def run_line(self, console: Console, text: str) -> str:
        console.line(text)
        return self.output()

    def output(self) -> str:
        text = "".join(self.written)
        self.written.clear()
        return text


class LineTests(ConsoleCase):
    """What a line does."""

    def test_what_they_provide(self) -> None:
        """The fake is a monitor, the person a caller."""
        verifyObject(IMonitor, FakeMonitor())
        verifyObject(ICaller, Person("x"))

    def test_a_command_runs_with_what_was_typed(self) -> None:
        """By name and alias, on behalf of the person; what is there at once suspends nothing."""
        console = self.make(FakeMonitor([ADD], {"add": 7}))
        self.assertEqual([self.run_line(console, line) for line in ("add 3 4", "plus b=4 a=3")], ["7\n", "7\n"])
        self.assertEqual(self.monitor.asked, [("add", {"a": 3, "b": 4})] * 2)
        self.assertEqual(self.told, [])

    def test_empty_lines_do_nothing(self) -> None:
        """Neither does one of blanks."""
        console = self.make(FakeMonitor())
        self.assertEqual([self.run_line(console, line) for line in ("", "  \t", "\n")], [""] * 3)
        self.assertEqual(self.monitor.asked, [])

    def test_queries_are_info(self) -> None:
        """C{query-x} is C{info x}, and only that; an alias of it is one at both places."""
        info = CommandInfo("query-balloon", aliases=("bl",))
        console = self.make(FakeMonitor([info], {"query-balloon": 1}))
        lines = ("info balloon", "info bl", "bl", "query-balloon", "balloon")
        self.assertEqual(
            [self.run_line(console, line) for line in lines],
            ["1\n", "1\n", "1\n", "unknown command: 'query-balloon'\n", "unknown command: 'balloon'\n"],
        )

    def test_a_name_is_stronger_than_an_alias(self) -> None:
        """Whichever was registered first."""
        infos = [CommandInfo("first", aliases=("second",)), CommandInfo("second")]
        console = self.make(FakeMonitor(infos, {"first": 1, "second": 2}))
        self.assertEqual(self.run_line(console, "second"), "2\n")

    def test_errors_of_arguments(self) -> None:
        """The name of the argument, what was expected and what was found; and where to look."""
        console = self.make(FakeMonitor([ADD, CommandInfo("query-x")]))
        self.assertEqual(
            [self.run_line(console, line) for line in ("plus x", "  add 1 2 3", "info x y")],
            [
                "add|plus: a: integer expected, got 'x'\nTry \"help plus\" for more information\n",
                'add|plus: extraneous characters at the end of line\nTry "help   add" for more information\n',
                'x: extraneous characters at the end of line\nTry "help info x" for more information\n',
            ],
        )
        self.assertEqual(self.monitor.asked, [])

    def test_errors_of_commands(self) -> None:
        """C{Error: } and the words, hints on lines of their own; terminals are not made to obey."""
        console = self.make(FakeMonitor([SLOW], {"slow": GenericError("no\x1b[2J\nhint")}))
        self.assertEqual(self.run_line(console, "slow"), "Error: no\\x1b[2J\nhint\n")

    def test_control_characters(self) -> None:
        """Are an error, whatever stands around them."""
        console = self.make(FakeMonitor([ADD], {"add": 1}))
        self.assertEqual(self.run_line(console, "add \0 1"), "Error: control character in the line: '\\x00'\n")
        self.assertEqual(self.run_line(console, "add 1\x7f"), "Error: control character in the line: '\\x7f'\n")
        self.assertEqual(self.run_line(console, "add \x9b2J"), "Error: control character in the line: '\\x9b'\n")
        self.assertEqual(self.run_line(console, "add\t1"), "1\n")

    def test_printers(self) -> None:
        """A command's own, or the default by the type of its result."""
        infos = [CommandInfo("a", printer=printer), CommandInfo("b", returns=TypeInfo("size"))]
        console = self.make(FakeMonitor(infos, {"a": [1], "b": 1024}))
        self.assertEqual([self.run_line(console, line) for line in "ab"], ["<[1]>\n", "1024 (1 KiB)\n"])

    def test_nothing_that_a_terminal_obeys(self) -> None:
        """Whoever wrote it: a result, a printer, an error, a docstring, a QEMU's own human monitor, what was typed."""
        evil = "a\x1b]0;title\x07\x9b2J\x08\rb\u202ec"
        seen = "a\\x1b]0;title\\x07\\x9b2J\\x08\\rb\\u202ec"
        infos = [
            CommandInfo("result"),
            CommandInfo("table"),
            CommandInfo("printed", printer=lambda value: f"{value}\tx\n{value}"),
            CommandInfo("broken", doc=evil),
        ]
        answers = {"result": {"x": evil}, "table": [{evil: evil}], "printed": evil, "broken": GenericError(evil)}
        console = self.make(FakeMonitor(infos, answers))
        self.assertEqual(
            [self.run_line(console, line) for line in ("result", "table", "printed", "broken", "x\u202e")],
            [
                f"x: {seen}\n",
                f"{seen}\n{seen}\n",
                f"{seen}\tx\n{seen}\n",
                f"Error: {seen}\n",
                "unknown command: 'x\\u202e'\n",
            ],
        )
        lines = seen.replace("\\r", "\n\t\t\t")
        self.assertEqual(self.run_line(console, "help broken"), f"broken  --\n\t\t\t{lines}\n")
        upstream = [CommandInfo("human-monitor-command", origin="qemu"), CommandInfo("query-command-help")]
        console = self.make(FakeMonitor(upstream, {"human-monitor-command": evil}))
        self.assertEqual(self.run_line(console, "info x"), f"{seen}\n")

    def test_a_printer_that_fails(self) -> None:
        """Its traceback is logged; the person sees one line, and the session goes on."""

        def broken(value: Any) -> str:
            raise ZeroDivisionError

        def wrong(value: Any) -> Any:
            return 5

        infos = [ADD, CommandInfo("a", printer=broken), CommandInfo("b", printer=wrong)]
        console = self.make(FakeMonitor(infos, {"a": 1, "b": 1, "add": 3}))
        line = "Error: something went wrong here, for a reason that was logged\n"
        self.assertEqual([self.run_line(console, x) for x in ("a", "b", "add 1")], [line, line, "3\n"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, TypeError)), 2)

    def test_a_monitor_that_breaks_its_promise(self) -> None:
        """A failure that is no CommandError is logged, and no reason to end the session."""
        console = self.make(FakeMonitor([SLOW], {"slow": ZeroDivisionError()}))
        self.assertIn("logged", self.run_line(console, "slow"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_commands_come_and_go(self) -> None:
        """A command is there from its registration to its end."""
        console = self.make(FakeMonitor([], {"add": 1}))
        before = self.run_line(console, "add 1")
        self.monitor.infos = {"add": ADD}
        between = self.run_line(console, "add 1")
        self.monitor.infos = {}
        after = self.run_line(console, "add 1")
        self.assertEqual([before, between, after], ["unknown command: 'add'\n", "1\n", "unknown command: 'add'\n"])


class SuspensionTests(ConsoleCase):
    """A pending command holds its person up."""

    def pending(self) -> tuple[Console, Deferred[Any], list[str]]:
        cancelled: list[str] = []

        def cancel(deferred: Deferred[Any]) -> None:
            cancelled.append("cancelled")
            deferred.errback(CommandCancelled("Command 'slow' was cancelled"))

        deferred: Deferred[Any] = Deferred(cancel)
        console = self.make(FakeMonitor([SLOW, ADD], {"slow": deferred, "add": 1}))
        console.line("slow")
        return console, deferred, cancelled

    def test_until_it_completes(self) -> None:
        """Suspended once, resumed once, after its output; then it takes lines again."""
        console, deferred, _ = self.pending()
        self.assertTrue(console.suspended)
        self.assertRaises(RuntimeError, console.line, "add 1")
        deferred.callback("done")
        self.assertEqual((self.told, self.output(), console.suspended), (["suspend", "resume"], "done\n", False))
        self.assertEqual(self.run_line(console, "add 1"), "1\n")

    def test_until_it_fails(self) -> None:
        """A later failure resumes as well."""
        _, deferred, _ = self.pending()
        deferred.errback(GenericError("too late"))
        self.assertEqual((self.told, self.output()), (["suspend", "resume"], "Error: too late\n"))

    def test_cancel(self) -> None:
        """The command is cancelled, the person told."""
        console, _, cancelled = self.pending()
        console.cancel()
        self.assertEqual((cancelled, self.told), (["cancelled"], ["suspend", "resume"]))
        self.assertEqual(self.output(), "Error: Command 'slow' was cancelled\n")
        console.cancel()
        self.assertEqual(len(cancelled), 1)

    def test_close(self) -> None:
        """Nothing is told to somebody who has gone, and the monitor knows, once."""
        console, deferred, _ = self.pending()
        console.close()
        console.close()
        deferred.callback("done")
        self.assertEqual((self.output(), self.told), ("", ["suspend"]))
        self.assertEqual(self.monitor.left, [console.caller])
        console.line("add 1")
        self.assertEqual(self.monitor.asked, [("slow", {})])

    def test_commands_that_are_not_known_yet(self) -> None:
        """A remote monitor may have to ask: the line waits, and is run then."""
        console = self.make(FakeMonitor([ADD], {"add": 1}))
        self.monitor.pending = []
        console.line("add 1")
        self.assertTrue(console.suspended)
        self.monitor.pending.pop().callback(self.monitor.infos)
        self.assertEqual((self.output(), self.told), ("1\n", ["suspend", "resume"]))
        console.line("add 1")
        self.monitor.pending.pop().errback(GenericError("gone"))
        self.assertEqual(self.output(), "Error: gone\n")

    def test_the_beginning_waits_for_the_commands(self) -> None:
        """But not for ever."""
        for finish in (True, False):
            monitor, clock = FakeMonitor([ADD], {"add": 1}), Clock()
            waiting: list[Deferred[Any]] = []
            monitor.pending = waiting
            console = self.make(monitor, clock=clock)
            self.assertTrue(console.suspended)
            if finish:
                waiting.pop().callback(monitor.infos)
            else:
                clock.advance(PREPARE_TIMEOUT)
            self.assertEqual((console.suspended, self.told, self.output()), (False, ["suspend", "resume"], ""))
            self.assertEqual(clock.getDelayedCalls(), [])


class ProgressTests(ConsoleCase):
    """C{progress on}: how far a command is."""

    def test_once_a_second(self) -> None:
        """The first at once, then the latest; nothing after the end; nothing of one that is there at once."""
        clock, deferred = Clock(), Deferred[Any]()
        console = self.make(FakeMonitor([SLOW], {"slow": deferred}), clock=clock)
        self.assertEqual(self.run_line(console, "progress on"), "")
        console.line("slow")
        update = self.monitor.progress
        assert update is not None
        update(1, 200)
        self.assertEqual(self.output(), "slow: 0 % (1 of 200)\n")
        update(10, 200)
        clock.advance(0.5)
        update(20, 200)
        self.assertEqual(self.output(), "")
        clock.advance(0.5)
        self.assertEqual(self.output(), "slow: 10 % (20 of 200)\n")
        clock.advance(5)
        update(5, 0)
        self.assertEqual(self.output(), "slow: 5\n")
        update(200, 200)
        deferred.callback("done")
        self.assertEqual((self.output(), clock.getDelayedCalls()), ("done\n", []))

    def test_silent_by_default(self) -> None:
        """Nobody is asked to tell; C{progress} says which it is."""
        console = self.make(FakeMonitor([SLOW], {"slow": 1}), clock=Clock())
        console.line("slow")
        self.assertIsNone(self.monitor.progress)
        self.output()
        lines = ("progress", "progress on", "progress", "progress off", "progress", "progress x")
        self.assertEqual(
            [self.run_line(console, line) for line in lines],
            [
                "progress is off\n",
                "",
                "progress is on\n",
                "",
                "progress is off\n",
                "Expected 'on' or 'off'\nTry \"help progress\" for more information\n",
            ],
        )

    def test_not_for_somebody_who_does_not_read(self) -> None:
        """Lines of progress don't pile up."""
        stalled = True
        clock, deferred = Clock(), Deferred[Any]()
        console = self.make(FakeMonitor([SLOW], {"slow": deferred}), clock=clock, stalled=lambda: stalled)
        console.line("progress on")
        console.line("slow")
        update = self.monitor.progress
        assert update is not None
        update(1, 2)
        stalled = False
        clock.advance(1)
        update(2, 2)
        self.assertEqual(self.output(), "slow: 100 % (2 of 2)\n")


class HelpTests(ConsoleCase):
    """C{help}, C{?}, C{info}."""

    def help_console(self) -> Callable[[str], str]:
        infos = [SLOW, ADD, CommandInfo("query-b", params="[x]", help="show b"), CommandInfo("query-a", hidden=True)]
        console = self.make(FakeMonitor(infos))
        return lambda line: self.run_line(console, line)

    def test_the_list(self) -> None:
        """Sorted, one line each, two blanks for no parameters, nothing hidden."""
        run = self.help_console()
        expected = [
            "add|plus a [b] -- add numbers",
            "help|? [cmd] -- show the help",
            "info [subcommand] -- show various information about the system state",
            "progress [on|off] -- print the progress of the pending command, at most once a second",
            "slow  -- take some time",
        ]
        self.assertEqual(run("help").splitlines(), expected)
        self.assertEqual(run(" ? ").splitlines(), expected)

    def test_info(self) -> None:
        """C{info} and C{help info} list what C{info} has."""
        run = self.help_console()
        self.assertEqual([run(line) for line in ("info", " info ", "help info")], ["info b [x] -- show b\n"] * 3)

    def test_one_command(self) -> None:
        """With what its docstring says of parameters and results, without markup and without what it raises."""
        run = self.help_console()
        more = ("a: a number", "of any size", "returns: their sum", "", "More.")
        expected = "add|plus a [b] -- add numbers\n" + "".join(f"\t\t\t{line}\n" if line else "\n" for line in more)
        self.assertEqual([run(line) for line in ("help add", "? plus", "help add x")], [expected] * 3)
        self.assertEqual(run("help info b"), "info b [x] -- show b\n")
        self.assertEqual(run("help info a"), "info a  --\n")

    def test_parameters_have_the_names_that_are_typed(self) -> None:
        """And not those of Python, where the two differ."""
        doc = ":param job_id: which\n:param from_: where\n:param some_thing: else"
        parameters = tuple(ParameterInfo(name, TypeInfo("str")) for name in ("job-id", "from", "some_thing"))
        console = self.make(FakeMonitor([CommandInfo("move", parameters, doc=doc)]))
        lines = self.run_line(console, "help move").splitlines()[1:]
        self.assertEqual(lines, ["\t\t\tjob-id: which", "\t\t\tfrom: where", "\t\t\tsome_thing: else"])

    def test_unknown_ones(self) -> None:
        """As on QEMU."""
        run = self.help_console()
        self.assertEqual(run("help foo bar"), "unknown command: 'foo'\n")
        self.assertEqual(run("help info foo"), "unknown command: 'info foo'\n")
        self.assertEqual(run("help b"), "unknown command: 'b'\n")


MIGRATE = CommandInfo("qmon-migrate", params="uri", help="migrate, and wait", aliases=("migrate",),
                      items=(ArgsItem("uri", "s"),), completes=True)  # fmt: skip


class InFrontOfQEMUTests(ConsoleCase):
    """A console over a real QEMU, and over our proxy."""

    def proxy(self) -> Console:
        infos = [
            CommandInfo("human-monitor-command", origin="qemu"),
            CommandInfo("query-command-help"),
            CommandInfo("query-status", origin="qemu"),
            CommandInfo("query-jobs", origin="qemu", help="QMP only"),
            CommandInfo("balloon", origin="qemu"),
            CommandInfo("query-pending", help="ours"),
            CommandInfo("migrate", origin="qemu"),
            CommandInfo("blockdev-add", origin="qemu"),
            MIGRATE,
        ]
        answers = {
            "human-monitor-command": qemu_answers,
            "query-jobs": [],
            "query-pending": "none",
            "qmon-migrate": "gone",
        }
        return self.make(FakeMonitor(infos, answers))

    def test_lines_go_to_qemu_verbatim(self) -> None:
        """Those of its own commands, and those that nobody knows."""
        console = self.proxy()
        lines = ["balloon  1", " info status ", "quit", "q", "foo bar", "info foo", "drive_add x"]
        self.assertEqual([self.run_line(console, line) for line in lines], [f"qemu: {line}\n" for line in lines])
        self.assertEqual(self.monitor.lines(), lines)

    def test_what_qemu_does_not_have(self) -> None:
        """Commands of ours and those that only QMP has run here, and the long ones that we complete."""
        console = self.proxy()
        lines = ("info pending", "info jobs", "migrate tcp:x", "qmon-migrate tcp:x")
        self.assertEqual([self.run_line(console, line) for line in lines], ["none\n", "", "gone\n", "gone\n"])
        self.assertEqual(self.monitor.lines(), [])
        self.assertEqual(self.monitor.asked[-1], ("qmon-migrate", {"uri": "tcp:x"}))

    def test_help_is_merged(self) -> None:
        """QEMU's lines and ours, sorted; of a command that we complete, ours."""
        console = self.proxy()
        self.assertEqual(
            self.run_line(console, "help").splitlines(),
            [
                "balloon target -- request VM to change its memory allocation (in MB)",
                "blockdev-add  --",
                "drive_add [-n] [[<domain>:]<bus>:]<slot>",
                "[file=file][,if=type] -- add drive to PCI storage controller",
                "help|? [cmd] -- show the help",
                "human-monitor-command  --",
                "info [subcommand] -- show various information about the system state",
                "migrate|qmon-migrate uri -- migrate, and wait",
                "progress [on|off] -- print the progress of the pending command, at most once a second",
                "quit|q  -- quit the emulator",
            ],
        )
        self.assertEqual(
            self.run_line(console, "info").splitlines(),
            [
                "info command-help  --",
                "info jobs  -- QMP only",
                "info pending  -- ours",
                "info status  -- show the current VM status (running|paused)",
                "info version  -- show the version of QEMU",
            ],
        )

    def test_help_for_one(self) -> None:
        """What QEMU has said of its own is known; it is asked for what it says nowhere else."""
        console = self.proxy()
        self.assertEqual(self.run_line(console, "help migrate"), "migrate|qmon-migrate uri -- migrate, and wait\n")
        self.assertEqual(self.run_line(console, "help q"), "quit|q  -- quit the emulator\n")
        status = "info status  -- show the current VM status (running|paused)\n"
        self.assertEqual(self.run_line(console, "help info status"), status)
        drive_add = (
            "drive_add [-n] [[<domain>:]<bus>:]<slot>\n[file=file][,if=type] -- add drive to PCI storage controller\n"
        )
        self.assertEqual(self.run_line(console, "? drive_add x"), drive_add)
        self.assertEqual(self.monitor.lines(), [])
        self.assertEqual(self.run_line(console, "help nope"), "qemu: help nope\n")

    def test_help_log(self) -> None:
        """For this one QEMU prints a table, and not the line that C{help} has."""
        commands = {"human-monitor-command": CommandInfo("human-monitor-command", origin="qemu")}
        names = make_names(commands, UpstreamHelp({"log": "log item -- log it", "stop": "stop|s  -- stop"}))
        self.assertIsNone(help_for(["log"], names))
        self.assertEqual(help_for(["stop"], names), "stop|s  -- stop\n")

    def test_a_bare_qemu(self) -> None:
        """A server without C{query-command-help} is a QEMU, whatever its commands say of their origin."""
        infos = [CommandInfo("human-monitor-command"), CommandInfo("query-status"), CommandInfo("query-jobs")]
        console = self.make(FakeMonitor(infos, {"human-monitor-command": qemu_answers, "query-jobs": []}))
        self.assertEqual(self.run_line(console, "info status"), "qemu: info status\n")
        self.assertEqual(self.run_line(console, "info jobs"), "")

    def test_the_beginning_waits_for_qemus_help(self) -> None:
        """Asked once for all sessions; what it said before will do while it is asked again."""
        answers: list[Deferred[Any]] = []

        def slow(arguments: Any) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        infos = [CommandInfo("human-monitor-command", origin="qemu"), CommandInfo("query-command-help")]
        console = self.make(FakeMonitor(infos, {"human-monitor-command": slow}))
        self.assertTrue(console.suspended)
        answers[0].callback("x  -- y\r\n")
        answers[1].callback("info z  -- y\r\n")
        self.assertEqual((console.suspended, self.told), (False, ["suspend", "resume"]))
        self.assertIn("x  -- y", self.run_line(console, "help"))
        self.monitor.infos = dict(self.monitor.infos)
        self.assertIn("x  -- y", self.run_line(console, "help"))
        answers[2].callback("xx  -- y\r\n")
        answers[3].callback("info z  -- y\r\n")
        self.assertIn("xx  -- y", self.run_line(console, "help"))
        self.assertEqual(len(answers), 4)

    def test_a_qemu_that_does_not_answer_for_its_help(self) -> None:
        """It is asked again; until then each line that may be its goes to it."""
        replies: dict[str, Any] = {"human-monitor-command": GenericError("QEMU is not connected")}
        infos = [
            CommandInfo("human-monitor-command", origin="qemu"),
            CommandInfo("query-command-help"),
            CommandInfo("query-jobs", origin="qemu"),
            CommandInfo("query-pending"),
        ]
        console = self.make(FakeMonitor(infos, {**replies, "query-pending": 1, "query-jobs": []}))
        self.assertEqual(self.run_line(console, "info pending"), "1\n")
        self.assertEqual(self.run_line(console, "info jobs"), "Error: QEMU is not connected\n")
        self.monitor.answers["human-monitor-command"] = qemu_answers
        self.run_line(console, "help")
        self.assertEqual(self.run_line(console, "info jobs"), "")

"""
Commands and events are registered and taken back, as wholes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.balloon import Balloon
from twisted_qmon import CommandNotFound, CommandProvider, Event, EventError, Monitor, RegistrationError, command
from twisted_qmon.core.command import Command, CommandOptions, command_name
from twisted_qmon.interfaces import ICommandProvider


class RegistryTests(SynchronousTestCase):
    """Commands and events come and go as wholes."""

    def setUp(self) -> None:
        self.monitor = Monitor(clock=Clock())

    def names(self) -> list[str]:
        return [each["name"] for each in self.successResultOf(self.monitor.execute("query-commands"))]

    def test_names(self) -> None:
        """A method's name is the command's, with dashes; a trailing underscore is dropped."""
        self.assertEqual(command_name("query_balloon"), "query-balloon")
        self.assertEqual(command_name("print_"), "print")

    def test_register(self) -> None:
        """A provider's commands come with it and vanish with it, newest first."""
        provider = Balloon()
        before = self.names()
        self.monitor.register(provider)
        self.assertIs(provider.monitor, self.monitor)
        self.assertEqual(self.names()[-len(before) :], before)
        self.assertIn("balloon", self.names())
        self.monitor.emit("BALLOON_CHANGE", {"actual": 1})
        self.monitor.unregister(provider)
        self.assertIsNone(provider.monitor)
        self.assertEqual(self.names(), before)
        with self.assertRaises(EventError):
            self.monitor.emit("BALLOON_CHANGE", {"actual": 1})
        with self.assertRaises(RegistrationError):
            self.monitor.unregister(provider)

    def test_threadSafe(self) -> None:
        """A command is for the main thread alone unless it says that another one may run it."""

        class Clerk(CommandProvider):
            @command
            def slow(self) -> None:
                """Ask the clerk."""

            @command(thread_safe=True)
            def quick(self) -> None:
                """Read the notice."""

        self.monitor.register(Clerk())
        self.monitor.register_command("quicker", lambda: None, thread_safe=True)
        infos = self.successResultOf(self.monitor.commands())
        safe = {name: infos[name].thread_safe for name in ("slow", "quick", "quicker")}
        self.assertEqual(safe, {"slow": False, "quick": True, "quicker": True})

    def test_takenName(self) -> None:
        """A taken name, alias or event raises, and nothing of the provider stays."""
        self.monitor.register_command("balloon", lambda: None)
        before = self.names()
        with self.assertRaises(RegistrationError):
            self.monitor.register(Balloon())
        self.monitor.unregister("balloon")
        self.monitor.register_command("bl", lambda: None)
        with self.assertRaises(RegistrationError):
            self.monitor.register(Balloon())
        self.monitor.unregister("bl")
        self.monitor.register_command("balloon", lambda: None)

        class Clash(CommandProvider):
            events = (Event("SHUTDOWN", guest=bool),)

            @command
            def unheard_of(self) -> None: ...

        with self.assertRaises(RegistrationError):
            self.monitor.register(Clash())
        self.assertEqual(self.names(), before)

    def test_badDeclarations(self) -> None:
        """What makes no sense is refused when it is declared or registered."""
        for bad in ({"on_disconnect": "maybe"}, {"timeout": 0}, {"aliases": "q"}):
            with self.assertRaises(RegistrationError):
                command(**bad)
        for name in ("", "a b", "a/b", "a\n"):
            with self.assertRaises(RegistrationError):
                Command(lambda: None, CommandOptions(name))
        with self.assertRaises(RegistrationError):
            self.monitor.register(object())  # type: ignore[arg-type]

    def test_shadow(self) -> None:
        """A shadow covers what has the same name, until it is taken out; in whatever order."""

        class Upstream(CommandProvider):
            def __init__(self, name: str) -> None:
                self.answer = name

            @command
            def query_name(self) -> dict[str, str]:
                return {"name": self.answer}

        first, second = Upstream("one"), Upstream("two")
        self.monitor.register(first, shadow=True)
        self.monitor.register(second, shadow=True)
        self.assertEqual(self.name(), {"name": "two"})
        self.monitor.unregister(first)
        self.assertEqual(self.name(), {"name": "two"})
        self.monitor.unregister(second)
        self.assertEqual(self.name(), {})

    def name(self) -> Any:
        return self.successResultOf(self.monitor.execute("query-name"))

    def test_hide(self) -> None:
        """A hidden command is not there, until it is shown again; names that are not there do no harm."""
        registry = self.monitor.registry
        show = registry.hide(["query-name", "nope"])
        self.failureResultOf(self.monitor.execute("query-name"), CommandNotFound)
        self.assertNotIn("query-name", registry.infos())
        self.assertNotIn({"name": "query-name"}, registry.names().value)
        show()
        self.assertEqual(self.name(), {})
        self.assertIn("query-name", registry.infos())
        show()
        self.assertEqual(self.name(), {})

    def test_hidden_name_taken(self) -> None:
        """The name of a hidden command is free; who takes it keeps it."""
        show = self.monitor.registry.hide(["query-name"])
        self.monitor.register_command("query-name", lambda: "mine")
        show()
        self.assertEqual(self.name(), "mine")
        self.monitor.unregister("query-name")
        self.assertEqual(self.name(), {})

    def test_hidden_and_taken_out(self) -> None:
        """A provider can be taken out while commands of it are hidden; they don't come back."""

        class Ours(CommandProvider):
            @command
            def query_ours(self) -> int:
                return 1

        ours = Ours()
        self.monitor.register(ours)
        show = self.monitor.registry.hide(["query-ours"])
        self.monitor.unregister(ours)
        show()
        self.failureResultOf(self.monitor.execute("query-ours"), CommandNotFound)
        self.monitor.register(Ours())
        self.assertEqual(self.successResultOf(self.monitor.execute("query-ours")), 1)

    def test_registerCommand(self) -> None:
        """A function is a command with what it was registered with, and comes out again by name."""
        self.monitor.register_command(
            "wavcapture", lambda path, freq=44100: f"{path} {freq}", args_type="path:F,freq:i?", params="path [freq]",
            help="capture audio",
        )  # fmt: skip
        info = self.successResultOf(self.monitor.commands())["wavcapture"]
        self.assertEqual((info.args_type, info.params, info.help), ("path:F,freq:i?", "path [freq]", "capture audio"))
        result = self.successResultOf(self.monitor.execute("wavcapture", {"path": "x", "freq": 8000}))
        self.assertEqual(result, "x 8000")
        self.monitor.unregister("wavcapture")
        self.failureResultOf(self.monitor.execute("wavcapture", {"path": "x"}), CommandNotFound)

    def test_anyObject(self) -> None:
        """Any object that provides the interface will do, hashable or not."""

        @implementer(ICommandProvider)
        class Plain:
            events = ()
            __hash__ = None  # type: ignore[assignment]

            def commands(self) -> list[Any]:
                return [Command(lambda: 7, CommandOptions("seven"))]

        provider = Plain()
        self.monitor.register(provider)
        self.assertEqual(self.successResultOf(self.monitor.execute("seven")), 7)
        self.monitor.unregister(provider)

    def test_inheritance(self) -> None:
        """A subclass has the commands of its bases; what it overrides with something else is gone."""

        class Smaller(Balloon):
            broken = None  # type: ignore[assignment]

            @command
            def more(self) -> None: ...

        names = [each.name for each in Smaller().commands()]
        self.assertIn("more", names)
        self.assertIn("balloon", names)
        self.assertNotIn("broken", names)

    def test_commandIsStillAMethod(self) -> None:
        """On an instance a command is the method that was decorated."""
        provider = Balloon()
        provider.balloon(3)
        self.assertEqual(provider.query_balloon(), {"actual": 3})

    def test_printer(self) -> None:
        """The printer is carried, never called."""

        class WithPrinter(CommandProvider):
            @command
            def query_x(self) -> int:
                return 1

            @query_x.printer
            def _(result: Any) -> str:
                raise AssertionError("never called by the core")

        self.monitor.register(WithPrinter())
        self.assertEqual(self.successResultOf(self.monitor.execute("query-x")), 1)
        self.assertIsNotNone(self.successResultOf(self.monitor.commands())["query-x"].printer)

    def test_builtins(self) -> None:
        """Every monitor says who it is and what it has."""
        version = self.successResultOf(self.monitor.execute("query-version"))
        self.assertEqual(set(version), {"qemu", "package"})
        self.assertEqual(set(version["qemu"]), {"major", "minor", "micro"})
        status = self.successResultOf(self.monitor.execute("query-status"))
        self.assertEqual(status["status"], "running")
        schema = self.successResultOf(self.monitor.execute("query-qmp-schema"))
        self.assertLessEqual({"command", "event", "object"}, {each["meta-type"] for each in schema})
        helps = self.successResultOf(self.monitor.execute("query-command-help"))
        self.assertEqual({each["name"] for each in helps}, set(self.names()))
        (one,) = self.successResultOf(self.monitor.execute("query-command-help", {"name": "query-name"}))
        self.assertEqual(one["name"], "query-name")
        self.failureResultOf(self.monitor.execute("query-command-help", {"name": "nope"}), CommandNotFound)
        self.failureResultOf(self.monitor.execute("qmp_capabilities"), CommandNotFound)
        self.assertIn("qmp_capabilities", self.names())

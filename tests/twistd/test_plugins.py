"""
Finding providers and plugins, and running a plugin's service: L{twisted_qmon._twistd.plugins},
L{twisted_qmon._twistd.hosting}, and the options of L{twisted_qmon.tap} that have to do with them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IServiceMaker, MultiService, Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.plugin import IPlugin
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_qmon import CommandProvider, Monitor, command, tap
from twisted_qmon._twistd.hosting import Hosting
from twisted_qmon._twistd.plugins import (
    ProviderError,
    find_provider,
    installed_providers,
    installed_services,
    register_provider,
)
from twisted_qmon._twistd.start_up import StartUp, one_line
from twisted_qmon.interfaces import ICommandProvider, ICommandProviderFactory
from twisted_qmon.tap import Options
from twisted_qmon.tap import options as tap_options


class Weather(CommandProvider):
    """A provider that a dotted name can lead to."""

    def __init__(self, application: Any = None, place: str = "here") -> None:
        self.application, self.place = application, place

    @command
    def query_weather(self) -> str:
        """show the weather"""
        return f"fine {self.place}"


class Taken(CommandProvider):
    """One of whose commands there is already."""

    @command
    def quit(self) -> None: ...


weather = Weather()


def make_weather() -> Weather:
    """A function that a dotted name can lead to."""
    return Weather(place="made")


def broken() -> Weather:
    """One that can't make its provider."""
    raise OSError("no sensor\nat all")


def makes_nothing() -> int:
    """One that makes something else."""
    return 3


number = 3


class _PlaceOptions(usage.Options):
    optParameters = [["place", None, "somewhere", "where"], ["count", None, 1, "how many", int]]
    optFlags = [["loud", None, "loudly"]]


@implementer(IPlugin, ICommandProviderFactory)
class _Factory:
    """An installed plugin."""

    def __init__(self, name: str, options: Any = None) -> None:
        self.name = name
        self.description = f"what {name} gives"
        self.options = options
        self.calls: list[tuple[Any, Any]] = []

    def provider(self, reactor: Any, application: Any) -> Any:
        self.calls.append((reactor, application))
        return Weather(application, "there" if self.options is None else self.options["place"])


factory = _Factory("by-dotted-name")


@implementer(IPlugin, IServiceMaker)
class _Maker:
    options = usage.Options

    def __init__(self, tapname: str) -> None:
        self.tapname = tapname
        self.description = ""

    def makeService(self, options: Any) -> Any:
        return Service()


def _plugins(*installed: Any) -> Any:
    return lambda interface: [plugin for plugin in installed if interface.providedBy(plugin)]


HERE = "tests.twistd.test_plugins"


def test_the_fake_is_a_factory() -> None:
    """What stands for an installed plugin here provides what one must."""
    assert verifyObject(ICommandProviderFactory, _Factory("x"))
    assert verifyObject(ICommandProvider, Weather())


def test_installed_providers_are_listed_by_name() -> None:
    """Other plugins are not among them; of two with the same name the first counts."""
    first, second, other = _Factory("b"), _Factory("b"), _Factory("a")
    found = installed_providers(_plugins(first, _Maker("web"), second, other))
    assert list(found) == ["a", "b"]
    assert found["b"] is first


def test_our_own_service_is_not_run_beside_itself() -> None:
    """The plugins that can be hosted are all but C{qmon}, by name."""
    found = installed_services(_plugins(_Maker("web"), _Maker("qmon"), _Maker("ftp"), _Factory("x")))
    assert [maker.tapname for maker in found] == ["ftp", "web"]


def test_twisteds_own_plugins_are_found() -> None:
    """Without a list of one's own, Twisted's plugin system is asked."""
    assert "web" in [maker.tapname for maker in installed_services()]


class TestByName:
    """C{--provider NAME}."""

    def test_the_factory_makes_the_provider(self) -> None:
        """It is given the reactor and the root of the services, once it is asked for the provider."""
        plugin = _Factory("weather")
        make = find_provider("weather", _plugins(plugin))
        assert plugin.calls == []
        reactor, application = Clock(), MultiService()
        provider: Any = make(reactor, application)
        assert provider.place == "there"
        assert plugin.calls == [(reactor, application)]

    def test_options_follow_the_name(self) -> None:
        """They are parsed by the plugin's own class, in the way of endpoint descriptions."""
        plugin = _Factory("weather", _PlaceOptions())
        provider: Any = find_provider(r"weather:place=C\:\\x:loud:count=3", _plugins(plugin))(Clock(), MultiService())
        assert provider.place == "C:\\x"
        assert (plugin.options["loud"], plugin.options["count"]) == (1, 3)

    def test_options_have_defaults(self) -> None:
        """Without any after the name, they are what they are by default."""
        provider: Any = find_provider("weather", _plugins(_Factory("weather", _PlaceOptions())))(
            Clock(), MultiService()
        )
        assert provider.place == "somewhere"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("weather:nonsense=1", "option --nonsense not recognized"),
            ("weather:count=many", "Parameter type enforcement failed: invalid literal"),
            ("weather:place", "option --place requires argument"),
        ],
    )
    def test_wrong_options_are_an_error(self, text: str, words: str) -> None:
        """The line names the provider and says what is wrong with them."""
        with pytest.raises(ProviderError) as raised:
            find_provider(text, _plugins(_Factory("weather", _PlaceOptions())))
        assert str(raised.value).startswith("the provider 'weather': ")
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_options_for_one_that_takes_none_are_an_error(self) -> None:
        """They would be lost."""
        with pytest.raises(ProviderError, match="^the provider 'weather' takes no options$"):
            find_provider("weather:place=x", _plugins(_Factory("weather")))

    def test_a_name_that_is_not_installed(self) -> None:
        """The line says which ones are."""
        with pytest.raises(ProviderError) as raised:
            find_provider("nobody", _plugins(_Factory("b"), _Factory("a")))
        assert str(raised.value) == "no provider 'nobody' is installed (installed: a, b), and it is no dotted name"
        with pytest.raises(ProviderError, match="installed: none"):
            find_provider("nobody", _plugins())

    def test_a_name_with_dots_can_be_a_plugins(self) -> None:
        """An installed name comes first."""
        assert (
            find_provider(f"{HERE}.weather", _plugins(_Factory(f"{HERE}.weather")))(None, MultiService()) is not weather
        )


class TestByDottedName:
    """C{--provider package.module.name}."""

    @pytest.mark.parametrize(
        ("name", "place"), [("Weather", "here"), ("make_weather", "made"), ("weather", "here"), ("factory", "there")]
    )
    def test_leads_to_a_class_a_function_an_object_or_a_factory(self, name: str, place: str) -> None:
        """A class and a function are called without arguments, an object is taken as it is, a factory is asked."""
        provider: Any = find_provider(f"{HERE}.{name}", _plugins())(Clock(), MultiService())
        assert provider.place == place
        assert (provider is weather) == (name == "weather")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("no.such.module", "no.such.module can't be imported: 'no.such.module' does not name an object"),
            (f"{HERE}.nothing", f"{HERE}.nothing can't be imported: AttributeError: "),
            (f"{HERE}.number", f"{HERE}.number is an object of type int, which provides no commands"),
            (
                "tests.twistd.test_plugins",
                "tests.twistd.test_plugins is an object of type module, which provides no commands",
            ),
            (".", ". can't be imported: name must be a string"),
            (f"{HERE}.weather:x=1", f"{HERE}.weather is a dotted name, which takes no options"),
        ],
    )
    def test_that_leads_nowhere_is_an_error(self, name: str, words: str) -> None:
        """One line says what became of it."""
        with pytest.raises(ProviderError) as raised:
            find_provider(name, _plugins())
        assert str(raised.value).startswith(words)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
            ("1/0", "ZeroDivisionError: division by zero"),
            ("def f(:", "SyntaxError: "),
            ("raise SystemExit(3)", "SystemExit: 3"),
        ],
    )
    def test_that_fails_to_import(
        self, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The line has the real reason, also when the module is there and something it needs is not."""
        (tmp_path / "fails_to_import.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "fails_to_import", raising=False)
        with pytest.raises(ProviderError) as raised:
            find_provider("fails_to_import.Provider", _plugins())
        assert str(raised.value).startswith(f"fails_to_import.Provider can't be imported: {words}")

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("broken", "could not be made: OSError: no sensor at all"),
            ("makes_nothing", "returned an object of type int, which provides no commands"),
        ],
    )
    def test_that_makes_no_provider(self, name: str, line: str) -> None:
        """What goes wrong while it is made is one line too."""
        make = find_provider(f"{HERE}.{name}", _plugins())
        with pytest.raises(ProviderError) as raised:
            make(Clock(), MultiService())
        assert str(raised.value) == f"{HERE}.{name} {line}"


class TestRegistering:
    """What can go wrong when it is registered."""

    def test_a_name_that_is_taken(self) -> None:
        """The line says whose and which; nothing of the provider is registered."""

        class Half(CommandProvider):
            @command
            def aaa(self) -> None: ...

            @command
            def query_version(self) -> None: ...

        monitor = Monitor(clock=Clock())
        before = dict(monitor.registry.active)
        with pytest.raises(ProviderError) as raised:
            register_provider(monitor, "half", Half())
        assert str(raised.value).startswith("half can't be registered: the name 'query-version' is already taken")
        assert dict(monitor.registry.active) == before

    def test_an_annotation_that_makes_no_sense(self) -> None:
        """A declaration that can't be understood is told in the same way."""

        class Odd(CommandProvider):
            @command
            def odd(self, value: complex) -> None: ...

        with pytest.raises(ProviderError, match="^odd can't be registered: "):
            register_provider(Monitor(clock=Clock()), "odd", Odd())

    def test_one_that_breaks_while_it_lists_its_commands(self) -> None:
        """An exception of its own does not get out as it is."""

        class Breaks(CommandProvider):
            def commands(self) -> Any:
                raise ValueError("oops")

        with pytest.raises(ProviderError, match="^breaks can't be registered: ValueError: oops$"):
            register_provider(Monitor(clock=Clock()), "breaks", Breaks())


class _Service(Service):
    """A service that does as it was told."""

    def __init__(self, *, prepares: Exception | None = None, starts: Any = None) -> None:
        self.prepares, self.starts = prepares, starts

    def privilegedStartService(self) -> None:
        if self.prepares is not None:
            raise self.prepares

    def startService(self) -> Any:
        super().startService()
        if isinstance(self.starts, Exception):
            raise self.starts
        return self.starts


def host(name: str, service: _Service) -> Hosting:
    """:return: the parent of a plugin's service"""
    hosting = Hosting(name)
    hosting.host(service)
    return hosting


class HostingTests(SynchronousTestCase):
    """A plugin's service beside the monitor's."""

    def test_the_service_gets_the_plugins_name(self) -> None:
        """If it has none: it can then be stopped by that."""
        hosted = _Service()
        self.assertEqual(list(host("web", hosted)), [hosted])
        self.assertEqual(hosted.name, "web")
        named = _Service()
        named.setName("own")
        host("web", named)
        self.assertEqual(named.name, "own")

    def test_all_are_prepared_started_and_stopped(self) -> None:
        """As with any other parent of services."""
        hosted, monitor = _Service(), _Service()
        hosting = host("web", hosted)
        monitor.setServiceParent(hosting)
        hosting.privilegedStartService()
        hosting.startService()
        self.assertEqual([bool(service.running) for service in (hosting, hosted, monitor)], [True] * 3)
        self.successResultOf(hosting.stopService())
        self.assertEqual([bool(service.running) for service in (hosting, hosted, monitor)], [False] * 3)

    def test_a_failure_at_start_up_is_one_line(self) -> None:
        """Whether it can't prepare, can't start, or says at once through its Deferred that it can't."""
        for service in (
            _Service(prepares=OSError("no\n  port")),
            _Service(starts=OSError("no port")),
            _Service(starts=fail(OSError("no port"))),
        ):
            hosting = host("web", service)
            with self.assertRaises(SystemExit) as raised:
                hosting.privilegedStartService()
                hosting.startService()
            self.assertEqual(raised.exception.code, "twistd qmon: web: no port")

    def test_a_failure_later_is_logged(self) -> None:
        """The others go on."""
        later: Deferred[None] = Deferred()

        async def start() -> None:
            await later

        hosting = host("web", _Service(starts=start()))
        hosting.startService()
        later.errback(OSError("gone"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertTrue(hosting.running)


def test_an_exit_keeps_its_words() -> None:
    """A SystemExit with a line of its own is not put into another one; an error without words is told by its class."""
    with pytest.raises(SystemExit, match="^mine$"), StartUp().attempt("web"):
        raise SystemExit("mine")
    assert one_line(KeyError()) == "KeyError"


class TestOptions:
    """The options of C{twistd qmon} that have to do with plugins."""

    def test_another_plugins_options_follow_its_name(self) -> None:
        """They are parsed by its own class."""
        options = Options()
        options.parseOptions(["--name", "shop", "web", "--path", "."])
        assert options.subCommand == "web"
        assert options.subOptions.__class__.__module__ == "twisted.web.tap"
        assert options["name"] == "shop"

    def test_its_usage_is_shown_for_its_errors_and_ours_for_ours(self) -> None:
        """The usage that goes with an error is that of the options which are wrong."""
        options = Options()
        with pytest.raises(usage.UsageError, match="nonsense"):
            options.parseOptions(["web", "--nonsense"])
        assert "--mime-type" in str(options)
        options = Options()
        with pytest.raises(usage.UsageError, match="^--qmp: "):
            options.parseOptions(["--qmp", "nonsense:", "web"])
        assert "--mime-type" not in str(options)
        assert "--in-flight" in str(options)

    @pytest.mark.parametrize("arguments", [["nosuch"], ["qmon"], ["--provider", "nosuch"]])
    def test_what_is_not_there_is_a_usage_error(self, arguments: list[str]) -> None:
        """A plugin that is not installed (or is this one), and a provider that is not."""
        with pytest.raises(usage.UsageError, match=r"Unknown command: \w+|no provider 'nosuch' is installed"):
            Options().parseOptions(arguments)

    def test_a_plugin_that_can_not_be_imported_is_a_usage_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with what its package needs and is not there."""

        class Broken(_Maker):
            @property
            def options(self) -> Any:  # type: ignore[override]
                raise ImportError("No module named 'needed'")

        monkeypatch.setattr(tap_options, "installed_services", lambda: [Broken("broken")])
        with pytest.raises(usage.UsageError, match="^broken can't be loaded: No module named 'needed'$"):
            Options().parseOptions(["broken"])

    def test_the_help_lists_installed_providers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With their descriptions, in columns; and the plugins that can run beside the monitor."""
        found = {"a": _Factory("a"), "longer": _Factory("longer")}
        monkeypatch.setattr(tap_options, "installed_providers", lambda: found)
        text = Options().getUsage()
        assert "Providers:\n    a       what a gives\n    longer  what longer gives\n" in text
        assert "\n    web  " in text
        monkeypatch.setattr(tap_options, "installed_providers", dict)
        assert "Providers:" not in Options().getUsage()

    def test_the_monitor_and_the_plugin_have_one_parent(self) -> None:
        """The service that twistd runs has both, the provider is registered, and knows the root of it all."""
        options = Options()
        options.parseOptions(["--provider", f"{HERE}.factory", "web", "--path", "."])
        factory.calls.clear()
        root: Any = tap.makeService(options)
        assert [service.name for service in root] == ["web", "qmon"]
        monitor = root.getServiceNamed("qmon").monitor
        assert monitor.command("query-weather") is not None
        assert factory.calls[0][1] is root
        paths = [info["path"] for info in monitor.execute("query-services").result]
        assert {"", "web", "qmon"} <= set(paths)

    def test_without_a_plugin_the_monitor_is_all_there_is(self) -> None:
        """And its own service is the root of the tree."""
        options = Options()
        options.parseOptions(["--qmp", "tcp:0:interface=127.0.0.1"])
        root: Any = tap.makeService(options)
        assert root.name == "qmon"
        assert root.monitor.execute("query-services").result[0]["name"] == "qmon"

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("broken", "could not be made: OSError: no sensor"),
            ("Taken", "can't be registered: the name 'quit' is already"),
        ],
    )
    def test_a_provider_that_fails_ends_the_process_with_one_line(self, name: str, words: str) -> None:
        """No traceback: a SystemExit with the line."""
        options = Options()
        options.parseOptions(["--provider", f"{HERE}.{name}"])
        with pytest.raises(SystemExit, match=f"^twistd qmon: --provider: {HERE}.{name} {words}"):
            tap.makeService(options)

    def test_a_plugin_that_fails_ends_the_process_with_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also when it can't even make its service."""

        class Broken(_Maker):
            def makeService(self, options: Any) -> Any:
                raise ValueError("no\nuse")

        monkeypatch.setattr(tap_options, "installed_services", lambda: [Broken("broken")])
        options = Options()
        options.parseOptions(["broken"])
        with pytest.raises(SystemExit, match="^twistd qmon: broken: no use$"):
            tap.makeService(options)

"""
A hosted plugin sees what it would see under C{twistd} itself: its options' parent, and the application that it becomes part of.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.application.app import ServerOptions
from twisted.application.service import Application, IService, IServiceCollection, IServiceMaker, MultiService
from twisted.plugin import IPlugin
from twisted.python import log, usage
from twisted.python.components import Componentized
from zope.interface import implementer

from twisted_qmon import tap
from twisted_qmon._twistd.hosting import Hosting
from twisted_qmon.tap import Options
from twisted_qmon.tap import options as tap_options


class Curious(usage.Options):
    """Options that look at their parent."""

    seen: dict[str, Any]

    def postOptions(self) -> None:
        parent: Any = self.parent
        self.seen = {
            "pidfile": parent["pidfile"],
            "get": (parent.get("pidfile"), parent.get("nothing", 5)),
            "contains": ("pidfile" in parent, "nothing" in parent),
            "kind": isinstance(parent, ServerOptions),
            "copy": dict(parent) == dict(**parent),
            "command": parent.subCommand,
            "options": parent.subOptions is self,
            "above": parent.parent,
            "plugins": "curious" in parent.loadedPlugins,
            "keys": {"pidfile", "logfile"} <= set(parent) and len(parent) > 5,
            "synopsis": self.getSynopsis(),
            "usage": str(parent),
        }
        parent["umask"] = 0o22
        parent["extra"] = 1
        del parent["extra"]
        parent.mark = "made"


@implementer(IPlugin, IServiceMaker)
class Maker:
    """A plugin whose options are curious."""

    tapname = "curious"
    description = "looks around"
    options = Curious

    def makeService(self, options: Any) -> Any:
        return MultiService()


@pytest.fixture
def twistd(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The options of twistd, where our plugin and the curious one are the only ones."""
    from twisted.application.service import ServiceMaker
    from twisted.scripts._twistd_unix import ServerOptions as UnixServerOptions

    maker = Maker()
    monkeypatch.setattr(tap_options, "installed_services", lambda: [maker])
    ours = ServiceMaker("twisted-qmon", "twisted_qmon.tap", "", "qmon")
    options: Any = UnixServerOptions()
    options._getPlugins = lambda interface: [maker, ours]
    return options


def test_the_parent_is_twistds(twistd: Any) -> None:
    """Values, membership, class, subcommand and attributes are those of twistd; what is changed is changed there."""
    twistd.parseOptions(["--pidfile", "mine.pid", "qmon", "--name", "n", "curious"])
    seen = twistd.subOptions.subOptions.seen
    assert seen.pop("synopsis").endswith("[options] qmon [options] curious [options]")
    assert seen.pop("usage").startswith("Usage: ")
    assert seen == {
        "pidfile": "mine.pid",
        "get": ("mine.pid", 5),
        "contains": (True, False),
        "kind": True,
        "copy": True,
        "command": "curious",
        "options": True,
        "above": None,
        "plugins": True,
        "keys": True,
    }
    assert (twistd["umask"], twistd.mark, "extra" in twistd) == (0o22, "made", False)
    # To twistd the subcommand is ours all the same.
    assert (twistd.subCommand, twistd.subOptions.__class__) == ("qmon", Options)


def test_it_is_the_same_without_us(twistd: Any) -> None:
    """Which is what it sees when twistd runs it."""
    twistd.parseOptions(["--pidfile", "mine.pid", "qmon", "curious"])
    hosted = twistd.subOptions.subOptions.seen
    other = type(twistd)()
    other._getPlugins = twistd._getPlugins
    other.parseOptions(["--pidfile", "mine.pid", "curious"])
    alone = other.subOptions.seen
    for difference in ("synopsis", "usage"):
        del hosted[difference], alone[difference]
    assert hosted == alone


class Particular(MultiService):
    """A service that gives the application that it becomes part of a log observer."""

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)
        if isinstance(parent, Componentized):
            parent.setComponent(log.ILogObserver, print)


def test_the_application_gets_the_plugins_log_observer() -> None:
    """As it does when twistd runs the plugin; the plugin's service is below ours in the tree."""
    hosting = Hosting("particular")
    hosted = Particular()
    hosting.host(hosted)
    application: Any = Application("all")
    hosting.setServiceParent(application)
    assert application.getComponent(log.ILogObserver) is print
    assert (hosted.parent, hosting.parent) == (hosting, IService(application))


def test_a_plugin_without_an_observer() -> None:
    """Leaves the application as it is; so does a parent that is no application."""
    hosting = Hosting("plain")
    hosting.host(MultiService())
    application: Any = Application("all")
    hosting.setServiceParent(application)
    assert application.getComponent(log.ILogObserver) is None
    other = Hosting("plain")
    other.setServiceParent(IServiceCollection(Application("more")))
    assert other.parent is not None


def test_a_usage_error_under_twistd(twistd: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the usage and one line, and status 1 with every Twisted."""
    with pytest.raises(SystemExit) as caught:
        twistd.parseOptions(["qmon", "--nonsense"])
    assert caught.value.code == 1
    output = capsys.readouterr().out
    assert output.startswith("Usage: ")
    assert output.endswith(": option --nonsense not recognized\n")


def test_in_front_of_a_qemu(twistd: Any) -> None:
    """There C{quit} is QEMU's, and ours has another name; the sockets' owner is the user that twistd changes to."""
    twistd.parseOptions(["--uid", "3", "--gid", "4", "qmon", "--qemu", "unix:/nowhere/qmp"])
    service: Any = tap.makeService(twistd.subOptions)
    assert service.monitor.command("quit") is None
    assert service.monitor.command("qmon-quit") is not None
    assert service.owner == (3, 4)

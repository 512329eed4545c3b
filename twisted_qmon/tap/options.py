"""
The options of C{twistd qmon}: all groups together. A new option is a row of its group, in the module of that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from twisted.application.app import ServerOptions
from twisted.python.usage import Options as _Options
from twisted.python.usage import UsageError

from twisted_qmon._twistd.config import ConfigError, with_config
from twisted_qmon._twistd.plugins import installed_providers, installed_services
from twisted_qmon._twistd.signals import EarlyHangUps
from twisted_qmon._twistd.start_up import one_line
from twisted_qmon.tap.access import AccessOptions
from twisted_qmon.tap.connections import ConnectionOptions
from twisted_qmon.tap.fleet import FleetOptions
from twisted_qmon.tap.group import OptionGroup
from twisted_qmon.tap.metrics import MetricsOptions
from twisted_qmon.tap.monitor import MonitorOptions
from twisted_qmon.tap.qemu import QemuOptions
from twisted_qmon.tap.ssh import SSHOptions
from twisted_qmon.tap.watchdog import WatchdogOptions
from twisted_qmon.tap.web import WebOptions

if TYPE_CHECKING:
    from twisted.application.service import IServiceMaker

__all__ = ["GROUPS", "Options"]

_PLUGIN = "[another twistd plugin and its options]"


class Options(
    ConnectionOptions,
    MonitorOptions,
    AccessOptions,
    WatchdogOptions,
    SSHOptions,
    WebOptions,
    MetricsOptions,
    FleetOptions,
    QemuOptions,
):
    """The options of C{twistd qmon}."""

    synopsis = f"[options] {_PLUGIN}"
    longdesc = (
        "Serves QMP and the human monitor of this process, of another twistd plugin that runs beside it, or of a QEMU. "
        "With neither --qmp nor --hmp it serves both, at unix:qmp.sock and unix:hmp.sock; with either, only what is named."
    )
    optParameters = [
        ["config", None, None, "A file with options, by their long names (TOML); those of the command line win."],
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        for group in GROUPS:
            for name in (*group.endpoints, *group.lists):
                self[name] = []
        self.hang_ups = EarlyHangUps()
        self.plugins: dict[str, IServiceMaker] = {}

    @property
    def subCommands(self) -> Iterator[tuple[str, None, Callable[[], _Options], str]]:
        """The plugins that can run beside the monitor, as Twisted's own C{twistd} lists them."""
        for plugin in installed_services():
            self.plugins[plugin.tapname] = plugin
            yield (plugin.tapname, None, partial(_options_of, self, plugin), plugin.description)

    def getSynopsis(self) -> str:
        """:return: the line of the usage; before another plugin's, without the place for one"""
        synopsis = super().getSynopsis()
        return synopsis.replace(" " + _PLUGIN, "") if hasattr(self, "subOptions") else synopsis

    def getUsage(self, width: int | None = None) -> str:
        """:return: the usage; with it the providers that are installed"""
        usage = super().getUsage(width)
        providers = installed_providers()
        if hasattr(self, "subOptions") or not providers:
            return usage
        column = max(len(name) for name in providers) + 6
        lines = [
            TextWrapper(width or 80, initial_indent=f"    {name:{column - 4}}", subsequent_indent=" " * column).fill(
                factory.description
            )
            for name, factory in providers.items()
        ]
        return usage + "Providers:\n" + "\n".join(lines) + "\n"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        :raise UsageError: when they are not valid
        :raise SystemExit: instead of that under C{twistd}: with the usage, one line, and status 1
        """
        try:
            try:
                super().parseOptions(with_config(self, sys.argv[1:] if options is None else options))
            except ConfigError as e:
                raise UsageError(f"--config: {e}") from e
        except UsageError as e:
            if not isinstance(self.parent, ServerOptions):
                raise
            # Older ones of Twisted print the same, and end with status 0.
            sys.stdout.write(f"{self.parent}\n{' '.join(sys.argv[:2])}: {e}\n")
            raise SystemExit(1) from e

    def postOptions(self) -> None:
        """
        :raise UsageError: when a description is not valid, or a provider can't be found
        """
        if isinstance(self.parent, ServerOptions):
            self.hang_ups.begin()
        try:
            self._check()
        except UsageError:
            if hasattr(self, "subOptions"):
                # Or the usage would be that of the hosted plugin.
                del self.subOptions
            raise

    def _check(self) -> None:
        for group in GROUPS:
            self.check_endpoints(group.endpoints)
        for group in GROUPS:
            group.check(self)


#: The groups of options, in the order in which they are checked and served.
GROUPS: Sequence[type[OptionGroup]] = Options.__bases__


def _options_of(ours: Options, plugin: IServiceMaker) -> _Options:
    """
    :return: an instance of the options of a plugin of twistd
    :raise UsageError: when the plugin can't be imported
    """
    from twisted_qmon._twistd.hosting import parse_as_under_twistd

    try:
        hosted = plugin.options()
    except ImportError as e:
        raise UsageError(f"{plugin.tapname} can't be loaded: {one_line(e)}") from e
    return parse_as_under_twistd(ours, plugin.tapname, hosted)

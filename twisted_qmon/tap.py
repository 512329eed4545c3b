"""
C{twistd qmon}: its options, and the service they make.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

from twisted.application.app import ServerOptions
from twisted.internet.defer import succeed
from twisted.python.usage import Options as _Options
from twisted.python.usage import UsageError

from twisted_qmon._transport.endpoints import client_endpoint, server_endpoint, take_level
from twisted_qmon._transport.factory import MAX_CONNECTIONS, READY_TIMEOUT
from twisted_qmon._transport.unix_port import Owner, owner_of
from twisted_qmon._transport.write_queue import MAX_QUEUED, SLOW_CLIENT
from twisted_qmon._twistd.config import ConfigError, with_config
from twisted_qmon._twistd.extras import missing_modules
from twisted_qmon._twistd.hosting import Hosting, parse_as_under_twistd
from twisted_qmon._twistd.notify import Notifier, notifier_of
from twisted_qmon._twistd.plugins import (
    ProviderError,
    ProviderFinder,
    find_provider,
    installed_providers,
    installed_services,
    register_provider,
)
from twisted_qmon._twistd.signals import EarlyHangUps, EndSignals, stop_reactor
from twisted_qmon._twistd.start_up import StartUp, one_line
from twisted_qmon.core.access.file import Access
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.core.event_history import EVENT_HISTORY, EVENT_HISTORY_BYTES
from twisted_qmon.core.monitor import MAX_ABANDONED
from twisted_qmon.core.upstream import UPSTREAM_LOST
from twisted_qmon.hmp.prompt import HMP_STYLES, PROMPT
from twisted_qmon.providers.process.stalls import MIN_STALL, STALL
from twisted_qmon.qmp._server.limits import IN_FLIGHT
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.service import DRAIN

if TYPE_CHECKING:
    from twisted.application.service import IServiceMaker, MultiService
    from twisted.conch.ssh.keys import Key
    from twisted.internet.defer import Deferred

    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.core.request import Request
    from twisted_qmon.service import MonitorService
    from twisted_qmon.ssh.authorized_keys import AuthorizedKeys

__all__ = ["Options", "makeService"]

_PLUGIN = "[another twistd plugin and its options]"
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def _count(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def _count_or_none(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError("it must be at least 0")
    return number


def _bytes(value: str) -> int:
    """A number of bytes, with K, M or G for 1024 and its powers: C{1M}, C{64 MiB}."""
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("it must be a number of bytes, such as 65536, 64K or 1M")
    return int(match[1]) << _UNITS[match[2].upper()]


def _some_bytes(value: str) -> int:
    number = _bytes(value)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def _seconds(value: str) -> float:
    number = float(value)
    if not 0 <= number < 1e9:
        raise ValueError("it must be a number of seconds")
    return number


def _seconds_or_off(value: str) -> float | None:
    if value in ("off", "none"):
        return None
    number = _seconds(value)
    if not number:
        raise ValueError("it must be more than 0 seconds, or 'off'")
    return number


def _stall(value: str) -> float | None:
    seconds = _seconds_or_off(value)
    if seconds is not None and seconds < MIN_STALL:
        raise ValueError(f"it must be at least {MIN_STALL} seconds, or 'off'")
    return seconds


def _upstream_lost(value: str) -> str:
    if value not in UPSTREAM_LOST:
        raise ValueError("it must be 'keep' or 'close'")
    return value


def _hmp_style(value: str) -> str:
    if value not in HMP_STYLES:
        raise ValueError("it must be 'qmon' or 'qemu'")
    return value


def _slow_client(value: str) -> str:
    if value not in SLOW_CLIENT:
        raise ValueError("it must be 'disconnect' or 'drop-oldest'")
    return value


def _with_name(name: str, convert: Callable[[str], object]) -> Callable[[str], object]:
    """The same; its errors name the option, as Twisted's own message does not."""

    def converted(value: str) -> object:
        try:
            return convert(value)
        except ValueError as e:
            raise ValueError(f"--{name}: {value!r}: {e}") from e

    return converted


class Options(_Options):
    """The options of C{twistd qmon}."""

    synopsis = f"[options] {_PLUGIN}"
    longdesc = (
        "Serves QMP and the human monitor of this process, of another twistd plugin that runs beside it, or of a QEMU. "
        "With neither --qmp nor --hmp it serves both, at unix:qmp.sock and unix:hmp.sock; with either, only what is named."
    )
    optParameters: list[list[Any]] = [
        ["qemu", None, None, "Be a proxy in front of the QEMU whose QMP server is at this client endpoint."],
        ["upstream-lost", None, "keep",
         "When QEMU goes, its clients stay connected (keep) or are disconnected (close).", _upstream_lost],
        ["name", None, None, "What query-name answers."],
        ["prompt", None, PROMPT, "The human monitor's prompt."],
        ["hmp-style", None, "qmon",
         "Whose human monitor it looks like: ours (qmon), or QEMU's to the byte (qemu), for programs.", _hmp_style],
        ["in-flight", None, IN_FLIGHT, "In-band requests of a client that run at a time.", _count],
        ["timeout", None, None,
         "Seconds that a command has if it declares no deadline, or 'off'. [default: off]", _seconds_or_off],
        ["drain", None, DRAIN, "Seconds that pending requests have when the service stops.", _seconds],
        ["max-connections", None, MAX_CONNECTIONS, "Connections at each endpoint.", _count],
        ["max-queued", None, MAX_QUEUED, "Bytes of events that wait for a client that does not read.", _bytes],
        ["max-message", None, MAX_MESSAGE, "Bytes of the longest message.", _some_bytes],
        ["max-abandoned", None, MAX_ABANDONED, "Abandoned executions of a command, beyond which it is refused.", _count],
        ["slow-client", None, "disconnect",
         "Beyond --max-queued a client is disconnected (disconnect) or loses events (drop-oldest).", _slow_client],
        ["event-history", None, EVENT_HISTORY, "Events that are kept for clients that come back.", _count_or_none],
        ["event-history-bytes", None, EVENT_HISTORY_BYTES, "Bytes that these may have together.", _bytes],
        ["negotiation-timeout", None, None, "Seconds for qmp_capabilities, or 'off'. [default: off]", _seconds_or_off],
        ["idle-timeout", None, None,
         "Seconds without input before a client is disconnected, or 'off'. [default: off]", _seconds_or_off],
        ["config", None, None, "A file with options, by their long names (TOML); those of the command line win."],
        ["access", None, None, "A file with the rules of who may do what (TOML)."],
        ["audit", None, None, "A file for the record of who did what."],
        ["web-tokens", None, "web-tokens.toml", "A file with the tokens of --web (TOML); made if it is not there."],
        ["stall", None, STALL, "Seconds from which on a reactor that is late has stalled, or 'off'.", _stall],
        ["ssh-host-key", None, None, "The private key of --ssh; a file that is made at the first start."],
        ["ssh-authorized-keys", None, None, "Who may log in at --ssh: a file as OpenSSH has it."],
        ["ready-timeout", None, READY_TIMEOUT, "Seconds that a greeting waits for a QEMU that is not connected yet.", _seconds],
    ]  # fmt: skip
    optParameters = [[*row[:4], *(_with_name(row[0], convert) for convert in row[4:])] for row in optParameters]

    def __init__(self) -> None:
        super().__init__()
        self["qmp"] = []
        self["hmp"] = []
        self["web"] = []
        self["metrics"] = []
        self["web-host"] = []
        self["ssh"] = []
        self["watchdog"] = []
        self["watchdog-hmp"] = []
        self["provider"] = []
        self["audit-required"] = False
        self.access: Access | None = None
        self.hang_ups = EarlyHangUps()
        self.ssh_host_key: Key | None = None
        self.ssh_authorized_keys: AuthorizedKeys | None = None
        self.providers: list[tuple[str, ProviderFinder]] = []
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

    def opt_qmp(self, description: str) -> None:
        """Serve QMP at this server endpoint (repeatable). [default: unix:qmp.sock]"""
        self["qmp"].append(description)

    def opt_hmp(self, description: str) -> None:
        """Serve the human monitor at this server endpoint (repeatable). [default: unix:hmp.sock]"""
        self["hmp"].append(description)

    def opt_web(self, description: str) -> None:
        """Serve the page and the HTTP interface at this server endpoint (repeatable)."""
        self["web"].append(description)

    def opt_metrics(self, description: str) -> None:
        """Serve metrics for Prometheus at this server endpoint (repeatable)."""
        self["metrics"].append(description)

    def opt_web_host(self, name: str) -> None:
        """A name that browsers may have for this host, beside localhost and the address listened at (repeatable)."""
        self["web-host"].append(name)

    def opt_watchdog(self, description: str) -> None:
        """Serve QMP at this server endpoint from a thread that answers while the reactor is stuck (repeatable)."""
        self["watchdog"].append(description)

    def opt_watchdog_hmp(self, description: str) -> None:
        """Serve the human monitor there (repeatable)."""
        self["watchdog-hmp"].append(description)

    def opt_ssh(self, description: str) -> None:
        """Serve the human monitor, and QMP as a subsystem, over SSH at this server endpoint (repeatable)."""
        self["ssh"].append(description)

    def opt_audit_required(self) -> None:
        """Refuse commands above the level observe that can't be written to --audit."""
        self["audit-required"] = True

    def opt_provider(self, name: str) -> None:
        """Load commands: an installed provider plugin's name, or the dotted name of a class, function or object (repeatable)."""
        self["provider"].append(name)

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
        if not self["qmp"] and not self["hmp"]:
            self["qmp"] = ["unix:qmp.sock"]
            self["hmp"] = ["unix:hmp.sock"]
        if self["metrics"] and find_spec("prometheus_client") is None:
            raise UsageError("--metrics: prometheus_client is not installed: pip install 'twisted-qmon[metrics]'")
        if self["web"] and find_spec("klein") is None:
            raise UsageError("--web: Klein is not installed: pip install 'twisted-qmon[web]'")
        for option in ("qmp", "hmp", "watchdog", "watchdog-hmp", "web", "metrics", "ssh"):
            for description in self[option]:
                try:
                    server_endpoint(None, take_level(description)[0])
                except ValueError as e:
                    raise UsageError(f"--{option}: {e}") from e
        self._check_qemu()
        self._check_access()
        self._check_ssh()
        for text in self["provider"]:
            try:
                self.providers.append((text, find_provider(text)))
            except ProviderError as e:
                raise UsageError(f"--provider: {e}") from e

    def _check_qemu(self) -> None:
        if self["qemu"] is not None:
            try:
                client_endpoint(None, self["qemu"])
            except ValueError as e:
                raise UsageError(f"--qemu: {e}") from e
        elif self["upstream-lost"] != "keep":
            raise UsageError("--upstream-lost: there is no --qemu")

    def _check_access(self) -> None:
        if self["access"] is not None:
            try:
                # It is read again when the process may be in another folder.
                self.access = Access(os.path.abspath(self["access"]))
            except AccessError as e:
                raise UsageError(f"--access: {e}") from e
        if self["audit-required"] and self["audit"] is None:
            raise UsageError("--audit-required: there is no --audit")

    def _check_ssh(self) -> None:
        files = ("ssh-host-key", "ssh-authorized-keys")
        for option in files:
            if bool(self["ssh"]) is not (self[option] is not None):
                raise UsageError(f"--{option}: there is no --ssh" if self[option] else f"--ssh: there is no --{option}")
        if not self["ssh"]:
            return
        missing = missing_modules("ssh")
        if missing:
            raise UsageError(f"--ssh: {missing}")
        from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
        from twisted_qmon.ssh.host_key import load_host_key

        option = files[1]
        try:
            self.ssh_authorized_keys = AuthorizedKeys(self[option])
            option = files[0]
            self.ssh_host_key = load_host_key(self[option])
        except ValueError as e:
            raise UsageError(f"--{option}: {e}") from e


def _options_of(ours: Options, plugin: IServiceMaker) -> _Options:
    """
    :return: an instance of the options of a plugin of twistd
    :raise UsageError: when the plugin can't be imported
    """
    try:
        hosted = plugin.options()
    except ImportError as e:
        raise UsageError(f"{plugin.tapname} can't be loaded: {one_line(e)}") from e
    return parse_as_under_twistd(ours, plugin.tapname, hosted)


def makeService(options: Options) -> MultiService:
    """
    :param options: parsed options
    :return: the service that C{twistd qmon} runs
    """
    from twisted_qmon._reactor import global_reactor
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.service import make_monitor_service, serve_metrics

    reactor = global_reactor()
    hosting = None if options.subCommand is None else Hosting(options.subCommand)
    monitor = Monitor(
        options["name"], clock=reactor, timeout=options["timeout"], max_abandoned=options["max-abandoned"]
    )
    service = make_monitor_service(
        reactor,
        monitor,
        options["qmp"],
        options["hmp"],
        application=hosting,
        prompt=options["prompt"],
        hmp_style=options["hmp-style"],
        drain=options["drain"],
        in_flight=options["in-flight"],
        max_message=options["max-message"],
        negotiation_timeout=options["negotiation-timeout"],
        max_connections=options["max-connections"],
        max_queued=options["max-queued"],
        slow_client=options["slow-client"],
        idle_timeout=options["idle-timeout"],
        ready_timeout=options["ready-timeout"],
        owner=_owner(options.parent),
        access=options.access,
        audit=options["audit"],
        audit_required=options["audit-required"],
        stall=options["stall"],
        watchdog=options["watchdog"],
        watchdog_hmp=options["watchdog-hmp"],
        ssh=options["ssh"],
        ssh_host_key=options.ssh_host_key,
        ssh_authorized_keys=options.ssh_authorized_keys,
        event_history=options["event-history"],
        event_history_bytes=options["event-history-bytes"],
    )
    _serve_web(service, options)
    serve_metrics(service, options["metrics"])
    _register(monitor, service, options, reactor)
    _connect_to_system(service, options)
    root: MultiService = service
    if hosting is not None:
        root = hosting
        name = hosting.plugin
        # After the monitor's: what the plugin logs from here on is kept.
        with StartUp().attempt(name):
            hosting.host(options.plugins[name].makeService(options.subOptions))
        service.setServiceParent(hosting)
    _register_providers(monitor, options, reactor, root)
    return root


def _register_providers(monitor: Monitor, options: Options, reactor: Any, root: MultiService) -> None:
    for text, make in options.providers:
        try:
            register_provider(monitor, text, make(reactor, root))
        except ProviderError as e:
            raise SystemExit(f"twistd qmon: --provider: {e}") from e


def _serve_web(service: MonitorService, options: Options) -> None:
    from twisted_qmon.service import serve_web

    try:
        serve_web(
            service,
            options["web"],
            options["web-tokens"],
            hosts=options["web-host"],
            max_connections=options["max-connections"],
            max_body=options["max-message"],
        )
    except AccessError as e:
        raise SystemExit(f"twistd qmon: --web-tokens: {e}") from e


def _owner(twistd: _Options | None) -> Owner | None:
    """:return: the user and the group that the process changes to, as the options of twistd say, or C{None}"""
    return None if twistd is None else owner_of(twistd.get("uid"), twistd.get("gid"))


def _connect_to_system(service: MonitorService, options: Options) -> None:
    """Once the reactor runs, obey signals, and tell a service manager how the process is."""
    reactor = service.reactor
    reread = service.reread if service.rereads or options["config"] is not None else None
    signals = EndSignals(reactor, service.hurry, reread, options.hang_ups)
    service.on_start.append(lambda: reactor.callWhenRunning(signals.install))
    notifiers: list[Notifier] = []

    def begin() -> None:
        # Not before: a daemon is another process than the one that reads the options.
        if not notifiers and (found := notifier_of(os.environ, reactor)) is not None:
            notifiers.append(found)
        for notifier in notifiers:
            notifier.ready(f"serving {', '.join(factory.endpoint for factory in service.factories)}")

    def end(seconds: float) -> Deferred[None]:
        for notifier in notifiers:
            notifier.stopping(f"{len(service.monitor.pending)} pending requests have {seconds:g} s")
        return succeed(None)

    service.on_start.append(lambda: reactor.callWhenRunning(begin))
    service.drains.append(end)


def _register(monitor: Monitor, service: MonitorService, options: Options, reactor: Any) -> None:
    """Register C{quit}; in front of a QEMU, whose own C{quit} is, the QEMU's commands and C{qmon-quit}."""
    from twisted_qmon.providers.quit import Quit

    def stop(request: Request) -> Deferred[None]:
        # The reply to `quit` goes out when this fires; the end of file after it.
        done = service.shut_down("host-qmp-quit", request)
        return done.addCallback(lambda _: reactor.callLater(0, stop_reactor, reactor)).addCallback(lambda _: None)

    beside = options.subCommand or ""
    if options["qemu"] is None:
        monitor.register(Quit(stop, beside=beside))
        return
    from twisted_qmon.providers.qemu import Qemu

    upstream = Qemu(options["qemu"], reactor, upstream_lost=options["upstream-lost"])
    upstream.service.setServiceParent(service)
    monitor.register(upstream)
    monitor.register(Quit(stop, "qmon-quit", (), beside=beside))

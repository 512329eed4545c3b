"""
Makes the service that C{twistd qmon} runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.internet.defer import succeed
from twisted.python.usage import Options as _Options

from twisted_qmon._transport.unix_port import Owner, owner_of
from twisted_qmon._twistd.notify import Notifier, notifier_of
from twisted_qmon._twistd.signals import EndSignals, stop_reactor
from twisted_qmon._twistd.start_up import StartUp
from twisted_qmon.tap.options import GROUPS, Options

if TYPE_CHECKING:
    from twisted.application.service import MultiService
    from twisted.internet.defer import Deferred

    from twisted_qmon._twistd.hosting import Hosting
    from twisted_qmon.core.request import Request
    from twisted_qmon.service import MonitorService

__all__ = ["makeService"]


def makeService(options: Options) -> MultiService:
    """
    :param options: parsed options
    :return: the service that C{twistd qmon} runs
    """
    from twisted_qmon._reactor import global_reactor
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.service import make_monitor_service

    reactor = global_reactor()
    hosting = None if options.subCommand is None else _hosting(options.subCommand)
    monitor = Monitor(
        options["name"], clock=reactor, timeout=options["timeout"], max_abandoned=options["max-abandoned"]
    )
    service = make_monitor_service(
        reactor,
        monitor,
        options["qmp"],
        options["hmp"],
        application=hosting,
        drain=options["drain"],
        owner=_owner(options.parent),
        access=options.access,
        audit=options["audit"],
        audit_required=options["audit-required"],
        stall=options["stall"],
        watchdog=options["watchdog"],
        watchdog_hmp=options["watchdog-hmp"],
        event_history=options["event-history"],
        event_history_bytes=options["event-history-bytes"],
        **options.session_keywords(),
    )
    for group in GROUPS:
        group.serve(options, service)
    _register_quit(service, options)
    _connect_to_system(service, options)
    root: MultiService = service
    if hosting is not None:
        root = hosting
        name = hosting.plugin
        # After the monitor's: what the plugin logs from here on is kept.
        with StartUp().attempt(name):
            hosting.host(options.plugins[name].makeService(options.subOptions))
        service.setServiceParent(hosting)
    options.register_providers(monitor, reactor, root)
    return root


def _hosting(plugin: str) -> Hosting:
    # Without another plugin its module is not loaded.
    from twisted_qmon._twistd.hosting import Hosting

    return Hosting(plugin)


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


def _register_quit(service: MonitorService, options: Options) -> None:
    """Register C{quit}; in front of a QEMU, whose own C{quit} is, C{qmon-quit}."""
    from twisted_qmon.providers.quit import Quit

    reactor = service.reactor

    def stop(request: Request) -> Deferred[None]:
        # The reply to `quit` goes out when this fires; the end of file after it.
        done = service.shut_down("host-qmp-quit", request)
        return done.addCallback(lambda _: reactor.callLater(0, stop_reactor, reactor)).addCallback(lambda _: None)

    name, aliases = ("qmon-quit", ()) if options.has_qemu else ("quit", ("q",))
    service.monitor.register(Quit(stop, name, aliases, beside=options.subCommand or ""))

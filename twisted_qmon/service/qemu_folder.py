"""
One process for all QEMUs of a host: a proxy for each QMP socket in a folder, with sockets of its own in another one.

Each QEMU has a monitor and a service of its own, so that what happens to one is nothing to the others. What those of one version
have in common is shared: see L{twisted_qmon.providers.qemu.description}.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from twisted.application.internet import backoffPolicy
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import UNIXClientEndpoint, quoteStringArgument
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._text import printable
from twisted_qmon._transport.folder_watch import FileId, FolderWatch, Sockets
from twisted_qmon._transport.unix_port import FolderLock, claim_path
from twisted_qmon._twistd.start_up import StartUp
from twisted_qmon.core.monitor import Monitor
from twisted_qmon.providers.clients import Clients
from twisted_qmon.providers.qemu import Qemu
from twisted_qmon.providers.upstreams import UpstreamInfo, Upstreams
from twisted_qmon.service.listener import ListenError
from twisted_qmon.service.monitor_service import MonitorService

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

    from twisted_qmon._transport.factory import ServedFactory

__all__ = ["GREETING_TIMEOUT", "MAX_RETRY", "MAX_UPSTREAMS", "QemuFolder", "name_of", "serve_qemu_folder"]

#: Seconds in which a socket has to greet. One that does not may be no QMP server, or serve another client.
GREETING_TIMEOUT = 5.0

#: Seconds between two attempts to connect to a socket at which there is no QEMU, at most (plus up to one of chance).
MAX_RETRY = 60.0

#: How many sockets there may be in the folder; others are left alone.
MAX_UPSTREAMS = 4096

#: How many descriptors the process may have open, if its hard limit allows that: each QEMU has three, and one for each client.
_DESCRIPTORS = 65536

_SUFFIXES = (".sock", ".qmp")

#: What the sockets of a proxy end with, and how each is served.
_DOORS = (".qmp", ".hmp")

#: Makes a QEMU's monitor, with its limits, its rules and its audit.
MakeMonitor: TypeAlias = "Callable[[], Monitor]"


class _Reactor(Protocol):
    """What is used of the reactor besides time."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> object: ...


def name_of(file: str) -> str:
    """:return: the name of the QEMU whose socket has this name: the same without C{.sock} or C{.qmp}"""
    for suffix in _SUFFIXES:
        if file.endswith(suffix):
            return file.removesuffix(suffix)
    return file


@implementer(IStreamClientEndpoint)
class _SocketEndpoint:
    """
    A QEMU's socket.

    :ivar connected_to: what the file was when it was connected to last
    """

    def __init__(self, reactor: IReactorCore, path: str) -> None:
        self._path = path
        self._endpoint = UNIXClientEndpoint(reactor, path)
        self.connected_to: FileId | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        with suppress(OSError):
            status = os.lstat(self._path)
            self.connected_to = (status.st_dev, status.st_ino)
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting

    def __repr__(self) -> str:
        return f"unix:{self._path}"


class ProxiedQemu:
    """
    One QEMU of a folder, with its monitor. Its sockets are there from its first greeting on, until it is L{taken out<remove>}.

    :param service: is to serve its monitor, and has a parent already
    :param qemu: the monitor's provider
    :param endpoint: the same QEMU's
    :param file: the name of its socket
    :param id: what that is
    """

    _log = Logger()

    def __init__(
        self, name: str, path: str, service: MonitorService, qemu: Qemu, endpoint: _SocketEndpoint, folder: str
    ) -> None:
        self.name = name
        self.path = path
        self.service = service
        self._qemu = qemu
        self._endpoint = endpoint
        self._folder = folder
        self._stopped = False

    def start(self) -> None:
        """Connect, and serve when it has greeted."""
        ready = self._qemu.when_ready()
        if ready is not None:
            ready.addCallback(lambda _: self._serve())
            ready.addErrback(lambda failure: self._log.failure("while serving {name}", failure, name=self.name))

    def _serve(self) -> None:
        if self._stopped:
            return
        service, sessions = self.service, self.service.sessions
        for suffix in _DOORS:
            path = os.path.join(self._folder, self.name + suffix)
            factory: ServedFactory
            if suffix == ".qmp":
                factory = sessions.qmp(service.monitor)
            else:
                factory = sessions.hmp(service.monitor, sessions.hmp_style)
            try:
                service.serve_at(f"unix:{quoteStringArgument(path)}", factory, endpoint=self.name + suffix)
            except ListenError as e:
                self._log.error("{reason}", reason=str(e))

    def seen(self, id: FileId) -> None:
        """The socket is there. If it is another than that it is connected to, it is connected to this one."""
        if self._endpoint.connected_to != id:
            self._endpoint.connected_to = id
            self._qemu.upstream.reconnect("QEMU's socket has been replaced")

    def remove(self) -> Deferred[object]:
        """:return: fires when nothing of it is left"""
        self._stopped = True
        # The QEMU has said itself why it ends.
        self.service.shut_down("")
        stopped: Deferred[object] = self.service.disownServiceParent()
        return stopped

    def describe(self) -> UpstreamInfo:
        """:return: how it is"""
        monitor, state = self.service.monitor, self._qemu.upstream.state
        return UpstreamInfo(
            name=self.name,
            socket=self.path,
            connected=state.connected,
            connections=state.connections,
            version=self._qemu.version_text,
            clients=len(monitor.guard.clients),
            pending=len(monitor.pending),
        )


class QemuFolder(MultiService):
    """
    The proxies of all QEMUs in a folder, while it runs.

    :param service: the process's own, which has the reactor, and says how clients are served
    :param source: the folder of QEMU's sockets
    :param target: the folder of the proxies' own
    :param make_monitor: makes the monitor of each
    :param upstream_lost: see L{Qemu<twisted_qmon.providers.qemu.Qemu>}
    """

    _log = Logger()

    def __init__(
        self, service: MonitorService, source: str, target: str, make_monitor: MakeMonitor, upstream_lost: str = "keep"
    ) -> None:
        super().__init__()
        self.setName("qemu-folder")
        self._service = service
        # The process may change its folder.
        self._source = os.path.abspath(source)
        self._target = os.path.abspath(target)
        self._make_monitor = make_monitor
        self._upstream_lost = upstream_lost
        self._watch = FolderWatch(service.reactor, self._source, self._changed)
        self._lock: FolderLock | None = None
        self._start_up = StartUp()
        # By the file's name.
        self._proxied: dict[str, ProxiedQemu] = {}
        # By the QEMU's name, those whose sockets are being closed: another of that name waits.
        self._leaving: set[str] = set()
        self._told: set[str] = set()

    def startService(self) -> None:
        """
        Begin.

        :raise SystemExit: or an exception with one line, when another process serves the same target: see L{StartUp}
        """
        try:
            self._lock = FolderLock(self._target)
        except CannotListenError as e:
            raise self._start_up.error(f"--proxy-folder: {e.socketError.strerror}") from e
        super().startService()
        _allow_descriptors()
        self._remove_stale()
        self._watch.start()

    def stopService(self) -> Deferred[object]:
        """:return: fires when nothing of it is left"""
        self._watch.stop()
        stopped: Deferred[object] = super().stopService()
        self._proxied.clear()
        return stopped.addBoth(self._release)

    def _release(self, result: object) -> object:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        return result

    def _remove_stale(self) -> None:
        """Remove the sockets of a process that could not do so itself."""
        for name in sorted(os.listdir(self._target)):
            path = os.path.join(self._target, name)
            if not name.endswith(_DOORS) or not stat.S_ISSOCK(os.lstat(path).st_mode):
                continue
            try:
                claim_path(path)
            except (CannotListenError, OSError) as e:
                self._log.warn("{path}: {reason}", path=printable(path), reason=str(e))

    # -- QEMUs come and go

    def _changed(self, sockets: Sockets) -> None:
        for file in [file for file in self._proxied if file not in sockets]:
            self._remove(file)
        taken = {proxied.name for proxied in self._proxied.values()} | self._leaving
        self._told.intersection_update(sockets)
        # Those that were there before keep their names.
        for file in sorted(sockets):
            proxied = self._proxied.get(file)
            if proxied is not None:
                proxied.seen(sockets[file])
            elif self._may_be_served(file, taken):
                taken.add(name_of(file))
                self._add(file, sockets[file])

    def _may_be_served(self, file: str, taken: set[str]) -> bool:
        name = name_of(file)
        if not name or not name.isprintable() or name.startswith("."):
            reason = "a socket of this name is left alone"
        elif name in self._leaving:
            return False
        elif name in taken:
            reason = f"there is a QEMU of the name {name!r} already; this one is left alone"
        elif len(self._proxied) >= MAX_UPSTREAMS:
            reason = f"there are {MAX_UPSTREAMS} sockets already; this one is left alone"
        else:
            return True
        if file not in self._told:
            self._told.add(file)
            self._log.warn("{path}: {reason}", path=printable(os.path.join(self._source, file)), reason=reason)
        return False

    def _add(self, file: str, id: FileId) -> None:
        path = os.path.join(self._source, file)
        name = name_of(file)
        reactor = self._service.reactor
        endpoint = _SocketEndpoint(reactor, path)
        endpoint.connected_to = id
        monitor = self._make_monitor()
        service = MonitorService(
            reactor, monitor, drain=self._service.drain, owner=self._service.owner, sessions=self._service.sessions
        )
        service.setName(name)
        qemu = Qemu(
            endpoint,
            reactor,
            negotiation_timeout=GREETING_TIMEOUT,
            retry_policy=backoffPolicy(initialDelay=0.2, maxDelay=MAX_RETRY, factor=1.5),
            upstream_lost=self._upstream_lost,
        )
        monitor.register(qemu)
        monitor.register(Clients())
        qemu.service.setServiceParent(service)
        proxied = self._proxied[file] = ProxiedQemu(name, path, service, qemu, endpoint, self._target)
        service.setServiceParent(self)
        proxied.start()

    def _remove(self, file: str) -> None:
        proxied = self._proxied.pop(file)
        self._leaving.add(proxied.name)

        def gone(result: object) -> None:
            self._leaving.discard(proxied.name)
            if self.running:
                self._watch.look()

        proxied.remove().addErrback(lambda failure: self._log.failure("while closing a proxy", failure)).addBoth(gone)

    # -- for the process's own monitor

    def describe(self) -> Iterator[UpstreamInfo]:
        """:return: how each QEMU is"""
        for proxied in self._proxied.values():
            yield proxied.describe()

    def _services(self) -> Iterable[MonitorService]:
        return [proxied.service for proxied in self._proxied.values()]

    def drain(self, seconds: float) -> Deferred[None]:
        """Bring all to an end, as the process's own monitor; 0: their time is up."""
        self._watch.stop()
        if not seconds:
            for service in self._services():
                service.hurry()
        ended = DeferredList([service.shut_down("host-signal") for service in self._services()])
        return ended.addCallback(lambda _: None)

    def judge_again(self) -> None:
        """The rules have been read again."""
        for service in self._services():
            service.monitor.guard.judge_again()


def serve_qemu_folder(
    service: MonitorService, source: str, target: str, make_monitor: MakeMonitor, upstream_lost: str = "keep"
) -> QemuFolder:
    """
    Be a proxy for all QEMUs in a folder as well.

    :param service: what L{make_monitor_service<twisted_qmon.service.make_monitor_service>} made: its monitor gets
        C{query-upstreams}; its rules and its audit hold for each QEMU as well
    :param source: for this and the others see L{QemuFolder}
    """

    def make() -> Monitor:
        monitor = make_monitor()
        guard = service.monitor.guard
        monitor.set_guard(access=guard.access, audit=guard.audit)
        return monitor

    folder = QemuFolder(service, source, target, make, upstream_lost)
    service.monitor.register(Upstreams(folder.describe))
    service.monitor.guard.on_reload.append(folder.judge_again)
    service.drains.append(folder.drain)
    folder.setServiceParent(service)
    return folder


def _allow_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

"""
Another C{twistd} plugin, run beside the monitor: its options, and its service.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from types import CoroutineType
from typing import Any

from twisted.application.service import Application, IService, IServiceCollection, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.log import ILogObserver as ILegacyLogObserver
from twisted.python.usage import Options

from twisted_qmon._twistd.start_up import StartUp

__all__ = ["HostedParent", "Hosting", "parse_as_under_twistd"]

_log = Logger()


class HostedParent(MutableMapping[str, object]):
    """
    What the options of a hosted plugin have as their C{parent}: the options of C{twistd} (or C{twist}), to read and to change, as
    if the plugin were run by it directly.

    :param outer: the options of C{twistd}
    :param ours: those of C{twistd qmon}, for the usage text
    :param name: the plugin's name
    :param hosted: its options
    """

    subCommand: str
    subOptions: Options
    _outer: Options
    _ours: Options

    def __init__(self, outer: Options, ours: Options, name: str, hosted: Options) -> None:
        self.__dict__.update(_outer=outer, _ours=ours, subCommand=name, subOptions=hosted)

    @property  # type: ignore[misc] # read-only, unlike object's
    def __class__(self) -> type:
        """That of the options of C{twistd}, for C{isinstance}."""
        return type(self._outer)

    def getSynopsis(self) -> str:
        """:return: the words before the plugin's name in a usage text"""
        synopsis: str = self._ours.getSynopsis()
        return synopsis

    def __getattr__(self, name: str) -> object:
        return getattr(self._outer, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._outer, name, value)

    def __getitem__(self, key: str) -> object:
        return self._outer[key]

    def __setitem__(self, key: str, value: object) -> None:
        self._outer[key] = value

    def __delitem__(self, key: str) -> None:
        del self._outer[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outer)

    def __len__(self) -> int:
        return len(self._outer)

    def __str__(self) -> str:
        return str(self._outer)


def parse_as_under_twistd(ours: Options, name: str, hosted: Any) -> Options:
    """
    :param ours: the options of C{twistd qmon}
    :param name: the plugin's name
    :param hosted: the plugin's options, which C{ours} are about to parse
    :return: the plugin's options; when they are parsed their parent is what it is under C{twistd}
    """
    parse = hosted.parseOptions

    def parse_options(arguments: list[str] | None = None) -> None:
        if ours.parent is not None:
            hosted.parent = HostedParent(ours.parent, ours, name, hosted)
        parse(arguments)

    hosted.parseOptions = parse_options
    options: Options = hosted
    return options


class Hosting(MultiService):
    """
    The common parent of a plugin's service and the monitor's. What fails while it starts ends the process with one line; what
    fails later is logged, and nothing else comes to an end by it.

    :ivar plugin: the plugin's name
    """

    def __init__(self, plugin: str) -> None:
        MultiService.__init__(self)
        self.plugin = plugin
        self._hosted: IService | None = None
        self._start_up = StartUp()
        # What the plugin's service gets as its parent: under twistd that is an application, and some give it a log observer.
        self._application: Any = Application(plugin)
        for interface in (IService, IServiceCollection):
            self._application.setComponent(interface, self)

    def host(self, hosted: IService) -> None:
        """
        :param hosted: the plugin's service, which gets the plugin's name if it has none
        """
        self._hosted = hosted
        if hosted.name is None and hosted.parent is None:
            hosted.setName(self.plugin)
        hosted.setServiceParent(self._application)

    def setServiceParent(self, parent: object) -> None:
        """Hand on the log observer that the plugin has given its application."""
        MultiService.setServiceParent(self, parent)
        if isinstance(parent, Componentized):
            for interface in (ILogObserver, ILegacyLogObserver):
                observer = self._application.getComponent(interface)
                if observer is not None:
                    parent.setComponent(interface, observer)

    def privilegedStartService(self) -> None:
        """:raise SystemExit: or an exception with one line, when a part of it fails: see L{StartUp}"""
        with self._start_up.attempt(self.plugin):
            MultiService.privilegedStartService(self)

    def startService(self) -> None:
        """:raise SystemExit: or an exception with one line, when a part of it fails: see L{StartUp}"""
        Service.startService(self)
        for service in self:
            with self._start_up.attempt(self.plugin):
                result = service.startService()
                if service is self._hosted:
                    self._watch(result)

    def _watch(self, result: object) -> None:
        """Some services return a Deferred or a coroutine from C{startService}, and their failure in it."""
        if isinstance(result, CoroutineType):
            result = Deferred.fromCoroutine(result)
        if not isinstance(result, Deferred):
            return
        at_once: list[Failure] = []
        began = True

        def failed(failure: Failure) -> None:
            if began:
                at_once.append(failure)
            else:
                _log.failure("the service {name} failed", failure, name=self.plugin)

        result.addErrback(failed)
        began = False
        if at_once:
            at_once[0].raiseException()

"""
Finding what is installed: providers by name or dotted name, and the plugins of C{twistd} that can run beside a monitor.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.reflect import InvalidName, namedAny
from twisted.python.usage import UsageError

from twisted_qmon.errors import MonitorError, RegistrationError
from twisted_qmon.interfaces import ICommandProvider, ICommandProviderFactory

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor

__all__ = [
    "ProviderError",
    "ProviderFinder",
    "find_provider",
    "installed_providers",
    "installed_services",
    "register_provider",
]

#: Makes a provider: called with the reactor and the root of the services.
ProviderFinder = Callable[[object, IService], ICommandProvider]

#: Gives the plugins that provide an interface.
_Plugins = Callable[[Any], Iterable[Any]]

# A field of `NAME:key=value:flag`: a backslash takes what follows literally, as in endpoint descriptions.
_FIELD = re.compile(r"((?:\\.|[^\\:])*)(?::|$)", re.DOTALL)


class ProviderError(MonitorError):
    """A provider that can't be found, made or registered. The text is one line."""


def installed_providers(plugins: _Plugins = getPlugins) -> dict[str, ICommandProviderFactory]:
    """
    :param plugins: returns the plugins that provide an interface
    :return: the L{ICommandProviderFactory} plugins by name. Of two with the same name the first counts.
    """
    found: dict[str, ICommandProviderFactory] = {}
    for factory in plugins(ICommandProviderFactory):
        found.setdefault(factory.name, factory)
    return dict(sorted(found.items()))


def installed_services(plugins: _Plugins = getPlugins) -> Iterator[IServiceMaker]:
    """:return: the C{twistd} plugins that can run beside the monitor, by name: all but ours"""
    makers = sorted(plugins(IServiceMaker), key=attrgetter("tapname"))
    return (maker for maker in makers if maker.tapname != "qmon")


def _split(text: str) -> tuple[str, list[str]]:
    """C{NAME:key=value:flag} as the name, and the arguments for its options."""
    name, *fields = [re.sub(r"\\(.)", r"\1", field) for field in _FIELD.findall(text + ":")[:-1]]
    return name, ["--" + field for field in fields]


def find_provider(text: str, plugins: _Plugins = getPlugins) -> ProviderFinder:
    """
    Find what C{--provider} names: a plugin with its options, or the dotted name of a class, a function or an object.

    :return: call it with the reactor and the root of the services to have the provider; it raises L{ProviderError}
    :raise ProviderError: when it is not there, can't be imported, or its options are wrong
    """
    name, arguments = _split(text)
    installed = installed_providers(plugins)
    if name in installed:
        return _from_factory(name, installed[name], arguments)
    if "." not in name:
        known = ", ".join(installed) or "none"
        raise ProviderError(f"no provider {name!r} is installed (installed: {known}), and it is no dotted name")
    if arguments:
        raise ProviderError(f"{name} is a dotted name, which takes no options")
    return _from_object(name, _import(name))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _import(name: str) -> object:
    # The script twistd looks beside itself, not where it is started. Last, so that no installed module is hidden.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: object = namedAny(name)
        return found
    except InvalidName as e:
        raise ProviderError(f"{name} can't be imported: {e}") from e
    except SystemExit as e:
        # A module that ends the process while it is imported.
        raise ProviderError(f"{name} can't be imported: {_reason(e)}") from e
    except Exception as e:
        raise ProviderError(f"{name} can't be imported: {_reason(e)}") from e


def _from_factory(name: str, factory: ICommandProviderFactory, arguments: list[str]) -> ProviderFinder:
    options = factory.options
    if options is None:
        if arguments:
            raise ProviderError(f"the provider {name!r} takes no options")
    else:
        try:
            options.parseOptions(arguments)
        except UsageError as e:
            raise ProviderError(f"the provider {name!r}: {' '.join(str(e).split())}") from e

    def make(reactor: object, application: IService) -> ICommandProvider:
        return _checked(name, lambda: factory.provider(reactor, application))

    return make


def _from_object(name: str, found: object) -> ProviderFinder:
    if isinstance(found, type) or not (ICommandProvider.providedBy(found) or ICommandProviderFactory.providedBy(found)):
        if not callable(found):
            raise ProviderError(f"{name} is an object of type {type(found).__name__}, which provides no commands")
        return lambda reactor, application: _checked(name, found)
    if ICommandProviderFactory.providedBy(found):
        return _from_factory(name, found, [])
    return lambda reactor, application: found


def _checked(name: str, make: Callable[[], object]) -> ICommandProvider:
    try:
        provider = make()
    except Exception as e:
        raise ProviderError(f"{name} could not be made: {_reason(e)}") from e
    if not ICommandProvider.providedBy(provider):
        raise ProviderError(f"{name} returned an object of type {type(provider).__name__}, which provides no commands")
    return provider


def register_provider(monitor: Monitor, name: str, provider: ICommandProvider) -> None:
    """
    Register a provider that was named on a command line.

    :raise ProviderError: when one of its names is taken or a declaration is not valid; nothing of it is registered then
    """
    try:
        monitor.register(provider)
    except RegistrationError as e:
        raise ProviderError(f"{name} can't be registered: {e}") from e
    except Exception as e:
        raise ProviderError(f"{name} can't be registered: {_reason(e)}") from e

"""
The plugin that C{twistd qmon --provider weather} finds. It imports the provider only when that is used.
"""

from typing import Any

from twisted.plugin import IPlugin
from twisted.python import usage
from zope.interface import implementer

from twisted_qmon.interfaces import ICommandProviderFactory


class WeatherOptions(usage.Options):
    """What may follow the name: C{weather:place=Oslo}."""

    optParameters = [["place", None, "here", "Where."]]


@implementer(IPlugin, ICommandProviderFactory)
class WeatherFactory:
    """Makes the provider."""

    name = "weather"
    description = "the weather, wherever you are"

    def __init__(self) -> None:
        self.options = WeatherOptions()

    def provider(self, reactor: Any, application: Any) -> Any:
        from weather_monitor.weather import Weather

        return Weather(self.options["place"])

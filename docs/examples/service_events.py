"""
A service that emits events: it measures temperatures.

    twistd -n qmon --provider service_events.factory

A QMP client gets TEMPERATURE events. The service measures four times a second; the event's rate limit and key let clients have
one event a second of each place.
"""

import math
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from twisted_qmon import CommandProvider, Event, command
from twisted_qmon.interfaces import ICommandProviderFactory


class Thermometer(Service, CommandProvider):
    """
    Measures while it runs. It is a provider of commands as well.

    :param reactor: the clock
    :param places: where it measures
    """

    name = "thermometer"
    events = [Event("TEMPERATURE", place=str, celsius=float, rate_limit=1.0, key=["place"])]

    def __init__(self, reactor: Any, places: tuple[str, ...] = ("kitchen", "cellar")) -> None:
        self._reactor = reactor
        self._celsius = dict.fromkeys(places, 0.0)
        self._loop = LoopingCall(self._measure)
        self._loop.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._loop.start(0.25)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def _measure(self) -> None:
        for number, place in enumerate(self._celsius):
            celsius = round(20 + 5 * math.sin(self._reactor.seconds() + number), 1)
            self._celsius[place] = celsius
            # A service may run without a monitor.
            if self.monitor is not None:
                self.monitor.emit("TEMPERATURE", {"place": place, "celsius": celsius})

    @command
    def query_temperature(self) -> dict[str, float]:
        """show the temperatures, in degrees Celsius"""
        return self._celsius


@implementer(ICommandProviderFactory)
class ThermometerFactory:
    """Makes the provider, and adds it to the tree of services."""

    name = "thermometer"
    description = "temperatures, as events"
    options = None

    def provider(self, reactor: Any, application: Any) -> Thermometer:
        thermometer = Thermometer(reactor)
        thermometer.setServiceParent(application)
        return thermometer


factory = ThermometerFactory()

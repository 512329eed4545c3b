"""
A service that tells what happens in it: it measures a temperature now and then, and emits an event.

    twistd -n qmon --provider service_events.factory

and a QMP client gets TEMPERATURE events. However often the service measures, clients hear of one place once a second at most:
that is the event's rate limit, and its key.
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
    Measures while it runs, and is a provider of commands as well.

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
    """Makes the provider, and puts it into the tree of services, where it is started and can be stopped."""

    name = "thermometer"
    description = "temperatures, as events"
    options = None

    def provider(self, reactor: Any, application: Any) -> Thermometer:
        thermometer = Thermometer(reactor)
        thermometer.setServiceParent(application)
        return thermometer


factory = ThermometerFactory()

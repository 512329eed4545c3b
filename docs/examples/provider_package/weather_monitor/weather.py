"""
The weather, as commands of a monitor.
"""

from dataclasses import dataclass

from twisted_qmon import CommandProvider, Event, command

__all__ = ["Weather", "WeatherInfo"]


@dataclass
class WeatherInfo:
    """The weather at a place."""

    place: str
    celsius: float


class Weather(CommandProvider):
    """
    Knows the weather.

    :param place: where
    """

    events = [Event("WEATHER_CHANGE", place=str, celsius=float)]

    def __init__(self, place: str) -> None:
        self._weather = WeatherInfo(place, 20.0)

    @command
    def query_weather(self) -> WeatherInfo:
        """show the weather"""
        return self._weather

    @query_weather.printer
    def _(info: dict) -> str:
        return f"{info['celsius']:.1f} degrees in {info['place']}"

    @command
    def weather_set(self, celsius: float) -> None:
        """
        make the weather

        :param celsius: how warm
        """
        self._weather.celsius = celsius
        if self.monitor is not None:
            self.monitor.emit("WEATHER_CHANGE", {"place": self._weather.place, "celsius": celsius})

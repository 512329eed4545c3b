"""
How Twisted finds the commands of this package. Each global object here that provides C{IPlugin} is a plugin.
"""

from weather_monitor.plugin import WeatherFactory

weather = WeatherFactory()

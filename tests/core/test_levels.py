"""
The level of a command and of an event: what a caller needs for it.
"""

from __future__ import annotations

import pytest

from twisted_qmon import CommandProvider, Event, Monitor, RegistrationError, command
from twisted_qmon.info import CommandInfo, Level
from twisted_qmon.qapi.schema import info_from_json, info_to_json


class Provider(CommandProvider):
    """Commands with and without a level."""

    @command
    def query_light(self) -> bool:
        """whether it is on"""
        return True

    @command
    def dim(self) -> None:
        """make it less"""

    @command(level="admin")
    def query_key(self) -> str:
        """what nobody else should see"""
        return "key"

    @command(level=Level.NONE)
    def ping(self) -> None:
        """do nothing"""


def test_level_of_a_command() -> None:
    """A command has the level it says; else C{observe} if it only asks, and C{operate} if not. What describes it says it too."""
    monitor = Monitor()
    monitor.register(Provider())
    monitor.register_command("stir", lambda: None, level="admin")
    levels = {name: str(found.info.need.level) for name, found in monitor.registry.active.items()}
    wanted = {"query-light": "observe", "dim": "operate", "query-key": "admin", "ping": "none", "stir": "admin"}
    assert {name: levels[name] for name in wanted} == wanted


def test_level_that_there_is_not() -> None:
    """A misspelt level is an error where the command or the event is declared."""
    with pytest.raises(RegistrationError, match="'root' is not a level"):
        command(level="root")
    with pytest.raises(RegistrationError, match="event E: 'root' is not a level"):
        Event("E", level="root")


def test_level_of_an_event() -> None:
    """An event is for C{observe} unless it says otherwise; a type of that name is a member's."""
    assert Event("E").level is Level.OBSERVE
    assert Event("E", level="operate", data={"level": int}).level is Level.OPERATE
    event = Event("E", level=int, b=str)
    assert event.level is Level.OBSERVE
    assert [member.name for member in event.members] == ["level", "b"]


@pytest.mark.parametrize(
    ("name", "level", "said"),
    [("query-a", "observe", None), ("a", "operate", None), ("a", "admin", "admin"), ("query-a", "none", "none")],
)
def test_level_crosses_the_wire(name: str, level: str, said: str | None) -> None:
    """The description of a command says its level where it is not the one that its name suggests."""
    described = info_to_json(CommandInfo(name, level=Level.of(level)))
    assert described.get("level") == said
    assert info_from_json(described).need.level is Level.of(level)


@pytest.mark.parametrize("level", ["wizard", 3, None])
def test_level_of_another_version(level: object) -> None:
    """A level that is not known here is passed over: the server decides."""
    assert info_from_json({"name": "a", "level": level}).need.level is Level.OPERATE

"""The screen of C{qmon top} as a whole, with a server in this process; real terminals are tried in tests/live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.shell.at_terminal import Desk, desk, until
from tests.support.shop import Shop
from twisted_qmon import Monitor
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.errors import NoConnection
from twisted_qmon.shell.top import screen
from twisted_qmon.shell.top.screen import Top, run_screen

ADDRESS = Address("./x", path="./x")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A person, and a server with the tests' commands, looked at all the time."""
    monkeypatch.setattr(screen, "PERIOD", 0.001)
    monitor = Monitor(clock=Clock(), name="shop")
    with desk(monkeypatch, monitor) as made:
        monitor.register(Shop())
        monitor.register(Jobs())
        yield made


def _show(monkeypatch: pytest.MonkeyPatch, person: Desk, play: Callable[[Top], Any]) -> int:
    """Run the program, and a play with what it has made."""
    plays: list[asyncio.Task[None]] = []

    class _Top(Top):
        async def run(self) -> None:
            async def act() -> None:
                try:
                    await play(self)
                except BaseException:
                    self.app.exit()
                    raise

            plays.append(asyncio.ensure_future(act()))
            await super().run()

    monkeypatch.setattr(screen, "Top", _Top)

    def run_asyncio(main: Callable[[Any], Any]) -> int:
        async def run() -> int:
            status: int = await main(person.clock)
            await asyncio.gather(*plays)
            return status

        return asyncio.run(run())

    monkeypatch.setattr(screen, "run_asyncio", run_asyncio)
    return run_screen(ADDRESS)


def _text(top: Top) -> str:
    return "".join(text for _, text in top._text())  # type: ignore[misc]


def test_rows(monkeypatch: pytest.MonkeyPatch, person: Desk) -> None:
    """What is pending is selected, sorted, filtered and cancelled; what becomes of that is said; C{q} leaves."""
    assert person.monitor is not None
    waiting = [person.monitor.execute("wait", {"seconds": 100.0}) for _ in range(2)]
    for each in waiting:
        each.addErrback(lambda _: None)

    async def play(top: Top) -> None:
        await until(lambda: "PENDING 2" in _text(top))
        person.keys.send_text("kjjj")
        await until(lambda: top.state.selected == 1)
        person.keys.send_text("s")
        await until(lambda: top.model.sort == "name")
        person.keys.send_text("/waitx\x7f\r")
        await until(lambda: top.model.filter == "wait" and not top.state.typing)
        await until(lambda: "PENDING 2" in _text(top))
        person.keys.send_text("c")
        await until(lambda: "is cancelled" in top.state.message)
        await until(lambda: "PENDING 1" in _text(top))
        person.keys.send_text("/nothing\rc/\x1b")
        await until(lambda: not top.model.filter)
        row = top.model.rows()[0]
        await top.cancel(row._replace(key=10**6))
        assert "no such request" in top.state.message
        await top.cancel(row._replace(kind="job", key="none"))
        assert "none" in top.state.message or "not found" in top.state.message
        person.keys.send_text("q")

    assert _show(monkeypatch, person, play) == 0


def test_events_and_a_pause(monkeypatch: pytest.MonkeyPatch, person: Desk) -> None:
    """Events are shown as they come; while it is paused nothing changes."""

    async def play(top: Top) -> None:
        assert person.monitor is not None
        await until(lambda: "EVENTS 0" in _text(top))
        person.monitor.emit("SALE", {"what": "hats", "number": 1})
        await until(lambda: "what=hats" in _text(top))
        person.keys.send_text("p")
        await until(lambda: top.state.paused)
        person.monitor.emit("SALE", {"what": "gloves", "number": 1})
        for _ in range(20):
            await asyncio.sleep(0)
        assert "gloves" not in _text(top)
        person.keys.send_text("\x03")

    assert _show(monkeypatch, person, play) == 0


def test_a_lost_connection(monkeypatch: pytest.MonkeyPatch, person: Desk) -> None:
    """It is shown, and the screen goes on with the next one; lost events are said."""

    async def play(top: Top) -> None:
        await until(lambda: "shop" in _text(top))
        monitor, person.monitor = person.monitor, None
        person.hang_up()
        await until(lambda: "not connected" in _text(top))
        person.monitor = monitor
        person.clock.advance(5)
        await until(lambda: "not connected" not in _text(top))
        # Another process in its place.
        person.monitor = Monitor(clock=Clock())
        person.hang_up()
        await until(lambda: "not connected" in _text(top))
        person.clock.advance(5)
        await until(lambda: "the server was restarted" in _text(top))
        person.keys.send_text("\x04")

    assert _show(monkeypatch, person, play) == 0


def test_a_command_that_fails(monkeypatch: pytest.MonkeyPatch, person: Desk) -> None:
    """Its part of the screen is left out; that the connection was lost meanwhile is told from it."""
    assert person.monitor is not None
    person.monitor.register_command("query-process", _fails)

    async def play(top: Top) -> None:
        await until(lambda: "PENDING" in _text(top))
        assert "query-process" not in top.model.answers
        person.keys.send_text("q")

    assert _show(monkeypatch, person, play) == 0


def _fails() -> None:
    from twisted_qmon import GenericError

    raise GenericError("not now")


def test_no_server(monkeypatch: pytest.MonkeyPatch, person: Desk) -> None:
    """Without a server there is no screen."""
    person.monitor = None

    async def play(top: Top) -> None:
        raise AssertionError

    with pytest.raises(NoConnection):
        _show(monkeypatch, person, play)

"""The prompt as a whole, with a server in this process; real terminals are tried in tests/live."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import asyncioreactor
from twisted.internet.task import Clock

from tests.shell.at_terminal import Desk, desk, until
from tests.support.shop import Shop
from twisted_qmon import Monitor
from twisted_qmon.errors import CommandError
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.errors import NoConnection
from twisted_qmon.shell.terminal import loop
from twisted_qmon.shell.terminal.loop import Prompt, run_prompt

ADDRESS = Address("./x", path="./x")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Desk]:
    """A person, and a server with the tests' commands."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monitor = Monitor(clock=Clock())
    with desk(monkeypatch, monitor) as made:
        monitor.register(Shop())
        yield made


class _Written:
    """What the prompt writes."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.text = ""

    def __call__(self, what: str) -> bool:
        self.text += self._capfd.readouterr().out
        return what in self.text


def test_lines(person: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines are run until the end of input; Ctrl-C gives up what was begun, and does nothing at an empty prompt."""
    written = _Written(capfd)

    async def run() -> int:
        prompt = Prompt(person.clock, ADDRESS)
        running = asyncio.ensure_future(prompt.main())
        await until(lambda: written("./x: twisted-qmon"))
        person.keys.send_text("paint red\r")
        await until(lambda: written("painted red, 1 coats"))
        person.keys.send_text("\x03half a li\x03")
        person.keys.send_text("frobnicate\r")
        await until(lambda: written("unknown command: 'frobnicate'"))
        person.keys.send_text("wait\r")
        await until(lambda: prompt._session.running == "wait")
        person.keys.send_text("\x03")
        await until(lambda: written("Command 'wait' was cancelled"))
        person.keys.send_text("\x04")
        return await running

    assert asyncio.run(run()) == 0


def test_completion(person: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """Tab asks the server; without one there is nothing to choose from, and the prompt says so."""
    written = _Written(capfd)

    async def run() -> int:
        prompt = Prompt(person.clock, ADDRESS)
        running = asyncio.ensure_future(prompt.main())
        await until(lambda: written("./x: twisted-qmon"))
        assert prompt._message() == [("bold", "(qmon) ")]
        person.keys.send_text("pai\t")
        await until(lambda: prompt._editor.default_buffer.text == "paint ")
        person.keys.send_text("red\r")
        await until(lambda: written("painted red"))
        assert "SALE" in await prompt._events()
        monitor, person.monitor = person.monitor, None
        person.hang_up()
        await until(lambda: written("reconnecting"))
        assert await prompt._names() is None
        assert list(await prompt._events()) == []
        assert "not connected" in str(prompt._message())
        person.keys.send_text("info status\r")
        await until(lambda: written("There is no connection"))
        person.monitor = monitor
        person.clock.advance(5)
        await until(lambda: written("connected again"))
        person.keys.send_text("exit\r")
        return await running

    assert asyncio.run(run()) == 0


def test_a_line_that_is_found(person: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """Enter runs the line that Ctrl-R has found."""
    written = _Written(capfd)

    async def run() -> int:
        running = asyncio.ensure_future(Prompt(person.clock, ADDRESS).main())
        await until(lambda: written("./x: twisted-qmon"))
        person.keys.send_text("paint red\r")
        await until(lambda: written("painted red"))
        person.keys.send_text("paint green\r")
        await until(lambda: written("painted green"))
        written.text = ""
        person.keys.send_text("\x12red\r")
        await until(lambda: written("painted red"))
        person.keys.send_text("\x04")
        return await running

    assert asyncio.run(run()) == 0


def test_events_that_were_lost(person: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """That is said to one who has events on, and not to others."""
    written = _Written(capfd)

    async def run() -> int:
        prompt = Prompt(person.clock, ADDRESS)
        running = asyncio.ensure_future(prompt.main())
        await until(lambda: written("./x: twisted-qmon"))
        prompt._gap("3 events were lost")
        person.keys.send_text("events on\r")
        await until(lambda: prompt._session.shows_events)
        prompt._gap("4 events were lost")
        await until(lambda: written("./x: 4 events were lost"))
        person.keys.send_text("\x04")
        return await running

    assert asyncio.run(run()) == 0
    assert "3 events" not in written.text


def test_no_server(person: Desk) -> None:
    """Without a server there is no prompt."""
    person.monitor = None

    async def run() -> None:
        with pytest.raises(NoConnection, match="no connection to ./x: "):
            await Prompt(person.clock, ADDRESS).main()

    asyncio.run(run())


class _Reactor:
    """Twisted's reactor on an asyncio loop, as far as the program needs one."""

    def __init__(self) -> None:
        self.loop: Any = None
        self._begin: Any = None

    def callWhenRunning(self, begin: Any) -> None:
        self._begin = begin

    def run(self, *, installSignalHandlers: bool) -> None:
        assert not installSignalHandlers
        self.loop.call_soon(self._begin)
        self.loop.run_forever()
        self.loop.close()

    def stop(self) -> None:
        self.loop.stop()


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Reactor]:
    """The reactor that is installed."""
    made = _Reactor()
    monkeypatch.setattr(asyncioreactor, "install", lambda loop: setattr(made, "loop", loop))
    monkeypatch.setattr(loop, "global_reactor", lambda: made)
    yield made
    asyncio.set_event_loop(None)


@pytest.mark.usefixtures("reactor")
def test_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is that of the prompt; what that raises is raised."""

    class _Prompt:
        def __init__(self, reactor: Any, address: Address) -> None:
            assert address is ADDRESS

        async def main(self) -> int:
            return 7

    monkeypatch.setattr(loop, "Prompt", _Prompt)
    assert run_prompt(ADDRESS) == 7

    async def fails(reactor: Any) -> int:
        raise CommandError("no")

    with pytest.raises(CommandError):
        loop.run_asyncio(fails)


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(number: int) -> None:
    """With the usual status, and whatever was to be tidied up is."""
    tidied: list[bool] = []

    async def waits(reactor: Any) -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.get_running_loop().create_future()
        finally:
            tidied.append(True)
        return 0

    assert loop.run_asyncio(waits) == 128 + number
    assert tidied == [True]


@pytest.mark.usefixtures("reactor")
def test_one_that_cancels_itself() -> None:
    """That is a failure: status 1."""

    async def gives_up(reactor: Any) -> int:
        raise asyncio.CancelledError

    assert loop.run_asyncio(gives_up) == 1

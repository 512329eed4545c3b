"""
The screen of C{qmon top}: asks the server once a second, draws, and does what the keys say.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

from twisted_qmon.errors import CommandError
from twisted_qmon.info import JSON
from twisted_qmon.qmp.client import QMPClient
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.faults import show_faults
from twisted_qmon.shell.output import wants_colour
from twisted_qmon.shell.rows import Row
from twisted_qmon.shell.terminal.connection import Connection, server_name
from twisted_qmon.shell.terminal.loop import run_asyncio
from twisted_qmon.shell.top.model import SOURCES, Model
from twisted_qmon.shell.top.view import State, draw

__all__ = ["PERIOD", "Top", "run_screen"]

#: Seconds between two questions to the server.
PERIOD = 1.0


class Top:
    """
    The screen.

    :param client: connected, and reconnecting
    :param title: of the server
    """

    def __init__(self, client: QMPClient, title: str) -> None:
        self.model = Model()
        self.state = State(title)
        self._client = client
        self._loop = asyncio.get_running_loop()
        colour = wants_colour(sys.stdout)
        output = Vt100_Output.from_pty(sys.stdout, default_color_depth=None if colour else ColorDepth.DEPTH_1_BIT)
        output.enable_cpr = False
        self.app: Application[None] = Application(
            layout=Layout(Window(FormattedTextControl(self._text, show_cursor=False), wrap_lines=False)),
            key_bindings=self._bindings(),
            full_screen=True,
            input=create_input(sys.stdin),
            output=output,
        )

    async def run(self) -> None:
        """Show it until the person quits."""
        stop = self._client.subscribe(self._happened)
        polling = asyncio.ensure_future(self._poll())
        try:
            await self.app.run_async()
        finally:
            stop()
            polling.cancel()

    # -- what the server says

    async def _poll(self) -> None:
        while True:
            if not self.state.paused:
                await self.look()
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """Ask the server, and draw."""
        answers: dict[str, JSON] = {}
        try:
            # Not each second one that is not there, or is refused, of which there may be a record.
            known = await self._client.commands().asFuture(self._loop)
            for name in SOURCES:
                if name in known:
                    await self._ask(name, answers)
        except CommandError:
            if not self._client.connected:
                self.model.lost()
                self.app.invalidate()
                return
        self.model.update(answers, self._loop.time())
        self._select(0)
        self.app.invalidate()

    async def _ask(self, name: str, answers: dict[str, JSON]) -> None:
        try:
            answers[name] = await self._client.execute(name).asFuture(self._loop)
        except CommandError:
            if not self._client.connected:
                raise

    def _happened(self, event: Mapping[str, JSON]) -> None:
        if not self.state.paused:
            self.model.happened(event)

    # -- keys

    def _select(self, step: int) -> None:
        last = max(0, len(self.model.rows()) - 1)
        self.state = self.state._replace(selected=min(last, max(0, self.state.selected + step)))

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        typing = Condition(lambda: self.state.typing)

        @bindings.add("q", filter=~typing)
        @bindings.add("c-c")
        @bindings.add(Keys.SIGINT)
        @bindings.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit()

        @bindings.add("up", filter=~typing)
        @bindings.add("k", filter=~typing)
        def _(event: KeyPressEvent) -> None:
            self._select(-1)

        @bindings.add("down", filter=~typing)
        @bindings.add("j", filter=~typing)
        def _(event: KeyPressEvent) -> None:
            self._select(1)

        @bindings.add("s", filter=~typing)
        def _(event: KeyPressEvent) -> None:
            self.model.sort_next()

        @bindings.add("p", filter=~typing)
        def _(event: KeyPressEvent) -> None:
            self.state = self.state._replace(paused=not self.state.paused)

        @bindings.add("c", filter=~typing)
        def _(event: KeyPressEvent) -> None:
            rows = self.model.rows()
            if self.state.selected < len(rows):
                event.app.create_background_task(self.cancel(rows[self.state.selected]))

        @bindings.add("/", filter=~typing)
        def _(event: KeyPressEvent) -> None:
            self.state = self.state._replace(typing=True)

        self._bind_typing(bindings, typing)
        return bindings

    def _bind_typing(self, bindings: KeyBindings, typing: Condition) -> None:
        @bindings.add("enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            self.state = self.state._replace(typing=False)

        @bindings.add("escape", filter=typing, eager=True)
        def _(event: KeyPressEvent) -> None:
            self.model.filter = ""
            self.state = self.state._replace(typing=False)

        @bindings.add("backspace", filter=typing)
        def _(event: KeyPressEvent) -> None:
            self.model.filter = self.model.filter[:-1]

        @bindings.add(Keys.Any, filter=typing)
        def _(event: KeyPressEvent) -> None:
            if event.data.isprintable():
                self.model.filter += event.data
                self._select(0)

    async def cancel(self, row: Row) -> None:
        """Cancel a request or a job, and say what became of that."""
        name, arguments = (
            ("cancel-command", {"number": row.key}) if row.kind == "request" else ("job-cancel", {"id": row.key})
        )
        try:
            await self._client.execute(name, arguments).asFuture(self._loop)
        except CommandError as error:
            message = error.desc
        else:
            message = f"{row.kind} {row.key} is cancelled"
        self.say(message)
        await self.look()

    def say(self, message: str) -> None:
        """Show a message until the next one."""
        self.state = self.state._replace(message=message)

    # -- what is seen

    def _text(self) -> StyleAndTextTuples:
        size = self.app.output.get_size()
        lines = draw(self.model, self.state, size.columns, size.rows)
        text: StyleAndTextTuples = []
        for number, line in enumerate(lines):
            text += [("", "\n")] * bool(number)
            text += line
        return text


def run_screen(address: Destination) -> int:
    """
    Show the screen until the person quits.

    :return: the exit status
    """

    async def main(reactor: Any) -> int:
        connection = Connection(reactor, address, lambda text: top.say(text))
        await connection.open()
        try:
            top = Top(connection.client, f"{address.text}  {server_name(connection.client.greeting)}")
            show_faults(top.say)
            await top.run()
        finally:
            await connection.close()
        return 0

    return run_asyncio(main)

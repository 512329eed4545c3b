"""
What is shown while a command is waited for: a bar where the server tells how far it is, else the time that it has taken.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input.base import Input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import ConditionalContainer, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output.base import Output

from twisted_qmon._text import printable, span
from twisted_qmon.errors import CommandError, CommandNotFound
from twisted_qmon.info import JSON
from twisted_qmon.shell.bar import bar
from twisted_qmon.shell.rows import find_progress

__all__ = ["POLL", "SHOW_AFTER", "PendingBar"]

#: Seconds after which the bar appears.
SHOW_AFTER = 0.3

#: Seconds between two questions to the server.
POLL = 0.5


class PendingBar:
    """
    Shows that a command is waited for. Keys that are typed meanwhile are for the next prompt; Ctrl-C cancels.

    :param execute: executes a command at the server, for what it tells of its pending requests
    :param running: the name of the command that is waited for
    :param cancel: cancels it
    :param input: the terminal's keys
    :param output: the terminal's screen
    """

    def __init__(
        self,
        execute: Callable[[str], Awaitable[JSON]],
        running: Callable[[], str],
        cancel: Callable[[], object],
        input: Input,
        output: Output,
    ) -> None:
        self._execute = execute
        self._running = running
        self._cancel = cancel
        self._input = input
        self._output = output
        self._plain = not (getattr(sys.stdout, "encoding", "") or "").lower().startswith("utf")
        self._typed: list[KeyPress] = []
        self._progress: tuple[float, float] | None = None
        self._began = 0.0

    async def wait(self, done: asyncio.Future[bool] | asyncio.Future[None]) -> None:
        """:return: when it is done"""
        self._began = asyncio.get_running_loop().time()
        self._progress = None
        app: Application[None] = Application(
            layout=Layout(
                ConditionalContainer(Window(FormattedTextControl(self._text), height=1), Condition(self._is_late))
            ),
            key_bindings=self._bindings(),
            erase_when_done=True,
            refresh_interval=0.1,
            input=self._input,
            output=self._output,
        )

        def end(_: object) -> None:
            if app.is_running and not app.is_done:
                app.exit()

        polling = asyncio.ensure_future(self._poll())
        try:
            await app.run_async(pre_run=lambda: done.add_done_callback(end))
        finally:
            polling.cancel()
            store_typeahead(self._input, self._typed)
            self._typed = []
        await asyncio.wait({done})

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def _is_late(self) -> bool:
        return self._elapsed() >= SHOW_AFTER

    def _text(self) -> StyleAndTextTuples:
        name = printable(self._running() or "waiting")
        parts: StyleAndTextTuples = [("bold", name), ("", "  ")]
        if self._progress is not None and self._progress[1] > 0:
            current, total = self._progress
            percent = min(100, int(100 * current / total))
            parts += [("ansicyan", bar(current, total, plain=self._plain)), ("", f"  {percent:3} %  ")]
        parts += [("", span(self._elapsed())), ("ansibrightblack", "  Ctrl-C cancels")]
        return parts

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        # While text is written the terminal makes a signal of the key.
        @bindings.add(Keys.SIGINT)
        @bindings.add("c-c")
        def _(event: KeyPressEvent) -> None:
            self._typed.clear()
            self._cancel()

        @bindings.add(Keys.Any)
        def _(event: KeyPressEvent) -> None:
            self._typed.extend(event.key_sequence)

        return bindings

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            try:
                rows = await self._execute("query-pending")
            except CommandNotFound:
                return
            except CommandError:
                continue
            self._progress = find_progress(rows, self._running(), self._elapsed())

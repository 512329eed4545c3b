"""
The prompt itself: reads lines, runs them, and says what becomes of the connection.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.filters import is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.search import accept_search
from prompt_toolkit.shortcuts import CompleteStyle
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred

from twisted_qmon._reactor import global_reactor
from twisted_qmon._text import printable
from twisted_qmon.errors import CommandError
from twisted_qmon.hmp.commands.command_index import Names
from twisted_qmon.hmp.prompt import PROMPT
from twisted_qmon.qmp.client import QMPClient
from twisted_qmon.shell.address import Destination
from twisted_qmon.shell.faults import show_faults
from twisted_qmon.shell.lines.session import Session
from twisted_qmon.shell.oneshot.schema import event_names
from twisted_qmon.shell.output import wants_colour
from twisted_qmon.shell.terminal.completer import LineCompleter
from twisted_qmon.shell.terminal.connection import Connection, server_name
from twisted_qmon.shell.terminal.history import History, history_path
from twisted_qmon.shell.terminal.pending import PendingBar
from twisted_qmon.shell.terminal.screen import Screen

__all__ = ["Prompt", "run_asyncio", "run_prompt"]


class Prompt:
    """
    One person at a terminal.

    :param reactor: on the asyncio loop that runs
    :param address: of the server
    """

    def __init__(self, reactor: Any, address: Destination) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        colour = wants_colour(sys.stdout)
        self._screen = Screen(self._loop, colour=colour)
        self._connection = Connection(reactor, address, self._gap)
        self._client = self._connection.client
        self._session = Session(self._client, self._screen.text, self._screen.error, reactor, self._screen.text)
        input = create_input(sys.stdin)
        output = Vt100_Output.from_pty(sys.stdout, default_color_depth=None if colour else ColorDepth.DEPTH_1_BIT)
        # Without cursor position requests: the answers of a terminal that is slow would end up in what is typed.
        output.enable_cpr = False
        self._editor: PromptSession[str] = PromptSession(
            self._message,
            completer=LineCompleter(self._names, self._events),
            complete_while_typing=False,
            complete_style=CompleteStyle.COLUMN,
            history=History(history_path()),
            key_bindings=_bindings(),
            input=input,
            output=output,
        )
        self._pending = PendingBar(self._execute, lambda: self._session.running, self._session.cancel, input, output)
        show_faults(lambda text: self._screen.error(f"qmon: {printable(text)}\n"))

    async def main(self) -> int:
        """
        Read and run lines until the person leaves.

        :return: the exit status
        :raise NoConnection: when the first attempt to connect fails
        """
        await self._connection.open()
        try:
            self._watch()
            self._greet()
            await self._session.prepare().asFuture(self._loop)
            while not self._session.left:
                self._screen.flush()
                try:
                    line = await self._editor.prompt_async()
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    break
                await self._run(line)
        finally:
            self._screen.flush()
            self._session.close()
            await self._connection.close()
        return 0

    async def _run(self, line: str) -> None:
        done = self._session.run(line)
        if not done.called:
            await self._pending.wait(done.asFuture(self._loop))

    async def _execute(self, name: str) -> Any:
        return await self._client.execute(name).asFuture(self._loop)

    # -- what is shown

    def _message(self) -> StyleAndTextTuples:
        if self._client.connected:
            return [("bold", PROMPT)]
        return [("bold", PROMPT.rstrip(") ") + ": "), ("ansired bold", "not connected"), ("bold", ") ")]

    def _greet(self) -> None:
        self._screen.note(
            f"{printable(self._address.text)}: {printable(server_name(self._client.greeting))}. "
            "'help' lists the commands, Tab completes, Ctrl-D leaves.\n"
        )

    def _gap(self, text: str) -> None:
        if self._session.shows_events:
            self._screen.error(f"{printable(self._address.text)}: {text}\n")

    async def _names(self) -> Names | None:
        try:
            names: Names = await self._session.index.names().asFuture(self._loop)
        except CommandError:
            return None
        return names

    async def _events(self) -> Iterable[str]:
        try:
            return event_names(await self._execute("query-qmp-schema"))
        except CommandError:
            return ()

    # -- the connection

    def _watch(self) -> None:
        self._client.when_lost().addCallback(self._lost)

    def _lost(self, error: CommandError) -> None:
        if self._connection.service.running:
            self._screen.error(f"{printable(self._address.text)}: {printable(error.desc)}; reconnecting\n")
            self._connection.service.when_connected().addCallbacks(self._back, lambda _: None)

    def _back(self, client: QMPClient) -> None:
        self._screen.note(f"{printable(self._address.text)}: connected again\n")
        self._watch()


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    # While text is written the terminal makes a signal of the key.
    @bindings.add(Keys.SIGINT)
    @bindings.add("c-c")
    def _(event: KeyPressEvent) -> None:
        # There is nothing to cancel; a line that was begun is given up.
        if event.current_buffer.text:
            event.app.exit(exception=KeyboardInterrupt)

    @bindings.add("enter", filter=is_searching)
    def _(event: KeyPressEvent) -> None:
        # As a shell does: the line that was found is run, and not only taken.
        accept_search()
        event.current_buffer.validate_and_handle()

    return bindings


def run_asyncio(make: Callable[[Any], Any]) -> int:
    """
    Run a coroutine beside Twisted's reactor, on one asyncio loop. SIGTERM and SIGHUP cancel it, so that the terminal is left as
    it was.

    :param make: called with the reactor when it runs; returns the coroutine
    :return: what the coroutine returns; the usual status after a signal
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    reactor = global_reactor()
    outcome: list[Callable[[], int]] = []
    signals: list[int] = []

    def stop(number: int, task: asyncio.Future[int]) -> None:
        signals.append(number)
        task.cancel()

    async def run() -> None:
        task = asyncio.ensure_future(make(reactor))
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number, task)
        await asyncio.wait({task})
        outcome.append(task.result if not task.cancelled() else lambda: 128 + signals[0] if signals else 1)

    def begin() -> None:
        Deferred.fromFuture(asyncio.ensure_future(run())).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    return outcome[0]()


def run_prompt(address: Destination) -> int:
    """
    Read lines at a prompt, and run them.

    :return: the exit status
    """

    async def main(reactor: Any) -> int:
        return await Prompt(reactor, address).main()

    return run_asyncio(main)

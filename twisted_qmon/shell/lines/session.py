"""
One person's session with a server: lines in, text out. No I/O of its own: the lines are run by the same L{Console} that a server
has; a line that is a JSON object is sent as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandError
from twisted_qmon.hmp.commands.command_index import CommandIndex, Names
from twisted_qmon.hmp.console import Console, Person
from twisted_qmon.shell.output import json_text

__all__ = ["LEAVE", "Server", "Session"]

#: The words that end the lines of a program, where the server has no command of that name. For a person the console has them.
LEAVE = frozenset({"exit", "logout"})


class Server(Protocol):
    """What a session needs of a server, besides L{IMonitor}."""

    def execute_oob(self, name: str, arguments: Mapping[str, Any] | None = None) -> Deferred[Any]:
        """C{execute}, out of band."""


class Session:
    """
    Runs lines.

    :param server: whose commands: provides L{IMonitor} and L{Server}
    :param write: called with the text of a result, lines that end in C{\\n}, made printable
    :param complain: the same for an error
    :param clock: for C{watch} and C{log follow}: without one they are not offered
    :param announce: called with text that was not asked for, such as events; C{None}: no person is there, and the words for one
        (C{events on}, C{watch}) are not
    :ivar index: the names of the server's commands
    :ivar left: the person wants to leave
    """

    def __init__(
        self,
        server: Any,
        write: Callable[[str], object],
        complain: Callable[[str], object],
        clock: IReactorTime | None = None,
        announce: Callable[[str], object] | None = None,
    ) -> None:
        self.left = False
        self._line = ""
        self._announce = announce
        self._execute: Callable[..., Deferred[Any]] = server.execute
        self._execute_oob: Callable[..., Deferred[Any]] = server.execute_oob
        self._write = write
        self._complain = complain
        self.index = CommandIndex(server, interactive=announce is not None)
        self._console = Console(
            server,
            Person("qmon"),
            write=self._from_console,
            on_resume=self._resumed,
            command_index=self.index,
            clock=clock,
            announce=None if announce is None else self._announced,
            on_leave=self._leave,
        )
        self._waiting: Deferred[bool] | None = None
        self._json: Deferred[Any] | None = None
        self._json_name = ""

    def _from_console(self, text: str) -> None:
        (self._complain if self._console.failed else self._write)(text)

    def prepare(self) -> Deferred[bool]:
        """:return: fires when the commands of the server are known, or will not be"""
        self._console.start()
        return self._wait()

    def run(self, line: str) -> Deferred[bool]:
        """
        Run a line.

        :param line: without its end
        :return: fires when it is done, with whether it could be run and its command succeeded
        :raise RuntimeError: when another line is not done yet
        """
        if self._waiting is not None or self._json is not None:
            raise RuntimeError("the line before is not done")
        if line.lstrip().startswith("{"):
            return self._run_json(line)
        if self._announce is None and line.strip() in LEAVE:
            return self.index.names().addErrback(lambda _: None).addCallback(self._leave_or_run, line)
        return self._run_line(line)

    def _leave_or_run(self, names: Names | None, line: str) -> Deferred[bool] | bool:
        word = line.strip()
        if names is not None and (names.find(word) is not None or names.is_upstream(word)):
            return self._run_line(line)
        self._leave()
        return True

    def _leave(self) -> None:
        self.left = True

    def _announced(self, text: str) -> None:
        assert self._announce is not None
        self._announce(text)
        # It may be that the log can't be followed any more.
        self._resumed()

    def _run_line(self, line: str) -> Deferred[bool]:
        self._line = line
        self._console.line(line)
        return self._wait()

    def _wait(self) -> Deferred[bool]:
        if not self._busy:
            return succeed(not self._console.failed)
        self._waiting = Deferred()
        return self._waiting

    @property
    def _busy(self) -> bool:
        return self._console.suspended or self._console.following

    def _resumed(self) -> None:
        if self._waiting is not None and not self._busy:
            waiting, self._waiting = self._waiting, None
            waiting.callback(not self._console.failed)

    @property
    def running(self) -> str:
        """The QMP name of the command that is waited for, or the line that goes on by itself; empty if there is neither."""
        if self._json is not None:
            return self._json_name
        return self._line if self._console.following else self._console.running

    @property
    def shows_events(self) -> bool:
        """The person has said C{events on}."""
        return self._console.shows_events

    def cancel(self) -> None:
        """Cancel what is waited for. Nothing happens if nothing is."""
        if self._json is not None:
            self._json.cancel()
        else:
            self._console.cancel()
            self._resumed()

    def close(self) -> None:
        """The session is over."""
        self._console.close()

    # -- JSON as it stands

    def _run_json(self, line: str) -> Deferred[bool]:
        try:
            message = json.loads(line)
            [name] = (message[key] for key in ("execute", "exec-oob") if key in message)
            arguments = message.get("arguments")
            unknown = set(message) - {"execute", "exec-oob", "arguments", "id"}
            if not isinstance(name, str) or not isinstance(arguments, (Mapping, type(None))) or unknown:
                raise ValueError
        except RecursionError:
            return self._refuse("the message is nested too deeply")
        except json.JSONDecodeError as error:
            return self._refuse(f"invalid JSON at {error.pos + 1}: {error.msg}")
        except ValueError:
            return self._refuse('a message has one of "execute" and "exec-oob", and may have "arguments" and "id"')
        execute = self._execute_oob if "exec-oob" in message else self._execute
        self._json_name = name
        self._json = execute(name, arguments)
        more = {"id": message["id"]} if "id" in message else {}
        return self._json.addBoth(self._replied, more)

    def _replied(self, result: Any, more: dict[str, Any]) -> bool:
        self._json = None
        if not isinstance(result, Failure):
            self._write(json_text({"return": result, **more}, indent=4) + "\n")
            return True
        error = result.value
        if not isinstance(error, CommandError):
            return bool(result)
        self._complain(json_text({"error": error.to_wire(), **more}, indent=4) + "\n")
        return False

    def _refuse(self, reason: str) -> Deferred[bool]:
        self._complain(f"Error: {reason}\n")
        return succeed(False)

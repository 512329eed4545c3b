"""
Which commands there are: whole providers in and out, and what covers what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast
from weakref import WeakValueDictionary

from twisted_qmon.core.command import Command
from twisted_qmon.core.tally import Counted, Tallies, Tally
from twisted_qmon.errors import RegistrationError
from twisted_qmon.interfaces import ICommand
from twisted_qmon.qapi.schema import build_schema
from twisted_qmon.qapi.types.json_text import JSONText

if TYPE_CHECKING:
    from twisted_qmon.core.events import Event
    from twisted_qmon.info import JSON, CommandInfo

__all__ = ["CalledCommand", "CommandView", "DirectCommand", "Registry"]


class CalledCommand(Protocol):
    """The part of an L{ICommand} that is needed once its handler has been called."""

    timeout: float | None

    def finish(self, result: object) -> JSON | JSONText:
        """As C{ICommand.finish}."""


class DirectCommand(CalledCommand, Protocol):
    """An L{ICommand} whose handler does not ask for the request, so that it can be called without one."""

    info: CommandInfo
    # Its registry sets it.
    tally: Tally

    def direct(self, arguments: Mapping[str, JSON] | None) -> object:
        """What C{invoke} does, without a request."""


class RecordedCommand(DirectCommand, Protocol):
    """A L{DirectCommand} of which it is known what may be shown of its arguments."""

    name: str

    def shown(self, arguments: Mapping[str, JSON] | None) -> Mapping[str, JSON]:
        """
        :return: the arguments without what is secret
        :raise CommandError: when they are wrong
        """


class CommandView(dict[str, "DirectCommand | None"]):
    """
    The direct commands that fulfil a condition, each decided once: C{view[name]} is such a command, or C{None}.
    """

    def __init__(self, find: Callable[[str], DirectCommand | None], condition: Callable[[DirectCommand], bool]) -> None:
        super().__init__()
        self._find = find
        self._condition = condition

    def __missing__(self, name: str) -> DirectCommand | None:
        command = self._find(name)
        if command is None:
            # Not kept: a client may ask for any name.
            return None
        found = self[name] = command if self._condition(command) else None
        return found


class _DirectCommands(dict[str, "DirectCommand | None"]):
    """The direct commands among those that can be executed, found out when they are first asked for."""

    def __init__(self, find: Callable[[str], ICommand | None], tallies: Tallies) -> None:
        super().__init__()
        self._find = find
        self._tallies = tallies

    def __missing__(self, name: str) -> DirectCommand | None:
        command = self._find(name)
        if command is None:
            return None
        # Not in ICommand: it is a short cut that a command of another make need not have.
        if getattr(command, "direct", None) is None:
            self[name] = None
            return None
        direct = self[name] = cast(DirectCommand, command)
        direct.tally = self._tallies.of_command(name)
        self._tallies.watch(cast(Counted, command))
        return direct


class Registry:
    """
    A monitor's commands by name.

    A provider may be registered as a *shadow*: its commands cover those of the same name until it is taken out again. The first
    of the names stays covered, whatever is registered and unregistered above it.

    :ivar active: the commands that can be executed, newest registered last
    :ivar find: C{find(name)}: one of them, or C{None}
    :ivar find_direct: C{find_direct(name)}: the same, only for those that are L{DirectCommand}s
    :ivar tallies: what has become of the requests for them
    """

    def __init__(self) -> None:
        self._active: dict[str, ICommand] = {}
        self.find: Callable[[str], ICommand | None] = self._active.get
        self.tallies = Tallies()
        self._direct = _DirectCommands(self.find, self.tallies)
        self.find_direct: Callable[[str], DirectCommand | None] = self._direct.__getitem__
        self._covered: dict[str, list[ICommand]] = {}
        self._words: dict[str, str] = {}
        # Made when asked for, until something changes.
        self._infos: dict[str, CommandInfo] | None = None
        self._names: JSONText | None = None
        self._schema: tuple[tuple[Event, ...], JSONText] | None = None
        # By what each is: a dictionary can't be hashed.
        self._views: WeakValueDictionary[int, CommandView] = WeakValueDictionary()
        self.active: Mapping[str, ICommand] = MappingProxyType(self._active)

    def add(self, commands: Iterable[ICommand], *, shadow: bool = False) -> list[ICommand]:
        """
        Add commands: all of them, or none.

        :return: them, as a list
        :raise RegistrationError: when something is not an L{ICommand}, or a name or alias is taken
        """
        added = list(commands)
        words: dict[str, str] = {}
        for command in added:
            _require_command(command)
            for word in (command.name, *_aliases(command)):
                owner = words.get(word) or (None if shadow else self._words.get(word))
                if owner is not None:
                    what = "a command" if owner == word else f"an alias of the command {owner!r}"
                    raise RegistrationError(f"the name {word!r} is already taken: it is {what}")
                words[word] = command.name
        for command in added:
            name = command.name
            if name in self._active:
                self._covered.setdefault(name, []).append(self._active.pop(name))
                self._direct.pop(name, None)
            self._activate(command)
        if shadow:
            self._changed()
        else:
            # All these words were free, so there is nothing to look up again among the others, many as they may be.
            self._words.update(words)
            self._forget()
        return added

    def remove(self, commands: Iterable[ICommand]) -> None:
        """Take commands out again, and uncover what they covered. One that is not there is passed over."""
        for command in commands:
            name = command.name
            covered = self._covered.get(name, [])
            if name in self._active and self._active[name] is command:
                del self._active[name]
                self._direct.pop(name, None)
                if covered:
                    self._activate(covered.pop())
            elif command in covered:
                covered.remove(command)
            if not covered:
                self._covered.pop(name, None)
        self._changed()

    def hide(self, names: Iterable[str]) -> Callable[[], None]:
        """
        Cover commands with nothing: they can't be executed, and are not listed. Names that are not there are passed over.

        :return: call it to show them again, as far as nothing else covers them by then
        """
        hidden = [self._active[name] for name in names if name in self._active]
        for command in hidden:
            del self._active[command.name]
            self._direct.pop(command.name, None)
            self._covered.setdefault(command.name, []).append(command)
        self._changed()

        def show() -> None:
            for command in hidden:
                covered = self._covered.get(command.name, [])
                if command.name not in self._active and command in covered:
                    covered.remove(command)
                    self._activate(command)
                    if not covered:
                        del self._covered[command.name]
            self._changed()

        return show

    def _activate(self, command: ICommand) -> None:
        self._active[command.name] = command
        self._direct.pop(command.name, None)
        self.tallies.of_command(command.name)

    def copy(self) -> dict[str, ICommand]:
        """:return: the commands that can be executed now, by their names; copied in one step, so that any thread may ask"""
        return self._active.copy()

    def view(self, condition: Callable[[DirectCommand], bool]) -> CommandView:
        """
        :param condition: asked once for each command, and again when the commands have changed, or the view was cleared
        :return: the direct commands that fulfil it
        """
        view = CommandView(self.find_direct, condition)
        self._views[id(view)] = view
        return view

    def _forget(self) -> None:
        self._infos = self._names = self._schema = None
        for view in self._views.values():
            view.clear()

    def _changed(self) -> None:
        self._forget()
        self._words.clear()
        for name, command in self._active.items():
            for alias in _aliases(command):
                self._words.setdefault(alias, name)
        for name in self._active:
            self._words[name] = name

    def infos(self) -> dict[str, CommandInfo]:
        """:return: what a client can know of each command; shared until something changes"""
        if self._infos is None:
            self._infos = {name: command.info for name, command in self._active.items()}
        return self._infos

    def names(self) -> JSONText:
        """:return: the answer to C{query-commands}, newest registered first as on QEMU; encoded once"""
        if self._names is None:
            self._names = JSONText.of([{"name": name} for name in reversed(self._active)])
        return self._names

    def schema(self, events: Mapping[str, Event]) -> JSONText:
        """:return: the answer to C{query-qmp-schema}; encoded once for the same commands and events"""
        key = tuple(events.values())
        if self._schema is None or self._schema[0] != key:
            entries = build_schema(
                ((name, command.info, command.oob, ()) for name, command in self._active.items()),
                ((name, event.members) for name, event in events.items()),
            )
            self._schema = (key, JSONText.of(entries))
        return self._schema[1]


def _aliases(command: ICommand) -> Sequence[str]:
    # For its info ours would be compiled.
    return command.aliases if isinstance(command, Command) else command.info.aliases


def _require_command(command: object) -> None:
    if not ICommand.providedBy(command):
        raise RegistrationError(f"{command!r} does not provide ICommand")

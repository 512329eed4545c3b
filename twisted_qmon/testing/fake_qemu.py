"""
A QMP server that behaves like a version of QEMU.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_qmon._reactor import global_reactor
from twisted_qmon._transport.endpoints import server_endpoint
from twisted_qmon.core.dispatcher import not_found
from twisted_qmon.core.events import Event
from twisted_qmon.core.monitor import Monitor
from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandError, GenericError
from twisted_qmon.info import CommandInfo
from twisted_qmon.interfaces import ICommand, ICommandProvider
from twisted_qmon.providers.jobs import Jobs
from twisted_qmon.qapi.types.errors import ArgumentError
from twisted_qmon.testing.connections import MemoryEndpoint, QMPConnection
from twisted_qmon.testing.fake_server import FakeFactory, Running
from twisted_qmon.testing.machine import Behaviour, Machine
from twisted_qmon.testing.recording import Recording
from twisted_qmon.testing.script import Answer, Emit, Fail, Step
from twisted_qmon.testing.thread import SocketThread

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IListeningPort

    from twisted_qmon.core.request import Request
    from twisted_qmon.info import JSON
    from twisted_qmon.qapi.types.base import Type
    from twisted_qmon.watchdog.reactor import WatchdogReactor

__all__ = ["MAX_REQUESTS", "VERSION", "FakeQEMU", "FakeRequest"]

#: The version that it is by default.
VERSION = "7.2"

#: How many requests are kept for L{FakeQEMU.requests}: the latest.
MAX_REQUESTS = 100_000

#: QEMU's own limits: these events come at most once in a second, each for itself by these members.
_RATE_LIMITED: Mapping[str, tuple[str, ...]] = {
    "BALLOON_CHANGE": (),
    "MEMORY_DEVICE_SIZE_CHANGE": ("qom-path",),
    "QUORUM_FAILURE": (),
    "QUORUM_REPORT_BAD": ("node-name",),
    "RTC_CHANGE": (),
    "VSERPORT_CHANGE": ("id",),
    "WATCHDOG": (),
}

_T = TypeVar("_T")


@dataclass(frozen=True)
class FakeRequest:
    """
    One request that came.

    :ivar name: the command
    :ivar arguments: its arguments as they came
    :ivar id: its id; L{ABSENT<twisted_qmon.ABSENT>} if it has none
    :ivar oob: it was to be executed out of band
    :ivar client: the name of the connection
    :ivar error: why it was refused: its arguments are wrong, or there is no such command; C{None}: it was not
    """

    name: str
    arguments: Mapping[str, JSON]
    id: object = ABSENT
    oob: bool = False
    client: str = ""
    error: CommandError | None = None


@implementer(ICommand)
class _Command:
    """One command of the schema."""

    timeout: float | None = None
    on_disconnect = "continue"

    def __init__(self, fake: FakeQEMU, name: str, oob: bool, arguments: Callable[[], Type]) -> None:
        self.name = name
        # What it takes is in the schema, which is the recorded one.
        self.info = CommandInfo(name, parameters=None)
        self.oob = oob
        self._fake = fake
        self._arguments = arguments

    def invoke(self, request: Request, arguments: Mapping[str, JSON] | None) -> object:
        return self._fake._invoked(request, self._arguments(), dict(arguments or {}))

    def finish(self, result: JSON) -> JSON:
        return result


@implementer(ICommandProvider)
class _Commands:
    """All of the schema's commands and events."""

    def __init__(self, commands: list[_Command], events: Iterable[str]) -> None:
        self._commands = commands
        self.events = [
            Event(
                name,
                check=False,
                rate_limit=1.0 if name in _RATE_LIMITED else None,
                key=_RATE_LIMITED.get(name, ()),
            )
            for name in events
        ]

    def commands(self) -> Iterable[ICommand]:
        """:return: one for each of the schema's"""
        return self._commands


class FakeQEMU:
    """
    A QMP server that behaves like a version of QEMU: its greeting, its schema, its words for wrong arguments, its form of JSON;
    and a machine without devices that can be stopped, continued, reset and ended. What else it is to answer, a test says.

    In memory::

        fake = FakeQEMU(clock=Clock())
        fake.answer("query-block", [])
        client = fake.connect()
        assert client.execute("query-block") == {"return": []}

    At an endpoint, in a program with a reactor: C{fake.listen("unix:fake.qmp:mode=600", reactor)}, or
    C{endpoint.listen(fake.factory)}. In a thread of its own, for tests without one::

        with FakeQEMU() as fake:
            subprocess.run(["qmp-shell", fake.address], ...)

    A command of the schema that has no answer succeeds if there is nothing to return, and fails otherwise.

    While it runs in a thread, each method may be called from any thread.

    :param version: one of L{twisted_qmon.testing.recording.versions}, the path of a recording, or a L{Recording}
    :param clock: for delays and timestamps; C{None}: the reactor's of the thread, else the global one
    :param name: what C{query-name} answers; empty: nothing
    :param paused: the machine does not run until C{cont}, as with QEMU's C{-S}
    :param one_client: serve one client at a time, as a monitor of QEMU does: the next one gets its greeting when that has gone
    :param strict: a command that has no answer fails, also if there is nothing to return
    :raise ValueError: when there is no such version
    :ivar factory: the factory of its connections, for an endpoint
    :ivar monitor: the monitor that serves them
    :ivar recording: what the version says of itself
    :ivar jobs: starts jobs for C{query-jobs} and C{job-cancel}: L{Jobs<twisted_qmon.providers.jobs.Jobs>}
    """

    def __init__(
        self,
        version: str | Path | Recording = VERSION,
        *,
        clock: IReactorTime | None = None,
        name: str = "guest",
        paused: bool = False,
        one_client: bool = False,
        strict: bool = False,
    ) -> None:
        self.recording = version if isinstance(version, Recording) else Recording.load(version)
        self._clock = _LateClock(clock)
        self._strict = strict
        self._thread: SocketThread | None = None
        self._requests: deque[FakeRequest] = deque(maxlen=MAX_REQUESTS)
        self._came = threading.Condition()
        self._ended = False
        self._scripts: dict[str, tuple[Step, ...]] = {}
        self._once: dict[str, deque[tuple[Step, ...]]] = {}
        self._running: set[Running] = set()
        major_minor = self.recording.version[:2]
        self._machine = Machine(
            self, name, paused, self.recording.lines, singlestep="singlestep" in str(self._status_type())
        )
        self._behaviours: dict[str, Behaviour] = {}
        self.monitor = Monitor(clock=self._clock, event_history=0)
        self.monitor.version = cast("Mapping[str, JSON]", self.recording.greeting["version"])
        self.jobs = Jobs()
        self._register()
        self.monitor.set_upstream(_Upstream(self))
        self.factory = FakeFactory(
            self.monitor,
            names_elements=major_minor >= (8, 0),
            one_client=one_client,
            capabilities=cast("list[str]", self.recording.greeting["capabilities"]),
        )

    def _status_type(self) -> object:
        types = self.recording.types
        return types.entry(str(types.commands["query-status"]["ret-type"])) if "query-status" in types.commands else ""

    def _register(self) -> None:
        types = self.recording.types
        # What every monitor of ours has and QEMU does not.
        self.monitor.register(self.jobs)
        own = [name for name in self.monitor.registry.active if name != "qmp_capabilities"]
        self._job_commands = {name: self.monitor.registry.active[name] for name in own if "job" in name}
        self.monitor.registry.hide(own)
        commands = [
            _Command(self, name, entry.get("allow-oob") is True, partial(types.arguments, name))
            for name, entry in types.commands.items()
            if name != "qmp_capabilities"
        ]
        self.monitor.register(_Commands(commands, types.events), shadow=True)

    # -- what it answers

    def answer(self, name: str, value: JSON, *, check: bool = True) -> None:
        """
        Answer a command with a result from now on.

        :param name: the command
        :param value: the result
        :param check: it must be of the type that the schema has for it
        :raise ValueError: when there is no such command, or the result is not of its type
        """
        self.script(name, Answer(value, check))

    def fail(self, name: str, error_class: str = "GenericError", desc: str = "An error of the test") -> None:
        """
        Answer a command with an error from now on.

        :param name: the command
        :param error_class: its class on the wire
        :param desc: its text
        :raise ValueError: when there is no such command
        """
        self.script(name, Fail(error_class, desc))

    def handle(self, name: str, behaviour: Behaviour) -> None:
        """
        Have a function answer a command from now on.

        :param name: the command
        :param behaviour: called with the arguments, which are valid; returns the result, or raises a L{CommandError}
        :raise ValueError: when there is no such command
        """
        self._require(name)
        self._in_thread(lambda: self._behaviours.__setitem__(name, behaviour))

    def script(self, name: str, *steps: Step) -> None:
        """
        Take these steps each time that a command comes.

        :param name: the command
        :param steps: see L{twisted_qmon.testing.script}; none: do again what it does by itself
        :raise ValueError: when there is no such command or event, or something is not of its type
        """
        self._check(name, steps)
        self._in_thread(lambda: self._set_script(name, steps))

    def _set_script(self, name: str, steps: tuple[Step, ...]) -> None:
        if steps:
            self._scripts[name] = steps
        else:
            self._scripts.pop(name, None)
            self._behaviours.pop(name, None)

    def once(self, name: str, *steps: Step) -> None:
        """
        Take these steps when a command comes the next time. Calls add up: the second one is for the time after that.

        :param name: the command
        :param steps: see L{twisted_qmon.testing.script}
        :raise ValueError: as of L{script}
        """
        self._check(name, steps)
        self._in_thread(lambda: self._once.setdefault(name, deque()).append(steps))

    def answer_line(self, line: str, text: str) -> None:
        """
        Answer a line of the human monitor from now on.

        :param line: the line, without blanks around it
        :param text: what it prints, with QEMU's line ends (CR LF)
        """
        self._in_thread(lambda: self._machine.lines.__setitem__(line, text))

    def on_connect(self, *steps: Step) -> None:
        """
        Take these steps when the next client connects, before the greeting. Calls add up.

        :param steps: see L{twisted_qmon.testing.script}. After C{Silence} or C{Drop} there is no greeting.
        """
        self._in_thread(lambda: self.factory.on_connect.append(steps))

    def emit(self, name: str, data: Mapping[str, JSON] | None = None, *, check: bool = True) -> None:
        """
        Send an event to all clients that have negotiated, within QEMU's rate limits.

        :param name: the event
        :param data: its data
        :param check: it must be an event of the schema, and the data of its type
        :raise ValueError: when it is not
        """
        if check:
            self._check_event(name, data)
        self._in_thread(lambda: self._emit(name, data))

    def _emit(self, name: str, data: Mapping[str, JSON] | None) -> None:
        if name in self.monitor.events.definitions:
            self.monitor.emit(name, data)
        else:
            self.monitor.events.forward(name, data)

    # -- what came

    @property
    def requests(self) -> list[FakeRequest]:
        """The requests that came so far, without the negotiations: the latest L{MAX_REQUESTS}."""
        with self._came:
            return list(self._requests)

    def take_requests(self) -> list[FakeRequest]:
        """:return: the requests that came since the last call"""
        with self._came:
            taken = list(self._requests)
            self._requests.clear()
            return taken

    def wait_for(self, name: str, timeout: float = 10.0) -> FakeRequest:
        """
        Wait, while it runs in a thread, until a command has come. One that came already counts.

        :param name: the command
        :param timeout: in seconds
        :return: the first request for it
        :raise TimeoutError: when none came in time
        """
        with self._came:
            found = self._came.wait_for(
                lambda: next((each for each in self._requests if each.name == name), None), timeout
            )
        if found is None:
            raise TimeoutError(f"no {name} came within {timeout:g} s")
        return found

    @property
    def status(self) -> str:
        """The machine's status, as in C{query-status}. Setting it sends no event."""
        return self._machine.status

    @status.setter
    def status(self, status: str) -> None:
        self._machine.status = status

    @property
    def ended(self) -> bool:
        """It was told to C{quit}."""
        return self._ended

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self.factory.connections)

    # -- connections

    def connect(self, *, negotiate: bool = True, oob: bool = False) -> QMPConnection:
        """
        Connect a client in memory.

        :param negotiate: negotiate the capabilities at once
        :param oob: and enable out-of-band execution
        """
        return QMPConnection(self.monitor, negotiate=negotiate, oob=oob, factory=self.factory)

    def endpoint(self) -> MemoryEndpoint:
        """:return: a client endpoint in memory, whose C{flush()} carries the bytes of its connections to and fro"""
        return MemoryEndpoint(self.factory)

    def listen(self, description: str, reactor: object = None) -> Deferred[IListeningPort]:
        """
        Serve at an endpoint.

        :param description: of a Twisted server endpoint
        :param reactor: C{None}: the global one
        :return: fires with the port
        :raise ValueError: when the description is not valid
        """
        endpoint = server_endpoint(global_reactor() if reactor is None else reactor, description)
        listening: Deferred[IListeningPort] = endpoint.listen(self.factory)
        return listening

    def start(self, path: str | os.PathLike[str] | None = None) -> FakeQEMU:
        """
        Serve at a unix socket, in a thread of its own. Linux only.

        :param path: of the socket; C{None}: one in a folder of its own, which is removed at the end
        :raise RuntimeError: when it is served already, has a clock of its own, or a thread can have no reactor in this process
        :raise CannotListenError: when the socket can't be made
        """
        if self._thread is not None:
            raise RuntimeError("it is served already")
        if self._clock.given is not None:
            raise RuntimeError("in a thread it needs no clock: the thread's reactor is its clock")
        self._thread = thread = SocketThread(path, "qmon-fake-qemu")

        def make(reactor: WatchdogReactor) -> FakeFactory:
            self._clock.given = reactor
            return self.factory

        try:
            thread.start(make)
        except BaseException:
            self._thread = self._clock.given = None
            raise
        return self

    @property
    def address(self) -> str:
        """
        The path of the socket at which the thread serves.

        :raise RuntimeError: when there is none
        """
        if self._thread is None:
            raise RuntimeError("it is not served in a thread: call start()")
        return self._thread.address

    def disconnect(self) -> None:
        """Lose all connections, as if QEMU had died. A client may connect again."""
        self._in_thread(self.factory.abort)

    def stop(self) -> None:
        """Stop what is going on, lose all connections, and end the thread if there is one. Called twice it does no harm."""
        self._in_thread(self._stop)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            self._clock.given = None

    def _stop(self) -> None:
        for running in list(self._running):
            running.stop()
        self.monitor.events.flush()
        self.factory.stop_waiting()
        self.factory.abort()

    def __enter__(self) -> FakeQEMU:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _in_thread(self, function: Callable[[], _T]) -> _T:
        """Call a function where the connections are served."""
        return function() if self._thread is None else self._thread.thread.call(function)

    # -- for the machine

    def end(self) -> None:
        """Close all connections, once what is being said has been said; refuse others."""
        self._ended = True
        self.monitor.clock.callLater(0, self.factory.end)

    # -- requests

    def _invoked(self, request: Request, type_: Type, arguments: dict[str, JSON]) -> object:
        came = FakeRequest(request.name, arguments, request.id, request.oob, request.caller.name)
        try:
            type_.decode(arguments)
        except ArgumentError as e:
            error = GenericError(str(e))
            self._note(replace(came, error=error))
            raise error from None
        self._note(came)
        waiting = self._once.get(request.name)
        steps = waiting.popleft() if waiting else self._scripts.get(request.name)
        if not steps:
            return self._behave(request, arguments)
        running = Running(self, request, steps, lambda: self._behave(request, arguments), self._running.discard)
        self._running.add(running)
        return running.start()

    def _note(self, request: FakeRequest) -> None:
        with self._came:
            self._requests.append(request)
            self._came.notify_all()

    def refused(self, name: str) -> CommandError:
        """
        A command came that there is not.

        :return: what it is answered with
        """
        error = not_found(name)
        self._note(FakeRequest(name, {}, error=error))
        return error

    def _behave(self, request: Request, arguments: Mapping[str, JSON]) -> object:
        """What it does by itself."""
        name = request.name
        behaviour = self._behaviours.get(name) or self._machine.behaviours.get(name)
        if behaviour is not None:
            return behaviour(arguments)
        command = self._job_commands.get(name)
        if command is not None:
            return command.finish(command.invoke(request, arguments))
        recorded = self.recording.answers.get(name)
        if recorded is not None and not arguments:
            error = cast("Mapping[str, str] | None", recorded.get("error"))
            if error is not None:
                raise CommandError.from_wire(error["class"], error["desc"])
            return recorded["return"]
        types = self.recording.types
        returns_nothing = not types.entry(str(types.commands[name]["ret-type"])).get("members", True)
        if returns_nothing and not self._strict:
            return {}
        raise GenericError(f"FakeQEMU has no answer to '{name}': say fake.answer('{name}', ...)")

    # -- checks

    def _require(self, name: str) -> None:
        if name not in self.recording.types.commands or name == "qmp_capabilities":
            raise ValueError(f"QEMU {self.recording.version} has no command {name!r}")

    def _check(self, name: str, steps: Iterable[Step]) -> None:
        self._require(name)
        for step in steps:
            if isinstance(step, Answer) and step.check:
                try:
                    self.recording.types.result(name).decode(step.value)
                except ArgumentError as e:
                    raise ValueError(f"{name} can't return this: {e}") from None
            elif isinstance(step, Emit) and step.check:
                self._check_event(step.name, step.data)

    def _check_event(self, name: str, data: Mapping[str, JSON] | None) -> None:
        types = self.recording.types
        if name not in types.events:
            raise ValueError(f"QEMU {self.recording.version} has no event {name!r}")
        try:
            types.data(name).decode(dict(data or {}))
        except ArgumentError as e:
            raise ValueError(f"event {name} can't have this data: {e}") from None


@implementer(IReactorTime)
class _LateClock:
    """
    A clock that may be known later.

    :ivar given: the clock; C{None}: the global reactor
    """

    def __init__(self, given: IReactorTime | None) -> None:
        self.given = given

    def _now(self) -> IReactorTime:
        return global_reactor() if self.given is None else self.given

    def seconds(self) -> float:
        return self._now().seconds()

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> IDelayedCall:
        return self._now().callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return self._now().getDelayedCalls()


class _Upstream:
    """What the monitor fronts: nothing, but the errors for unknown commands are QEMU's."""

    version: Mapping[str, JSON] | None = None

    def __init__(self, fake: FakeQEMU) -> None:
        self._fake = fake

    def when_ready(self) -> Deferred[None] | None:
        """:return: C{None}: it is ready"""
        return None

    def not_found(self, name: str) -> CommandError:
        """:return: QEMU's error for the name of an unknown command"""
        return self._fake.refused(name)

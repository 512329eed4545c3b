"""The monitor: requests, their deadlines, their cancellation, and the drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.balloon import Balloon, Caller
from tests.support.stubborn import stubborn
from twisted_qmon import (
    ABSENT,
    CommandCancelled,
    CommandError,
    CommandProvider,
    CommandTimedOut,
    GenericError,
    Monitor,
    Request,
    ShuttingDown,
)
from twisted_qmon.core.command import Command, CommandOptions
from twisted_qmon.interfaces import ICaller, ICommand, ICommandProvider, IMonitor


class MonitorTests(SynchronousTestCase):
    """One monitor with a clock that stands still unless told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor("guest-7", clock=self.clock)
        self.provider = Balloon()
        self.monitor.register(self.provider)
        self.caller = Caller()

    def submit(self, name: str, arguments: Any = None, **options: Any) -> Request:
        return self.monitor.submit(name, arguments, self.caller, **options)

    def opaque(self, request: Request) -> None:
        """It was answered with the one opaque error."""
        assert isinstance(request.error, GenericError)
        self.assertIn("logged", request.error.desc)
        self.assertNotIn("secret", request.error.desc)

    def test_interfaces(self) -> None:
        """What we implement is what the interfaces say."""
        verifyObject(IMonitor, self.monitor)
        verifyObject(ICommandProvider, self.provider)
        verifyObject(ICaller, self.caller)
        verifyObject(ICaller, self.monitor._local)
        for each in self.provider.commands():
            verifyObject(ICommand, each)

    def test_synchronous(self) -> None:
        """A result that is there at once settles the request at once, and nothing is left pending."""
        request = self.submit("query-balloon")
        self.assertTrue(request.done)
        self.assertEqual(request.result, {"actual": 1 << 29})
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_arguments(self) -> None:
        """Arguments are checked, then given as keywords."""
        self.assertIsNone(self.submit("balloon", {"value": 1 << 20}).error)
        self.assertEqual(self.provider.actual, 1 << 20)
        error = self.submit("balloon", {"value": "x"}).error
        assert error is not None
        self.assertEqual(error.error_class, "GenericError")
        self.assertEqual(self.provider.actual, 1 << 20)

    def test_deferred(self) -> None:
        """A Deferred settles the request when it fires, and whoever is to be told is told once."""
        told: list[Request] = []
        request = self.submit("slow")
        request.notify(told.append)
        self.assertFalse(request.done)
        self.assertEqual(told, [])
        self.provider.pending[0].callback(7)
        self.assertEqual((request.done, request.result, told), (True, 7, [request]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_firedDeferred(self) -> None:
        """A Deferred that has fired already settles the request at once."""
        self.monitor.register_command("fired", lambda: succeed(3))
        self.assertEqual(self.submit("fired").result, 3)
        self.assertEqual(len(self.monitor.pending), 0)

    def test_coroutine(self) -> None:
        """A coroutine takes the same road."""
        request = self.submit("coroutine", {"text": "n"})
        self.assertFalse(request.done)
        self.provider.pending[0].callback(1)
        self.assertEqual(request.result, "n1")

    def test_declaredError(self) -> None:
        """A CommandError is answered as it is, raised or failed with."""
        error = self.submit("refused").error
        assert error is not None
        self.assertEqual(error.to_wire(), {"class": "DeviceNotActive", "desc": "No balloon device has been activated"})
        request = self.submit("slow")
        self.provider.pending[0].errback(CommandError("so", "FutureClass"))
        assert request.error is not None
        self.assertEqual(request.error.to_wire(), {"class": "FutureClass", "desc": "so"})

    def test_undeclaredError(self) -> None:
        """Anything else is logged with its traceback and answered with one opaque error."""
        self.opaque(self.submit("broken"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        request = self.submit("slow")
        self.provider.pending[0].errback(ZeroDivisionError("secret"))
        self.opaque(request)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_resultThatDoesNotFit(self) -> None:
        """So is a result that does not fit its annotation, or that JSON can't say, at once or later."""
        self.opaque(self.submit("misfit"))
        self.monitor.register_command("nonsense", lambda: {1, 2})
        self.opaque(self.submit("nonsense"))
        request = self.submit("slow")
        self.provider.pending[0].callback("x")
        self.opaque(request)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 3)

    def test_unknown(self) -> None:
        """An unknown name is QEMU's CommandNotFound."""
        error = self.submit("nope").error
        assert error is not None
        self.assertEqual(error.to_wire(), {"class": "CommandNotFound", "desc": "The command nope has not been found"})

    def test_sharedDeferred(self) -> None:
        """A Deferred returned to two requests is refused the second time; the first still gets it."""
        first = self.submit("shared")
        second = self.submit("shared")
        self.opaque(second)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.provider.pending[0].callback(5)
        self.assertEqual(first.result, 5)

    def test_oob(self) -> None:
        """Out of band only where the command allows it."""
        error = self.submit("query-balloon", oob=True).error
        assert error is not None
        self.assertEqual(error.desc, "The command query-balloon does not support OOB")

    def test_notifyTwice(self) -> None:
        """Only one may be told; when it is done already, at once."""
        request = self.submit("slow")
        request.notify(lambda _: None)
        with self.assertRaises(RuntimeError):
            request.notify(lambda _: None)
        request.cancel()
        told: list[Request] = []
        request.notify(told.append)
        self.assertEqual(told, [request])

    # -- deadlines and cancelling

    def test_deadline(self) -> None:
        """At its deadline a request is settled first, and its Deferred cancelled afterwards."""
        seen: list[bool] = []
        self.monitor.register_command("watched", lambda: Deferred(lambda _: seen.append(request.done)), timeout=5)
        request = self.submit("watched")
        self.assertEqual(request.deadline, 5.0)
        self.clock.advance(4.9)
        self.assertFalse(request.done)
        self.clock.advance(0.2)
        assert isinstance(request.error, CommandTimedOut)
        self.assertEqual(request.error.desc, "Command 'watched' timed out after 5 s")
        self.assertEqual(seen, [True])
        self.assertEqual(self.monitor.pending.abandoned, {})

    def test_monitorsDeadline(self) -> None:
        """The monitor's own deadline holds for a command that has none."""
        monitor = Monitor(clock=self.clock, timeout=1.5)
        monitor.register_command("wait", lambda: Deferred())
        failure = self.failureResultOf(self.after(monitor.execute("wait"), 2), CommandTimedOut)
        self.assertEqual(str(failure.value), "Command 'wait' timed out after 1.5 s")

    def after(self, deferred: Deferred[Any], seconds: float) -> Deferred[Any]:
        self.assertNoResult(deferred)
        self.clock.advance(seconds)
        return deferred

    def test_swallowedCancellation(self) -> None:
        """A handler that swallows the cancellation and goes on changes nothing: it is abandoned until it ends."""
        gate: Deferred[None] = Deferred()

        self.monitor.register_command("stubborn", stubborn(gate), timeout=1)
        request = self.submit("stubborn")
        self.clock.advance(1)
        assert isinstance(request.error, CommandTimedOut)
        (listed,) = self.successResultOf(self.monitor.execute("query-pending"))
        self.assertEqual((listed["command"], listed["abandoned"], listed["seconds"]), ("stubborn", True, 1.0))
        gate.callback(None)
        self.assertEqual(self.successResultOf(self.monitor.execute("query-pending")), [])

    def test_cancellerThatFires(self) -> None:
        """A canceller that fires a value does not answer for the request."""
        self.monitor.register_command("odd", lambda: Deferred(lambda d: d.callback("value")))
        request = self.submit("odd")
        request.cancel()
        self.assertIsInstance(request.error, CommandCancelled)

    def test_lateFailure(self) -> None:
        """What an abandoned handler fails with later is logged, and changes nothing."""
        gate: Deferred[None] = Deferred()

        self.monitor.register_command("late", stubborn(gate))
        request = self.submit("late")
        request.cancel()
        gate.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(request.error, CommandCancelled)
        self.assertEqual(self.monitor.pending.abandoned, {})

    def test_abandonedLimit(self) -> None:
        """Beyond so many abandoned executions the command concerned is refused; others are not."""
        monitor = Monitor(clock=self.clock, max_abandoned=2)
        stuck: list[Deferred[Any]] = []

        async def stubborn() -> None:
            while True:
                stuck.append(Deferred())
                try:
                    await stuck[-1]
                    return
                except CancelledError:
                    pass

        monitor.register_command("stubborn", stubborn)
        for _ in range(2):
            monitor.submit("stubborn", None, self.caller).cancel()
        refused = monitor.submit("stubborn", None, self.caller)
        assert isinstance(refused.error, GenericError)
        self.assertEqual(refused.error.desc, "Command 'stubborn' has 2 abandoned executions")
        self.assertIsNone(monitor.submit("query-name", None, self.caller).error)
        stuck[1].callback(None)
        stuck[-1].callback(None)
        self.assertEqual(monitor.pending.abandoned, {})
        self.assertFalse(monitor.submit("stubborn", None, self.caller).done)

    def test_cancelledByItsHandler(self) -> None:
        """A handler may cancel its own request before it returns."""

        def suicidal(request: Request) -> Deferred[None]:
            request.cancel()
            return Deferred()

        self.monitor.register_command("suicidal", suicidal)
        request = self.submit("suicidal")
        self.assertIsInstance(request.error, CommandCancelled)
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(self.monitor.pending.abandoned, {})

    def test_cancelExecute(self) -> None:
        """Cancelling what execute returned cancels the command."""
        deferred = self.monitor.execute("slow")
        deferred.cancel()
        self.failureResultOf(deferred, CommandCancelled)
        self.assertTrue(self.provider.request.cancelled)

    def test_cancelCommand(self) -> None:
        """cancel-command finds the session's oldest request by an id of the same value and type, anybody's by number."""
        requests = [self.submit("slow", id=id) for id in (1, 1.0, True, {"a": [1]}, {"a": [1]}, None)]
        other = Caller("test-2")
        foreign = self.monitor.submit("slow", None, other, id=1)
        self.submit("cancel-command", {"id": True})
        self.submit("cancel-command", {"id": {"a": [1]}})
        self.submit("cancel-command", {"id": None}, oob=True)
        self.assertEqual([request.done for request in requests], [False, False, True, True, False, True])
        self.assertFalse(foreign.done)
        self.assertIsNone(self.submit("cancel-command", {"number": foreign.number}).error)
        self.assertIsInstance(foreign.error, CommandCancelled)
        for arguments in ({"id": "nope"}, {"number": 10_000}, {}, {"id": 1, "number": 1}):
            self.assertIsInstance(self.submit("cancel-command", arguments).error, GenericError)

    def test_progress(self) -> None:
        """Progress reaches whoever asked and query-pending, until the request is settled."""
        told: list[tuple[int, int]] = []
        deferred = self.monitor.execute("slow", progress=lambda current, total: told.append((current, total)))
        self.clock.advance(2)
        self.provider.request.progress(3, 10)
        (listed,) = self.successResultOf(self.monitor.execute("query-pending"))
        self.assertEqual(listed["progress"], {"current": 3, "total": 10})
        self.assertEqual((listed["session"], listed["seconds"]), ("local", 2.0))
        self.provider.pending[0].callback(1)
        self.provider.request.progress(4, 10)
        self.assertEqual(told, [(3, 10)])
        self.assertEqual(self.successResultOf(deferred), 1)

    def test_noTime(self) -> None:
        """A monitor whose commands have no time at all, or less, makes no sense."""
        for timeout in (0, -1.0, float("nan")):
            self.assertRaises(ValueError, Monitor, timeout=timeout)

    def test_progressInParts(self) -> None:
        """Progress is counted in integers; what is none fails at the handler, not for all who ask query-pending."""
        self.monitor.execute("slow")
        with self.assertRaises(TypeError):
            self.provider.request.progress(0.5, 1)  # type: ignore[arg-type]
        (listed,) = self.successResultOf(self.monitor.execute("query-pending"))
        self.assertNotIn("progress", listed)

    def test_handlerExits(self) -> None:
        """A handler that calls sys.exit(), or is cancelled by asyncio, ends nothing but its request; Ctrl-C is not held up."""

        def leaving(exception: BaseException) -> Callable[[], None]:
            def leave() -> None:
                raise exception

            return leave

        for exception in (SystemExit(2), GeneratorExit(), asyncio.CancelledError()):
            name = f"leave-{type(exception).__name__.lower()}"
            self.monitor.register_command(name, leaving(exception))
            self.assertIsInstance(self.submit(name).error, GenericError)
            self.assertEqual(len(self.flushLoggedErrors(type(exception))), 1)
        self.monitor.register_command("interrupt", leaving(KeyboardInterrupt()))
        self.assertRaises(KeyboardInterrupt, self.submit, "interrupt")

    # -- leaving and stopping

    def test_leave(self) -> None:
        """When its caller leaves, a command is cancelled or runs on, as it says; nobody is told."""
        told: list[Request] = []
        runs_on, cancelled = self.submit("slow"), self.submit("coroutine")
        runs_on.notify(told.append)
        cancelled.notify(told.append)
        waiting = self.monitor.dispatcher.prepare("slow", None, self.caller, ABSENT, False)
        self.monitor.leave(self.caller)
        self.assertEqual([runs_on.done, cancelled.done, waiting.done], [False, True, True])
        self.provider.pending[0].callback(1)
        self.assertTrue(runs_on.done)
        self.assertEqual(told, [])

    def test_drain(self) -> None:
        """A drain takes no new requests, waits for those pending, and cancels what is left."""
        first, second = self.submit("coroutine"), self.submit("coroutine")
        draining = self.monitor.drain(3.0)
        self.assertIsInstance(self.submit("query-balloon").error, ShuttingDown)
        self.provider.pending[0].callback(0)
        self.assertIsNone(first.error)
        self.assertNoResult(draining)
        self.clock.advance(3)
        self.assertIsInstance(second.error, CommandCancelled)
        self.assertEqual(self.successResultOf(draining), 1)

    def test_cleanDrain(self) -> None:
        """A drain with nothing pending, or that sees the last one end, is clean and leaves no timer."""
        self.assertEqual(self.successResultOf(self.monitor.drain(3.0)), 0)
        self.monitor.accept()
        asker, other = self.submit("slow"), self.submit("coroutine")
        draining = self.monitor.drain(2.0, exclude=asker)
        self.provider.pending[1].callback(0)
        self.assertEqual(self.successResultOf(draining), 0)
        self.assertFalse(asker.done)
        self.assertTrue(other.done)
        asker.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ServeTests(MonitorTests):
    """All that again by the road of a session, which has no request where nobody would see it."""

    def submit(self, name: str, arguments: Any = None, **options: Any) -> Request:
        if options.keys() - {"id"}:
            return super().submit(name, arguments, **options)
        id = options.get("id", ABSENT)
        outcome = self.monitor.serve(name, arguments, self.caller, id)
        if isinstance(outcome, Request):
            return outcome
        return Request(self.monitor.dispatcher, 0, name, arguments, self.caller, id, done=True, result=outcome)

    def test_calledInTheOpen(self) -> None:
        """Whichever way its arguments were checked, a handler is not called while some inner exception is being handled."""
        seen: list[Any] = []

        def look(n: int = 0) -> None:
            seen.append((n, sys.exc_info()[0]))

        self.monitor.register_command("look", look)
        for arguments in (None, {}, {"n": 1}, MappingProxyType({"n": 2})):
            self.monitor.serve("look", arguments, self.caller, 1)
        self.assertEqual(seen, [(0, None), (0, None), (1, None), (2, None)])

    def test_noRequest(self) -> None:
        """There is a request where it is asked for, fails or takes time, and nowhere else."""
        for name, arguments, asked in (
            ("query-balloon", None, False),
            ("balloon", {"value": 1 << 20}, False),
            ("balloon", {"value": "x"}, True),
            ("nope", None, True),
            ("slow", None, True),
        ):
            outcome = self.monitor.serve(name, arguments, self.caller, 1)
            self.assertEqual(isinstance(outcome, Request), asked, name)

    def test_ownWay(self) -> None:
        """A command that has its own way of calling its handler is called so."""

        class Own(Command):
            def invoke(self, request: Request, arguments: Any) -> Any:
                return f"{request.name} {arguments}"

        class Provider(CommandProvider):
            def commands(self) -> Any:
                return [Own(lambda: None, CommandOptions(name="own"))]

        self.monitor.register(Provider())
        outcome = self.monitor.serve("own", {"a": 1}, self.caller, 1)
        assert isinstance(outcome, Request)
        self.assertEqual((outcome.error and outcome.error.desc) or outcome.result, "own {'a': 1}")

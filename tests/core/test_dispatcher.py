"""The dispatcher: what is settled whatever happens, and the executions whose requests no caller waits for any more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.defer import fail as deferred_fail
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.balloon import Caller
from tests.support.stubborn import stubborn
from twisted_qmon import ABSENT, CommandCancelled, CommandProvider, GenericError, Monitor, Request, command
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.core.dispatcher import MAX_DEPTH
from twisted_qmon.testing import QMPConnection


class Recursion(CommandProvider):
    """Commands that execute themselves."""

    @command
    async def coroutine(self) -> int:
        """By awaiting."""
        assert self.monitor is not None
        result: int = await self.monitor.execute("coroutine")
        return result

    @command
    def deferred(self) -> Deferred[int]:
        """By returning the Deferred."""
        assert self.monitor is not None
        return self.monitor.execute("deferred")


class SettlingTests(SynchronousTestCase):
    """A request is settled whatever goes wrong."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock, timeout=5)

    def test_recursion(self) -> None:
        """A cycle of commands ends in an error that says so, and leaves nothing pending."""
        self.monitor.register(Recursion())
        client = QMPConnection(self.monitor)
        for name in ("coroutine", "deferred"):
            desc = f"Command '{name}' is nested in {MAX_DEPTH} other commands"
            self.assertEqual(client.execute(name), {"error": {"class": "GenericError", "desc": desc}})
            self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nesting(self) -> None:
        """Commands may execute each other to that depth, again and again."""

        async def nested(depth: int) -> int:
            return 0 if depth == 1 else 1 + int(await self.monitor.execute("nested", {"depth": depth - 1}))

        self.monitor.register_command("nested", nested)
        for _ in range(3):
            deepest = self.monitor.execute("nested", {"depth": MAX_DEPTH})
            self.assertEqual(self.successResultOf(deepest), MAX_DEPTH - 1)
            self.failureResultOf(self.monitor.execute("nested", {"depth": MAX_DEPTH + 1}), GenericError)

    def test_no_room_on_the_stack(self) -> None:
        """A handler's failure for whose answer there was no room on the stack is answered where there is room again."""
        fail = self.monitor.dispatcher._fail
        calls: list[BaseException] = []

        def fail_later(request: Request, error: BaseException, failure: Failure | None = None) -> None:
            calls.append(error)
            if len(calls) == 1:
                raise RecursionError
            fail(request, error, failure)

        self.patch(self.monitor.dispatcher, "_fail", fail_later)
        self.monitor.register_command("broken", lambda: deferred_fail(ZeroDivisionError()))
        request = self.monitor.submit("broken", None, Caller())
        self.assertIsInstance(request.error, GenericError)
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(len(self.flushLoggedErrors(RecursionError)), 1)

    def test_log_that_fails(self) -> None:
        """A failure that can't be logged is answered all the same, and logged in the next turn of the reactor."""
        monitor = self.monitor
        monitor.register_command("broken", lambda: 1 / 0)
        log, calls = monitor.dispatcher._log, []

        class Log:
            def failure(self, *arguments: Any, **fields: Any) -> None:
                calls.append(fields["command"])
                if len(calls) == 1:
                    raise RecursionError
                log.failure(*arguments, **fields)

        self.patch(monitor.dispatcher, "_log", Log())
        for request in (monitor.submit("broken", None, Caller()), monitor.serve("broken", None, Caller(), 1)):
            assert isinstance(request, Request)
            self.assertIsInstance(request.error, GenericError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(calls, ["broken"] * 3)

    def test_record_that_fails(self) -> None:
        """An outcome that the audit can't record is answered all the same."""
        audit = Audit(None, self.clock.seconds)
        self.monitor.set_guard(audit=audit)
        # An error made with something else than text: its length is what the audit asks for.
        self.monitor.register_command("odd", lambda: deferred_fail(GenericError(ValueError())))  # type: ignore[arg-type]
        client = QMPConnection(self.monitor)
        self.assertEqual(client.execute("odd")["error"]["class"], "GenericError")
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def late(self, fire: Callable[[Deferred[Any]], None]) -> list[str]:
        """:return: what is logged when the handler of a request that was cancelled ends so"""
        gate: Deferred[Any] = Deferred()

        events = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        self.monitor.register_command("stubborn", stubborn(gate))
        request = self.monitor.submit("stubborn", None, Caller())
        request.cancel()
        self.assertEqual(list(self.monitor.pending.abandoned), [request.number])
        fire(gate)
        self.assertEqual(list(self.monitor.pending.abandoned), [])
        self.assertIsInstance(request.error, CommandCancelled)
        self.monitor.unregister("stubborn")
        return [str(formatEvent(event)) for event in events]

    def test_late_ends(self) -> None:
        """What comes of a handler after its request was answered is logged, and changes nothing."""
        self.assertEqual(self.late(lambda d: d.callback(1)), ["stubborn completed after it had been answered"])
        self.assertEqual(
            self.late(lambda d: d.errback(GenericError("no more"))),
            ["stubborn failed after it had been answered: no more"],
        )
        self.assertEqual(
            self.late(lambda d: d.cancel()), ["stubborn ended its cancellation after it had been answered"]
        )

    def test_canceller_that_fails(self) -> None:
        """A canceller that raises is logged; the request is answered."""

        def fail_to_cancel(_: Deferred[None]) -> None:
            raise ZeroDivisionError

        self.monitor.register_command("broken", lambda: Deferred(fail_to_cancel))
        request = self.monitor.submit("broken", None, Caller())
        request.cancel()
        self.assertIsInstance(request.error, CommandCancelled)
        self.assertEqual(list(self.monitor.pending.abandoned), [request.number])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class UnattendedTests(SynchronousTestCase):
    """Executions that run on after their callers have left, or after they were answered."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock, max_abandoned=3)
        self.open: list[Deferred[None]] = []
        self.monitor.register_command("wait", self.wait)
        self.monitor.register_command("other", self.wait)

    def wait(self) -> Deferred[None]:
        self.open.append(Deferred())
        return self.open[-1]

    def ask(self, name: str = "wait", caller: Caller | None = None, id: Any = ABSENT) -> Request:
        return self.monitor.submit(name, None, caller or Caller(), id)

    def leave(self, name: str = "wait", id: Any = ABSENT) -> Request:
        """Ask, and go."""
        caller = Caller("gone")
        request = self.ask(name, caller, id)
        self.monitor.leave(caller)
        return request

    def refused(self, name: str = "wait") -> bool:
        request = self.ask(name)
        if request.error is None:
            return False
        self.assertEqual(request.error.desc, f"Command '{name}' has 3 abandoned executions")
        return True

    def test_limit(self) -> None:
        """Requests whose callers have left count as abandoned ones do: beyond the limit that command is refused, and no other."""
        for _ in range(3):
            self.leave()
        self.assertTrue(self.refused())
        outcome = self.monitor.serve("wait", None, Caller(), 1)
        assert isinstance(outcome, Request)
        self.assertIsNotNone(outcome.error)
        self.assertFalse(self.refused("other"))
        self.open[0].callback(None)
        self.assertFalse(self.refused())

    def test_counted_once(self) -> None:
        """One that is left and then cancelled in vain still counts as one, until its handler ends."""
        gate: Deferred[None] = Deferred()

        self.monitor.register_command("stubborn", stubborn(gate))
        left = [self.leave("stubborn") for _ in range(2)]
        left[0].cancel()
        self.assertEqual((left[0].abandoned, left[1].abandoned), (True, False))
        self.assertFalse(self.refused("stubborn"))
        left[1].cancel()
        self.leave("stubborn")
        self.assertTrue(self.refused("stubborn"))
        gate.callback(None)
        self.assertFalse(self.refused("stubborn"))

    def test_waiting_callers_do_not_count(self) -> None:
        """Requests whose callers wait for them are not limited so."""
        for _ in range(10):
            self.assertFalse(self.refused())

    def test_left_twice(self) -> None:
        """A caller that is said to leave twice leaves its requests once."""
        caller = Caller()
        request = self.ask(caller=caller)
        self.monitor.leave(caller)
        self.monitor.leave(caller)
        self.leave()
        self.assertFalse(self.refused())
        self.open[0].callback(None)
        self.assertTrue(request.done)

    def test_id_is_dropped(self) -> None:
        """A request whose caller has left keeps no id, which may be as long as a message."""
        request = self.leave(id="x" * 1000)
        self.assertIs(request.id, ABSENT)
        self.assertFalse(request.done)
        (listed,) = self.successResultOf(self.monitor.execute("query-pending"))
        self.assertNotIn("id", listed)

    def test_connection_is_dropped(self) -> None:
        """A request whose client has left keeps neither its connection nor a message that it had begun to send."""
        client = QMPConnection(self.monitor)
        client.send({"execute": "wait", "id": 1})
        client.send_bytes(b'{"execute":"' + b"x" * 100_000)
        session = client.protocol.session
        transport = weakref.ref(client.transport)
        client.lose()
        del client
        gc.collect()
        self.assertIsNone(transport())
        self.assertEqual((len(self.monitor.pending), session._reader.buffered), (1, 0))

    def test_left_by_its_own_handler(self) -> None:
        """A handler that disconnects its own client, and only then begins what takes time, is treated as if it were left then."""
        client = QMPConnection(self.monitor)
        cancelled: list[Deferred[None]] = []

        def hang_up() -> Deferred[None]:
            client.lose()
            return Deferred(cancelled.append)

        self.monitor.register_command("hang-up", hang_up, on_disconnect="cancel")
        client.send({"execute": "hang-up", "id": 1})
        self.assertEqual((len(cancelled), len(self.monitor.pending)), (1, 0))

    def test_drain_looks_at_each_request_once(self) -> None:
        """To end many requests of many callers takes as many steps as there are requests, not their square."""

        class Callers(dict[Any, Any]):
            looks = 0

            def values(self) -> Any:
                Callers.looks += 1
                return super().values()

        pending = self.monitor.pending
        pending._by_caller = Callers(pending._by_caller)
        for _ in range(50):
            self.ask(caller=Caller())
        self.assertEqual(len(pending), 50)
        draining = self.monitor.drain(1)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(draining), 50)
        self.assertEqual(len(pending), 0)
        self.assertLess(Callers.looks, 5)

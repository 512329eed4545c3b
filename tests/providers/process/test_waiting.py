"""What waits, as the objects tell it: L{twisted_qmon.providers.process.waiting}."""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from twisted_qmon.providers.process import waiting


def test_steps_of_a_deferred() -> None:
    """What is called, in that order, with its arguments; another list of callbacks than Twisted's has none."""
    deferred: Deferred[Any] = Deferred()
    deferred.addCallbacks(print, repr, callbackArgs=(1, 2))
    (step,) = waiting.steps(deferred)
    assert step == (print, repr, (1, 2))
    odd: Any = SimpleNamespace(callbacks=["what", (1, 2)])
    assert waiting.steps(odd) == []
    old: Any = SimpleNamespace(callbacks=[((print, None, {}), (repr, (), {}))])
    assert waiting.steps(old) == [(print, repr, ())]


def test_what_is_suspended() -> None:
    """A coroutine that waits, and a generator that inlineCallbacks runs, each once, the outermost only."""
    gate: Deferred[None] = Deferred()

    async def inner() -> None:
        await gate

    async def outer() -> None:
        await inner()

    @inlineCallbacks
    def old() -> Generator[Deferred[None], None, None]:
        yield gate

    coroutine: Any = outer()
    assert not waiting.is_suspended(coroutine)
    running = Deferred.fromCoroutine(coroutine)
    also = old()
    found = waiting.suspended([gate, coroutine, coroutine.cr_await, object()])
    assert {each.__name__ for each in found} == {"outer", "old"}
    assert len(found) == 2
    assert [frame.f_code.co_name for frame in waiting.coroutine_frames(coroutine)] == ["outer", "inner"]
    gate.callback(None)
    assert running.called
    assert also.called
    assert list(waiting.coroutine_frames(coroutine)) == []
